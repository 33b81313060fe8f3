"""What a client is answered about a vocabulary."""

from typing import Literal

from pydantic import Field

from service.distributions.least_real import Recommendation
from service.distributions.responses import DistributionPrediction
from service.predictions.responses import Answer, Value


class Gone(Answer):
    """The probability that a model can no longer produce the type of this rank."""

    rank: int
    token: str | None = Field(None, description="The type's string, where it was asked for by it.")
    true_probability: float
    probability: Value
    spread: Value = Field(description="Standard deviation of the type's probability in this model.")


class VocabularyState(Answer):
    """A model's vocabulary in expectation."""

    diversity: Value = Field(description="1 − Σ p²: the chance that two tokens are of different types.")
    surviving_types: Value = Field(description="Types that can still occur; null: infinitely many.")
    missing_mass: Value = Field(description="True probability of all types that cannot occur any more.")
    entropy: Value = Field(description="−Σ p ln p of the model, nats.")
    kl_fit_true: Value = Field(description="E KL(model ‖ truth), nats.")
    squared_distance: Value = Field(description="E Σ (p − p_0)² over all types.")
    one_type_left: Value = Field(
        description="Probability that all of it is of one type; null: no formula (fresh real samples)."
    )
    founders: Value = Field(
        description="Independent real tokens that the model descends from, in the mean; null: infinitely many."
    )
    gone: list[Gone]


class VocabularyGeneration(VocabularyState):
    """One generation."""

    generation: int
    model: int = Field(description="The theory's index: generation + 1.")
    samples: int | None = Field(description="Tokens that it is trained on; null: infinitely many.")


class VocabularyTruth(Answer):
    """The vocabulary asked about."""

    types: int | None = Field(description="null: infinitely many.")
    diversity: float
    entropy: Value
    exponent: float | None = Field(description="Of a Zipf law; null where it is a list.")


class VocabularyPrediction(DistributionPrediction):
    """A vocabulary, generation by generation."""

    kind: Literal["vocabulary"] = "vocabulary"
    truth: VocabularyTruth
    final: VocabularyGeneration
    curve: list[VocabularyGeneration]
    limit: VocabularyState = Field(description="After infinitely many generations of the last sample size.")
    diversity_half_life: int | None = Field(
        description="First generation with at most half the true diversity; null: never, or no formula."
    )


class VocabularyRecommendation(Recommendation):
    """The least real data per generation that keep a vocabulary within a bound."""

    kind: Literal["vocabulary_recommendation"] = "vocabulary_recommendation"
