"""Real tokens that stay, under any decoding: what survives is what was seen at first.

Where all real tokens of generation 0 are in every later generation (accumulated, or retained as its only ones), no
decoding draws a type that is gone, and none of theirs is ever lost: P(gone) = (1 − p)^{M_0} for ever, exactly. How the
probabilities of what is left change has no formula.
"""

from dataclasses import replace

from service.theory.distributions.accuracy import Caution
from service.theory.distributions.schedule import Models
from service.theory.distributions.vocabulary.levels import Vocabulary
from service.theory.distributions.vocabulary.results import State, VocabularyPrediction
from service.theory.distributions.vocabulary.sampled import SURVIVAL, predict_sampled
from service.theory.distributions.vocabulary.training import Accumulate, Retained, Training

_CHANGED = ("diversity", "entropy", "spread")


def keeps_the_first(training: Training) -> bool:
    """Whether all real tokens of generation 0, and no others, are in every later generation."""
    return isinstance(training, Accumulate) or (
        isinstance(training, Retained) and training.begun == training.real
    )


def predict_kept(
    vocabulary: Vocabulary, training: Training, models: Models, ranks: tuple[int, ...]
) -> VocabularyPrediction:
    """Survival as in plain sampling, nothing else but of generation 0, which sees the truth itself."""
    plain = predict_sampled(vocabulary, training, models, ranks)

    def survival(state: State) -> State:
        return replace(
            state, diversity=None, entropy=None, spread=(None,) * len(ranks), divergence=None, squared_distance=None
        )  # fmt: skip

    message = (
        "Where real data are accumulated or retained, what survives is all that is known under a decoding. Simulate it "
        "(POST /v1/distributions/vocabulary/simulations)."
    )
    found = tuple(
        one if one.generation == 0 else replace(one, state=survival(one.state)) for one in plain.generations
    )
    first_alone = all(one.generation == 0 for one in found)
    return replace(
        plain,
        generations=found,
        limit=survival(plain.limit),
        diversity_half_life=None,
        accuracy=tuple(one for one in plain.accuracy if first_alone or one.quantity in SURVIVAL),
        cautions=(
            *plain.cautions,
            *(Caution("simulate", message, quantity) for quantity in _CHANGED),
            Caution("no_half_life", "A half-life is given for plain sampling only.", "diversity_half_life"),
        ),
    )
