"""For which whole numbers an error stays within a bound, where it need not be monotone.

Numbers of samples and of generations: the error may fall, peak (double descent) and fall again, or have its least value
inside. The error is seen on a grid of twelve points a decade (two where there are more than 1e7), denser around the
numbers where it may peak, refined at every extremum that could reach the bound, and closed in on between neighbours
that differ: every end of a range is an evaluation within the bound beside one above it. What is narrower than the grid
and no extremum of it is not seen. An error that is costly is looked at less densely, guided by the ranges of a cheap
one. All that is looked at together is asked for together; what is answered is confirmed one by one.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from math import inf, isqrt, log
from typing import Final

_PER_DECADE: Final = 12
_GUIDED_PER_DECADE: Final = 3
_MANY: Final = 10**7
_PER_DECADE_OF_MANY: Final = 2
_GUIDED_PER_DECADE_OF_MANY: Final = 0.5  # so many samples need no correction
_FEW: Final = 16  # all numbers up to here are looked at
_NEAR: Final = (0.9, 0.97, 1.03, 1.1)  # of the ends that a cheaper error has
_SECTIONS: Final = 8  # of an interval that is closed in on
_FAR: Final = 3.0  # more than corrections move an error by: see plain_correction.LARGEST
_EQUAL: Final = 1e-12  # relative: a difference this small is rounding
_BESIDE: Final = (0.5, 0.7, 0.85, 0.95, 1.05, 1.15, 1.4, 2.0)  # times a critical number
_AROUND: Final = (0, 1, 2, 3, 5, 8, 13, 21, 34, 55)  # of a critical number, on either side


@dataclass(frozen=True)
class Range:
    """Whole numbers ``first`` to ``last``, both of them within the bound; ``last`` None: no end was found."""

    first: int
    last: int | None


class _NotConfirmed(Exception):
    """What was seen side by side is not what the errors one by one say."""


class Ranges:
    """The numbers from ``low`` to ``high`` where ``error`` is at most ``bound``.

    ``errors``: of several numbers at once (None: one by one); they may differ from ``error`` by rounding, or where
    corrections are at the limit of being small: the ends of all ranges are confirmed. ``critical``: numbers where the
    error may peak. ``open_end``: whether a range that reaches ``high`` goes on beyond. ``guide``: the ranges of an
    error that is close to this one.
    """

    def __init__(
        self,
        error: Callable[[int], float],
        bound: float,
        low: int,
        high: int,
        critical: Sequence[int] = (),
        *,
        errors: Callable[[Sequence[int]], Sequence[float]] | None = None,
        open_end: bool = True,
        guide: "Ranges | None" = None,
    ) -> None:
        self._error, self._errors = error, errors
        self.bound, self.low, self.high, self.open_end = bound, low, high, open_end
        self._seen: dict[int, float] = {}
        self._confirmed: dict[int, float] = {}
        candidates = _candidates(low, high, critical, guide)
        if guide is not None:  # next to a threshold corrections may cancel
            kept = {low, high, *_around(critical)}
            candidates = [n for n in candidates if n in kept or not guide.is_far(n)]
        try:
            self.found = self._searched(candidates)
        except _NotConfirmed:
            self._errors = None
            self._seen = dict(self._confirmed)
            self.found = self._searched(candidates)

    def error(self, n: int) -> float:
        """At one number, computed once."""
        if n not in self._confirmed:
            self._confirmed[n] = self._error(n)
        return self._confirmed[n]

    def within(self, n: int) -> bool:
        """Whether the error there is at most the bound."""
        return self.error(n) <= self.bound

    # --- the search, by what is seen ------------------------------------------------------------------

    def _searched(self, candidates: Sequence[int]) -> tuple[Range, ...]:
        self._look(candidates)
        self._follow_extrema()
        found = self._found()
        if not self._holds(found):
            raise _NotConfirmed
        return found

    def _look(self, numbers: Iterable[int]) -> None:
        """See the errors of these numbers."""
        new = sorted({n for n in numbers if n not in self._seen})
        if self._errors is None:
            self._seen.update((n, self.error(n)) for n in new)
        elif new:
            self._seen.update(zip(new, self._errors(new), strict=True))

    def _inside(self, n: int) -> bool:
        return self._seen[n] <= self.bound

    def _follow_extrema(self) -> None:
        """Look between grid points where the error turns and could cross the bound there."""
        points = sorted(self._seen)
        values = [self._seen[n] for n in points]
        turns = []
        for i in range(1, len(points) - 1):
            a, value, b = values[i - 1], values[i], values[i + 1]
            near = values[max(i - 2, 0) : i + 3]
            # a smooth extremum lies beyond the middle one of five points by less than these differ
            if value <= min(a, b) and 0 < value - self.bound <= max(near) - value:
                turns.append((points[i - 1], points[i + 1], 1.0))
            elif value >= max(a, b) and 0 <= self.bound - value <= value - min(near):
                turns.append((points[i - 1], points[i + 1], -1.0))
        while turns:
            self._look(n for a, b, _ in turns for n in _sections(a, b))
            turns = [closer for turn in turns if (closer := self._turned(*turn)) is not None]

    def _turned(self, a: int, b: int, sign: float) -> tuple[int, int, float] | None:
        """Closer around the extremum between a and b (sign 1: least); None once it is found, or crosses the bound."""
        inner = _sections(a, b)
        if len(inner) == b - a - 1 or any(self._inside(n) == (sign > 0) for n in inner):
            return None
        points = [a, *inner, b]
        i = min(range(1, len(points) - 1), key=lambda k: sign * self._seen[points[k]])
        return points[i - 1], points[i + 1], sign

    def _found(self) -> tuple[Range, ...]:
        points = sorted(self._seen)
        inside = [self._inside(n) for n in points]
        changes = [pair for k, pair in enumerate(pairwise(points)) if inside[k] != inside[k + 1]]
        found: list[Range] = []
        first: int | None = points[0] if inside[0] else None
        for a, b in map(self._settled, changes, self._edges(changes)):
            if first is None:
                first = b
            else:
                found.append(Range(first, a))
                first = None
        if first is not None:
            found.append(Range(first, None if self.open_end else self.high))
        return tuple(found)

    def _edges(self, pairs: list[tuple[int, int]]) -> list[tuple[int, int]]:
        """Neighbours between the numbers of each pair that lie on either side of the bound, as these do."""
        turn = 0
        while any(b - a > 1 for a, b in pairs):
            turn += 1
            inner = [self._between(a, b, halved=turn % 3 == 0) for a, b in pairs]
            self._look(n for numbers in inner for n in numbers)
            closer = []
            for (a, b), numbers in zip(pairs, inner, strict=True):
                points = [a, *numbers, b]
                k = next(k for k, n in enumerate(points) if self._inside(n) != self._inside(a))
                closer.append((points[k - 1], points[k]))
            pairs = closer
        return pairs

    def _between(self, a: int, b: int, *, halved: bool) -> list[int]:
        """Numbers between a and b where the error may cross the bound; ``halved``: whether one is to be the middle."""
        if b - a <= (_SECTIONS if self._errors is not None else 2):
            return list(range(a + 1, b))
        middle = isqrt(a * b) if a > 0 and b > 4 * a else (a + b) // 2
        points, u, v = {middle}, self._seen[a], self._seen[b]
        if 0 < u < inf and 0 < v < inf and self.bound > 0:  # nearly a line between logarithms
            share = log(self.bound / u) / log(v / u)
            x = round(a * (b / a) ** share if a > 0 else a + (b - a) * share)
            if self._errors is None and not halved:
                return sorted({min(max(n, a + 1), b - 1) for n in (x, x + 1)})
            reach = max((b - a) // 100, 2)
            points.update((x - reach, x - 1, x, x + 1, x + reach))
        if self._errors is not None:
            points.update(_sections(a, b)[1::3])
        return sorted(n for n in points if a < n < b)

    # --- confirmed -------------------------------------------------------------------------------------

    def _settled(self, between: tuple[int, int], edge: tuple[int, int]) -> tuple[int, int]:
        """The edge as the errors one by one have it, looked for beside the one that was seen. Raises _NotConfirmed."""
        if self._errors is None:
            return edge
        (a, b), before, step = edge, self._inside(edge[0]), 1
        while self.within(a) != before:
            if a == between[0]:
                raise _NotConfirmed
            a, b, step = max(a - step, between[0]), a, 2 * step
        while self.within(b) == before:
            if b == between[1]:
                raise _NotConfirmed
            a, b, step = b, min(b + step, between[1]), 2 * step
        while b - a > 1:
            middle = (a + b) // 2
            a, b = (middle, b) if self.within(middle) == before else (a, middle)
        return a, b

    def _holds(self, found: tuple[Range, ...]) -> bool:
        """Whether the errors one by one say the same of both ends, and of the least where none is within the bound."""
        if self._errors is None:
            return True
        if any(self.within(n) != self._inside(n) for n in {self.low, self.high}):
            return False
        return bool(found) or not self.within(self.least()[0])

    def is_far(self, n: int) -> bool:
        """Whether the error there is so far from the bound, on the same side as around it, and from the least, that no
        correction that is one would take it there."""
        i = bisect_left(self._numbers, n)
        near = [self._seen[one] for one in self._numbers[max(i - 1, 0) : i + 2]]
        if min(near) <= _FAR * min(self._seen.values()):
            return False
        return all(value > _FAR * self.bound for value in near) or all(
            value * _FAR < self.bound for value in near
        )

    @cached_property
    def _numbers(self) -> list[int]:
        return sorted(self._seen)

    # --- questions ------------------------------------------------------------------------------

    def largest(self) -> int | None:
        """The largest number within the bound that has an end; None where there is none, or no end."""
        return self.found[-1].last if self.found else None

    def smallest(self) -> int | None:
        """The smallest number within the bound."""
        return self.found[0].first if self.found else None

    def least(self) -> tuple[int, float]:
        """The number of the least error that was seen, the first of those that are equal, and the error."""
        limit = min(self._seen.values()) * (1.0 + _EQUAL)
        n = min(one for one, value in self._seen.items() if value <= limit)
        return n, self.error(n)


def _candidates(low: int, high: int, critical: Sequence[int], guide: Ranges | None) -> Sequence[int]:
    points = {low, high, *range(low, min(low + _FEW, high) + 1)}
    points.update(_around(critical))
    if guide is not None:
        for one in guide.found:
            for end in (one.first, one.last):
                if end is not None:
                    points.update((end - 1, end, end + 1, *(round(end * factor) for factor in _NEAR)))
        points.add(guide.least()[0])
    step = float(max(low, 1))
    dense, many = (
        (_PER_DECADE, _PER_DECADE_OF_MANY)
        if guide is None
        else (_GUIDED_PER_DECADE, _GUIDED_PER_DECADE_OF_MANY)
    )
    while step <= high:
        points.add(round(step))
        step *= 10.0 ** (1.0 / (dense if step < _MANY else many))
    return sorted(n for n in points if low <= n <= high)


def _around(critical: Iterable[int]) -> set[int]:
    points = {n + sign * step for n in critical for step in _AROUND for sign in (-1, 1)}
    return points | {round(n * factor) for n in critical for factor in _BESIDE}


def _sections(a: int, b: int) -> list[int]:
    """Numbers that cut the interval into equal parts, all of it where it is short."""
    return sorted({a + (b - a) * k // _SECTIONS for k in range(1, _SECTIONS)} - {a, b})
