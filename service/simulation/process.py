"""What is simulated: the stages of a training mix, and which of their data are used again."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from service.theory.model import REAL, Population, Source, Stage, TrainingMix

Place = tuple[int, int]
"""Position of a stage in its mix, position of a source in its stage."""


@dataclass(frozen=True)
class Again:
    """A source that draws nothing new: it has the features of an earlier source, and its labels too if ``labels``."""

    of: Place
    labels: bool


@dataclass(frozen=True, eq=False)
class Process:
    """A training mix as it is run: sources are fresh samples, but for those that ``again`` names.

    ``noise_variance``: of real labels, where a stage has none of its own to tell.
    """

    mix: TrainingMix
    noise_variance: float
    again: Mapping[Place, Again] = field(default_factory=dict)

    @staticmethod
    def fresh(population: Population, mix: TrainingMix) -> "Process":
        """Every source of every stage draws its own samples: what the theory's chains assume."""
        return Process(mix, population.noise_variance)

    def real_noise(self, stage: Stage) -> float:
        """Noise of the clean stage that ``stage`` is compared with: of its first real source, if it has one."""
        real = [source.noise_variance for source in stage.sources if source.labels == REAL]
        return real[0] if real else self.noise_variance


def shared_design(population: Population, mix: TrainingMix) -> Process:
    """A chain of single-source stages whose generators, all but the last stage, fit the same features.

    Labels are new in every generation. (In the papers: one design shared by all generations.) Raises ``ValueError``
    where the generators differ in their number of samples or in their covariance.
    """
    generators = mix.stages[:-1]
    for stage in generators:
        if len(stage.sources) != 1 or not same_features(stage.sources[0], generators[0].sources[0]):
            raise ValueError(f"stage {stage.name!r} cannot be fitted on the features of the first one")
    again = {(position, 0): Again((0, 0), labels=False) for position in range(1, len(generators))}
    return Process(mix, population.noise_variance, again)


def same_features(one: Source, other: Source) -> bool:
    """Whether both draw as many features from the same covariance."""
    return one.samples == other.samples and one.covariance_key == other.covariance_key


def accumulated(population: Population, mix: TrainingMix) -> Process:
    """Every model is fitted to all data so far: minimise Σ_batches ‖X_j w − y_j‖² + λ_u ‖w‖².

    ``mix``: stage k has one source, the batch that it adds: batch 0 has real labels, batch k those of the model fitted
    to the batches before it (Gerstgrasser et al., arXiv 2404.01413). Batches keep their features and their labels.
    Penalties are per sample of all data so far: λ_u divided by their number.
    """
    batches = [stage.sources[0] for stage in mix.stages]
    stages = tuple(
        replace(stage, sources=tuple(replace(batches[j], name=f"batch-{j}") for j in range(k + 1)))
        for k, stage in enumerate(mix.stages)
    )
    again = {(k, j): Again((j, j), labels=True) for k in range(len(stages)) for j in range(k)}
    return Process(TrainingMix(stages), population.noise_variance, again)
