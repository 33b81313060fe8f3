"""The best penalty of a large problem, where each error takes seconds: few points, and polynomials through them.

The test error is analytic in ln λ. It is followed from a guess in steps of half a decade and more until it rises on
both sides; the least value is found from the polynomial through the nearest points, and so are the ends of the flat
range.
"""

from collections.abc import Callable
from math import inf, log10

import numpy as np
from numpy.polynomial import Polynomial
from scipy.optimize import brentq

from service.theory.flatness import EXCESS
from service.theory.model import Array
from service.theory.results import Best, FlatRange

_STEP = 0.5  # decades
_GROWTH = 1.5  # of the steps, up to the longest
_LONGEST = 2.0
_REACH = 12.0  # decades from the guess that are followed at most
_NEAREST = 5  # points of the polynomials
_ROUNDS = 5
_SETTLED = 0.004  # decades that a polynomial's minimum may move: the error there to the square of that
_TRUSTED = 1e-4  # an error so close to the flat range's limit vouches for its end: a hundredth of the excess
_SPREAD = 2.5e-3  # points so close say the same


class Curve:
    """Errors by x = lg λ, each computed once."""

    def __init__(self, error: Callable[[float], float], null: float) -> None:
        """``error``: by the penalty; ``null``: of predicting zero, the error at penalty infinity."""
        self.error, self.null = error, null
        self.known: dict[float, float] = {}

    def __call__(self, x: float) -> float:
        """The error at x."""
        if x not in self.known:
            self.known[x] = self.error(10.0**x)
        return self.known[x]

    def best(self, guess: float) -> Best:
        """The minimum next to the ``guess`` of the penalty, an infinite penalty where none is below ``null``."""
        middle = log10(guess)
        for x in (middle - _STEP, middle, middle + _STEP):
            self(x)
        step = _STEP
        while abs((x := self._least) - middle) < _REACH and x in {min(self.known), max(self.known)}:
            self(x + step if x == max(self.known) else x - step)
            step = min(_GROWTH * step, _LONGEST)
        if x == min(self.known):  # the error falls as far down as was looked
            at_zero = self.error(0.0)
            if at_zero <= self.known[x]:
                return Best(0.0, at_zero)
        for _ in range(_ROUNDS):
            x = self._least
            around = sorted(self.known)
            i = around.index(x)
            if i in {0, len(around) - 1}:
                break
            place = self._lowest(around[i - 1], x, around[i + 1])
            if place is None or min(abs(place - one) for one in around) < _SETTLED:
                break
            self(place)
        x = self._least
        return Best(10.0**x, self.known[x]) if self.known[x] < self.null else Best(inf, self.null)

    @property
    def _least(self) -> float:
        return min(self.known, key=lambda x: self.known[x])

    def _through(self, x: float) -> tuple[Polynomial, Array]:
        """The polynomial through the points nearest to x, and these."""
        near: list[float] = []
        for one in sorted(self.known, key=lambda one: abs(one - x)):
            if np.isfinite(self.known[one]) and all(abs(one - other) > _SPREAD for other in near):
                near.append(one)
        points = np.array(near[:_NEAREST])
        values = np.array([self.known[one] for one in points.tolist()])
        return Polynomial.fit(points, values, len(points) - 1), points

    def _lowest(self, low: float, middle: float, high: float) -> float | None:
        """Where the polynomial around the middle is least between two points."""
        curve, points = self._through(middle)
        if len(points) < 3:
            return None
        roots = [complex(root) for root in curve.deriv().roots()]
        inside = [r.real for r in roots if abs(r.imag) < 1e-9 and low < r.real < high]
        return min(inside, key=lambda x: float(curve(x)), default=None)

    # --- the flat range ---------------------------------------------------------------------------

    def flat_range(self, best: Best, least: float) -> FlatRange:
        """See FlatRange; ``least``: the penalty below which nothing is told from none."""
        if not best.penalty < inf:
            return FlatRange(inf, inf)
        if best.total == 0:
            return FlatRange(best.penalty, best.penalty)
        limit = (1.0 + EXCESS) * best.total
        x = log10(max(best.penalty, least))
        low, high = -inf if best.penalty <= least else self._end(x, -_STEP, log10(least), limit), inf
        if self.null > limit:
            high = 10.0 ** self._end(x, _STEP, inf, limit)
        if 10.0**low <= least:
            return FlatRange(0.0 if self.error(0.0) <= limit else least, high)
        return FlatRange(10.0**low, high)

    def _end(self, inside: float, step: float, last: float, limit: float) -> float:
        """Where the error crosses the limit on the way from ``inside`` to ``last``; ``last`` where it does not."""
        side = np.sign(step)
        beyond = sorted((x for x in self.known if side * (x - inside) > 0), key=lambda x: side * x)
        while True:
            outside = beyond.pop(0) if beyond else inside + step
            if side * (outside - last) >= 0:
                return last
            if self(outside) > limit:
                return self._crossing(inside, outside, limit)
            inside, step = outside, side * min(_GROWTH * abs(step), 2.0 * _STEP)

    def _crossing(self, inside: float, outside: float, limit: float) -> float:
        for _ in range(3 * _ROUNDS):
            x = 0.5 * (inside + outside)
            excess = self._through(x)[0] - limit
            if np.isfinite(self.known[outside]) and excess(inside) < 0 < excess(outside):
                x = float(brentq(excess, inside, outside, xtol=1e-9))
            if abs(self(x) - limit) <= _TRUSTED * limit or abs(outside - inside) < 1e-6:
                break
            inside, outside = (x, outside) if self.known[x] <= limit else (inside, x)
        return x
