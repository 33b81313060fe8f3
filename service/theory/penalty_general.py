"""The best penalty of a stage whose sources differ in covariance: a scan over λ, then Brent's method."""

from collections.abc import Callable
from math import exp, inf, log
from typing import Final

import numpy as np
from scipy.optimize import minimize_scalar

from service.theory.flatness import EXCESS, crossing
from service.theory.model import ROUNDING, Array
from service.theory.results import Best, FlatRange

_DECADES: Final = (-13.0, 7.0)
_STEP: Final = 0.5
_FURTHEST: Final = 33.0
_FACTOR: Final = 10.0**0.5
_ZOOM: Final = np.linspace(-_STEP, _STEP, 11)
_NEAR: Final = 0.01 * np.arange(-2.0, 3.0)  # decades: values that a slope is taken from
_SETTLED: Final = 1e-4
_NEWTON_STEPS: Final = 5


def minimize_penalty(
    error: Callable[[float], float],
    scale: float,
    null: float,
    errors: Callable[[Array], Array] | None = None,
) -> Best:
    """The global minimum of ``error`` over λ >= 0; ``scale``: of the penalties that matter, as tr Σ/N.

    ``null``: the error at λ = infinity; ``errors``: the same as ``error`` at many positive penalties, where that is
    cheaper. Seen at 0 and on a grid of two points a decade from 1e-13 to 1e7 times the scale, further up where the
    error still falls there, or is above ``null``. The penalty is right to about 1e-6, where the error bends.
    """

    def at(x: Array) -> Array:
        penalties = scale * 10.0**x
        return np.array([error(one) for one in penalties.tolist()]) if errors is None else errors(penalties)

    grid = np.arange(_DECADES[0], _DECADES[1] + _STEP, _STEP)
    values = at(grid)
    while (values[-1] == values.min() or values[-1] > null) and grid[-1] < _FURTHEST:
        grid = np.append(grid, grid[-1] + 1.0)
        values = np.append(values, at(grid[-1:]))
    i = int(values.argmin())
    best_x, best = float(grid[i]), float(values[i])
    if 0 < i < grid.size - 1:
        if errors is None:
            x = minimize_scalar(
                lambda x: float(at(np.array([x]))[0]), bounds=(grid[i - 1], grid[i + 1]), method="bounded",
                options={"xatol": _SETTLED},
            ).x  # fmt: skip
        else:
            places = best_x + _ZOOM
            x = places[at(places).argmin()]
        found = _settled(at, float(x))
        best_x, best = min((best, best_x), found[::-1])[::-1]
    at_zero = error(0.0)
    if min(at_zero, best) >= (1.0 - ROUNDING) * null:
        return Best(np.inf, null)
    if at_zero <= best:
        return Best(0.0, at_zero)
    return Best(scale * 10.0**best_x, best)


def _settled(at: Callable[[Array], Array], x: float) -> tuple[float, float]:
    """A minimum next to x, and the value there: where the slope is 0, which rounding hides from the values alone."""
    value = inf
    for _ in range(_NEWTON_STEPS):
        values = at(x + _NEAR).tolist()
        far, near, value, beyond, further = values
        slope = (far - 8.0 * near + 8.0 * beyond - further) / 12.0
        bend = (16.0 * (near + beyond) - far - further - 30.0 * value) / 12.0
        if not (0 < bend < inf and abs(slope) < _STEP / (_NEAR[-1] / 2.0) * bend):  # not smooth there
            k = int(np.argmin(values))
            return x + float(_NEAR[k]), values[k]
        move = -slope / bend * float(_NEAR[-1]) / 2.0
        if abs(move) <= _SETTLED:
            return x + move, value - 0.5 * slope * slope / bend
        x += move
    return x, float(at(np.array([x]))[0])


def penalty_range(error: Callable[[float], float], best: Best, scale: float, null: float) -> FlatRange:
    """The penalties around the best one with an error within one per cent of the least, see FlatRange.

    Walks outward two points a decade, from 1e-13 to 1e33 times the ``scale``, and finds the crossing by Brent's method.
    """
    if best.total == 0:
        return FlatRange(best.penalty, best.penalty)
    limit = (1.0 + EXCESS) * best.total
    least, most = scale * 10.0 ** _DECADES[0], scale * 10.0**_FURTHEST

    def edge(inside: float, outside: float) -> float:
        return exp(crossing(lambda x: error(exp(x)), log(inside), log(outside), limit))

    def low() -> float:
        inside = min(best.penalty, most)
        while inside > least:
            outside = inside / _FACTOR
            if error(outside) > limit:
                return edge(inside, outside)
            inside = outside
        return 0.0 if error(0.0) <= limit else inside

    def high() -> float:
        inside = max(best.penalty, least)
        while null > limit:
            outside = inside * _FACTOR
            if error(outside) > limit:
                return edge(inside, outside)
            inside = outside
        return float(np.inf)

    return FlatRange(low(), high())
