"""The vocabulary itself: types and their true probabilities, as levels, so that a sum over a million types is short."""

from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import comb, xlogy, zeta

from service.theory.distributions.ranks import rank_rule
from service.theory.model import Array

Indices = NDArray[np.intp]
_FIRST: Final = 512.0  # an endless law is summed to here at least
_FAINTEST: Final = 40.0  # an endless law is summed down to probabilities of 1e-40; beyond, it is one level
MAX_LEVELS: Final = 4096
"""Levels up to which sums over a list have one term for every different count."""
_EVEN_FROM: Final = 96  # levels
_SPACING: Final = 0.2  # of even levels, in ln p
_STENCIL: Final = 10
_PART: Final = 2**15  # of a long list at a time
_RESOLVED: Final = 1e-13  # squared relative spread of the types of an interval from which it is no rounding


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """The true distribution p over types: Σ_i f(p_i) is Σ_levels multiplicity × f(probability).

    ``probabilities``: of one type of each level, decreasing, shape (levels,).
    ``multiplicities``: how many types a level stands for, shape (levels,); whole numbers where ``listed``, else
    weights of a quadrature over ranks.
    ``types``: how many types there are; inf for an endless law.
    ``exponent``: β of a Zipf law p_i = i^-β / ``normalizer``; None for a list.
    """

    probabilities: Array
    multiplicities: Array
    types: float
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
        if self.probabilities.size <= MAX_LEVELS or self.exponent is not None:
            return self
        p, multiplicities = _condensed(self.probabilities, self.multiplicities, MAX_LEVELS // 2)
        return replace(self, probabilities=p, multiplicities=multiplicities, listed=False)

    @cached_property
    def even(self) -> "Vocabulary":
        """Levels evenly spaced in ln p, for sums Σ p f(p) of functions f that are smooth in ln p, and slow to compute.

        f is taken as the polynomial through the ten levels around ln p; itself where it is short.
        """
        if self.probabilities.size <= _EVEN_FROM:
            return self
        p, masses = _even(self.condensed)
        return replace(self, probabilities=p, multiplicities=masses / p, listed=False)

    def above(self, probability: float) -> "Vocabulary":
        """Its types of at least this probability, which do not add up to one."""
        count = self.probabilities.size - int(np.searchsorted(self.probabilities[::-1], probability))
        count = max(count, 1)
        return replace(
            self, probabilities=self.probabilities[:count], multiplicities=self.multiplicities[:count]
        )

    @cached_property
    def simpson(self) -> float:
        """F = Σ p²: the probability that two tokens are of the same type; exact for condensed levels too."""
        levels = self.condensed
        return levels.total(levels.probabilities**2)

    @cached_property
    def entropy(self) -> float:
        """−Σ p ln p, nats; of a condensed list within 3e-10, an interval's width⁴/768 for each p."""
        if np.isinf(self.types):
            assert self.exponent is not None
            return _zeta_entropy(self.exponent)
        levels = self.condensed
        return max(-levels.total(xlogy(levels.probabilities, levels.probabilities)), 0.0)

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
        return Vocabulary(p, weights, float(types), exponent, normalizer)
    last = np.floor(max(10.0 ** (_FAINTEST / exponent), _FIRST, 2.0 * max(breaks, default=0)))
    ranks, weights = _ranks(float(last), exponent, tuple(float(b) for b in breaks), closed=False)
    normalizer = float(zeta(exponent))
    p = ranks**-exponent / normalizer
    rest = float(zeta(exponent, last + 1.0)) / normalizer
    p, weights = np.append(p, p[-1]), np.append(weights, rest / p[-1])
    return Vocabulary(p, weights, np.inf, exponent, normalizer)


def from_counts(counts: Array, types: Array | None = None) -> Vocabulary:
    """The empirical distribution of counts, shape (n,); ``types`` ≥ 1: how many types have each (default: one).

    Zero counts are no types.
    """
    if counts.size and counts[-1] > 0 and np.all(counts[1:] < counts[:-1]):  # in order already
        multiplicities = (
            np.broadcast_to(1.0, counts.size) if types is None else np.asarray(types, dtype=float)
        )
    else:
        counts, multiplicities = _ordered(np.asarray(counts, dtype=float), types)
    total = sum(float(counts[part] @ multiplicities[part]) for part in _parts(counts.size))
    return Vocabulary(counts / total, multiplicities, float(multiplicities.sum()), listed=True)


def _ordered(counts: Array, types: Array | None) -> tuple[Array, Array]:
    """The distinct counts, largest first, and how many types have each."""
    distinct, where = np.unique(counts, return_inverse=True)
    multiplicities = np.bincount(where, weights=types).astype(float)
    if distinct.size and distinct[0] == 0.0:
        distinct, multiplicities = distinct[1:], multiplicities[1:]
    if not distinct.size:
        raise ValueError("a vocabulary needs a type with a positive count")
    return distinct[::-1], multiplicities[::-1]


def _parts(size: int) -> list[slice]:
    """Parts of a long list whose intermediate results stay in the cache: several times as fast as the whole."""
    return [slice(start, start + _PART) for start in range(0, size, _PART)]


def from_weights(p: Array) -> Vocabulary:
    """A short list of probabilities, decreasing, as they are."""
    return Vocabulary(p, np.ones_like(p), float(p.size), listed=True)


def _condensed(p: Array, multiplicities: Array, intervals: int) -> tuple[Array, Array]:
    """Two levels for each of so many intervals, even in ln p; p decreasing."""
    edges = np.geomspace(p[0], p[-1], intervals + 1)[:-1]
    first = np.unique(p.size - np.searchsorted(p[::-1], edges, side="right"))
    first = first[first < p.size]  # edges are rounded where the counts are nearly equal
    first[0] = 0
    count, mean, variance, third = _central_moments(p, multiplicities, first)
    # What is smaller is rounding, of one type all of it.
    spread = np.sqrt(np.where(variance > _RESOLVED * mean**2, variance, 0.0))
    widest = (p[first] - p[np.append(first[1:], p.size) - 1]) * variance
    with np.errstate(divide="ignore", invalid="ignore"):
        skew = np.where(spread > 0.0, np.clip(third, -widest, widest) / spread**3, 0.0) / 2.0
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


def _central_moments(p: Array, multiplicities: Array, first: Indices) -> Array:
    """Of the types from each of ``first`` to the next: their number, mean, variance and third moment, shape (4, n).

    From Σ p, Σ p², Σ p³: what rounding takes of the central moments counts as little as rounding does in sums of f(p).
    """
    lasts = np.append(first[1:], p.size)
    # whole intervals, as many as the cache holds
    groups = np.unique(np.searchsorted(lasts, np.arange(_PART, p.size + _PART, _PART)))
    found = []
    for low, high in pairwise([0, *(np.minimum(groups, first.size - 1) + 1)]):
        part = slice(int(first[low]), int(lasts[high - 1]))
        starts, power, sums = first[low:high] - first[low], multiplicities[part], []
        for _ in range(3):
            sums.append(np.add.reduceat(power, starts))
            power = power * p[part]
        found.append(np.stack([*sums, np.add.reduceat(power, starts)]))
    count, total, squares, cubes = np.concatenate(found, axis=1)
    mean, square, cube = total / count, squares / count, cubes / count
    return np.stack([count, mean, square - mean**2, cube - 3.0 * mean * square + 2.0 * mean**3])


def _even(levels: Vocabulary) -> tuple[Array, Array]:
    """Even levels p and the mass that each stands for, by Lagrange's polynomials on the nearest ten of them."""
    p, masses = levels.probabilities, levels.multiplicities * levels.probabilities
    reach = float(np.log(p[0] / p[-1]))
    if reach == 0.0:
        return p[:1], np.array([masses.sum()])
    intervals = max(int(np.ceil(reach / _SPACING)), _STENCIL - 1)
    place = np.clip(np.log(p[0] / p) / reach, 0.0, 1.0) * intervals
    start = np.clip(np.floor(place).astype(int) - (_STENCIL // 2 - 1), 0, intervals + 1 - _STENCIL)
    nodes = np.arange(_STENCIL)
    off = (place - start)[:, None] - nodes
    exactly = off == 0.0
    with np.errstate(divide="ignore", invalid="ignore"):
        weights = np.where(nodes % 2, -1.0, 1.0) * comb(_STENCIL - 1, nodes) / off
        weights /= weights.sum(axis=1, keepdims=True)
    weights = np.where(exactly.any(axis=1, keepdims=True), exactly, weights)
    found = np.zeros(intervals + 1)
    np.add.at(found, start[:, None] + nodes, masses[:, None] * weights)
    return p[0] * np.exp(-reach / intervals * np.arange(intervals + 1.0)), found


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
