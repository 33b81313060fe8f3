"""The best penalty of a stage: its curve on the population's grid, interpolated, then refined."""

from dataclasses import dataclass
from math import exp
from typing import Final

import numpy as np

from service.theory.curves import Curve
from service.theory.grid import STEP, Grid, Sums
from service.theory.model import Array

_REACH: Final = 4  # neighbours on either side in the interpolation
_ABOVE: Final = 1 + 1e-12  # at the root itself rounding may say that no penalty leads there
_ZOOM_POINTS: Final = 9
_ZOOMS: Final = 9
_BEYOND: Final = np.log(10.0) * 30.0
_DECADES: Final = np.log(10.0) * 5.0


@dataclass(frozen=True, eq=False)
class Optimum:
    """Where a curve is least, its value there, and its values on the grid, shape (points,)."""

    theta: float
    value: float
    on_grid: Array


_NODES: Final = np.arange(-_REACH, _REACH + 1.0)
_INTERPOLATION: Final = np.linalg.inv(np.vander(_NODES, increasing=True))


def minimize(grid: Grid, curve: Curve, lowest: float, *, interpolate: bool = True) -> Optimum:
    """The global minimum of a curve over θ >= lowest, where the penalty is 0.

    Sees every minimum that is wider than the grid's step, a sixth of a decade. Its θ is that of the interpolant
    through nine points, right to about 1e-5 (relative) on a smooth curve, and its value to about 1e-9. The error of
    the value at θ tells whether it was smooth: a curve may bend sharply next to a threshold. Where it did, ask again
    without interpolation.
    """
    values, floors = curve(grid.on_grid(curve.columns, features=curve.features))
    found = interpolated_minimum(grid.log_theta, values) if interpolate else None
    if found is None:
        return _zoomed(grid, curve, values, lowest)
    theta, value = found
    if floors[int(np.count_nonzero(grid.theta <= lowest))] <= value:  # penalty 0 may be the best of all
        at_lowest = float(curve(_table(grid, curve, np.array([lowest * _ABOVE])))[0][0])
        if at_lowest <= value:
            return Optimum(lowest, at_lowest, values)
    return Optimum(theta, value, values)


def interpolated_minimum(log_theta: Array, values: Array) -> tuple[float, float] | None:
    """θ and value of the minimum of the interpolant around the least value; None next to an end or to infinity."""
    i = int(values.argmin())
    around = values[max(i - _REACH, 0) : i + _REACH + 1]
    if around.size < _NODES.size or not np.isfinite(around).all():
        return None
    t, value = _vertex(around)
    return exp(float(log_theta[i]) + STEP * t), value


def _vertex(values: Array) -> tuple[float, float]:
    """Where the interpolant of equally spaced values is least, in steps from the middle, and its value there."""
    c: list[float] = (_INTERPOLATION @ values).tolist()
    order = len(c) - 1
    t = -0.5 * c[1] / c[2] if c[2] > 0 else 0.0
    for _ in range(12):
        slope = bend = 0.0
        for k in range(order, 0, -1):
            bend = bend * t + slope
            slope = slope * t + k * c[k]
        if bend <= 0:
            break
        step = slope / bend
        t = min(1.0, max(-1.0, t - step))
        if abs(step) < 1e-6:
            break
    value = 0.0
    for coefficient in reversed(c):
        value = value * t + coefficient
    middle = float(values[_REACH])
    return (t, value) if value <= middle else (0.0, middle)


def _zoomed(grid: Grid, curve: Curve, on_grid: Array, low: float) -> Optimum:
    """The minimum near an end of the grid, or near penalty 0, by repeated bracketing."""
    theta = grid.theta
    reached = theta > low
    theta = np.concatenate([[low], theta[reached]])
    first, _ = curve(_table(grid, curve, np.array([low * _ABOVE])))
    value = np.concatenate([first, on_grid[reached]])
    end = float(grid.log_theta[-1])
    limit = end + _BEYOND
    while end < limit and int(value.argmin()) == value.size - 1:
        beyond = np.exp(np.arange(end + STEP, end + _DECADES, STEP))
        more, _ = curve(_table(grid, curve, beyond))
        theta, value = np.concatenate([theta, beyond]), np.concatenate([value, more])
        end = float(np.log(beyond[-1]))
    # without noise the error may fall towards penalty 0 for ever: follow it as far as numbers go
    beginning = float(grid.log_theta[0])
    limit = beginning - _BEYOND
    while low == 0 and beginning > limit and int(value.argmin()) == 1:
        below = np.exp(np.arange(beginning - _DECADES, beginning, STEP))
        more, _ = curve(_table(grid, curve, below))
        theta, value = np.insert(theta, 1, below), np.insert(value, 1, more)
        beginning = float(np.log(below[0]))
    for _ in range(_ZOOMS):
        i = int(value.argmin())
        a, b = float(theta[max(i - 1, 0)]), float(theta[min(i + 1, theta.size - 1)])
        theta = _between(a, b)
        value, _ = curve(_table(grid, curve, np.where(theta == low, low * _ABOVE, theta)))
    i = int(value.argmin())
    return Optimum(float(theta[i]), float(value[i]), on_grid)


def _table(grid: Grid, curve: Curve, theta: Array) -> Sums:
    return grid.sums(theta, curve.columns, features=curve.features)


def _between(a: float, b: float) -> Array:
    """Points from a to b, equally spaced in the logarithm (linearly from 0)."""
    if a == 0:
        return np.linspace(a, b, _ZOOM_POINTS)
    grid = a * (b / a) ** np.linspace(0.0, 1.0, _ZOOM_POINTS)
    grid[0], grid[-1] = a, b
    return np.asarray(grid)
