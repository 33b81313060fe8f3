"""How far the theory of Gaussian features is off on real rows: by what their leverages have in common with the target.

A fit of effective ridge κ leaves of the target the residual r(x) = φ(x)·b, b_i = κ/(s_i+κ) (w_0)_i, and a sample weighs
in it by its leverage h(x) = Σ_i s_i u_i(x)²/(s_i+κ), df1(κ) on average, as 1/(1 + h/T). To first order in df1/T rows
differ from Gaussian features of the same spectrum by how h and r² vary together,

    c(κ) = Cov(h, r²) / (E h E r²)   over the rows, and   2 Σ q_i s_i b_i² / (Σ q_i Σ s_i b_i²)   for Gaussian ones,

q_i = s_i/(s_i+κ), which changes the test error by about a share (df1/T) (c − c_Gaussian) of it. That is large where T
is of the order of a few modes and the leading one is not Gaussian (to an RBF kernel it is nearly constant), and where
the norms of the rows differ much. Beside it stands what rows drawn twice do, of the order of (df1/T)² T/n for n rows.
"""

from dataclasses import dataclass, replace
from itertools import accumulate
from typing import TYPE_CHECKING, Final

import numpy as np

from service.theory.model import Array, Population, Stage, TrainingMix
from service.theory.results import Prediction
from service.theory.stages import solve_all

if TYPE_CHECKING:
    from service.theory.empirical import Modes

_STEPS: Final = 25
_DEPTH: Final = 1e-10  # of the largest eigenvalue: the least effective ridge looked at
_BLOCK: Final = 512  # rows at a time: their squares are another matrix


@dataclass(frozen=True, eq=False)
class Leverages:
    """Of a population's rows: ``degrees_of_freedom`` df1, rising, and ``excess`` c − c_Gaussian, shapes (ridges,)."""

    rows: int
    degrees_of_freedom: Array
    excess: Array


@dataclass(frozen=True)
class RowsError:
    """Relative errors of a prediction on rows: they are not Gaussian, and some are drawn twice; each at most 1."""

    leverage: float
    repeats: float

    @property
    def total(self) -> float:
        """Of both."""
        return self.leverage + self.repeats


def leverages(basis: "Modes", target: Array) -> Leverages:
    """At effective ridges from 100 times the largest eigenvalue down to the least; ``target``: c_i, shape (rank,)."""
    s, n = basis.eigenvalues / basis.eigenvalues[0], len(basis.functions)
    c = target / (np.abs(target).max() or 1.0)
    ridges = np.geomspace(100.0, max(s[-1], _DEPTH), _STEPS)
    Q = s[:, None] / (s[:, None] + ridges)  # (modes, ridges)
    left = ridges / (s[:, None] + ridges) * c[:, None]
    products = np.zeros(_STEPS)
    for first in range(0, n, _BLOCK):
        U = basis.functions[first : first + _BLOCK]
        products += np.sum((U**2 @ Q) * (U @ left) ** 2, axis=0) / n
    freedom, means = Q.sum(axis=0), Q.sum(axis=0) * np.sum(left**2, axis=0)
    gaussian = means + 2.0 * np.sum(Q * left**2, axis=0)
    # without a target there is no residual
    excess = np.divide(products - gaussian, means, out=np.zeros(_STEPS), where=means > 0)
    return Leverages(n, freedom, excess)


def is_seen(population: Population, mix: TrainingMix) -> bool:
    """Whether ``rows_error`` knows: the population is of rows, which have no other covariance than their own."""
    return population.leverages is not None and not mix.has_matrices


def rows_error(population: Population, mix: TrainingMix) -> RowsError | None:
    """Of the last stage's total: the largest over the stages; None where it is not known, see ``is_seen``.

    Penalties are numbers. Raises NotConverged, Unsupported.
    """
    seen = population.leverages
    if seen is None or not is_seen(population, mix):
        return None
    stages = _fits_of_all_rows(mix) if mix.keeps_data else mix.stages
    leverage = repeats = 0.0
    for stage, response in zip(stages, solve_all(population, stages), strict=True):
        samples = sum(source.samples for source in stage.sources if source.weight > 0)
        if samples == 0:
            continue
        freedom = float(population.positive @ (1.0 - response.unlearned))
        share = min(freedom / samples, 1.0)
        excess = float(np.interp(freedom, seen.degrees_of_freedom, seen.excess))
        leverage = max(leverage, share * abs(excess))
        repeats = max(repeats, share**2 * min(samples / seen.rows, 1.0))
    return RowsError(min(leverage, 1.0), repeats)


def _fits_of_all_rows(mix: TrainingMix) -> list[Stage]:
    """The fits whose biases and variances an accumulating mix is made of: plain ones, of all rows so far."""
    rows = accumulate(stage.sources[0].samples for stage in mix.stages)
    return [
        replace(stage, sources=(replace(stage.sources[0], samples=count),))
        for stage, count in zip(mix.stages, rows, strict=True)
    ]


def with_rows_error(population: Population, prediction: Prediction) -> Prediction:
    """The prediction with what it may be off on rows added to its expected relative error, at most 1."""
    found = rows_error(population, prediction.mix)
    if found is None:
        return prediction
    expected = min(prediction.expected_relative_error + found.total, 1.0)
    return replace(prediction, expected_relative_error=expected)
