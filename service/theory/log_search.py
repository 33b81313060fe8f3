"""The global minimum of an error over the logarithms of several positive numbers, 0 and infinity allowed.

A scan of common levels, quasi-Newton steps from the best of them, then a scan of every single number over its whole
range, ends included, until no scan finds better. For smooth errors with few minima: penalties, loss weights.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf, log
from typing import Final

import numpy as np
from scipy.optimize import minimize

from service.theory.model import Array

_STEP: Final = 1e-3  # of the differences that stand for derivatives
_STARTS: Final = 2
_ROUNDS: Final = 8
_ITERATIONS: Final = 60
_BETTER: Final = 1e-9  # relative; what an error with an interpolated optimum inside is known to
_BEYOND: Final = 700.0  # stands for the logarithm of 0 and of infinity


@dataclass(frozen=True, eq=False)
class Point:
    """Logarithms, −∞ for 0 and ∞ allowed, shape (numbers,); and the error there."""

    logs: Array
    error: float


@dataclass(frozen=True)
class Levels:
    """Logarithms of one number that are tried, ends included: ``common``: with those of the others at the same place,
    so that all have as many; ``single``: alone."""

    common: tuple[float, ...]
    single: tuple[float, ...]

    @property
    def bounds(self) -> tuple[float, float]:
        """Of the finite levels, a little more."""
        finite = [x for x in self.single if abs(x) < inf]
        return min(finite) - 1.0, max(finite) + 1.0


def evaluations(count: int, levels: Levels) -> int:
    """About how many errors a search over ``count`` numbers of these levels computes: a measure of its cost."""
    return len(levels.common) + 2 * count * len(levels.single) + 30 * (2 * count + 1)


Errors = Callable[[Sequence[Array]], Sequence[float]]


def least(errors: Errors, levels: Sequence[Levels], starts: Sequence[Array] = ()) -> Point:
    """The minimum over numbers of these levels; every logarithm is right to about 1e-4, the error to 1e-8 relative.

    ``errors``: at several points of logarithms, infinite where there is none. ``starts``: further points to begin with.
    Where an end is as good as any finite number, the end is chosen.
    """
    return _Search(errors, levels).best(starts)


class _Search:
    def __init__(self, errors: Errors, levels: Sequence[Levels]) -> None:
        self.errors, self.levels = errors, levels

    def at(self, points: Sequence[Array]) -> list[Point]:
        """Evaluates."""
        return [Point(logs, error) for logs, error in zip(points, self.errors(points), strict=True)]

    def best(self, starts: Sequence[Array]) -> Point:
        """See ``least``."""
        common = np.array([one.common for one in self.levels]).T
        tried = self.at([*common, *starts])
        tried.sort(key=lambda point: point.error)
        best = min((self._polished(start) for start in tried[:_STARTS]), key=lambda point: point.error)
        for _ in range(_ROUNDS):
            found = self._scanned(best)
            if not found.error < best.error * (1.0 - _BETTER):
                break
            best = self._polished(found)
        return self._simplest(best)

    def _scanned(self, point: Point) -> Point:
        """The best that moving one number after the other over its whole range finds."""
        for k, levels in enumerate(self.levels):
            tried = self.at([_moved(point.logs, k, x) for x in levels.single])
            between = self.at([_moved(point.logs, k, x) for x in _vertices(levels.single, tried)])
            point = min([point, *tried, *between], key=lambda one: one.error)
        return point

    def _simplest(self, point: Point) -> Point:
        """An end wherever no finite number is better by more than rounding."""
        for k, levels in enumerate(self.levels):
            for end in (x for x in levels.single if abs(x) == inf):
                (ended,) = self.at([_moved(point.logs, k, end)])
                if ended.error <= point.error * (1.0 + 1e-12):
                    point = ended
        return point

    def _polished(self, start: Point) -> Point:
        """The local minimum over the finite numbers of a point (L-BFGS-B on ln error, central differences)."""
        free = np.flatnonzero(np.isfinite(start.logs))
        if free.size == 0 or not 0 < start.error < inf:
            return start
        best = start

        steps = np.concatenate(
            [np.zeros((1, free.size)), _STEP * np.eye(free.size), -_STEP * np.eye(free.size)]
        )

        def value(point: Point) -> float:
            if point.error == 0:
                return -_BEYOND
            return log(point.error / start.error) if point.error < inf else _BEYOND

        def value_and_slope(x: Array) -> tuple[float, Array]:
            nonlocal best
            logs = np.tile(start.logs, (len(steps), 1))
            logs[:, free] = x + steps
            points = self.at(list(logs))
            best = min([best, *points], key=lambda point: point.error)
            here, *beside = map(value, points)
            above, below = np.reshape(beside, (2, free.size))
            return here, (above - below) / (2.0 * _STEP)

        minimize(
            value_and_slope, start.logs[free], jac=True, method="L-BFGS-B",
            bounds=[self.levels[k].bounds for k in free.tolist()],
            options={"maxiter": _ITERATIONS, "ftol": 1e-13, "gtol": 1e-7},
        )  # fmt: skip
        return best


def _vertices(places: Sequence[float], points: Sequence[Point]) -> list[float]:
    """Where the parabolas through the levels that are lower than both their neighbours are least."""
    found = []
    for i in range(2, len(places) - 2):
        (a, b, c), (u, v, w) = places[i - 1 : i + 2], (one.error for one in points[i - 1 : i + 2])
        if v < u < inf and v < w < inf:
            left, right = (v - u) / (b - a), (w - v) / (c - b)
            found.append((a + b) / 2.0 - left * (c - a) / (2.0 * (right - left)))
    return found


def _moved(logs: Array, k: int, x: float) -> Array:
    moved = logs.copy()
    moved[k] = x
    return moved
