"""For which whole numbers an error stays within a bound, where it need not be monotone.

Numbers of samples and of generations: the error may fall, peak (double descent) and fall again, or have its least value
inside. The error is seen on a grid of twelve points a decade, denser around the numbers where it may peak, refined at
every extremum that could reach the bound, and bisected between neighbours that differ: every end of a range is an
evaluation within the bound beside one above it. What is narrower than the grid and no extremum of it is not seen.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import isqrt
from typing import Final

_PER_DECADE: Final = 12
_FEW: Final = 16  # all numbers up to here are looked at
_AROUND: Final = (0, 1, 2, 3, 5, 8, 13, 21, 34, 55)  # of a critical number, on either side
_REACH: Final = 2.0  # an extremum this far from the bound (factor) is followed up


@dataclass(frozen=True)
class Range:
    """Whole numbers ``first`` to ``last``, both of them within the bound; ``last`` None: no end was found."""

    first: int
    last: int | None


class Ranges:
    """The numbers from ``low`` to ``high`` where ``error`` is at most ``bound``.

    ``critical``: numbers where the error may peak. ``open_end``: whether a range that reaches ``high`` goes on beyond.
    """

    def __init__(
        self,
        error: Callable[[int], float],
        bound: float,
        low: int,
        high: int,
        critical: Iterable[int] = (),
        *,
        open_end: bool = True,
    ) -> None:
        self._error, self.bound, self.low, self.high, self.open_end = error, bound, low, high, open_end
        self._known: dict[int, float] = {}
        for n in _candidates(low, high, critical):
            self.error(n)
        self._follow_extrema()
        self.found = self._found()

    def error(self, n: int) -> float:
        """At one number, computed once."""
        if n not in self._known:
            self._known[n] = self._error(n)
        return self._known[n]

    def within(self, n: int) -> bool:
        """Whether the error there is at most the bound."""
        return self.error(n) <= self.bound

    def _follow_extrema(self) -> None:
        """Look between grid points where the error turns and could cross the bound there."""
        points = sorted(self._known)
        for a, n, b in zip(points, points[1:], points[2:], strict=False):
            values = [self.error(a), self.error(n), self.error(b)]
            dip = values[1] <= min(values[0], values[2]) and self.bound < values[1] <= _REACH * self.bound
            peak = values[1] >= max(values[0], values[2]) and self.bound / _REACH <= values[1] <= self.bound
            if dip:
                self._golden(a, b, 1.0)
            elif peak:
                self._golden(a, b, -1.0)

    def _golden(self, a: int, b: int, sign: float) -> None:
        """Shrink an interval around the extremum, until the bound is crossed or the interval is a point."""
        while b - a > 2:
            third = max((b - a) // 3, 1)
            left, right = a + third, b - third
            if left >= right:
                left, right = (a + b) // 2, (a + b) // 2 + 1
            x, y = sign * self.error(left), sign * self.error(right)
            if min(x, y) <= sign * self.bound and sign > 0:
                return
            if min(x, y) < sign * self.bound and sign < 0:
                return
            a, b = (a, right) if x <= y else (left, b)
            if (left, right) == (a, b):
                return

    def _found(self) -> tuple[Range, ...]:
        points = sorted(self._known)
        found: list[Range] = []
        first: int | None = points[0] if self.within(points[0]) else None
        for a, b in pairwise(points):
            if self.within(a) == self.within(b):
                continue
            inside = self._edge(a, b)
            if first is None:
                first = inside
            else:
                found.append(Range(first, inside))
                first = None
        if first is not None:
            found.append(Range(first, None if self.open_end else self.high))
        return tuple(found)

    def _edge(self, a: int, b: int) -> int:
        """The last number within the bound on the way to the first that is not, between a and b; either may be it."""
        start = self.within(a)
        while b - a > 1:
            middle = isqrt(a * b) if a > 0 and b > 4 * a else (a + b) // 2
            middle = min(max(middle, a + 1), b - 1)
            if self.within(middle) == start:
                a = middle
            else:
                b = middle
        return a if start else b

    # --- questions ------------------------------------------------------------------------------

    def largest(self) -> int | None:
        """The largest number within the bound that has an end; None where there is none, or no end."""
        return self.found[-1].last if self.found else None

    def smallest(self) -> int | None:
        """The smallest number within the bound."""
        return self.found[0].first if self.found else None

    def least(self) -> tuple[int, float]:
        """The number of the least error that was seen, and the error."""
        n = min(self._known, key=lambda one: (self._known[one], one))
        return n, self._known[n]


def _candidates(low: int, high: int, critical: Iterable[int]) -> Sequence[int]:
    points = {low, high, *range(low, min(low + _FEW, high) + 1)}
    for n in critical:
        points.update(n + sign * step for step in _AROUND for sign in (-1, 1))
        points.update(round(n * factor) for factor in (0.5, 0.7, 0.85, 0.95, 1.05, 1.15, 1.4, 2.0))
    step, k = 10.0 ** (1.0 / _PER_DECADE), 0
    while (n := round(max(low, 1) * step**k)) <= high:
        points.add(n)
        k += 1
    return sorted(n for n in points if low <= n <= high)
