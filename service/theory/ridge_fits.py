"""Plain ridge fits of many sizes at once, with one penalty on the sum of their squared losses."""

from dataclasses import dataclass
from math import inf

import numpy as np

from service.theory.design import Design
from service.theory.errors import NotConverged
from service.theory.exact import unpenalized_bias, unpenalized_variance
from service.theory.model import Array, Population
from service.theory.one_covariance import effective_ridge
from service.theory.plain_correction import bias_and_variance

_CHUNK = 1_000_000
_STEPS = 250
_QUADRATIC = 1e-8  # a Newton step this small leaves an error of its square


@dataclass(frozen=True, eq=False)
class Fits:
    """Plain ridge fits on ``rows`` with penalty λ_u/rows: ``bias`` and ``variance`` (for noise of variance 1), shape
    (fits,), infinite at an interpolation threshold; ``room``: rows − second-order degrees of freedom."""

    rows: Array
    bias: Array
    variance: Array
    room: Array


def fits(population: Population, rows: Array, penalty_sum: float, order: int) -> Fits:
    """Fits on these numbers of rows, shape (fits,), at λ_u = ``penalty_sum`` >= 0. Raises NotConverged.

    ``order`` 0: the deterministic equivalents V = df2/(T − df2), B = T/(T − df2) Σ σ U² w²; 1: with their finite-size
    correction, at penalty 0 closed forms of finite samples where they are known. Raises NotSmall.
    """
    rank, count = population.rank, rows.size
    bias, variance, room = np.full(count, population.signal), np.zeros(count), rows.copy()
    live = rows > 0 if rank > 0 and penalty_sum < inf else np.zeros(count, dtype=bool)
    theta = np.zeros(count)
    if penalty_sum > 0:
        theta[live] = effective_ridges(population, rows[live], penalty_sum)
    else:
        under = live & (rows < rank)
        theta[under] = [effective_ridge(population, Design.make([T], [1.0]), 0.0) for T in rows[under]]
    step = max(1, _CHUNK // population.eigenvalues.size)
    for at in np.array_split(np.flatnonzero(live), max(1, -(-int(live.sum()) // step))):
        df2, left2, signal = ridge_sums(population, theta[at])
        T = rows[at]
        room[at] = np.where(rank > 2 * T, T - df2, (T - rank) + left2)
        with np.errstate(divide="ignore", invalid="ignore"):
            variance[at] = np.where(room[at] > 0, df2 / room[at], inf)
            bias[at] = np.where(signal > 0, np.where(room[at] > 0, T * signal / room[at], inf), 0.0)
    if penalty_sum > 0 and order and np.any(live):
        bias[live], variance[live] = bias_and_variance(population, rows[live], theta[live])
    if penalty_sum == 0 and order:
        for i in np.flatnonzero(live):
            exact_bias = unpenalized_bias(population, float(rows[i]))
            exact_variance = unpenalized_variance(population, float(rows[i]))
            bias[i] = bias[i] if exact_bias is None else exact_bias
            variance[i] = variance[i] if exact_variance is None else exact_variance
    return Fits(rows, bias, variance, room)


def effective_ridges(population: Population, rows: Array, penalty_sum: float | Array) -> Array:
    """θ > 0 with h(θ) = θ (T − df1(θ)) = λ_u > 0 for every T > 0 in ``rows``, shape (fits,); accuracy about 1e-14.

    ``penalty_sum``: one λ_u, or one for each of ``rows``.

    h'' = 2 Σ σ²/(σ+θ)³ > 0, so Newton's method descends to the root from any point above it: the next grid point, or
    (λ_u + tr Σ)/T, since θ df1 <= tr Σ. Raises NotConverged.
    """
    grid, freedom = population.grid, population.grid.base.freedom
    sigma, multiplicity = population.eigenvalues, population.multiplicities
    theta, penalties = np.empty_like(rows), np.broadcast_to(penalty_sum, rows.shape)
    step = max(1, _CHUNK // max(sigma.size, grid.theta.size))
    for first in range(0, rows.size, step):
        T, wanted = rows[first : first + step], penalties[first : first + step]
        reached = grid.theta * room_above(population, T[:, None], freedom.df1, freedom.left1)
        above = np.count_nonzero(reached <= wanted[:, None], axis=1)
        x = np.append(grid.theta, inf)[above]
        x = np.minimum(x, (wanted + population.trace) / T)
        size = np.full(T.size, inf)
        for _ in range(_STEPS):
            inverse = 1.0 / (sigma + x[:, None])
            S, U = sigma * inverse, x[:, None] * inverse
            room = room_above(population, T, S @ multiplicity, U @ multiplicity - population.null_modes)
            proposal = x - (x * room - wanted) / (room + (S * U) @ multiplicity)
            last, size = size, np.abs(proposal / x - 1.0)
            x = np.where(proposal > 0, proposal, x / 2)
            if np.all((size <= _QUADRATIC) | ((size <= 1e-6) & (size >= last))):
                break
        else:
            raise NotConverged("the effective ridges of the accumulated data were not found")
        theta[first : first + step] = x
    return theta


def room_above(population: Population, rows: Array, used: Array, left: Array) -> Array:
    """rows − used degrees of freedom, from either form of them; see Freedom."""
    rank = population.rank
    return np.where(rank > 2 * rows, rows - used, (rows - rank) + left)


def ridge_sums(population: Population, theta: Array) -> tuple[Array, Array, Array]:
    """df2, rank − df2 and Σ σ U² w² at θ >= 0."""
    sigma, multiplicity = population.eigenvalues, population.multiplicities
    total = sigma + theta[:, None]
    U = np.divide(theta[:, None], total, out=np.ones_like(total), where=total > 0)
    S = np.divide(sigma, total, out=np.zeros_like(total), where=total > 0)
    left2 = (U * (1.0 + S)) @ multiplicity - population.null_modes
    return (S * S) @ multiplicity, left2, (U * U) @ (population.weight * population.target_power)
