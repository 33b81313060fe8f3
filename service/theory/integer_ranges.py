"""For which whole numbers an error stays within a bound, where it need not be monotone.

Numbers of samples and of generations: the error may fall, peak (double descent) and fall again, or have its least value
inside. The error is seen on a grid of twelve points a decade (two where there are more than 1e7), denser around the
numbers where it may peak, refined at every extremum that could reach the bound, and bisected between neighbours that
differ: every end of a range is an evaluation within the bound beside one above it. What is narrower than the grid and
no extremum of it is not seen. An error that is costly is looked at less densely, guided by the ranges of a cheap one.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import isqrt
from typing import Final

_PER_DECADE: Final = 12
_GUIDED_PER_DECADE: Final = 3
_MANY: Final = 10**7
_FEW: Final = 16  # all numbers up to here are looked at
_NEAR: Final = (0.9, 0.97, 1.03, 1.1)  # of the ends that a cheaper error has
_AROUND: Final = (0, 1, 2, 3, 5, 8, 13, 21, 34, 55)  # of a critical number, on either side


@dataclass(frozen=True)
class Range:
    """Whole numbers ``first`` to ``last``, both of them within the bound; ``last`` None: no end was found."""

    first: int
    last: int | None


class Ranges:
    """The numbers from ``low`` to ``high`` where ``error`` is at most ``bound``.

    ``critical``: numbers where the error may peak. ``open_end``: whether a range that reaches ``high`` goes on beyond.
    ``guide``: the ranges of an error that is close to this one.
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
        guide: "Ranges | None" = None,
    ) -> None:
        self._error, self.bound, self.low, self.high, self.open_end = error, bound, low, high, open_end
        self._known: dict[int, float] = {}
        for n in _candidates(low, high, critical, guide):
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
        for i in range(1, len(points) - 1):
            a, value, b = points[i - 1], self.error(points[i]), points[i + 1]
            near = [self.error(n) for n in points[max(i - 2, 0) : i + 3]]
            beside = self.error(a), self.error(b)
            # a smooth extremum lies beyond the middle one of five points by less than these differ
            if value <= min(beside) and 0 < value - self.bound <= max(near) - value:
                self._turn(a, b, 1.0)
            elif value >= max(beside) and 0 <= self.bound - value <= value - min(near):
                self._turn(a, b, -1.0)

    def _turn(self, a: int, b: int, sign: float) -> None:
        """Close in on the extremum between a and b (sign 1: least) until the bound is crossed, or it is found."""
        while b - a > 3:
            left, right = a + (b - a) // 3, b - (b - a) // 3
            x, y = sign * self.error(left), sign * self.error(right)
            if self.within(left) == (sign > 0) or self.within(right) == (sign > 0):
                return
            a, b = (a, right) if x <= y else (left, b)
        for n in range(a + 1, b):
            self.error(n)

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


def _candidates(low: int, high: int, critical: Iterable[int], guide: Ranges | None) -> Sequence[int]:
    points = {low, high, *range(low, min(low + _FEW, high) + 1)}
    for n in critical:
        points.update(n + sign * step for step in _AROUND for sign in (-1, 1))
        points.update(round(n * factor) for factor in (0.5, 0.7, 0.85, 0.95, 1.05, 1.15, 1.4, 2.0))
    if guide is not None:
        for one in guide.found:
            for end in (one.first, one.last):
                if end is not None:
                    points.update((end - 1, end, end + 1, *(round(end * factor) for factor in _NEAR)))
        points.add(guide.least()[0])
    step = float(max(low, 1))
    dense = _PER_DECADE if guide is None else _GUIDED_PER_DECADE
    while step <= high:
        points.add(round(step))
        step *= 10.0 ** (1.0 / (dense if step < _MANY else 2))
    return sorted(n for n in points if low <= n <= high)
