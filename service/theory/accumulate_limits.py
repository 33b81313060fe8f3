"""Accumulated data continued for ever: every further fit adds as many rows as the last one did.

With C rows so far and T more each time, E_∞ = E + Σ_{j>=1} σ² T/(C + jT) V(C + jT), V the variance of a plain fit for
noise of variance 1. Without penalty, C >= d + 2, V = d/(rows − d − 1) and

    Σ_j = σ² d/(d + 1) (ψ(1 + C/T) − ψ(1 + (C − d − 1)/T)),

at most π²/6 of the first term where all batches are equal (Gerstgrasser et al., arXiv 2404.01413). With a penalty the
sum is taken term by term, then by the midpoint rule Σ_{j>J} f(j) = ∫_{J+1/2} f + f'(J+1/2)/24 + O(f'''), which is
∫ V d ln(rows) by Gauss-Legendre quadrature, a decade at a time: the error is finite for every penalty.
"""

from math import inf, log, log1p

import numpy as np
from scipy.special import psi

from service.theory.model import ROUNDING, Array, Population, TrainingMix
from service.theory.ridge_fits import fits

_TERMS = 64
_MOST_TERMS = 20_000
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(12)
_DECADES = 90
_LN10 = log(10.0)
_CLEAR = 0.05  # least room per row at which V is smooth on the scale of a quadrature node
_FAR = 1e5


def accumulated_limit(
    population: Population, mix: TrainingMix, order: int, missing: dict[str, str]
) -> float | None:
    """The test error after infinitely many further batches like the last; None, with the reason, where it is infinite.

    Relative accuracy about 1e-9 with a penalty, that of its closed form without. Raises NotConverged.
    """
    totals = _totals(population, mix, order, 0)
    error = float(totals[-1])
    name = "generations_limit"
    if not np.isfinite(error):
        missing[name] = (
            "A fit at its interpolation threshold has an infinite error, and no later one forgets it."
        )
        return None
    added, rows, noise, penalty_sum = _last(mix)
    if added == 0 or noise == 0 or penalty_sum == inf or population.rank == 0:
        return error
    if penalty_sum == 0 and rows >= population.rank + 2:
        return error + noise * _least_squares_tail(population.rank, rows, added, order)
    terms = _TERMS
    tail = _tail(population, rows + added * terms, added, penalty_sum, order)
    if tail is None:  # it passes an interpolation threshold on its way
        needed = 4.0 * population.rank / added + _TERMS
        if needed > _MOST_TERMS:
            missing[name] = (
                "The rows pass closely by an interpolation threshold after very many generations; "
                "give a larger penalty_sum, or more rows for each generation."
            )
            return None
        terms = int(needed)
        if penalty_sum == 0:
            tail = _least_squares_tail(population.rank, rows + added * terms, added, order)
        else:
            tail = _tail(population, rows + added * terms, added, penalty_sum, order) or 0.0
    head = float(_totals(population, mix, order, terms)[-1])
    if not np.isfinite(head):
        missing[name] = "A later fit has as many rows as there are modes: at penalty 0 its error is infinite."
        return None
    return head + noise * tail


def accumulated_null_generation(
    population: Population, mix: TrainingMix, limit: float | None, order: int, missing: dict[str, str]
) -> int | None:
    """The first generation whose test error is above that of predicting zero, the last batch being repeated.

    The error only grows with the generations, so ``limit`` says whether there is one. Raises NotConverged.
    """
    null, name = (1.0 + ROUNDING) * population.signal, "worse_than_null_from"
    work = max(_MOST_TERMS * 100 // max(population.eigenvalues.size, 100), _TERMS)
    totals = _totals(population, mix, order, 0)
    if not np.any(totals > null) and not (limit is not None and limit <= null):
        totals = _totals(population, mix, order, work)
    above = np.flatnonzero(totals > null)
    if above.size:
        return int(above[0])
    missing[name] = "No generation is worse than predicting nothing."
    if limit is None or limit > null:
        missing[name] = f"Not before generation {totals.size}; later ones were not looked at."
    return None


def _last(mix: TrainingMix) -> tuple[float, float, float, float]:
    """Rows of the last batch and of all, noise variance, and penalty on the sum."""
    source = mix.stages[-1].sources[0]
    rows = float(sum(stage.sources[0].samples for stage in mix.stages))
    return float(source.samples), rows, source.noise_variance, float(mix.stages[-1].penalty) * max(rows, 1.0)


def _totals(population: Population, mix: TrainingMix, order: int, more: int) -> Array:
    """The test error of every fit so far and of ``more`` to come, shape (stages + more,)."""
    last, _, last_noise, penalty_sum = _last(mix)
    added = np.array([float(s.sources[0].samples) for s in mix.stages] + [last] * more)
    noise = np.array([s.sources[0].noise_variance for s in mix.stages] + [last_noise] * more)
    at = fits(population, np.cumsum(added), penalty_sum, order)
    shares = np.divide(noise * added, at.rows, out=np.zeros_like(added), where=at.rows > 0)
    increments = np.multiply(shares, at.variance, out=np.zeros_like(added), where=shares > 0)
    return np.asarray(at.bias[0] + np.cumsum(increments))


def _least_squares_tail(rank: float, rows: float, added: float, order: int) -> float:
    """Σ_{j>=1} T/(C + jT) d/(C + jT − d − 1), with d in the place of d + 1 at ``order`` 0."""
    used = rank + 1.0 if order else rank
    if rows / added > _FAR:  # a difference of nearly equal numbers; the sum is an integral then
        return -rank / used * log1p(-used / (rows + 0.5 * added))
    return float(rank / used * (psi(1.0 + rows / added) - psi(1.0 + (rows - used) / added)))


def _tail(population: Population, rows: float, added: float, penalty_sum: float, order: int) -> float | None:
    """Σ_{j>=1} T/x V(x) over x = rows + jT; None where V is not smooth enough for quadrature."""
    start = log(rows + 0.5 * added)
    panels = start + _LN10 * np.arange(_DECADES)
    nodes = (panels[:, None] + 0.5 * _LN10 * (_NODES + 1.0)).ravel()
    at = fits(population, np.exp(nodes), penalty_sum, order)
    if float((at.room / at.rows).min()) < _CLEAR or not np.all(np.isfinite(at.variance)):
        return None
    integral = float((at.variance.reshape(_DECADES, -1) @ _WEIGHTS).sum()) * 0.5 * _LN10
    ends = fits(population, rows + added * np.arange(2.0), penalty_sum, order)
    slope = added * float(np.diff(ends.variance / ends.rows)[0])
    return integral + slope / 24.0
