"""The best penalty of a stage whose sources differ in covariance: a scan over λ, then Brent's method."""

from collections.abc import Callable
from math import exp, inf, log

import numpy as np
from scipy.optimize import minimize_scalar

from service.theory.flatness import EXCESS, crossing
from service.theory.model import ROUNDING
from service.theory.results import Best, FlatRange

_DECADES = (-13.0, 7.0)
_STEP = 0.5
_FURTHEST = 33.0
_FACTOR = 10.0**0.5
_APART = 0.01  # decades between values that a slope is taken from
_EQUAL = 1e-12


def minimize_penalty(error: Callable[[float], float], scale: float, null: float) -> Best:
    """The global minimum of ``error`` over λ >= 0; ``scale``: of the penalties that matter, as tr Σ/N.

    ``null``: the error at λ = infinity. Seen at 0 and on a grid of two points a decade from 1e-13 to 1e7 times the
    scale, further up where the error still falls there.
    """
    grid = list(np.arange(_DECADES[0], _DECADES[1] + _STEP, _STEP))
    values = [error(scale * 10.0**x) for x in grid]
    while values[-1] == min(values) and grid[-1] < _FURTHEST:
        grid.append(grid[-1] + 1.0)
        values.append(error(scale * 10.0 ** grid[-1]))
    i = int(np.argmin(values))
    best_x, best = grid[i], values[i]
    if 0 < i < len(grid) - 1:
        found = minimize_scalar(
            lambda x: error(scale * 10.0**x), bounds=(grid[i - 1], grid[i + 1]), method="bounded",
            options={"xatol": 1e-4},
        )  # fmt: skip
        if found.fun < best:
            best_x, best = _settled(lambda x: error(scale * 10.0**x), float(found.x), float(found.fun))
    at_zero = error(0.0)
    if at_zero <= best:
        return Best(0.0, at_zero)
    if best >= (1.0 - ROUNDING) * null:
        return Best(np.inf, null)
    return Best(scale * 10.0**best_x, best)


def _settled(error: Callable[[float], float], x: float, value: float) -> tuple[float, float]:
    """A place next to a minimum, and the value there: a Newton step from five values, right to about 1e-7.

    Rounding hides from the values alone where the slope is 0.
    """
    far, near, beyond, further = (error(x + k * _APART) for k in (-2, -1, 1, 2))
    slope = (far - 8.0 * near + 8.0 * beyond - further) / 12.0
    bend = (16.0 * (near + beyond) - far - further - 30.0 * value) / 12.0
    if not 0 < abs(slope) < bend < inf:
        return x, value
    settled = x - _APART * slope / bend
    there = error(settled)
    return (settled, there) if there <= value * (1.0 + _EQUAL) else (x, value)


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
