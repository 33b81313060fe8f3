"""The flat optimum: how far the penalty may move before the test error has risen by one per cent.

Near its least value the error is flat in the logarithm of the penalty, so a range says more than a number. It is the
interval around the best penalty, the one where the error first reaches (1 + EXCESS) times the least one on either
side; where the curve has further minima, penalties beyond it may be as good again.
"""

from collections.abc import Callable
from math import exp, log
from typing import Final, NamedTuple

import numpy as np
from scipy.optimize import brentq

from service.theory.curves import Curve
from service.theory.grid import STEP, Grid
from service.theory.model import Array
from service.theory.results import FlatRange

EXCESS: Final = 0.01
_NODES: Final = np.arange(-3.0, 5.0)
_INTERPOLATION: Final = np.linalg.inv(np.vander(_NODES, increasing=True))
_TRUSTED: Final = 1e-5  # an error so close to the limit (relative) vouches for the place of the end
_NEWTON_STEPS: Final = 20
_QUADRATIC: Final = 1e-5  # a Newton step this small leaves an error of its square
_ABOVE: Final = 1 + 1e-12  # at the root itself rounding may say that no penalty leads there
_FAR: Final = 1e6
_TINY: Final = 1e-290


class Ends(NamedTuple):
    """Effective ridges between which the error stays within the limit; None where the grid does not show the end."""

    low: float | None
    high: float | None


def interpolated_ends(points: Array, values: Array, theta: float, limit: float) -> Ends:
    """Where ``values`` at the grid's ``points``, through eight of them each, cross ``limit`` around ``theta``."""
    numbers: list[float] = values.tolist()
    above = int(points.searchsorted(theta))  # first point of the grid beyond the best
    low, high = above - 1, above
    while low >= 0 and not numbers[low] > limit:
        low -= 1
    while high < len(numbers) and not numbers[high] > limit:
        high += 1
    return Ends(_crossing(points, numbers, low, limit), _crossing(points, numbers, high - 1, limit))


def _crossing(points: Array, values: list[float], left: int, limit: float) -> float | None:
    """θ between the points ``left`` and ``left`` + 1 where the interpolant is ``limit``; None where there is none."""
    start = min(max(left - 3, 0), len(values) - _NODES.size)  # off the middle next to an end
    if start < 0 or not 0 <= left < len(values) - 1:
        return None
    around = [value - limit for value in values[start : start + _NODES.size]]
    a, b = around[left - start], around[left - start + 1]
    if not (sum(map(abs, around)) < np.inf) or a * b > 0 or a == b:
        return None
    c: list[float] = _INTERPOLATION.dot(around).tolist()
    nearest = left - start - 3.0
    t = nearest + a / (a - b)
    for _ in range(_NEWTON_STEPS):
        value = slope = 0.0
        for coefficient in reversed(c):
            slope = slope * t + value
            value = value * t + coefficient
        step = value / slope if slope else 0.0
        t = min(nearest + 1.0, max(nearest, t - step))
        if abs(step) < _QUADRATIC:
            break
    return float(points[start + 3]) * exp(STEP * t)


def vouched(error: float, limit: float) -> bool:
    """Whether the exact error at an interpolated end is the limit."""
    return abs(error - limit) <= _TRUSTED * limit


def flat_range(
    grid: Grid,
    curve: Curve,
    values: Array,
    penalty: Callable[[float], float],
    *,
    theta: float,
    least: float,
    lowest: float,
) -> FlatRange:
    """The range around the best effective ridge ``theta``, infinite where predicting zero is best.

    ``values``: of the curve on the grid; ``penalty``: λ(θ); ``least``: the error at ``theta``; ``lowest``: the
    effective ridge of penalty 0. The error at the ends is the limit to 1e-5 of it.
    """
    if least == 0:  # nothing else is within one per cent of it
        best = penalty(theta) if theta < np.inf else theta
        return FlatRange(best, best)
    limit = (1.0 + EXCESS) * least
    ends = interpolated_ends(grid.theta, values, theta, limit)

    def error(x: float) -> float:
        return float(curve(grid.sums(np.array([x]), curve.columns, features=curve.features))[0][0])

    low, high = ends.low, ends.high
    if low is None or low <= lowest or not vouched(error(low), limit):
        low = _low_end(grid, values, error, theta, lowest, limit)
    if theta < np.inf and (high is None or not vouched(error(high), limit)):
        high = _high_end(grid, values, error, max(theta, lowest * _ABOVE), limit)
    return FlatRange(0.0 if low is None else penalty(low), np.inf if high is None else penalty(high))


def _low_end(  # noqa: PLR0917
    grid: Grid, values: Array, error: Callable[[float], float], theta: float, lowest: float, limit: float
) -> float | None:
    """The crossing below the best θ, exactly; None where there is none down to penalty 0."""
    if theta <= lowest:
        return None
    inside = min(theta, float(grid.theta[-1]) * _FAR)
    for i in range(int(np.searchsorted(grid.theta, inside)) - 1, -1, -1):
        if grid.theta[i] <= lowest:
            break
        if values[i] > limit:
            return _bisected(error, inside, float(grid.theta[i]), limit)
        inside = float(grid.theta[i])
    if error(lowest * _ABOVE) <= limit:
        return None
    outside = lowest * _ABOVE if lowest > 0 else inside / 10.0
    while error(outside) <= limit:
        inside, outside = outside, outside / 10.0
        if outside == 0:
            return None
    return _bisected(error, inside, outside, limit)


def _high_end(
    grid: Grid, values: Array, error: Callable[[float], float], theta: float, limit: float
) -> float | None:
    """The crossing above the best θ, exactly; None where predicting zero is within the limit too."""
    inside = theta
    for i in range(int(np.searchsorted(grid.theta, theta, side="right")), grid.theta.size):
        if values[i] > limit:
            return _bisected(error, inside, float(grid.theta[i]), limit)
        inside = float(grid.theta[i])
    if grid.population.signal <= limit:
        return None
    outside = inside * 10.0
    while error(outside) <= limit:
        inside, outside = outside, outside * 10.0
        if outside == np.inf:
            return None
    return _bisected(error, inside, outside, limit)


def _bisected(error: Callable[[float], float], inside: float, outside: float, limit: float) -> float:
    """The crossing between an effective ridge within the limit and one that is not, in the logarithm."""

    while inside == 0:  # penalty 0 of a fit that learns every mode: the error is smooth there
        nearer = outside / 10.0
        if nearer < _TINY:
            return nearer
        inside, outside = (nearer, outside) if error(nearer) <= limit else (0.0, nearer)
    return exp(crossing(lambda x: error(exp(x)), log(inside), log(outside), limit))


def crossing(error: Callable[[float], float], inside: float, outside: float, limit: float) -> float:
    """The number between two where ``error`` passes ``limit``, to 1e-12; an end where rounding decides it there.

    ``inside``: within the limit; ``outside``: above it, infinite allowed.
    """

    def excess(x: float) -> float:
        value = error(x) / limit - 1.0
        return value if value < 1.0 else 1.0  # so is infinity, and what is not a number

    if excess(inside) >= 0:
        return inside
    if excess(outside) <= 0:
        return outside
    return float(brentq(excess, inside, outside, xtol=1e-12, disp=False))
