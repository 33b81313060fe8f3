"""Temperature with top-p, and with fresh real data, without sampling noise: type by type as far as the cut reaches.

p ← share p_0 + (1 − share) decoded(p), decoded: p^(1/T), then the ``top_k`` first types, then the fewest that have
top_p. Beyond the furthest cut so far a model is the truth times its share, whose sums are known beforehand: a
generation takes as long as the cut is far out, not as the vocabulary is large.
"""

from math import exp, log
from typing import Final

import numpy as np
from scipy.special import xlogy

from service.theory.distributions.vocabulary.levels import Vocabulary
from service.theory.errors import Unsupported
from service.theory.model import Array

MAX_LISTED: Final = 1_000_000
MAX_WORK: Final = 200_000_000
_SLACK: Final = 1.0 - 1e-14  # a cumulative probability that reaches the threshold but for rounding
_UNCHANGED: Final = 1e-14


class Nucleus:
    """Generations of a listed vocabulary; the truth at first.

    Raises Unsupported for more than ``MAX_LISTED`` types, and for more than ``MAX_WORK`` probabilities in all.
    """

    def __init__(
        self, vocabulary: Vocabulary, temperature: float, top_k: int | None, top_p: float, share: float
    ) -> None:
        self._truth = listed(vocabulary)
        self._power, self._top_p, self._share = 1.0 / temperature, top_p, share
        self._most = self._truth.size if top_k is None else min(top_k, self._truth.size)
        self._weights = np.exp(
            self._power * np.log(self._truth / self._truth[0])
        )  # p_0^(1/T), of the first: 1
        # of all types from the i-th on, i = 0 … types
        self._mass_from = _from(self._truth)
        self._squares_from = _from(self._truth**2)
        self._surprise_from = _from(-xlogy(self._truth, self._truth))
        self._weights_from = _from(self._weights)
        self._known = np.empty(0)  # p of the first types; the others have _factor times the truth
        self._factor = 1.0
        self._fixed = False
        self._work = float(MAX_WORK)

    def allow(self, part: float) -> None:
        """From here on no more work than this part of the usual one."""
        self._work = part * MAX_WORK

    def forward(self, generations: int) -> None:
        """So many generations on."""
        for done in range(generations):
            if self._fixed:
                return
            self._step()
            self._work -= self._known.size
            if self._work < 0.0 and not self._fixed:
                raise Unsupported(
                    f"after {done + 1:,} more generations the {self._known.size:,} probabilities that are drawn are "
                    "still changing, and no more are computed one by one; ask for fewer generations, fewer types or a "
                    "smaller top_p"
                )

    def state(self) -> tuple[float, float, float, float, float]:
        """Σ p², entropy (nats), types left, the true probability of the others, and the last rank that is left."""
        p, at, f = self._known, self._known.size, self._factor
        squares = float(p @ p) + f * f * float(self._squares_from[at])
        entropy = -float(xlogy(p, p).sum())
        if f > 0.0:
            entropy += f * float(self._surprise_from[at]) - f * log(f) * float(self._mass_from[at])
        left = float(self._truth.size if f > 0.0 else at)
        return squares, max(0.0, entropy), left, 0.0 if f > 0.0 else float(self._mass_from[at]), left

    def _step(self) -> None:
        p, at = self._known, self._known.size
        # everything over the largest weight, which is the first type's
        largest = log(p[0] if at else self._truth[0])
        with np.errstate(divide="ignore"):
            weights = np.exp(self._power * (np.log(p) - largest))
        scale = (
            exp(self._power * (log(self._factor) + log(self._truth[0]) - largest))
            if self._factor > 0.0
            else 0.0
        )
        kept = self._reaching(weights, scale)
        if kept > at:
            weights = np.append(weights, scale * self._weights[at:kept])
            p = np.append(p, self._factor * self._truth[at:kept])
        elif self._share == 0.0:
            weights, p = weights[:kept], p[:kept]
        drawn = weights.copy()
        drawn[kept:] = 0.0
        after = self._share * self._truth[: p.size] + (1.0 - self._share) * drawn / drawn.sum()
        self._fixed = (
            p.size == at and self._factor == self._share and bool(np.all(np.abs(after - p) <= _UNCHANGED * p))
        )
        self._known, self._factor = after, self._share

    def _reaching(self, weights: Array, scale: float) -> int:
        """The fewest first types that have top_p of all that is drawn from."""
        at, most = weights.size, self._most
        if at >= most:
            within = np.cumsum(weights[:most])
            return min(int(np.searchsorted(within, self._top_p * _SLACK * within[-1])) + 1, most)
        within = np.cumsum(weights)
        before = float(within[-1]) if at else 0.0
        behind = scale * float(self._weights_from[at] - self._weights_from[most])
        wanted = self._top_p * _SLACK * (before + behind)
        if before >= wanted or scale == 0.0:
            return min(int(np.searchsorted(within, wanted)) + 1, at)
        # the first K with scale × (weights from at to K) ≥ what is wanted besides; the sums from K on fall
        target = float(self._weights_from[at]) - (wanted - before) / scale
        place = int(np.searchsorted(-self._weights_from[at : most + 1], -target))
        return min(max(at + place, at + 1), most)


def listed(vocabulary: Vocabulary) -> Array:
    """The probabilities of all types, decreasing. Raises Unsupported for more than ``MAX_LISTED`` of them."""
    if vocabulary.types > MAX_LISTED:
        raise Unsupported(
            f"temperature together with top_p is computed for at most {MAX_LISTED:,} types; this vocabulary has "
            f"{vocabulary.types:,.0f}; give fewer, a finite number of types, or only one of the two"
        )
    if vocabulary.exponent is not None:
        p: Array = np.arange(1.0, vocabulary.types + 1.0) ** -vocabulary.exponent / vocabulary.normalizer
        return p
    return np.repeat(vocabulary.probabilities, np.rint(vocabulary.multiplicities).astype(int))


def _from(values: Array) -> Array:
    """Σ_{j ≥ i} for i = 0 … size."""
    sums = np.zeros(values.size + 1)
    sums[:-1] = np.cumsum(values[::-1])[::-1]
    return sums
