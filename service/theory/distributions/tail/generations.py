"""A learner at the end of generations: each model is trained on samples of the one before it. Section 3.1 d."""

from dataclasses import dataclass
from functools import lru_cache
from math import isnan, nan
from typing import Final

import numpy as np

from service.theory.distributions.schedule import Schedule
from service.theory.distributions.tail.zipf import Nodes, Zipf
from service.theory.distributions.vocabulary import ancestors, refreshed
from service.theory.distributions.vocabulary.ancestors import EXACT_SAMPLES
from service.theory.distributions.vocabulary.founders import Founders
from service.theory.distributions.vocabulary.moments import Fresh, Lineages, across, back
from service.theory.model import Array

_FOUNDERS_ERROR = (
    3e-6  # where founders are followed by their moments: of the error, measured against the exact law
)
_FRESH_ERROR = 0.3  # times (E R)^-2, with fresh real samples
FEW: Final = 10.0
"""Founders below which their normal law is no law any more, where there are fresh real samples."""
EXACT_FRESH: Final = 150
"""Samples up to which the chain of lineages with fresh real samples is followed exactly."""
_CHANGES: Final = 20  # of the sizes, each of which takes a matrix of its own
_WHOLE: Final = 1e-9
_STRETCH: Final = 1_000  # generations between two looks at what is left
_LAST: Final = 2.0
NONE: Final = Founders(nan, nan)


@dataclass(frozen=True)
class Recursive:
    """The first of ``generators`` is trained on real samples, each later one and the learner on the one before it.

    ``generators``: their numbers of samples, at least one. ``real_fraction`` of every sample but the first is real and
    fresh, the learner's too; exactly so many if ``stratified``, else each with that chance.

    What the learner has seen descends from A independent real samples, whatever the items (founders): its error is
    Σ p_i E (1 − p_i)^A. A is about 2 T_0/n after n generators of T_0 samples, and no more than the learner's samples.
    """

    generators: Schedule
    real_fraction: float = 0.0
    stratified: bool = False

    @property
    def breaks(self) -> tuple[float, ...]:
        """None."""
        return ()

    @property
    def steepness(self) -> float:
        """The truth's."""
        return 0.0

    def unseen(self, law: Zipf, nodes: Nodes, samples: float) -> Array:  # noqa: ARG002
        """E (1 − p_i)^A; the number of samples is rounded. NaN where the founders' law is not known."""
        founders = self.founders(samples)
        return np.full_like(nodes.p, nan) if isnan(founders.mean) else founders.absent(nodes.p)

    def founders(self, samples: float) -> Founders:
        """The law of A for a learner of so many samples; NaN moments where it is not known."""
        return _founders(self, max(round(samples), 1))

    def expected_error(self, law: Zipf, samples: float) -> float:
        """Relative, of the unseen mass: 0 where the law of A is exact, else as measured.

        It grows like the cube of A p where no item is rarer than one of A samples: a normal law has no skewness.
        """
        mean = self.founders(samples).mean
        if self.real_fraction > 0.0:
            if _is_exact(self, max(round(samples), 1)):
                return 0.0
            error = _FRESH_ERROR / (FEW if isnan(mean) else mean) ** 2
        else:
            error = 0.0 if max(*self.generators.sizes, samples) <= EXACT_SAMPLES else _FOUNDERS_ERROR
        rarest = 0.0 if law.types is None or isnan(mean) else mean * law.probability(law.last)
        return min(error * max(rarest, 1.0) ** 3, 1.0)

    def first(self, generators: int) -> "Recursive":
        """The recursion of the first so many generators."""
        counts = self.generators.counts(generators)
        pairs = [(s, int(c)) for s, c in zip(self.generators.sizes, counts, strict=True) if c > 0]
        schedule = Schedule(tuple(s for s, _ in pairs), tuple(c for _, c in pairs))
        return Recursive(schedule, self.real_fraction, self.stratified)


@lru_cache(maxsize=256)
def _founders(recursion: Recursive, samples: int) -> Founders:
    generators = recursion.generators
    if recursion.real_fraction == 0.0:
        schedule = Schedule((*generators.sizes, samples), (*generators.repetitions, 1))
        return ancestors.of_schedule(schedule, schedule.fits)
    if _is_exact(recursion, samples):
        schedule = Schedule((*generators.sizes, samples), (*generators.repetitions, 1))
        shares = (recursion.real_fraction,) * len(schedule.sizes)
        return next(refreshed.of_schedule(
            schedule, shares, [schedule.fits], stratified=recursion.stratified, largest=EXACT_FRESH
        ))  # fmt: skip
    return _refreshed(recursion, samples)


def _is_exact(recursion: Recursive, samples: int) -> bool:
    """Whether the lineages' chain is followed exactly, with fresh real samples: small sizes, few changes of them."""
    sizes, share = (*recursion.generators.sizes, samples), recursion.real_fraction
    if max(sizes) > EXACT_FRESH or len(sizes) > _CHANGES:
        return False
    return not recursion.stratified or all(abs(share * size - round(share * size)) < _WHOLE for size in sizes)


def _refreshed(recursion: Recursive, samples: int) -> Founders:
    """By the moments of the lineages and of those that ended in a fresh sample; no founders where they are too few."""
    fresh = Fresh(recursion.real_fraction, recursion.stratified)
    state, sample = Lineages(float(samples)), samples
    sizes, repetitions = recursion.generators.sizes, recursion.generators.repetitions
    for size, count in zip(reversed(sizes), reversed(repetitions), strict=True):
        state, sample = across(state, float(sample), float(size), fresh), size
        left, stretch = count - 1, _STRETCH
        while left > 0 and not state.settled(size, fresh):
            step = min(left, stretch)
            state, _ = back(state, size, step, fresh)
            if state.mean < _LAST and state.founders_mean < FEW:
                return NONE  # what is left will not make them many, however long it takes
            left, stretch = left - step, 2 * stretch
    mean, variance = state.founders_mean, state.founders_variance
    # numbers of occupied boxes vary less than Poisson ones: more means that rounding has taken over (sizes near 1e18)
    return Founders(mean, variance) if mean >= FEW and variance <= 2.0 * mean else NONE
