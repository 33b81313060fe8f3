"""What temperature, top-k and top-p do to a vocabulary, generation after generation, when samples are plentiful.

Generation 0 learns the truth; the text that generation g trains on is drawn from generation g − 1 through
temperature, then top-k, then top-p, in this order. With infinitely many samples every generation is a function of the
one before; nothing here is random.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import exp, log
from typing import Final

import numpy as np
from scipy.special import xlogy, zeta

from service.theory.distributions.vocabulary.cuts import Cuts
from service.theory.distributions.vocabulary.levels import Vocabulary, zipf
from service.theory.distributions.vocabulary.nucleus import MAX_WORK, Nucleus
from service.theory.errors import Unsupported
from service.theory.model import Array

_UNCHANGED: Final = 1e-14
FOR_EVER: Final = 10**15
"""Generations after which nothing changes any more, or only by what is left of it."""
_LITTLE: Final = 0.02  # of the usual work, to find out about it
_DEEP: Final = 45.0  # e-folds below the largest term of a sum from which terms count for nothing
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

    Closed forms for temperature with top-k (p ∝ p_0^(T^-g) on the k most frequent types) and at temperature 1
    (the truth times a step function of the rank); else p ← share p_0 + (1 − share) decoded(p), generation by
    generation, until nothing changes.
    None for temperatures above 1 on an endless law once its exponent is at most 1. Raises Unsupported where
    neither is possible, saying what would be. ``FOR_EVER`` as the last one, infinitely many, is given up sooner.
    """
    wanted = list(generations)
    if share == 0.0 and decoding.top_p == 1.0:
        return _tempered(vocabulary, decoding, wanted)
    if decoding.temperature == 1.0:
        return _cut(vocabulary, decoding, share, wanted)
    if decoding.top_p == 1.0:
        return _iterated(vocabulary, decoding, share, wanted)
    return _cut(vocabulary, decoding, share, wanted)


def _cut(
    vocabulary: Vocabulary, decoding: Decoding, share: float, generations: list[int]
) -> Iterator[Narrowed]:
    how = decoding
    cuts = (
        Cuts(vocabulary, how.top_k, how.top_p, share)
        if how.temperature == 1.0
        else Nucleus(vocabulary, how.temperature, how.top_k, how.top_p, share)
    )
    at = 0
    for generation in generations:
        if generation == FOR_EVER:
            cuts.allow(_LITTLE)
        cuts.forward(generation - at)
        at = generation
        yield Narrowed(*cuts.state())


# --- temperature ----------------------------------------------------------------------------------


def _tempered(
    vocabulary: Vocabulary, decoding: Decoding, generations: list[int]
) -> Iterator[Narrowed | None]:
    """p ∝ p_0^(T^-g) on the k most frequent types."""
    k = decoding.top_k
    inner = vocabulary if k is None or k >= vocabulary.types else truncated(vocabulary, k)
    outside = vocabulary.beyond(inner.types) if inner.types < vocabulary.types else 0.0
    for generation in generations:
        power = exp(min(-generation * log(decoding.temperature), _LARGEST_LOG))
        law, missing = (vocabulary, 0.0) if generation == 0 else (inner, outside)
        yield (_powered_list if law.exponent is None else _powered_zipf)(law, power, missing)


def _powered_zipf(vocabulary: Vocabulary, power: float, missing: float) -> Narrowed | None:
    """Zipf stays Zipf: exponent β T^-g."""
    assert vocabulary.exponent is not None
    exponent, types = vocabulary.exponent * power, vocabulary.types
    if exponent > _STEEPEST:
        return Narrowed(1.0, 0.0, types, missing, types)
    if np.isinf(types):
        if exponent <= 1.0:
            return None
        found = zipf(None, exponent)
        return Narrowed(float(zeta(2.0 * exponent) / zeta(exponent) ** 2), found.entropy, types, 0.0, types)
    found = zipf(int(types), exponent)
    return Narrowed(found.simpson, found.entropy, types, missing, types)


def _powered_list(vocabulary: Vocabulary, power: float, missing: float) -> Narrowed:
    """A long list by levels that are close together where p^power is not negligible."""
    p = vocabulary.probabilities
    used = vocabulary
    if power * log(p[0] / p[-1]) > _DEEP:
        used = vocabulary.above(p[0] * exp(-_DEEP / power))
    levels = used.condensed
    raised = _powered(levels.probabilities, levels.multiplicities, power)
    simpson, entropy = _summed(raised, levels.multiplicities)
    return Narrowed(simpson, entropy, vocabulary.types, missing, vocabulary.types)


def _powered(p: Array, multiplicities: Array, power: float) -> Array:
    """p^power, normalised over the multiplicities; in logarithms, since powers grow without bound."""
    used = (multiplicities > 0) & (p > 0)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        logs = np.where(used, np.log(p), -np.inf)
        logs = np.where(used, (logs - logs.max()) * power, -np.inf)
    raised = np.exp(logs)
    value: Array = raised / float(multiplicities @ raised)
    return value


def _summed(p: Array, multiplicities: Array) -> tuple[float, float]:
    """Σ p² and the entropy."""
    return float(multiplicities @ p**2), max(-float(multiplicities @ xlogy(p, p)), 0.0)


# --- everything else, step by step ----------------------------------------------------------------


def truncated(vocabulary: Vocabulary, kept: int) -> Vocabulary:
    """The truth among its ``kept`` most frequent types, kept < types."""
    if vocabulary.exponent is not None:
        return zipf(kept, vocabulary.exponent)
    inside = vocabulary.within(kept)
    used = inside > 0
    p = vocabulary.probabilities[used] / float(inside @ vocabulary.probabilities)
    types = inside[used]
    return Vocabulary(p, types, float(kept), listed=vocabulary.listed)


def _iterated(
    vocabulary: Vocabulary, decoding: Decoding, share: float, generations: list[int]
) -> Iterator[Narrowed]:
    """Temperature with real data, and with top-k, on levels."""
    law, inside, rest = _inner(vocabulary, decoding.top_k, share)
    for generation, p in zip(
        generations, _steps(law, inside, decoding.temperature, share, generations), strict=True
    ):
        if generation == 0:
            yield Narrowed(vocabulary.simpson, vocabulary.entropy, vocabulary.types, 0.0, vocabulary.types)
            continue
        simpson, entropy = _summed(p, law.multiplicities)
        yield Narrowed(simpson + rest[0], entropy + rest[1], vocabulary.types, 0.0, vocabulary.types)


def _inner(
    vocabulary: Vocabulary, k: int | None, share: float
) -> tuple[Vocabulary, float, tuple[float, float]]:
    """Levels of the types that are drawn; their true mass; Σ p² and −Σ p ln p of the others, real ones alone."""
    kept = vocabulary.types if k is None else min(float(k), vocabulary.types)
    if not np.isfinite(kept):
        raise Unsupported(
            "this combination has no closed form for an endless vocabulary; give a finite number of types"
        )
    if kept == vocabulary.types:
        return vocabulary.condensed, 1.0, (0.0, 0.0)
    inner, mass, out = truncated(vocabulary, int(kept)), vocabulary.kept(kept), vocabulary.beyond(kept)
    squares = vocabulary.simpson - mass**2 * inner.simpson
    surprise = vocabulary.entropy - mass * (inner.entropy - log(mass))
    return inner.condensed, mass, (share**2 * squares, share * (surprise - log(share) * out))


def _steps(
    law: Vocabulary, inside: float, temperature: float, share: float, generations: list[int]
) -> Iterator[Array]:
    """p at each generation, until nothing changes; raises Unsupported where that takes too long.

    ``inside``: the true mass of the types of ``law``, whose probabilities are among themselves.
    """
    real, types = inside * law.probabilities, law.multiplicities
    p, at, fixed, work = real, 0, False, float(MAX_WORK)
    for generation in generations:
        if generation == FOR_EVER:
            work = at * p.size + _LITTLE * MAX_WORK
        while at < generation and not fixed:
            drawn = _powered(p, types, 1.0 / temperature)
            after = share * real + (1.0 - share) * drawn
            fixed = bool(np.all(np.abs(after - p) <= _UNCHANGED * p))
            p, at = after, at + 1
            if at * p.size > work and not fixed:
                raise Unsupported(
                    f"after {at:,} generations the {p.size:,} probabilities are still changing, and no more are "
                    "computed one by one; ask for fewer generations or types"
                )
        at = generation
        yield p
