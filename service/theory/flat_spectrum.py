"""The best penalty of a plain stage where all modes have the same variance, however little label noise there is.

With S = σ/(σ+θ), U = 1 − S, D = T − d S², R = T − d S and the error e of the labels' model m = w + e (sums with the
test error's weight),

    E = S² e·e − 2 S U e·w + U² w·w + (d S²/D) (U² m·m + noise),
    (D²/2) dE/dS = T (d S noise − U R m·m) + D² e·m,

from d S² = T − D. True labels: d S noise = U R w·w, the Bayes estimate λ = σ² d noise/(T w·w). Penalty 0 is
S = s = min(1, T/d), and with little noise the best one lies so close to it that neither a grid of θ nor values of E can
tell: in v = s − S nothing cancels there.
"""

from dataclasses import dataclass
from math import inf, sqrt
from typing import Final

import numpy as np
from scipy.optimize import brentq

from service.theory.freedom import Number
from service.theory.model import Population
from service.theory.recursion import Recursion

_LEAST: Final = 1e-40  # of s: where the search for v begins
_REACH: Final = 0.999  # and ends: almost all is shrunk away
_TINY: Final = 1e-290
_STEPS: Final = 2000  # of a bisection from 1e-40, where the interpolation does not help
_POINTS: Final = np.concatenate([np.geomspace(_LEAST, 0.1, 160), np.linspace(0.11, _REACH, 40)])


@dataclass(frozen=True)
class FlatStage:
    """``modes`` d, ``samples`` T; sums over modes with the test error's weight of the labels' error (``error``), its
    overlap with the truth (``overlap``) and the truth (``signal``); ``noise``: of the labels."""

    modes: float
    samples: float
    error: float
    overlap: float
    signal: float
    noise: float

    @staticmethod
    def of(population: Population, past: Recursion, samples: float, noise: float) -> "FlatStage":
        """The last stage of a recursion on a population of one level."""
        error, overlap = (float((population.weight * part).sum()) for part in (past.second, past.cross))
        return FlatStage(population.rank, samples, error, overlap, population.signal, noise)

    @property
    def most(self) -> float:
        """s: what is learned of each mode without penalty."""
        return min(1.0, self.samples / self.modes)

    def least(self) -> float | None:
        """v of the least error, None where that is not between penalties that are neither 0 nor almost infinite, or
        errors are next to the least numbers there are."""
        v = self._bayes() if self.error == 0 == self.overlap else self._searched()
        if v is None or not _LEAST * self.most <= v <= _REACH * self.most:
            return None
        return v if _TINY < self.total(v) < inf else None

    def _searched(self) -> float | None:
        v = self.most * _POINTS
        falls = self._slope(v) > 0  # the error, with v
        turns = np.flatnonzero(falls[:-1] & ~falls[1:])
        if turns.size != 1 or not falls[0]:
            return None
        i = int(turns[0])
        return float(
            brentq(self._slope, float(v[i]), float(v[i + 1]), xtol=1e-300, rtol=1e-14, maxiter=_STEPS)
        )

    def range(self, v: float, excess: float) -> tuple[float, float]:
        """Penalties λ/σ around the best one, at ``v``, up to which the error is at most so much more, relative.

        0: also without a penalty; infinite: also at predicting zero.
        """
        limit = (1.0 + excess) * self.total(v)

        def above(x: float) -> float:
            return self.total(x) / limit - 1.0

        def crossing(outside: float) -> float:
            return float(brentq(above, outside, v, xtol=1e-300, rtol=1e-13, maxiter=_STEPS))

        least, most = _LEAST * self.most, _REACH * self.most
        low = self.penalty(crossing(least)) if above(least) > 0 else 0.0
        if self.signal <= limit:
            return low, inf
        while above(most) <= 0:  # towards predicting zero
            most = self.most - (self.most - most) / 10.0
        return low, self.penalty(crossing(most))

    def total(self, v: float) -> float:
        """E at v > 0."""
        S, U = self.most - v, (1.0 - self.most) + v
        room = max(self.samples - self.modes, 0.0) + self.modes * (v + S * U)  # D
        model = self.signal + 2.0 * self.overlap + self.error
        bias = S * S * self.error - 2.0 * S * U * self.overlap + U * U * self.signal
        return bias + self.modes * S * S / room * (U * U * model + self.noise)

    def ridge(self, v: float) -> float:
        """θ/σ there."""
        return ((1.0 - self.most) + v) / (self.most - v)

    def penalty(self, v: float) -> float:
        """λ/σ there."""
        room = max(self.samples - self.modes, 0.0) + self.modes * v  # T − d S
        return self.ridge(v) * room / self.samples

    def _bayes(self) -> float | None:
        """Of true labels: the positive root of w·w v² + (w·w |1 − T/d| + noise) v − s noise."""
        if self.noise == 0:
            return None
        b = self.signal * abs(1.0 - self.samples / self.modes) + self.noise
        return 2.0 * self.most * self.noise / (b + sqrt(b * b + 4.0 * self.signal * self.most * self.noise))

    def _slope(self, v: Number) -> Number:
        """(D²/2) dE/dS at v > 0."""
        d, T, s = self.modes, self.samples, self.most
        S, U, room = s - v, (1.0 - s) + v, max(T - d, 0.0) + d * v  # R
        D = room + d * S * U
        model = self.signal + 2.0 * self.overlap + self.error
        return T * (d * S * self.noise - U * room * model) + D * D * (self.error + self.overlap)
