"""The best penalty of a stage: its curve on the population's grid, interpolated, then settled where its slope is 0."""

from collections.abc import Callable
from dataclasses import dataclass
from math import exp
from typing import Final

import numpy as np

from service.theory.curves import Curve
from service.theory.grid import STEP, Grid, Sums
from service.theory.model import Array, Mask

REACH: Final = 5  # neighbours on either side in the interpolation
_ABOVE: Final = 1 + 1e-12  # at the root itself rounding may say that no penalty leads there
_ZOOM_POINTS: Final = 9
_ZOOMS: Final = 9
_BEYOND: Final = np.log(10.0) * 30.0
_FURTHER: Final = 30  # points that a search beyond an end of the grid goes on by: five decades
APART: Final = 3e-4  # in ln θ: a difference of values so far apart is the slope to 1e-8 of it, or rounding
CLOSE: Final = 2e-4  # a step this small leaves an error of about 1e-7
_STEPS: Final = 6
_WIDE: Final = 0.95  # a factor of θ over which the bend is seen


@dataclass(frozen=True, eq=False)
class Optimum:
    """Where a curve is least, its value there, and its values on the grid, shape (points,)."""

    theta: float
    value: float
    on_grid: Array


_NEAR: Final = np.arange(-REACH, REACH + 1)
_FINE: Final = 1 / 32  # of the grid's step: where the interpolant is sampled
_PLACES: Final = np.arange(-1.0, 1.0 + _FINE / 2, _FINE)


def _interpolation() -> Array:
    """From equally spaced values to their interpolant, its first three derivatives at _PLACES; (values, 4 × places)."""
    coefficients = np.linalg.inv(np.vander(_NEAR.astype(float), increasing=True))
    order = np.arange(_NEAR.size)
    rows = [_PLACES[:, None] ** order]
    factor = np.ones(_NEAR.size)
    for k in range(1, 4):
        factor = factor * np.maximum(order - k + 1, 0)
        rows.append(factor * _PLACES[:, None] ** np.maximum(order - k, 0))
    return np.asarray((np.concatenate(rows) @ coefficients).T.copy())


_SAMPLES: Final = _interpolation()
_ORDERS: Final = np.arange(4)[:, None] * _PLACES.size


def minimize(grid: Grid, curve: Curve, lowest: float, *, interpolate: bool = True) -> Optimum:
    """The global minimum of a curve over θ >= lowest, where the penalty is 0.

    Sees every minimum that is wider than the grid's step, a sixth of a decade. Its value is that of the interpolant
    through eleven points, right to about 1e-7 on a smooth curve, its θ is settled from there (see ``settled``). The
    error of the value at θ tells whether the curve was smooth: it may bend sharply next to a threshold. Where it did,
    ask again without interpolation.
    """
    values, floors = curve(grid.on_grid(curve.columns, features=curve.features))
    if not interpolate or values.size <= 2 * REACH:
        return _zoomed(grid, curve, values, lowest)
    with np.errstate(invalid="ignore"):  # infinite values near the least one
        found = interpolated_minima(grid.log_theta, values[None])
    value = float(found.value[0])
    if not value < np.inf:
        return _zoomed(grid, curve, values, lowest)
    if floors[int(np.count_nonzero(grid.theta <= lowest))] <= value:  # penalty 0 may be the best of all
        at_lowest = float(curve(_table(grid, curve, np.array([lowest * _ABOVE])))[0][0])
        if at_lowest <= value:
            return Optimum(lowest, at_lowest, values)

    return Optimum(float(settled(found, _slope_of(grid, curve))[0]), value, values)


@dataclass(frozen=True, eq=False)
class Minima:
    """Of interpolated curves: θ, value, and second derivative by ln θ; shapes (curves,)."""

    theta: Array
    value: Array
    bend: Array


def settled(found: Minima, slope: Callable[[Array], Array]) -> Array:
    """θ of minima, relative accuracy about 1e-7, from the interpolant's, which is right to some 1e-4; shape (curves,).

    One Newton step with the interpolant's second derivative; more by the secant method where that one was large, the
    curve being flat. ``slope``: by ln θ, of the curves themselves. Where the value is nan θ stays.
    """
    with np.errstate(invalid="ignore"):  # next to infinite values: θ stays
        theta, bend, moving = found.theta, found.bend, np.isfinite(found.value) & (found.bend > 0)
        slopes = slope(theta)
        for _ in range(_STEPS):
            step = np.clip(np.divide(-slopes, bend, out=np.zeros_like(bend), where=moving), -STEP, STEP)
            theta = theta * np.exp(step)
            moving = moving & (np.abs(step) > CLOSE)
            if not moving.any():
                break
            before, slopes = slopes, slope(theta)
            secant = np.divide(slopes - before, step, out=np.zeros_like(bend), where=moving)
            moving, bend = moving & (secant > 0), secant
        return np.asarray(np.where(np.isnan(theta), found.theta, theta))


def apart(theta: Array) -> Array:
    """The places of ``difference``: all of them a little above, then all of them a little below."""
    return np.concatenate([theta * np.exp(APART), theta * np.exp(-APART)])


def difference(values: Array) -> Array:
    """The slope by ln θ from values at places that are ``apart``."""
    above, below = values.reshape(2, -1)
    return np.asarray((above - below) / (2.0 * APART))


def interpolated_minima(log_theta: Array, values: Array, allowed: Mask | None = None) -> Minima:
    """The minimum of the interpolant around the least value of each curve.

    ``values``: shape (curves, points); ``allowed``: where the minimum may be, if the curve goes on smoothly elsewhere.
    The value is nan where the least one is next to an end, to infinity, or to where it may not be.
    """
    count, points = values.shape
    least = (values if allowed is None else np.where(allowed, values, np.inf)).argmin(axis=1)
    middle = np.minimum(np.maximum(least, REACH), points - 1 - REACH)
    around = (middle + np.arange(0, count * points, points))[:, None] + _NEAR
    near = values.take(around)
    sampled = near.dot(_SAMPLES)  # with the derivatives; nan all over where a neighbour is infinite
    place = sampled[:, : _PLACES.size].argmin(axis=1)
    value, slope, bend, third = sampled.take(place + np.arange(0, sampled.size, sampled.shape[1]) + _ORDERS)
    step = np.minimum(np.maximum(-slope / bend, -_FINE), _FINE)
    theta = np.exp(log_theta[middle] + STEP * (_PLACES[place] + step))
    regular = middle == least
    if allowed is not None:
        regular &= allowed.take(around[:, REACH - 1 : REACH + 2]).all(axis=1)
    return Minima(
        theta, np.where(regular, value + 0.5 * slope * step, np.nan), (bend + third * step) / STEP**2
    )


def interpolated_minimum(log_theta: Array, values: Array, least: int) -> tuple[float, float, float]:
    """θ, value and bend of one curve of shape (points,) around its ``least`` value, which is allowed; see Minima."""
    if not REACH <= least < values.size - REACH:
        return float("nan"), float("nan"), float("nan")
    sampled = values[least - REACH : least + REACH + 1].dot(_SAMPLES)
    place = int(sampled[: _PLACES.size].argmin())
    value, slope, bend, third = sampled[place :: _PLACES.size].tolist()
    step = min(max(-slope / bend, -_FINE), _FINE) if bend else 0.0
    theta = exp(float(log_theta[least]) + STEP * (float(_PLACES[place]) + step))
    return theta, value + 0.5 * slope * step, (bend + third * step) / STEP**2


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
        beyond = np.exp(end + STEP * np.arange(1, _FURTHER + 1))
        more, _ = curve(_table(grid, curve, beyond))
        theta, value = np.concatenate([theta, beyond]), np.concatenate([value, more])
        end = float(np.log(beyond[-1]))
    # without noise the error may fall towards penalty 0 for ever: follow it as far as numbers go
    beginning = float(grid.log_theta[0])
    limit = beginning - _BEYOND
    while low == 0 and beginning > limit and int(value.argmin()) == 1:
        below = np.exp(beginning - STEP * np.arange(_FURTHER, 0, -1))
        more, _ = curve(_table(grid, curve, below))
        theta, value = np.insert(theta, 1, below), np.insert(value, 1, more)
        beginning = float(np.log(below[0]))
    for _ in range(_ZOOMS):
        i = int(value.argmin())
        a, b = float(theta[max(i - 1, 0)]), float(theta[min(i + 1, theta.size - 1)])
        theta = _between(a, b)
        value, _ = curve(_table(grid, curve, np.where(theta == low, low * _ABOVE, theta)))
    i = int(value.argmin())
    return Optimum(_smoothed(grid, curve, float(theta[i]), float(value[i]), low), float(value[i]), on_grid)


def _smoothed(grid: Grid, curve: Curve, theta: float, value: float, low: float) -> float:
    """θ next to one of least value, where the slope is 0: rounding of values hides that; θ itself next to penalty 0."""
    if not theta > low / _WIDE:
        return theta
    below, above = curve(_table(grid, curve, np.array([theta * _WIDE, theta / _WIDE])))[0].tolist()
    bend = (below - 2.0 * value + above) / np.log(_WIDE) ** 2
    if not 0 < bend < np.inf:
        return theta
    near = Minima(np.array([theta]), np.array([value]), np.array([bend]))
    found = float(settled(near, _slope_of(grid, curve))[0])
    return found if theta * _WIDE < found < theta / _WIDE else theta


def _slope_of(grid: Grid, curve: Curve) -> Callable[[Array], Array]:
    return lambda theta: difference(curve(_table(grid, curve, apart(theta)))[0])


def _table(grid: Grid, curve: Curve, theta: Array) -> Sums:
    return grid.sums(theta, curve.columns, features=curve.features)


def _between(a: float, b: float) -> Array:
    """Points from a to b, equally spaced in the logarithm (linearly from 0)."""
    if a == 0:
        return np.linspace(a, b, _ZOOM_POINTS)
    grid = a * (b / a) ** np.linspace(0.0, 1.0, _ZOOM_POINTS)
    grid[0], grid[-1] = a, b
    return np.asarray(grid)
