"""Effective ridges where all samples of a fit have weight 1 and there are no random features, of many fits at once."""

from math import exp, log
from typing import Final

import numpy as np

from service.theory.design import Design
from service.theory.errors import NotConverged
from service.theory.grid import STEP, Grid
from service.theory.model import Array, Mask, Population
from service.theory.one_covariance import effective_ridge, interpolated_ridge

_STEPS: Final = 6
_CUBIC: Final = 1e-5  # a Halley step this small (relative) leaves an error of its third power
_FARTHEST: Final = 500.0  # the start's distance from the grid, in ln θ
_FEW: Final = 4  # fits that are quicker solved one after the other


def effective_ridges(population: Population, samples: Array, penalties: Array) -> Array:
    """θ with θ (1 − df1(θ)/T) = λ for each pair of T = ``samples`` and λ = ``penalties``; shapes (fits,).

    The same root as one_covariance.effective_ridge, which is asked wherever this does not settle inside the bracket of
    the population's grid; here by Halley's method from the grid, for all fits side by side. θ = 0 at penalty 0 with
    more samples than modes; nan at the interpolation threshold and where no root was found. Every mode has variance.
    """
    ridgeless = (penalties == 0) & (samples >= population.rank)
    if not ridgeless.any():
        return _solved(population, samples, penalties)
    found = np.where(samples == population.rank, np.nan, 0.0)
    if not ridgeless.all():
        found[~ridgeless] = _solved(population, samples[~ridgeless], penalties[~ridgeless])
    return found


def one_effective_ridge(population: Population, samples: float, penalty: float) -> float:
    """The same of one pair."""
    if penalty == 0 and samples >= population.rank:
        return 0.0 if samples > population.rank else np.nan
    return _one(population, samples, penalty) or _alone(population, samples, penalty)


def _solved(population: Population, samples: Array, penalties: Array) -> Array:
    if samples.size <= _FEW:
        pairs = zip(samples.tolist(), penalties.tolist(), strict=True)
        return np.array([one_effective_ridge(population, *pair) for pair in pairs])
    solved, settled = _halley(population.grid, samples, penalties)
    if not settled.all():
        for i in np.flatnonzero(~settled):
            solved[i] = _alone(population, float(samples[i]), float(penalties[i]))
    return solved


def _alone(population: Population, samples: float, penalty: float) -> float:
    try:
        return effective_ridge(population, Design.make([samples], [1.0]), penalty)
    except NotConverged:
        return np.nan


def _one(population: Population, samples: float, penalty: float) -> float | None:
    """_halley of one fit, None where that does not settle."""
    grid, sigma, weight, rank = population.grid, population.eigenvalues, population.weight, population.rank
    scaled = penalty * samples
    table = grid.theta * grid.base.freedom.above_first(samples)  # negative, then increasing
    above = int(table.searchsorted(scaled, side="right"))
    high = min(max(above, 1), grid.theta.size - 1)
    below, start = float(table[high - 1]), float(grid.theta[high - 1])
    if not (below > 0 and scaled > 0):
        theta = start * exp(0.5 * STEP)
    elif 0 < above < grid.theta.size:
        theta = interpolated_ridge(grid, table, above, scaled) or start
    else:
        share = log(scaled / below) / log(float(table[high]) / below)
        theta = start * exp(min(STEP * share, _FARTHEST))
    for _ in range(_STEPS):
        Q = 1.0 / (sigma + theta)
        QQ = Q * Q
        slope, bend = float(QQ.dot(weight)), float((QQ * Q).dot(weight))
        if rank > 2 * samples:
            room = samples - float(Q.dot(weight))
        else:
            room = (samples - rank) + theta * float(Q.dot(population.positive))
        first = room + theta * slope
        if not 0 < first < np.inf:
            return None
        newton = (theta * room - scaled) / first
        bent = 1.0 - newton * (slope - theta * bend) / first
        step = newton / bent if bent else np.inf
        theta -= step
        if abs(step) <= _CUBIC * theta:
            inside = start <= theta <= float(grid.theta[high])
            return theta if inside or above in (0, grid.theta.size) else None
    return None


def _halley(grid: Grid, samples: Array, penalties: Array) -> tuple[Array, Mask]:
    """θ, and where it is settled inside its bracket."""
    sigma, population, rank = grid.population.eigenvalues, grid.population, grid.population.rank
    weight, positive = population.weight, population.positive
    table = grid.theta * grid.base.freedom.above_first(samples[:, None]) / samples[:, None]
    above = (table <= penalties[:, None]).sum(axis=1)
    high = np.minimum(np.maximum(above, 1), grid.theta.size - 1)
    fits = np.arange(samples.size)
    below, beyond, start = table[fits, high - 1], table[fits, high], grid.theta[high - 1]
    share = np.log(penalties / below) / np.log(beyond / below)  # λ is nearly a power of θ
    theta = start * np.exp(STEP * np.where((below > 0) & (penalties > 0), share, 0.5))
    few = rank > 2 * samples if rank > 2 * samples.min() else None
    scaled, excess = penalties * samples, samples - rank
    for _ in range(_STEPS):
        Q = 1.0 / (sigma + theta[:, None])
        QQ = Q * Q
        slope, bend = QQ.dot(weight), (QQ * Q).dot(weight)  # of T − df1, up to a factor
        room = excess + theta * Q.dot(positive)
        if few is not None:
            room = np.where(few, samples - Q.dot(weight), room)
        first = room + theta * slope
        newton = (theta * room - scaled) / first
        step = newton / (1.0 - newton * (slope - theta * bend) / first)
        theta = theta - step
        small = np.abs(step) <= _CUBIC * theta
        if small.all():
            break
    outside = (above > 0) & (above < grid.theta.size) & ((theta < start) | (theta > grid.theta[high]))
    return theta, small & ~outside
