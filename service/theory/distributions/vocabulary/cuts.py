"""Top-k and top-p at temperature 1, without sampling noise: the truth times a step function of the rank.

A cut keeps the most frequent types and scales them; fresh real data add the truth to that. So every generation is
p_0 times one factor for each of a few ranges of ranks, whatever the number of types, and as long as the cut stays
where it is the factors follow a linear recursion, which is taken any number of generations at once.
"""

from math import ceil, floor, inf, log
from typing import Final

import numpy as np

from service.theory.distributions.vocabulary.levels import Vocabulary, zipf
from service.theory.errors import Unsupported
from service.theory.model import Array

MAX_RANKED: Final = 1_000_000
MAX_MOVES: Final = 20_000
"""How often the cut may move with fresh real data, and ten times as often without: a second or two."""
_SLACK: Final = 1.0 - 1e-14  # a cumulative probability that reaches the threshold but for rounding
_PART: Final = 2**15  # levels of a list that are summed at a time
_ONE_NUMBER: Final = 1e15  # neighbouring ranks beyond it are one number


class Cuts:
    """Generations of which the ``top_k`` first types, then the fewest that have ``top_p``, are drawn for the next one.

    ``share``: of every generation's samples, fresh real ones. Raises Unsupported for more than ``MAX_RANKED`` types of
    a finite Zipf law with a top_p, and for more than ``MAX_MOVES`` moves of the cut.
    """

    def __init__(self, vocabulary: Vocabulary, top_k: int | None, top_p: float, share: float) -> None:
        self._types, self._share, self._top_p = vocabulary.types, share, top_p
        self._most = min(inf if top_k is None else float(top_k), vocabulary.types)
        self._ranks = _ranks_of(vocabulary, searched=top_p < 1.0)
        self._ends = np.unique([self._most, self._types])  # the last rank of each range
        self._factors = np.ones(self._ends.size)
        self._kept: float | None = None
        self._moves = float(MAX_MOVES)  # that are left

    def forward(self, generations: int) -> None:
        """So many generations on."""
        if self._share == 0.0:
            self._fall(generations)
            return
        left = float(generations)
        while left > 0:
            same = min(self._unmoved(), left)
            if same >= 1:
                self._repeat(same)
            else:
                self._step()
            left -= max(same, 1)

    def allow(self, part: float) -> None:
        """From here on no more moves than this part of the usual ones."""
        self._moves = part * MAX_MOVES

    def state(self) -> tuple[float, float, float, float, float]:
        """Σ p², entropy (nats), types left, the true probability of the others, and the last rank that is left."""
        firsts = np.array([self._ranks.first(end) for end in self._ends])
        mass, squares, surprise = np.diff(firsts, axis=0, prepend=0.0).T
        used = self._factors > 0.0
        s = self._factors[used]
        entropy = float(s @ surprise[used] - (s * np.log(s)) @ mass[used])
        alive = self._types if self._share > 0.0 or self._kept is None else self._kept
        return float(s**2 @ squares[used]), max(entropy, 0.0), alive, self._ranks.beyond(alive), alive

    def _masses(self) -> Array:
        beyond = np.array([1.0, *(self._ranks.beyond(end) for end in self._ends)])
        value: Array = -self._factors * np.diff(beyond)
        return value

    def _step(self) -> None:
        """The cut moves to where it is now, and one generation is drawn."""
        inside = self._ends <= self._most
        mass = np.where(inside, self._masses(), 0.0)
        kept = self._reaching(mass)
        self._moved(1)
        place = int(np.searchsorted(self._ends, kept))
        ends = np.unique([*self._ends[:place], kept, self._most, self._types])
        factors = self._factors[np.searchsorted(self._ends, ends)]
        self._ends, self._factors, self._kept = ends, factors, kept
        self._repeat(1)

    def _fall(self, generations: int) -> None:
        """Without real data: the first types of the truth, fewer and fewer until they stay."""
        kept = self._types if self._kept is None else self._kept
        for _ in range(generations):
            inside = min(kept, self._most)
            tail = 1.0 - self._top_p * _SLACK * (1.0 - self._ranks.beyond(inside))
            before, kept = kept, min(self._ranks.reaching(tail), inside)
            if kept == before:
                break
            self._moved(0.1)
        self._ends, self._kept = np.array([kept]), kept
        self._factors = np.array([1.0 / (1.0 - self._ranks.beyond(kept))])

    def _moved(self, cost: float) -> None:
        self._moves -= cost
        if self._moves < 0.0:
            raise Unsupported(
                "the cut moves by a few types in every generation, and so many moves are not computed; ask for fewer "
                "generations, or a smaller top_p"
            )

    def _repeat(self, times: float) -> None:
        """s ← share + (1 − share) s/P up to the cut, so many times; the mass P there changes only when it moves."""
        assert self._kept is not None
        before = self._ends <= self._kept
        rate, limit = self._recursion()
        s = self._factors[before]
        one = times == 1 or limit == inf
        s = self._share + rate * s if one else limit + (s - limit) * rate**times
        self._factors = np.where(before, 0.0, self._share)
        self._factors[before] = s
        changes = np.flatnonzero(np.diff(self._factors))
        apart = np.append(changes, self._ends.size - 1)
        apart = np.union1d(apart, np.searchsorted(self._ends, [self._kept, self._most]))
        self._ends, self._factors = self._ends[apart], self._factors[apart]

    def _recursion(self) -> tuple[float, float]:
        """Rate and fixed point of the factors, the cut staying; without real data they stay as they are."""
        drawn = float(self._masses()[self._ends <= self._kept].sum())
        rate = (1.0 - self._share) / drawn
        return rate, self._share / (1.0 - rate) if self._share > 0.0 and rate < 1.0 else inf

    def _unmoved(self) -> float:
        """For how many generations the cut certainly stays where it is, inf for ever."""
        if self._kept is None:
            return 0
        rate, limit = self._recursion()
        if self._top_p == 1.0 or self._kept <= 1.0:
            return inf
        ranks, inside = self._ranks, self._ends <= self._most
        lost = (1.0 - self._top_p * _SLACK) * float(self._masses()[inside].sum())
        behind = self._share * (ranks.beyond(self._kept) - ranks.beyond(self._most))
        # the last type goes once what it has and what lies behind it may be lost
        last = float(self._factors[np.searchsorted(self._ends, self._kept)])
        enough = (lost - behind) / ranks.of_rank(self._kept)
        if last <= enough:
            return 0
        if limit == inf or last <= limit or limit >= enough:
            return inf
        return max(floor(log((enough - limit) / (last - limit)) / log(rate)) - 1.0, 0.0)

    def _reaching(self, mass: Array) -> float:
        """The smallest rank up to which there is top_p of all that is drawn from."""
        if self._top_p == 1.0:
            return self._most
        lost = (1.0 - self._top_p * _SLACK) * float(mass.sum())
        after = np.cumsum(mass[::-1])[::-1]  # from each range on
        place = int(np.flatnonzero(after > lost)[-1])
        rest = lost - (after[place + 1] if place + 1 < mass.size else 0.0)
        end = self._ends[place]
        rank = self._ranks.reaching(self._ranks.beyond(end) + rest / self._factors[place])
        start = self._ends[place - 1] if place else 0.0
        return float(min(max(rank, start + 1.0), end))


class _Listed:
    """Sums over the most frequent types of a list, (Σ p, Σ p², −Σ p ln p), and the rank that has a sum."""

    def __init__(self, law: Vocabulary, p: Array, multiplicities: Array, reach: Array) -> None:
        self._law, self._p, self._multiplicities, self._reach = law, p, multiplicities, reach
        self._mass = multiplicities * p
        self._last = np.zeros(p.size + 1)  # the mass of the last 0, 1, … levels
        np.cumsum(self._mass[::-1], out=self._last[1:])
        self._sums_before = [(0.0, 0.0, 0.0)]  # of the levels before each part, as far as they were asked for

    def first(self, rank: float) -> tuple[float, float, float]:
        """Of the types up to this rank."""
        if rank >= self._law.types:
            return 1.0, self._law.simpson, self._law.entropy
        # of 1e18 types and more the last rank is rounded
        level = min(int(np.searchsorted(self._reach, rank)), self._p.size - 1)
        start = level - level % _PART
        p, mass = self._p[start : level + 1], self._mass[start : level + 1].copy()
        mass[-1] = (rank - (self._reach[level] - self._multiplicities[level])) * p[-1]
        return _added(self._before(level // _PART), self._sums(mass, p))

    def _before(self, part: int) -> tuple[float, float, float]:
        known = self._sums_before
        while len(known) <= part:
            levels = slice((len(known) - 1) * _PART, len(known) * _PART)
            known.append(_added(known[-1], self._sums(self._mass[levels], self._p[levels])))
        return known[part]

    @staticmethod
    def _sums(mass: Array, p: Array) -> tuple[float, float, float]:
        return float(mass.sum()), float(mass @ p), -float(mass @ np.log(p))

    def of_rank(self, rank: float) -> float:
        """p of the type of this rank."""
        return float(self._p[min(int(np.searchsorted(self._reach, rank)), self._p.size - 1)])

    def beyond(self, rank: float) -> float:
        """Σ p of all later types."""
        level = min(int(np.searchsorted(self._reach, rank)), self._p.size - 1)
        later = self._last[self._p.size - 1 - level]
        return float(later + (self._reach[level] - rank) * self._p[level])

    def reaching(self, tail: float) -> float:
        """The smallest rank beyond which there is at most ``tail``."""
        later = min(int(np.searchsorted(self._last, tail, side="right")) - 1, self._p.size - 1)
        level = self._p.size - 1 - later
        spare = floor((tail - self._last[later]) / self._p[level] + 1e-9)
        return float(max(self._reach[level] - spare, self._reach[level] - self._multiplicities[level] + 1.0))


def _added(a: tuple[float, float, float], b: tuple[float, float, float]) -> tuple[float, float, float]:
    return a[0] + b[0], a[1] + b[1], a[2] + b[2]


class _Law:
    """The same of a Zipf law, by its sums over ranks."""

    def __init__(self, law: Vocabulary) -> None:
        self._law, self._known = law, dict[float, tuple[float, float, float]]()

    def first(self, rank: float) -> tuple[float, float, float]:
        """Of the types up to this rank."""
        if rank >= self._law.types:
            return 1.0, self._law.simpson, self._law.entropy
        if rank not in self._known:
            assert self._law.exponent is not None
            cut, kept = zipf(int(rank), self._law.exponent), self._law.kept(rank)
            self._known[rank] = kept, kept**2 * cut.simpson, kept * (cut.entropy - log(kept))
        return self._known[rank]

    def of_rank(self, rank: float) -> float:
        """p of the type of this rank; of all that are one number with it."""
        return self._law.of_rank(rank) * max(1.0, float(np.spacing(rank)))

    def beyond(self, rank: float) -> float:
        """Σ p of all later types."""
        return 0.0 if np.isinf(rank) else self._law.beyond(rank)

    def reaching(self, tail: float) -> float:
        """The smallest rank beyond which there is at most ``tail``; of an endless law."""
        law = self._law
        assert law.exponent is not None
        c = law.exponent - 1.0
        guess = (tail * law.normalizer * c) ** (-1.0 / c) - 0.5
        if guess > _ONE_NUMBER:
            return float(ceil(guess)) if guess < inf else guess
        k = max(floor(guess), 1.0)
        while law.beyond(k) > tail:
            k += 1.0
        while k > 1.0 and law.beyond(k - 1.0) <= tail:
            k -= 1.0
        return float(k)


def _ranks_of(vocabulary: Vocabulary, *, searched: bool) -> _Listed | _Law:
    if vocabulary.exponent is None:
        return _Listed(vocabulary, vocabulary.probabilities, vocabulary.multiplicities, vocabulary.reach)
    if not searched or np.isinf(vocabulary.types):
        return _Law(vocabulary)
    if vocabulary.types > MAX_RANKED:
        raise Unsupported(
            f"top_p is computed for at most {MAX_RANKED:,} types of a finite Zipf law; give fewer, or an endless law"
        )
    ranks = np.arange(1.0, vocabulary.types + 1.0)
    p = np.exp(-vocabulary.exponent * np.log(ranks)) / vocabulary.normalizer
    return _Listed(vocabulary, p, np.ones_like(p), ranks)
