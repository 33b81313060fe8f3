"""Many mixes that differ in numbers alone: the vocabulary of this package.

Arrays have one row for all scenarios, or one for each: shapes (scenarios or 1, …).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from service.theory.chain import TRUTH, label_indices
from service.theory.model import OPTIMAL, REAL, Array, Population, Shift, Stage, TrainingMix


@dataclass(frozen=True, eq=False)
class Links:
    """Who labels the sources of one stage.

    ``models``: the stages that do; ``shifted``: the sources whose labels are shifted, by covariances ``powers``, shape
    (shifted, modes); ``members``: which source belongs to which model or, after those, shift: 0 or 1, shape
    (models + shifted, sources). All other sources are labelled by the truth.
    """

    models: tuple[int, ...]
    shifted: tuple[int, ...]
    powers: Array
    members: Array

    @staticmethod
    def of(stage: Stage, labels: tuple[int, ...], modes: int) -> "Links":
        """``labels``: see chain.label_indices."""
        models = tuple(dict.fromkeys(u for u in labels if u != TRUTH))
        shifts = [(s, source.labels) for s, source in enumerate(stage.sources)]
        powers = [(s, shift.power) for s, shift in shifts if isinstance(shift, Shift)]
        members = np.zeros((len(models) + len(powers), len(labels)))
        for s, u in enumerate(labels):
            if u != TRUTH:
                members[models.index(u), s] = 1.0
        for k, (s, _) in enumerate(powers):
            members[len(models) + k, s] = 1.0
        return Links(
            models,
            tuple(s for s, _ in powers),
            np.array([power for _, power in powers]) if powers else np.empty((0, modes)),
            members,
        )


@dataclass(frozen=True, eq=False)
class Numbers:
    """Of one stage: ``samples``, ``weights``, ``noise``, shapes (scenarios or 1, sources); ``penalty``, shape
    (scenarios or 1,), nan for the best."""

    samples: Array
    weights: Array
    noise: Array
    penalty: Array

    @staticmethod
    def of(stage: Stage) -> "Numbers":
        """Of one scenario."""
        sources = stage.sources
        columns = np.array([(s.samples, s.weight, s.noise_variance) for s in sources], dtype=np.float64)
        penalty = np.nan if stage.penalty == OPTIMAL else float(stage.penalty)
        return Numbers(columns[None, :, 0], columns[None, :, 1], columns[None, :, 2], np.array([penalty]))


@dataclass(frozen=True, eq=False)
class Mixes:
    """Stages in order; ``real_noise``: label noise of real samples of the last one, shape (scenarios or 1,)."""

    links: Sequence[Links]
    numbers: Sequence[Numbers]
    real_noise: Array

    @staticmethod
    def of(population: Population, mix: TrainingMix) -> "Mixes":
        """One mix as a batch of one."""
        modes, numbers = population.eigenvalues.size, [Numbers.of(stage) for stage in mix.stages]
        links = [
            Links.of(stage, labels, modes)
            for stage, labels in zip(mix.stages, label_indices(mix.stages), strict=True)
        ]
        real = real_source(mix)
        noise = np.array([population.noise_variance]) if real is None else numbers[-1].noise[:, real]
        return Mixes(links, numbers, noise)


def real_source(mix: TrainingMix) -> int | None:
    """The source of the last stage that says what the noise of real labels is; None: the population does."""
    return next((s for s, source in enumerate(mix.stages[-1].sources) if source.labels == REAL), None)


def is_mixed(population: Population, mix: TrainingMix) -> bool:
    """Whether this package takes the mix: fresh samples, the population's covariance, no random features."""
    if mix.keeps_data or population.null_modes > 0 or population.rank == 0:
        return False
    for stage in mix.stages:
        if stage.width is not None or stage.penalty == np.inf:
            return False
        if stage.penalty == OPTIMAL and stage is not mix.stages[-1]:
            return False
        if any(s.eigenvalues is not None or s.covariance is not None for s in stage.sources):
            return False
    return True
