"""The least error over all penalties, of one curve; see penalty.py."""

from collections.abc import Callable
from math import exp
from typing import Final, NamedTuple

from service.theory.grid import STEP, Grid
from service.theory.mixes.alone.design import NotRegular
from service.theory.model import Array
from service.theory.penalty import CLOSE, interpolated_minimum

INTERPOLATION: Final = 1e-6  # a value of the interpolant this right vouches for the place of its minimum
_STEPS: Final = 6


class Minimum(NamedTuple):
    """θ, the value there, and the second derivative by ln θ."""

    theta: float
    value: float
    bend: float

    def settled(self, slope: Callable[[float], float]) -> "Minimum":
        """Where the slope is 0, see penalty.settled."""
        theta, bend = self.theta, self.bend
        found = slope(theta)
        for _ in range(_STEPS):
            step = min(max(-found / bend, -STEP), STEP)
            theta *= exp(step)
            if abs(step) <= CLOSE:
                break
            before, found = found, slope(theta)
            bend = (found - before) / step
            if not bend > 0:
                break
        return Minimum(theta, self.value, bend)

    def vouched(self, error: float, signal: float) -> None:
        """Raises NotRegular unless the error at θ is the interpolated one, and less than that of predicting zero."""
        if not (abs(error - self.value) <= INTERPOLATION * error and error < (1.0 - INTERPOLATION) * signal):
            raise NotRegular


def regular_minimum(grid: Grid, curve: Array, first: int) -> Minimum:
    """The interpolated minimum of a curve from the grid's point ``first`` on. Raises NotRegular next to an end."""
    if first >= curve.size:
        raise NotRegular
    least = first + int(curve[first:].argmin())
    if least == first:
        raise NotRegular
    found = Minimum(*interpolated_minimum(grid.log_theta, curve, least))
    if not (found.value < float("inf") and found.bend > 0):
        raise NotRegular
    return found
