"""A learner at the end of generations: each model is trained on samples of the one before it. Section 3.1 d."""

from dataclasses import dataclass
from functools import lru_cache

from service.theory.distributions.schedule import Schedule
from service.theory.distributions.tail.zipf import Nodes, Zipf
from service.theory.distributions.vocabulary import ancestors, refreshed
from service.theory.distributions.vocabulary.ancestors import EXACT_MIXED
from service.theory.distributions.vocabulary.founders import Founders
from service.theory.model import Array

_FOUNDERS_ERROR = 2e-6  # of P(unseen) where founders are followed by their moments
_FRESH_ERROR = 0.3  # times (E R)^-2, with fresh real samples


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
        """E (1 − p_i)^A; the number of samples is rounded."""
        return self.founders(samples).absent(nodes.p)

    def founders(self, samples: float) -> Founders:
        """The law of A for a learner of so many samples."""
        return _founders(self, max(round(samples), 1))

    def expected_error(self, samples: float) -> float:
        """Relative error of P(unseen): 0 where the law of A is exact, else as measured."""
        if self.real_fraction > 0.0:
            return _FRESH_ERROR / max(self.founders(samples).mean, 1.0) ** 2
        return 0.0 if max(*self.generators.sizes, samples) <= EXACT_MIXED else _FOUNDERS_ERROR

    def first(self, generators: int) -> "Recursive":
        """The recursion of the first so many generators."""
        counts = self.generators.counts(generators)
        pairs = [(s, int(c)) for s, c in zip(self.generators.sizes, counts, strict=True) if c > 0]
        schedule = Schedule(tuple(s for s, _ in pairs), tuple(c for _, c in pairs))
        return Recursive(schedule, self.real_fraction, self.stratified)


@lru_cache(maxsize=256)
def _founders(recursion: Recursive, samples: int) -> Founders:
    generators = recursion.generators
    schedule = Schedule((*generators.sizes, samples), (*generators.repetitions, 1))
    if recursion.real_fraction == 0.0:
        return ancestors.of_schedule(schedule, schedule.fits)
    # the first model's samples are all real: they are where every lineage ends at the latest
    shares = (recursion.real_fraction,) * len(schedule.sizes)
    return refreshed.of_schedule(schedule, shares, schedule.fits, stratified=recursion.stratified)
