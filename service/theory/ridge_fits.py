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

_CHUNK = 32_768  # numbers at a time that stay in the cache
_STEPS = 250
_QUADRATIC = 1e-8  # a Newton step this small leaves an error of its square

_DOUBTFUL = 1e-4  # a step this small that does not shrink any more is rounding, next to a threshold


@dataclass(frozen=True, eq=False)
class Fits:
    """Plain ridge fits on ``rows`` with penalty λ_u/rows: ``bias`` and ``variance`` (for noise of variance 1), shape
    (fits,), infinite at an interpolation threshold; ``room``: rows − second-order degrees of freedom.

    ``asymptotic``: bias and variance of order 0, shape (2, fits).
    """

    rows: Array
    bias: Array
    variance: Array
    room: Array
    asymptotic: Array

    def parts(self, count: int) -> "list[Fits]":
        """As many equal parts."""
        arrays = self.rows, self.bias, self.variance, self.room, self.asymptotic
        columns = (np.split(x, count, axis=-1) for x in arrays)
        return [Fits(*part) for part in zip(*columns, strict=True)]


def fits(population: Population, rows: Array, penalty_sum: float | Array, order: int) -> Fits:
    """Fits on these numbers of rows, shape (fits,), at λ_u = ``penalty_sum`` >= 0, one or one for each.

    ``order`` 0: the deterministic equivalents V = df2/(T − df2), B = T/(T − df2) Σ σ U² w²; 1: with their finite-size
    correction, at penalty 0 closed forms of finite samples where they are known. Raises NotSmall, NotConverged.
    """
    rank, count = population.rank, rows.size
    penalties = np.broadcast_to(penalty_sum, rows.shape)
    bias, variance, room = np.full(count, population.signal), np.zeros(count), rows.copy()
    live = (rows > 0) & (penalties < inf) if rank > 0 else np.zeros(count, dtype=bool)
    ridge, free = live & (penalties > 0), live & (penalties == 0)
    theta = np.zeros(count)
    if ridge.any():
        theta[ridge] = effective_ridges(population, rows[ridge], penalties[ridge])
    under = free & (rows < rank)
    theta[under] = [effective_ridge(population, Design.make([T], [1.0]), 0.0) for T in rows[under]]
    step = max(1, _CHUNK // population.eigenvalues.size)
    for at in np.array_split(np.flatnonzero(live), max(1, -(-int(live.sum()) // step))):
        df2, left2, signal = ridge_sums(population, theta[at])
        T = rows[at]
        room[at] = np.where(rank > 2 * T, T - df2, (T - rank) + left2)
        with np.errstate(divide="ignore", invalid="ignore"):
            variance[at] = np.where(room[at] > 0, df2 / room[at], inf)
            bias[at] = np.where(signal > 0, np.where(room[at] > 0, T * signal / room[at], inf), 0.0)
    asymptotic = np.stack([bias, variance])
    if order:
        if ridge.any():
            bias[ridge], variance[ridge] = bias_and_variance(population, rows[ridge], theta[ridge])
        for i in np.flatnonzero(free):
            exact_bias = unpenalized_bias(population, float(rows[i]))
            exact_variance = unpenalized_variance(population, float(rows[i]))
            bias[i] = bias[i] if exact_bias is None else exact_bias
            variance[i] = variance[i] if exact_variance is None else exact_variance
    return Fits(rows, bias, variance, room, asymptotic)


def effective_ridges(population: Population, rows: Array, penalty_sum: float | Array) -> Array:
    """θ > 0 with h(θ) = θ (T − df1(θ)) = λ_u > 0 for every T > 0 in ``rows``, shape (fits,); accuracy about 1e-14.

    ``penalty_sum``: one λ_u, or one for each of ``rows``.

    h'' = 2 Σ σ²/(σ+θ)³ > 0, so Newton's method descends to the root from any point above it, which one step leads to
    from next to the root, between grid points; beyond the grid (λ_u + tr Σ)/T is above it, since θ df1 <= tr Σ. Raises
    NotConverged.
    """
    grid, freedom = population.grid, population.grid.base.freedom
    sigma, multiplicity = population.eigenvalues, population.positive
    theta, penalties = np.empty_like(rows), np.broadcast_to(penalty_sum, rows.shape)
    step = max(1, _CHUNK // max(sigma.size, grid.theta.size))
    for first in range(0, rows.size, step):
        T, wanted = rows[first : first + step], penalties[first : first + step]
        reached = grid.theta * room_above(population, T[:, None], freedom.df1, freedom.left1)
        above = np.count_nonzero(reached <= wanted[:, None], axis=1)
        x = _start(grid.theta, reached, above, wanted)
        x = np.where(x < inf, x, (wanted + population.trace) / T)
        size, done = np.full(T.size, inf), np.zeros(T.size, dtype=bool)
        for _ in range(_STEPS):
            inverse = 1.0 / (sigma + x[:, None])
            S, U = sigma * inverse, x[:, None] * inverse
            room = room_above(population, T, S @ multiplicity, U @ multiplicity)
            spread = (S * U) @ multiplicity
            proposal = (x * spread + wanted) / (room + spread)  # Newton's, of positive terms above the root
            last, size = size, np.abs(proposal / x - 1.0)
            x = np.where(proposal > 0, proposal, x / 2)
            done |= (size <= _QUADRATIC) | ((size <= _DOUBTFUL) & (size >= last))
            if done.all():
                break
        else:
            raise NotConverged("the effective ridges of the accumulated data were not found")
        theta[first : first + step] = x
    return theta


def _start(theta: Array, reached: Array, above: Array, wanted: Array) -> Array:
    """Between the grid points whose λ_u, ``reached``, are below and ``above`` the wanted ones, nearly powers of θ,
    or the next one; infinite beyond the grid; shape (fits,)."""
    place = np.arange(above.size)
    high, low = np.minimum(above, theta.size - 1), np.maximum(above - 1, 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.log(wanted / reached[place, low]) / np.log(reached[place, high] / reached[place, low])
        between = theta[low] * (theta[high] / theta[low]) ** share
    between = np.where(np.isfinite(between) & (high > low), between, theta[high])
    return np.where(above < theta.size, between, inf)


def room_above(population: Population, rows: Array, used: Array, left: Array) -> Array:
    """rows − used degrees of freedom, from either form of them; see Freedom."""
    rank = population.rank
    return np.where(rank > 2 * rows, rows - used, (rows - rank) + left)


def ridge_sums(population: Population, theta: Array) -> tuple[Array, Array, Array]:
    """df2, rank − df2 and Σ σ U² w² at θ >= 0."""
    sigma, multiplicity = population.eigenvalues, population.positive
    total = sigma + theta[:, None]
    U = np.divide(theta[:, None], total, out=np.ones_like(total), where=total > 0)
    S = np.divide(sigma, total, out=np.zeros_like(total), where=total > 0)
    left2 = (U * (1.0 + S)) @ multiplicity
    return (S * S) @ multiplicity, left2, (U * U) @ (population.weight * population.target_power)


def rates(population: Population, rows: Array, theta: Array) -> tuple[Array, Array]:
    """Derivatives by ln λ_u of the asymptotic bias and variance of fits at θ > 0, shapes (fits,).

    With r = T − df2: V' = T df2'/r² and B' = T (s' r + s df2')/r², s = Σ σ U² w², each by θ, and
    dθ/dλ_u = 1/(T − df1 + Σ S U).
    """
    parts = max(1, -(-theta.size * population.eigenvalues.size // _CHUNK))
    found = [
        _rates(population, *part)
        for part in zip(np.array_split(rows, parts), np.array_split(theta, parts), strict=True)
    ]
    bias, variance = zip(*found, strict=True)
    return np.concatenate(bias), np.concatenate(variance)


def _rates(population: Population, rows: Array, theta: Array) -> tuple[Array, Array]:
    sigma, m = population.eigenvalues, population.positive
    Q = 1.0 / (sigma + theta[:, None])
    S, U = sigma * Q, theta[:, None] * Q
    SU = S * U
    spread, left1 = SU @ m, U @ m
    room1 = room_above(population, rows, S @ m, left1)
    room = room_above(population, rows, (S * S) @ m, left1 + spread)
    df2_rises = -2.0 * (SU * S) @ m  # by ln θ
    power = population.weight * population.target_power
    signal, signal_rises = (U * U) @ power, 2.0 * (SU * U) @ power
    by_penalty = room1 / (room1 + spread)  # d ln θ/d ln λ_u
    variance = rows * df2_rises / room**2
    bias = rows * (signal_rises * room + signal * df2_rises) / room**2
    return bias * by_penalty, variance * by_penalty
