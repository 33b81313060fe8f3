"""Error of the n-th estimator of a chain, in units of one sample's: E e_n e_nᵀ = V_n I(θ)^{-1}.

Each fit adds an error of its own, 1/(its samples), to those it inherits: a random walk whose steps the workflow
weighs. An identity for linear estimators (means of Gaussian or Poisson samples, weighted combinations of
independent least-squares fits); to first order in dim(θ) V for every regular family. He et al. 2502.18049 give the
optimal weights, Gerstgrasser et al. 2404.01413 the accumulating bound π²/6.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import inf, sqrt
from typing import Literal

import numpy as np
from scipy.special import polygamma

from service.theory.distributions.recursion import propagate
from service.theory.distributions.schedule import Mix, Models, Schedule
from service.theory.model import Array

Weight = float | Literal["pooled", "optimal", "kalman"]
"""Of the real samples' own estimate: a number, their share of the samples, the best constant, or the best of each
fit.
"""

Cost = Callable[[float], float]
"""Error variance of an estimate from so many samples: 1/n, or 1/(n − d − 1) for least squares."""


def per_sample(samples: float) -> float:
    """1/n; infinite without samples."""
    return 1.0 / samples if samples > 0 else inf


@dataclass(frozen=True, eq=False)
class Walk:
    """V and the weight of the real estimate at each model, shape (models,); V in the limit of endless repetition."""

    models: Models
    spread: Array
    weight: Array
    limit: float


def optimal_weight(real: float, synthetic: float, cost: Cost = per_sample) -> float:
    """w* = (√(κ² + 4κ) − κ)/2 = 2/(1 + √(1 + 4/κ)), κ = cost(synthetic)/cost(real): V* = w* cost(real).

    κ is n_r/n_s; equal numbers give 0.618…, one over the golden ratio. 0 without real samples, 1 without synthetic
    ones.
    """
    own, other = cost(real), cost(synthetic)
    if own == inf:
        return 0.0
    if other == inf:
        return 1.0
    return 2.0 / (1.0 + sqrt(1.0 + 4.0 * own / other))


def replaced(schedule: Schedule, models: Models, cost: Cost = per_sample) -> Walk:
    """V_n = Σ_{i ≤ n} cost(M_i): without bound."""
    costs = np.array([cost(size) for size in schedule.array])
    return Walk(models, schedule.cumulative(costs, models), np.zeros(len(models)), inf)


def accumulated(schedule: Schedule, models: Models, share: float = 0.0) -> Walk:
    """V ← (1 − m/N)² V + M/N² over batches of M with m = share M real samples, N the pool; the first is all real.

    Without real ones Σ M_i/N_i², for equal batches (1/M) Σ 1/i² → π²/(6M).
    """
    if share == 0.0 and len(schedule.sizes) == 1:
        M = float(schedule.last)
        spread: Array = (np.pi**2 / 6 - polygamma(1, models + 1.0)) / M
        return Walk(models, spread, np.zeros(len(models)), np.pi**2 / 6 / M)
    value, pool = np.empty(len(models)), 0.0
    V, found = 0.0, 0
    for index, M in enumerate(schedule.between(1, int(models[-1])).tolist()):
        pool += M
        V = 1.0 / M if index == 0 else (1.0 - share * M / pool) ** 2 * V + M / pool**2
        if index + 1 == models[found]:
            value[found] = V
            found += 1
    limit = 0.0
    if share == 0.0:
        beyond = float(
            sum(size * count for size, count in zip(schedule.sizes, schedule.repetitions, strict=True))
        )
        rest = polygamma(1, beyond / schedule.last + 1.0) / schedule.last
        ends = (
            value[-1] if models[-1] == schedule.fits else accumulated(schedule, schedule.ends[-1:]).spread[0]
        )
        limit = float(ends + rest)
    return Walk(models, value, np.full(len(models), share), limit)


def fixed_budget(samples: int, models: Models) -> Walk:
    """Every model sees M draws with replacement from a pool of batches of M: (2 + 2 Σ_{i=2}^n 1/i²)/M → π²/(3M)."""
    inverse_squares = np.pi**2 / 6 - polygamma(1, models + 1.0)
    spread: Array = 2.0 * inverse_squares / samples
    return Walk(models, spread, np.zeros(len(models)), np.pi**2 / 3 / samples)


def fresh(mix: Mix, models: Models, weight: Weight, cost: Cost = per_sample) -> Walk:
    """V ← w² cost(n_r) + (1 − w)² [cost(n_s) + V]; the first fit has its real samples alone."""
    weights = _weights(mix, weight, cost)
    start = cost(float(mix.schedule.at(1)))
    if weight == "kalman":
        spread, used = _kalman(mix, models, start, cost)
        return Walk(models, spread, used, _fresh_limit(mix, optimal_weight(*_last(mix), cost), cost))

    def step(run: int) -> Array:
        real, synthetic = mix.real[run], mix.others[run]
        return _affine(float(weights[run]), cost(float(real)), cost(float(synthetic)), 1.0)

    spread = np.full(len(models), start)
    after = models > 1
    if after.any():
        schedule, dropped = mix.schedule.later()
        spread[after] = _walked(lambda run: step(run + dropped), schedule, start, models[after] - 1)
    used = weights[mix.schedule.run(models)]
    used = np.where(after, used, 1.0)
    return Walk(models, spread, used, _fresh_limit(mix, float(weights[-1]), cost))


def retained(mix: Mix, models: Models, weight: float | Literal["pooled"], cost: Cost = per_sample) -> Walk:
    """e ← w e_R + (1 − w)(e + ξ), the same e_R of m samples in every fit: V = cost(m) + E ξ-part, and no fit is
    better.

    ``mix``: the first fit has the retained samples alone. V_g = cost(m) + (u² cost(n_s))(1 − u^{2g})/(1 − u²), u =
    1 − w.
    """
    weights = _weights(mix, weight, cost)
    kept = cost(float(mix.real[0]))

    def step(run: int) -> Array:
        synthetic = float(mix.others[run])
        u = 1.0 - float(weights[run])
        noise = u**2 * cost(synthetic) if u else 0.0
        return np.array([[u**2, noise], [0.0, 1.0]])

    added = _walked(step, mix.schedule, 0.0, models)
    u = 1.0 - float(weights[-1])
    synthetic = cost(_last(mix)[1])
    limit = kept + (u**2 * synthetic / ((1.0 - u) * (1.0 + u)) if 0 < u < 1 else (inf if u == 1 else 0.0))
    return Walk(models, kept + added, weights[mix.schedule.run(models)], limit)


def _walked(step: Callable[[int], Array], schedule: Schedule, start: float, models: Models) -> Array:
    """V at ``models`` by matrices [[a, b], [0, 1]] of V ← a V + b, infinite start and costs counted apart.

    A product of matrices would make NaN of 0 × ∞; here a = 0 forgets an infinite V, and any other a keeps it.
    """
    matrices = [step(run) for run in range(len(schedule.sizes))]
    endless = [float(matrix[0, 1] == inf) for matrix in matrices]

    def finite(run: int) -> Array:
        return np.array([[matrices[run][0, 0], 0.0 if endless[run] else matrices[run][0, 1]], [0.0, 1.0]])

    def infinities(run: int) -> Array:
        return np.array([[float(matrices[run][0, 0] > 0), endless[run]], [0.0, 1.0]])

    begin = 0.0 if start == inf else start
    values = propagate(finite, schedule, np.array([begin, 1.0]), models)[:, 0]
    if start < inf and not any(endless):
        return values
    count = propagate(infinities, schedule, np.array([float(start == inf), 1.0]), models)[:, 0]
    return np.where(count > 0, inf, values)


def _weights(mix: Mix, weight: Weight, cost: Cost) -> Array:
    """Per run; a fit without real samples gives them no weight, one without synthetic samples all of it."""
    share = mix.real / mix.schedule.array
    if weight in ("pooled", "kalman"):
        return share
    if weight == "optimal":
        return np.array(
            [optimal_weight(float(r), float(s), cost) for r, s in zip(mix.real, mix.others, strict=True)]
        )
    return np.where(share == 0, 0.0, np.where(mix.others == 0, 1.0, float(weight)))


def _affine(w: float, own: float, other: float, carried: float) -> Array:
    """(V, 1) ← matrix (V, 1); costs that have no weight do not count, though they be infinite."""
    u = 1.0 - w
    noise = (w**2 * own if w else 0.0) + (u**2 * other if u else 0.0)
    return np.array([[u**2 * carried, noise], [0.0, 1.0]])


def _kalman(mix: Mix, models: Models, start: float, cost: Cost) -> tuple[Array, Array]:
    """1/V ← 1/cost(n_r) + 1/(V + cost(n_s)): a fractional linear map of V; the weights V/cost(n_r) beside it."""
    costs = [(cost(float(m)), cost(float(k))) for m, k in zip(mix.real, mix.others, strict=True)]

    def step(run: int) -> Array:
        own, other = costs[run]
        if own == inf:  # nothing is added to what there is
            return np.array([[1.0, other], [0.0, 1.0]] if other < inf else [[1.0, 1.0], [0.0, 0.0]])
        return np.array([[own, own * other], [1.0, own + other]] if other < inf else [[own, own], [1.0, 1.0]])

    begin = np.array([1.0, 0.0]) if start == inf else np.array([start, 1.0])
    spread, used = np.full(len(models), start), np.ones(len(models))
    after = models > 1
    if after.any():
        schedule, dropped = mix.schedule.later()
        wanted = models[after] - 1
        V = propagate(lambda run: step(run + dropped), schedule, begin, wanted, projective=True)
        own = np.array([one for one, _ in costs])[mix.schedule.run(models[after])]
        with np.errstate(
            divide="ignore", invalid="ignore"
        ):  # infinite where nothing has determined it so far
            spread[after] = V[:, 0] / V[:, 1]
            used[after] = np.where(own == inf, 0.0, spread[after] / own)
    return spread, used


def _fresh_limit(mix: Mix, w: float, cost: Cost) -> float:
    real, synthetic = _last(mix)
    u = 1.0 - w
    if u == 1:
        return inf
    return (w**2 * cost(real) + (u**2 * cost(synthetic) if u else 0.0)) / (w * (2.0 - w))


def _last(mix: Mix) -> tuple[float, float]:
    """Real and synthetic samples of the last run."""
    return float(mix.real[-1]), float(mix.others[-1])
