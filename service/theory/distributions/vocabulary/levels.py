"""The vocabulary itself: types and their true probabilities, as levels, so that a sum over a million types is short."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final

import numpy as np
from scipy.special import xlogy, zeta

from service.theory.distributions.ranks import rank_rule
from service.theory.model import Array

_FIRST: Final = 512.0  # an endless law is summed to here at least
_FAINTEST: Final = 40.0  # an endless law is summed down to probabilities of 1e-40; beyond, it is one level
MAX_LEVELS: Final = 4096
"""Levels up to which sums over a list have one term for every different count."""
COARSE_LEVELS: Final = 1024


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """The true distribution p over types: Σ_i f(p_i) is Σ_levels multiplicity × f(probability).

    ``probabilities``: of one type of each level, decreasing, shape (levels,).
    ``multiplicities``: how many types a level stands for, shape (levels,); whole numbers where ``listed``, else
    weights of a quadrature over ranks.
    ``types``: how many types there are; inf for an endless law.
    ``entropy``: −Σ p ln p, nats.
    ``exponent``: β of a Zipf law p_i = i^-β / ``normalizer``; None for a list.
    """

    probabilities: Array
    multiplicities: Array
    types: float
    entropy: float
    exponent: float | None = None
    normalizer: float = 1.0
    listed: bool = False

    @cached_property
    def condensed(self) -> "Vocabulary":
        """Of at most ``MAX_LEVELS`` levels, for sums of functions that are smooth in ln p; itself where it is short.

        Intervals of ln p, each with two levels of the same number of types and the same first three moments of p
        (Gauss's rule): the error is of fourth order in the interval's width. Measured for sums over 50,000 and a
        million different counts: 1e-9 of their value.
        """
        return self._of_at_most(MAX_LEVELS)

    @cached_property
    def coarse(self) -> "Vocabulary":
        """Of at most ``COARSE_LEVELS``: as ``condensed``, for closures that are off by more than its 1e-7."""
        return self.condensed._of_at_most(COARSE_LEVELS)

    def above(self, probability: float) -> "Vocabulary":
        """Its types of at least this probability, which do not add up to one."""
        count = self.probabilities.size - int(np.searchsorted(self.probabilities[::-1], probability))
        count = max(count, 1)
        return replace(
            self, probabilities=self.probabilities[:count], multiplicities=self.multiplicities[:count]
        )

    def _of_at_most(self, levels: int) -> "Vocabulary":
        if self.probabilities.size <= levels or self.exponent is not None:
            return self
        p, multiplicities = _condensed(self.probabilities, self.multiplicities, levels // 2)
        return replace(self, probabilities=p, multiplicities=multiplicities, listed=False)

    @cached_property
    def simpson(self) -> float:
        """F = Σ p²: the probability that two tokens are of the same type."""
        return self.total(self.probabilities**2)

    @cached_property
    def reach(self) -> Array:
        """The rank of the last type of each level, shape (levels,); of a list."""
        return np.cumsum(self.multiplicities)

    def within(self, rank: float) -> Array:
        """How many types of each level are among the ``rank`` most frequent ones, shape (levels,); of a list."""
        inside: Array = np.clip(rank - (self.reach - self.multiplicities), 0.0, self.multiplicities)
        return inside

    def total(self, values: Array) -> float:
        """Σ over types of a value per level, shape (levels,)."""
        return float(self.multiplicities @ values)

    def of_rank(self, rank: float) -> float:
        """The probability of the rank-th most frequent type; 0 beyond the last one."""
        if rank > self.types:
            return 0.0
        if self.exponent is not None:
            return float(float(rank) ** -self.exponent / self.normalizer)
        place = int(np.searchsorted(self.reach, rank - 0.5))
        return float(self.probabilities[min(place, self.probabilities.size - 1)])

    def kept(self, rank: float) -> float:
        """C_k: the probability of the k most frequent types."""
        if self.exponent is None:
            return float(self.within(rank) @ self.probabilities)
        if rank >= self.types:
            return 1.0
        return 1.0 - self._beyond(rank)

    def _beyond(self, rank: float) -> float:
        """1 − C_k of a Zipf law, without cancellation."""
        assert self.exponent is not None
        if np.isinf(self.types):
            return float(zeta(self.exponent, rank + 1.0)) / self.normalizer
        ranks, weights = _ranks(self.types, self.exponent, (float(rank),))
        outside = ranks > rank
        return float(weights[outside] @ ranks[outside] ** -self.exponent) / self.normalizer

    def beyond(self, rank: float) -> float:
        """1 − C_k: the probability of all types after the k most frequent ones."""
        if self.exponent is None:
            outside = np.clip(self.reach - rank, 0.0, self.multiplicities)
            return float(outside @ self.probabilities)
        return 0.0 if rank >= self.types else self._beyond(rank)


def zipf(types: int | None, exponent: float, breaks: tuple[int, ...] = ()) -> Vocabulary:
    """p_i = i^-β / Σ_j j^-β for i = 1 … types, or for all i (None: β > 1).

    Sums over ranks are those of ``rank_rule``, exact to about 1e-12 for functions smooth in ln i. ``breaks``: ranks at
    which a block must end, where a sum has a jump.
    Of an endless law, what lies beyond p = 1e-40 is one level of equal mass: exact for all that is linear in p there.
    """
    if types is not None:
        ranks, weights = _ranks(float(types), exponent, tuple(float(b) for b in breaks))
        powers = ranks**-exponent
        normalizer = float(weights @ powers)
        p = powers / normalizer
        return Vocabulary(p, weights, float(types), -float(weights @ xlogy(p, p)), exponent, normalizer)
    last = np.floor(max(10.0 ** (_FAINTEST / exponent), _FIRST, 2.0 * max(breaks, default=0)))
    ranks, weights = _ranks(float(last), exponent, tuple(float(b) for b in breaks), closed=False)
    normalizer = float(zeta(exponent))
    p = ranks**-exponent / normalizer
    rest = float(zeta(exponent, last + 1.0)) / normalizer
    p, weights = np.append(p, p[-1]), np.append(weights, rest / p[-1])
    return Vocabulary(p, weights, np.inf, _zeta_entropy(exponent), exponent, normalizer)


def from_counts(counts: Array, types: Array | None = None) -> Vocabulary:
    """The empirical distribution of counts, shape (n,); ``types``: how many types have each count (default: one).

    Zero counts are no types.
    """
    counts = np.asarray(counts, dtype=float)
    if (
        types is not None
        and counts.size
        and counts[-1] > 0
        and np.all(counts[1:] < counts[:-1])
        and np.all(types > 0)
    ):
        distinct, multiplicities = counts[::-1], np.asarray(types, dtype=float)[::-1]  # in order already
    elif types is None:
        distinct, occurrences = np.unique(counts[counts > 0], return_counts=True)
        multiplicities = occurrences.astype(float)
    else:
        types = np.asarray(types, dtype=float)
        present = (counts > 0) & (types > 0)
        distinct, where = np.unique(counts[present], return_inverse=True)
        multiplicities = np.bincount(where, weights=types[present]).astype(float)
    if not distinct.size:
        raise ValueError("a vocabulary needs a type with a positive count")
    distinct, multiplicities = distinct[::-1], multiplicities[::-1]
    p = distinct / float(distinct @ multiplicities)
    # np.log is several times as fast as xlogy, and no probability is zero
    entropy = max(-float(multiplicities @ (p * np.log(p))), 0.0)
    return Vocabulary(p, multiplicities, float(multiplicities.sum()), entropy, listed=True)


def from_weights(p: Array) -> Vocabulary:
    """A short list of probabilities, decreasing, as they are."""
    return Vocabulary(p, np.ones_like(p), float(p.size), -float(np.sum(xlogy(p, p))), listed=True)


def _condensed(p: Array, multiplicities: Array, intervals: int) -> tuple[Array, Array]:
    """Two levels for each of so many intervals, even in ln p; p decreasing."""
    edges = np.geomspace(p[0], p[-1], intervals + 1)[:-1]
    first = np.unique(p.size - np.searchsorted(p[::-1], edges, side="right"))
    first = first[first < p.size]  # edges are rounded where the counts are nearly equal
    first[0] = 0
    mass, count = multiplicities * p, np.add.reduceat(multiplicities, first)
    mean = np.add.reduceat(mass, first) / count
    off = p - np.repeat(mean, np.diff(first, append=p.size))
    square = multiplicities * off * off
    # clipped: of one type the spread is rounding
    variance = np.add.reduceat(square, first) / count
    spread = np.sqrt(np.where(variance > 1e-24 * mean**2, variance, 0.0))
    with np.errstate(divide="ignore", invalid="ignore"):
        skew = np.where(spread > 0.0, np.add.reduceat(square * off, first) / count / spread**3, 0.0) / 2.0
    root = np.sqrt(1.0 + skew**2)
    high, low = mean + spread * (skew + root), mean + spread * (skew - root)
    share = 0.5 * (1.0 - skew / root)
    single = spread == 0.0
    nodes = np.stack([high, low], axis=1)
    weights = np.stack(
        [np.where(single, count, count * share), np.where(single, 0.0, count * (1.0 - share))], axis=1
    )
    used = weights.ravel() > 0.0
    return nodes.ravel()[used], weights.ravel()[used]


def _zeta_entropy(exponent: float) -> float:
    """−Σ p ln p = ln ζ(β) − β ζ'(β)/ζ(β) of the endless Zipf law.

    −ζ'(β) = Σ ln i × i^-β: N terms, then Euler-Maclaurin for ∫_N^∞ x^-β ln x dx; relative error 1e-14.
    """
    n = 64.0
    i = np.arange(2.0, n)
    c = exponent - 1.0
    log, power = np.log(n), n**-exponent
    integral = n * power * (log / c + 1.0 / c**2)
    first = power * (1.0 - exponent * log) / n
    b = exponent
    third = power / n**3 * (3 * b**2 + 6 * b + 2 - log * b * (b + 1) * (b + 2))
    fifth = power / n**5 * (
        5 * b**4 + 40 * b**3 + 105 * b**2 + 100 * b + 24 - log * b * (b + 1) * (b + 2) * (b + 3) * (b + 4)
    )  # fmt: skip
    summed = float(np.log(i) @ i**-exponent)
    slope = summed + integral + log * power / 2.0 - first / 12.0 + third / 720.0 - fifth / 30240.0
    normalizer = float(zeta(exponent))
    return float(np.log(normalizer) + exponent * slope / normalizer)


def _ranks(
    end: float, exponent: float, breaks: tuple[float, ...], *, closed: bool = True
) -> tuple[Array, Array]:
    """Ranks and weights that stand for 1 … end in sums over p ~ i^-exponent; no block reaches across a break."""
    return rank_rule(end, breaks, max(exponent, 1.0), closed=closed)
