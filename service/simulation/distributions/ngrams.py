"""An n-gram language model with back-off: counted on a corpus, sampled, and asked for probabilities, all by arrays.

With c(h w) the count of the n-gram "history, word" and D the discount,

    P(w | h) = max(c(h w) − D, 0)/c(h) + D N(h)/c(h) × P(w | h'),   N(h) the different words after h,

h' being h without its oldest word (absolute discounting, Ney, Essen and Kneser 1994), down to the uniform
distribution over all types. A history that was never seen backs off altogether. D = 0 is maximum likelihood.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from service.theory.model import Array

Numbers = NDArray[np.int64]

_CHAIN: Final = 250  # tokens that a passage has, about; all passages of a corpus are written side by side
_CHAINS: Final = 16_384


@dataclass(frozen=True, eq=False)
class Corpus:
    """Passages of one length: ``tokens``, shape (passages, order − 1 + length); the first ones are only history."""

    tokens: Numbers
    order: int

    @property
    def size(self) -> int:
        """Tokens that are learnt from."""
        return int(self.tokens.shape[0] * (self.tokens.shape[1] - self.order + 1))


def whole(text: Numbers, order: int) -> Corpus:
    """A text as one passage, closed to a ring: its last words are the history of its first."""
    start = text[text.size - order + 1 :] if order > 1 else text[:0]
    return Corpus(np.concatenate([start, text])[None, :].astype(np.int64), order)


def excerpt(text: Numbers, order: int, size: int, generator: Generator) -> Corpus:
    """``size`` tokens of a text, in passages of about 250 from random places of the ring."""
    passages = max(round(size / _CHAIN), 1)
    length = max(size // passages, 1)
    starts = generator.integers(0, text.size, passages)
    places = (starts[:, None] + np.arange(-(order - 1), length)[None, :]) % text.size
    return Corpus(text[places].astype(np.int64), order)


def layout(size: int) -> tuple[int, int]:
    """How many passages of which length a generated corpus of ``size`` tokens has; their product is not less."""
    passages = min(max(round(size / _CHAIN), 1), _CHAINS)
    return passages, -(-size // passages)


@dataclass(frozen=True, eq=False)
class _Level:
    """The n-grams of one length: ``codes`` = number of the prefix × types + word, rising; how often; their sums."""

    codes: Numbers
    counts: Numbers
    reach: Numbers  # cumulative counts, starting with 0


class NgramModel:
    """Counts of all n-grams up to ``order`` in corpora over ``types`` words."""

    def __init__(self, corpora: list[Corpus], order: int, types: int, discount: float) -> None:
        self.order, self.types, self.discount = order, types, discount
        self._levels: list[_Level] = []
        prefixes = [np.zeros_like(one.tokens) for one in corpora]
        for length in range(1, order + 1):
            codes = [p * types + one.tokens for p, one in zip(prefixes, corpora, strict=True)]
            # Windows that end in the part that is learnt from.
            learnt = np.concatenate(
                [c[:, one.order - 1 :].ravel() for c, one in zip(codes, corpora, strict=True)]
            )
            unique, counts = np.unique(learnt, return_counts=True)
            self._levels.append(_Level(unique, counts, np.concatenate([[0], np.cumsum(counts)])))
            if length < order:
                prefixes = [_shifted(self._find(length, c)) for c in codes]

    def frequencies(self, length: int) -> Numbers:
        """How often each different n-gram of this length occurs."""
        return self._levels[length - 1].counts

    def nodes(self, tokens: Numbers) -> list[Numbers]:
        """For every position and every length, the number of the n-gram that ends there; −1: never seen."""
        found, prefix = [], np.zeros_like(tokens)
        for length in range(1, self.order + 1):
            code = np.where(prefix >= 0, prefix * self.types + tokens, -1)
            node = self._find(length, code)
            found.append(node)
            prefix = _shifted(node)
        return found

    def log_probabilities(self, corpus: Corpus) -> Array:
        """ln P(word | the order − 1 words before) of every token that is learnt from, flat; never −∞ if D > 0."""
        nodes = self.nodes(corpus.tokens)
        probability = np.full(corpus.tokens.shape, 1.0 / self.types)
        for length in range(1, self.order + 1):
            level = self._levels[length - 1]
            history = np.zeros_like(corpus.tokens) if length == 1 else _shifted(nodes[length - 2])
            total, different = self._children(level, history)
            node = nodes[length - 1]
            count = np.where(node >= 0, level.counts[np.maximum(node, 0)], 0)
            seen = total > 0
            own = np.maximum(count - self.discount, 0.0)
            mixed = (own + self.discount * different * probability) / np.where(seen, total, 1)
            probability = np.where(seen, mixed, probability)
        learnt = probability[:, corpus.order - 1 :].ravel()
        with np.errstate(divide="ignore"):
            return np.asarray(np.log(learnt))

    def generate(self, size: int, seeds: Corpus, generator: Generator) -> Corpus:
        """A corpus of the ``layout`` of this size, started from random histories of ``seeds``."""
        passages, length = layout(size)
        width = self.order - 1
        rows = generator.integers(0, seeds.tokens.shape[0], passages)
        columns = generator.integers(0, seeds.tokens.shape[1] - width + 1, passages)
        tokens = np.empty((passages, width + length), dtype=np.int64)
        tokens[:, :width] = seeds.tokens[rows[:, None], columns[:, None] + np.arange(width)]
        # Of every passage, the n-grams that its last words form: histories[k] has k words.
        histories = [np.zeros(passages, dtype=np.int64)]
        if width:
            ends = self.nodes(tokens[:, :width])
            histories += [ends[k - 1][:, -1] for k in range(1, self.order)]
        for place in range(width, width + length):
            word = self._draw(histories, generator)
            tokens[:, place] = word
            after = [histories[0]]
            for k in range(1, self.order):
                shorter = histories[k - 1]
                after.append(self._find(k, np.where(shorter >= 0, shorter * self.types + word, -1)))
            histories = after
        return Corpus(tokens, self.order)

    def _draw(self, histories: list[Numbers], generator: Generator) -> Numbers:
        """A word for every passage: drawn by its count and kept with (c − D)/c; else the oldest word is forgotten."""
        passages = histories[0].size
        word = np.full(passages, -1, dtype=np.int64)
        for k in range(self.order - 1, -1, -1):
            level, history = self._levels[k], histories[k]
            waiting = np.flatnonzero((word < 0) & (history >= 0))
            if not waiting.size:
                continue
            first, last = self._range(level, history[waiting])
            low, high = level.reach[first], level.reach[last]
            has = high > low
            waiting, low, high = waiting[has], low[has], high[has]
            drawn = low + (generator.random(waiting.size) * (high - low)).astype(np.int64)
            child = np.searchsorted(level.reach, drawn, side="right") - 1
            keep = generator.random(waiting.size) * level.counts[child] >= self.discount
            word[waiting[keep]] = level.codes[child[keep]] % self.types
        rest = np.flatnonzero(word < 0)
        word[rest] = generator.integers(0, self.types, rest.size)
        return word

    def _children(self, level: _Level, history: Numbers) -> tuple[Numbers, Numbers]:
        """c(h) and N(h) of histories; 0 where one was never seen."""
        first, last = self._range(level, history)
        known = history >= 0
        total = np.where(known, level.reach[last] - level.reach[first], 0)
        return total, np.where(known, last - first, 0)

    def _range(self, level: _Level, history: Numbers) -> tuple[Numbers, Numbers]:
        """Where the n-grams that continue a history begin and end."""
        first = np.searchsorted(level.codes, history * self.types)
        return first, np.searchsorted(level.codes, (history + 1) * self.types)

    def _find(self, length: int, codes: Numbers) -> Numbers:
        """The numbers of n-grams of this length; −1: never seen."""
        known = self._levels[length - 1].codes
        place = np.minimum(np.searchsorted(known, codes), known.size - 1)
        return np.where(known[place] == codes, place, -1)


def _shifted(nodes: Numbers) -> Numbers:
    """What ended one token earlier; nothing before the first."""
    before = np.full_like(nodes, -1)
    before[:, 1:] = nodes[:, :-1]
    return before
