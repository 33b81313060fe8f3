"""Generations of n-gram language models: trained on a text, sampled, trained on the sample."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final, Literal

import numpy as np
from numpy.random import SFC64, Generator, SeedSequence

from service.simulation.distributions.ngrams import Corpus, NgramModel, Numbers, excerpt, whole
from service.theory.model import Array

BY_LENGTH: Final = ("distinct", "missing_mass", "entropy")
BINS: Final = 30
LOWEST: Final = -15.0
"""The histograms' range is ln P from LOWEST to 0, in BINS cells; what is below is in the first one."""


@dataclass(frozen=True, eq=False)
class NgramWork:
    """Replicates of a chain of n-gram models.

    ``path``: the text's token numbers; the last ``held_out`` tokens are never trained on. ``kept``: share of every
    later corpus that is original text, drawn anew from it; with ``accumulate`` every corpus stays beside it.
    ``first``, ``last``: the part of the text that is trained on, in tokens.
    """

    path: Path
    types: int
    training: int
    held_out: int
    order: int
    discount: float
    generations: int
    kept: float
    workflow: Literal["replace", "accumulate"]

    @property
    def rows(self) -> int:
        """Numbers of one replicate."""
        return (self.generations + 1) * self.rows_of_generation

    @property
    def rows_of_generation(self) -> int:
        """BY_LENGTH for every length, the held-out log-loss, and two histograms."""
        return len(BY_LENGTH) * self.order + 1 + 2 * BINS

    @cached_property
    def _text(self) -> tuple[Numbers, Numbers]:
        tokens = np.load(self.path, mmap_mode="r")[: self.training + self.held_out].astype(np.int64)
        return tokens[: self.training], tokens[self.training :]

    @cached_property
    def _original(self) -> NgramModel:
        return NgramModel([whole(self._text[0], self.order)], self.order, self.types, self.discount)

    def __getstate__(self) -> dict[str, object]:
        """Without what was loaded: it travels to other processes."""
        return {name: self.__dict__[name] for name in self.__dataclass_fields__}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state)

    def outcomes(self, seed: int, first: int, last: int) -> Array:
        """Shape (rows, last - first); replicate r is a function of (seed, r) alone."""
        return np.column_stack([self._replicate(seed, r) for r in range(first, last)])

    def _replicate(self, seed: int, replicate: int) -> Array:
        generator = Generator(SFC64(SeedSequence(seed, spawn_key=(replicate,))))
        text = self._text[0]
        latest = whole(text, self.order)
        corpora, model = [latest], self._original
        found = [self._measured(model, latest)]
        for _ in range(self.generations):
            kept = round(self.kept * self.training)
            new = []
            if kept:
                new.append(excerpt(text, self.order, kept, generator))
            if kept < self.training:
                latest = model.generate(self.training - kept, corpora[-1], generator)
                new.append(latest)
            corpora = corpora + new if self.workflow == "accumulate" else new
            model = NgramModel(corpora, self.order, self.types, self.discount)
            found.append(self._measured(model, latest))
        return np.concatenate(found)

    def _measured(self, model: NgramModel, latest: Corpus) -> Array:
        """What one model is: its n-grams, what it lost of the original's, and two sets of log-probabilities."""
        original = whole(self._text[0], self.order)
        nodes = model.nodes(original.tokens)
        by_length: list[float] = []
        for length in range(1, self.order + 1):
            counts = model.frequencies(length)
            p = counts / counts.sum()
            lost = float((nodes[length - 1][:, self.order - 1 :] < 0).mean())
            by_length += [float(counts.size), lost, -float(p @ np.log(p))]
        held_out = model.log_probabilities(whole(self._text[1], self.order))
        generated = self._original.log_probabilities(latest)
        return np.array([*by_length, -float(held_out.mean()), *_histogram(held_out), *_histogram(generated)])


def _histogram(logs: Array) -> Array:
    """Shares of the tokens with ln P in each cell."""
    counts, _ = np.histogram(np.clip(logs, LOWEST, 0.0), bins=BINS, range=(LOWEST, 0.0))
    return np.asarray(counts / logs.size)
