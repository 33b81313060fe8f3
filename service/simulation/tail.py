"""The learner that fails on what it has not seen, carried out: items are drawn one by one, and looked up."""

from dataclasses import dataclass
from functools import cached_property
from typing import Final, Literal

import numpy as np
from numpy.random import Generator, SeedSequence, default_rng
from numpy.typing import NDArray

from service.theory.model import Array

Items = NDArray[np.int64]

MAX_TABLE: Final = 1_000_000
LEAST_ENDLESS: Final = 1.3
"""Ranks are 64-bit integers: below this exponent what lies beyond them would be missed."""


@dataclass(frozen=True)
class DrawnLaw:
    """Items of probability i^-exponent / ``normalizer``: endless (``types`` None), or up to MAX_TABLE types."""

    exponent: float
    normalizer: float
    types: int | None = None

    @cached_property
    def _steps(self) -> Array:
        assert self.types is not None
        steps: Array = np.cumsum(np.arange(1.0, self.types + 1) ** -self.exponent)
        return steps

    def draw(self, count: int, rng: Generator) -> Items:
        """Independent items, shape (count,)."""
        if self.types is None:
            items: Items = rng.zipf(self.exponent, count).astype(np.int64, copy=False)
            return items
        return self._of_the_first(self.types, count, rng)

    def known(self, count: int, rank: float, rng: Generator) -> Items:
        """Independent items of a generator that knows only the first ``rank``.

        Of endlessly many, others are drawn again: at least a quarter are known, the exponent being 1.3 or more.
        """
        if self.types is not None:
            return self._of_the_first(int(min(rank, self.types)), count, rng)
        items = self.draw(count, rng)
        unknown = np.flatnonzero(items > rank)
        while unknown.size:
            items[unknown] = self.draw(unknown.size, rng)
            unknown = unknown[items[unknown] > rank]
        return items

    def _of_the_first(self, known: int, count: int, rng: Generator) -> Items:
        steps = self._steps[:known]
        place = np.searchsorted(steps, rng.random(count) * steps[-1], side="right")
        found: Items = np.minimum(place, known - 1) + 1
        return found

    def probability(self, items: Items) -> Array:
        """p of the items."""
        p: Array = items.astype(float) ** -self.exponent / self.normalizer
        return p


@dataclass(frozen=True)
class TailWork:
    """One learner, after each of several numbers of samples or at the end of each of several generations.

    ``token``: the second law of pairs; else None. ``generator``: the steeper law of a narrowed generator, else None.
    ``real_fraction`` of the samples are real, by chance or (``stratified``, in generations) exactly, the others of a
    generator that knows ``rank`` items; ``real_samples`` more are real. ``sizes``: of the generators of a recursion,
    and ``samples`` one number; else none, and ``samples`` rising. ``reported``: generations, rising, of a recursion.
    ``memory``: items that the learner keeps, the first ones or (``noisy``) those most frequent in its samples.
    """

    law: DrawnLaw
    samples: tuple[int, ...]
    token: DrawnLaw | None = None
    generator: DrawnLaw | None = None
    real_fraction: float = 1.0
    rank: float = np.inf
    real_samples: int = 0
    sizes: tuple[int, ...] = ()
    reported: tuple[int, ...] = ()
    allocation: Literal["stratified", "iid"] = "iid"
    memory: float = np.inf
    noisy: bool = False

    def outcomes(self, seed: int, first: int, last: int) -> Array:
        """Unseen masses of the replicates first <= r < last, shape (samples or generations reported, last - first)."""
        return np.array([self._replicate(seed, replicate) for replicate in range(first, last)]).T

    def _replicate(self, seed: int, replicate: int) -> list[float]:
        rng = default_rng(SeedSequence(seed, spawn_key=(replicate,)))
        if self.token is not None:
            return self._pairs(self.token, rng)
        if self.sizes or self.reported:
            return self._generations(rng)
        real = self.law.draw(self.real_samples, rng)
        drawn = self._drawn(self.samples[-1], rng)
        return [self.unseen(np.concatenate([real, drawn[:T]]), rng) for T in self.samples]

    def _drawn(self, count: int, rng: Generator) -> Items:
        """What the learner is shown beside the real samples it has."""
        if self.generator is not None:
            return self.generator.draw(count, rng)
        if self.real_fraction >= 1.0:
            return self.law.draw(count, rng)
        real = rng.random(count) < self.real_fraction
        items = np.empty(count, dtype=np.int64)
        items[real] = self.law.draw(int(real.sum()), rng)
        items[~real] = self.law.known(count - int(real.sum()), self.rank, rng)
        return items

    def _generations(self, rng: Generator) -> list[float]:
        """A learner at the end of every reported generation, each of samples of its own."""
        T, found = self.samples[0], []
        parents: Items | None = None
        for generation in range(self.reported[-1] + 1):
            if generation > 0:
                parents = self._next(parents, self.sizes[generation - 1], rng)
            if generation in self.reported:
                found.append(self.unseen(self._next(parents, T, rng), rng))
        return found

    def _next(self, parents: Items | None, count: int, rng: Generator) -> Items:
        """Samples of the model that was trained on ``parents``, some of them real; None: all are."""
        if parents is None:
            return self.law.draw(count, rng)
        share = self.real_fraction
        real = round(share * count) if self.allocation == "stratified" else int(rng.binomial(count, share))
        copied = parents[rng.integers(0, parents.size, count - real)]
        return np.concatenate([self.law.draw(real, rng), copied])

    def unseen(self, items: Items, rng: Generator) -> float:
        """The probability of what a learner of these samples does not know."""
        distinct, counts = np.unique(items, return_counts=True)
        if self.noisy and distinct.size > self.memory:
            # ties are broken by chance
            order = np.argsort(counts + rng.random(counts.size))
            distinct = np.sort(distinct[order[-int(self.memory) :]])
        elif not self.noisy:
            distinct = distinct[distinct <= self.memory]
        return max(1.0 - float(np.sum(self.law.probability(distinct)[::-1])), 0.0)

    def _pairs(self, token: DrawnLaw, rng: Generator) -> list[float]:
        T = self.samples[-1]
        contexts, tokens = self.law.draw(T, rng), token.known(T, self.rank, rng)
        found = []
        for count in self.samples:
            pairs = np.unique(np.stack([contexts[:count], tokens[:count]], axis=1), axis=0)
            p = self.law.probability(pairs[:, 0]) * token.probability(pairs[:, 1])
            found.append(max(1.0 - float(np.sum(np.sort(p))), 0.0))
        return found
