"""What a vocabulary's prediction is."""

from dataclasses import dataclass

from service.theory.distributions.accuracy import Accuracy, Caution


@dataclass(frozen=True)
class State:
    """A model's vocabulary, in expectation; None: no formula, and a ``Caution`` of the prediction says why.

    ``diversity``: 1 − Σ p², the chance that two tokens differ. ``surviving_types``: how many types it can still
    produce. ``missing_mass``: true probability of all types that it cannot. ``entropy``: nats.
    ``one_type_left``: probability that all its tokens are of one type.
    ``founders``: real tokens it descends from, in the mean. ``gone``: P(type is gone), for each type asked about;
    ``spread``: the standard deviation of its probability in the model. ``divergence``: E KL(model ‖ truth), nats;
    ``squared_distance``: E Σ (p − p_0)².
    """

    diversity: float | None
    surviving_types: float | None
    missing_mass: float | None
    entropy: float | None
    one_type_left: float | None
    founders: float | None
    gone: tuple[float | None, ...]
    spread: tuple[float | None, ...]
    divergence: float | None = None
    squared_distance: float | None = None


@dataclass(frozen=True)
class Generation:
    """A state, and when: ``generation`` counts synthetic ones, so the model's index is one more."""

    generation: int
    state: State


@dataclass(frozen=True)
class VocabularyPrediction:
    """The truth, every reported generation, and what remains after infinitely many.

    ``diversity_half_life``: the first generation whose diversity is at most half the truth's, the last sample size
    going on; inf where that never happens; None where there is no formula.
    """

    truth: State
    generations: tuple[Generation, ...]
    limit: State
    diversity_half_life: float | None
    accuracy: tuple[Accuracy, ...]
    cautions: tuple[Caution, ...]
