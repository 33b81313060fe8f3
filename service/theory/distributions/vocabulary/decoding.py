"""What temperature, top-k and top-p do to a vocabulary, generation after generation, when samples are plentiful.

Generation 0 learns the truth; the text that generation g trains on is drawn from generation g − 1 through
temperature, then top-k, then top-p, in this order. With infinitely many samples every generation is a function of the
one before; nothing here is random.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from math import exp, log
from typing import Final

import numpy as np
from scipy.special import xlogy, zeta

from service.theory.distributions.vocabulary.levels import Vocabulary, zipf
from service.theory.errors import Unsupported
from service.theory.model import Array

MAX_LISTED: Final = 20_000
MAX_WORK: Final = 200_000_000
MAX_RANKED: Final = 1_000_000
_SLACK: Final = 1.0 - 1e-14  # a cumulative probability that reaches the threshold but for rounding
_LARGEST_LOG: Final = 600.0
_STEEPEST: Final = 300.0  # exponent beyond which the second type has no probability left in double precision


@dataclass(frozen=True)
class Decoding:
    """How tokens are drawn: p^(1/temperature), then the ``top_k`` first types, then the fewest that have ``top_p``."""

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float = 1.0

    @property
    def plain(self) -> bool:
        """Whether tokens are drawn as the model says."""
        return self.temperature == 1.0 and self.top_k is None and self.top_p == 1.0


@dataclass(frozen=True)
class Narrowed:
    """A generation: Σ p², entropy (nats), how many types are left, and the true probability of those that are gone.

    ``kept``: the most frequent types that are left are those of rank ≤ kept (inf: all).
    """

    simpson: float
    entropy: float
    surviving: float
    missing_mass: float
    kept: float


def narrowed(
    vocabulary: Vocabulary, decoding: Decoding, share: float, generations: Iterable[int]
) -> Iterator[Narrowed | None]:
    """Each of ``generations`` (increasing, from 0), ``share`` of every one's samples real; None: no such distribution.

    Closed forms for temperature with top-k (p ∝ p_0^(T^-g) on the k most frequent types) and for top-p alone
    (K_g = min{k: C(k) ≥ top_p C(K_{g-1})}); else p ← share p_0 + (1 − share) decoded(p), generation by generation.
    None for temperatures above 1 on an endless law once its exponent is at most 1. Raises Unsupported where
    neither is possible, saying what would be.
    """
    wanted = list(generations)
    if share == 0.0 and decoding.top_p == 1.0:
        return (_tempered(vocabulary, decoding, g) for g in wanted)
    if share == 0.0 and decoding.temperature == 1.0:
        return _cut(vocabulary, decoding, wanted)
    return _iterated(vocabulary, decoding, share, wanted)


def _tempered(vocabulary: Vocabulary, decoding: Decoding, generation: int) -> Narrowed | None:
    kept = np.inf if decoding.top_k is None or generation == 0 else float(decoding.top_k)
    power = exp(min(-generation * log(decoding.temperature), _LARGEST_LOG))
    if vocabulary.exponent is not None:
        return _tempered_zipf(vocabulary, power, kept)
    inside = vocabulary.within(kept)
    p = _powered(vocabulary.probabilities, inside, power)
    return _summary(p, inside, min(kept, vocabulary.types), vocabulary.beyond(kept))


def _tempered_zipf(vocabulary: Vocabulary, power: float, kept: float) -> Narrowed | None:
    """Zipf stays Zipf: exponent β T^-g, on the first k ranks."""
    assert vocabulary.exponent is not None
    exponent = vocabulary.exponent * power
    types = min(kept, vocabulary.types)
    missing = vocabulary.beyond(kept)
    if exponent > _STEEPEST:
        return Narrowed(1.0, 0.0, types, missing, kept)
    if np.isinf(types):
        if exponent <= 1.0:
            return None
        found = zipf(None, exponent)
        return Narrowed(float(zeta(2.0 * exponent) / zeta(exponent) ** 2), found.entropy, np.inf, 0.0, kept)
    found = zipf(int(types), exponent)
    return Narrowed(found.simpson, found.entropy, types, missing, kept)


def _powered(p: Array, multiplicities: Array, power: float) -> Array:
    """p^power, normalised over the multiplicities; in logarithms, since powers grow without bound."""
    used = (multiplicities > 0) & (p > 0)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        logs = np.where(used, np.log(p), -np.inf)
        logs = np.where(used, (logs - logs.max()) * power, -np.inf)
    raised = np.exp(logs)
    value: Array = raised / float(multiplicities @ raised)
    return value


def _summary(p: Array, multiplicities: Array, surviving: float, missing: float) -> Narrowed:
    return Narrowed(
        float(multiplicities @ p**2),
        max(-float(multiplicities @ xlogy(p, p)), 0.0),
        float(surviving),
        float(missing),
        float(surviving),
    )


def _cut(vocabulary: Vocabulary, decoding: Decoding, generations: list[int]) -> Iterator[Narrowed]:
    """Top-p (and top-k before it) at temperature 1: the truth, cut at a rank that falls."""
    ranking = _Ranking(vocabulary)
    kept, at, fixed = float(vocabulary.types), 0, False
    for generation in generations:
        while at < generation and not fixed:
            before = kept
            if decoding.top_k is not None:
                kept = min(kept, float(decoding.top_k))
            kept = ranking.reaching(decoding.top_p * _SLACK, kept)
            fixed = kept == before
            at += 1
        at = generation
        yield ranking.cut(kept)


class _Ranking:
    """Cumulative probabilities of the truth by rank, and their inverse."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._cumulative: Array | None = None
        if vocabulary.exponent is not None and np.isfinite(vocabulary.types):
            if vocabulary.types > MAX_RANKED:
                raise Unsupported(
                    f"top_p on a finite Zipf law is computed for at most {MAX_RANKED:,} types; "
                    "an endless law (types null) has no such limit"
                )
            ranks = np.arange(1.0, vocabulary.types + 1.0)
            self._cumulative = np.cumsum(ranks**-vocabulary.exponent) / vocabulary.normalizer
        elif vocabulary.exponent is None:
            self._mass = np.cumsum(vocabulary.multiplicities * vocabulary.probabilities)

    def reaching(self, share: float, kept: float) -> float:
        """The smallest k with C(k) ≥ share × C(kept)."""
        if self._cumulative is not None:
            target = share * self._cumulative[int(kept) - 1]
            return float(np.searchsorted(self._cumulative[: int(kept)], target) + 1)
        if self._vocabulary.exponent is not None:
            return self._endless(share, kept)
        target = share * self._vocabulary.kept(kept)
        level = int(np.searchsorted(self._mass, target))
        before = self._mass[level - 1] if level else 0.0
        start = self._vocabulary.reach[level - 1] if level else 0.0
        inside = max(np.ceil((target - before) / self._vocabulary.probabilities[level] - 1e-9), 1.0)
        return float(min(start + inside, kept))

    def _endless(self, share: float, kept: float) -> float:
        """Through the tail, which keeps its digits: the smallest k with tail(k) ≤ 1 − share C(kept)."""
        v = self._vocabulary
        assert v.exponent is not None
        lost = 1.0 - share + share * (0.0 if np.isinf(kept) else v.beyond(kept))
        c = v.exponent - 1.0
        guess = (lost * v.normalizer * c) ** (-1.0 / c) - 0.5
        if guess > 1e15:  # neighbouring ranks are one number here
            return float(min(np.ceil(guess), kept))
        k = max(np.floor(guess), 1.0)
        while v.beyond(k) > lost:
            k += 1.0
        while k > 1.0 and v.beyond(k - 1.0) <= lost:
            k -= 1.0
        return float(min(k, kept))

    def cut(self, kept: float) -> Narrowed:
        """The truth on its first ``kept`` ranks."""
        v = self._vocabulary
        if v.exponent is None:
            inside = v.within(kept)
            p = v.probabilities / float(inside @ v.probabilities)
            return _summary(p, inside, kept, v.beyond(kept))
        if np.isinf(kept):
            return Narrowed(v.simpson, v.entropy, kept, 0.0, kept)
        found = zipf(int(kept), v.exponent)
        return Narrowed(found.simpson, found.entropy, kept, v.beyond(kept), kept)


def truncated(vocabulary: Vocabulary, kept: int) -> Vocabulary:
    """The truth among its ``kept`` most frequent types, kept < types."""
    if vocabulary.exponent is not None:
        return zipf(kept, vocabulary.exponent)
    inside = vocabulary.within(kept)
    used = inside > 0
    p = vocabulary.probabilities[used] / float(inside @ vocabulary.probabilities)
    types = inside[used]
    return Vocabulary(p, types, float(kept), -float(types @ xlogy(p, p)), listed=vocabulary.listed)


def _iterated(
    vocabulary: Vocabulary, decoding: Decoding, share: float, generations: list[int]
) -> Iterator[Narrowed]:
    """Generation by generation, on a list of types; where nothing is cut, on levels."""
    if not np.isfinite(vocabulary.types):
        raise Unsupported(
            "this combination has no closed form for an endless vocabulary; give a finite number of types"
        )
    truth = vocabulary.condensed
    if decoding.top_k is not None or decoding.top_p < 1.0:
        truth = _listed(vocabulary)
    if truth.probabilities.size * float(generations[-1]) > MAX_WORK:
        raise Unsupported(
            f"{generations[-1]:,} generations of {truth.probabilities.size:,} types are more than the {MAX_WORK:,} "
            "steps that are computed one by one; ask for fewer generations or types"
        )
    return _steps(truth, decoding, share, generations)


def _listed(vocabulary: Vocabulary) -> Vocabulary:
    if vocabulary.types > MAX_LISTED:
        raise Unsupported(
            f"temperature or fresh real data together with top_p, and fresh real data with top_k, are computed for at "
            f"most {MAX_LISTED:,} types; this vocabulary has {vocabulary.types:,.0f}"
        )
    if vocabulary.exponent is not None:
        p = np.arange(1.0, vocabulary.types + 1.0) ** -vocabulary.exponent / vocabulary.normalizer
    else:
        p = np.repeat(vocabulary.probabilities, np.rint(vocabulary.multiplicities).astype(int))
    return replace(vocabulary, probabilities=p, multiplicities=np.ones_like(p), exponent=None)


def _steps(truth: Vocabulary, decoding: Decoding, share: float, generations: list[int]) -> Iterator[Narrowed]:
    p0, types = truth.probabilities, truth.multiplicities
    p, at, fixed = p0, 0, False
    for generation in generations:
        while at < generation and not fixed:
            drawn = _powered(p, types, 1.0 / decoding.temperature)
            if decoding.top_k is not None or decoding.top_p < 1.0:
                drawn = _truncated(drawn, decoding)
            after = share * p0 + (1.0 - share) * drawn
            fixed = bool(np.all(np.abs(after - p) <= 1e-15 * p))
            p, at = after, at + 1
        at = generation
        alive = p > 0.0
        surviving = float(types[alive].sum())
        yield _summary(p, types, surviving, truth.total(np.where(alive, 0.0, p0)))


def _truncated(p: Array, decoding: Decoding) -> Array:
    """Top-k, then top-p, of a list that is in decreasing order (no step here changes the order)."""
    cut = p.copy()
    if decoding.top_k is not None:
        cut[decoding.top_k :] = 0.0
    if decoding.top_p < 1.0:
        cumulative = np.cumsum(cut)
        last = int(np.searchsorted(cumulative, decoding.top_p * _SLACK * cumulative[-1]))
        cut[last + 1 :] = 0.0
    value: Array = cut / cut.sum()
    return value
