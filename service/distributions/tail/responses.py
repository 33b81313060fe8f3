"""What a client is answered about a learner that fails on what it has not seen."""

from typing import Literal

from pydantic import Field

from service.distributions.responses import DistributionPrediction
from service.predictions.responses import Answer, Value


class TailPoint(Answer):
    """One number of samples."""

    samples: int
    test_error: Value
    closed_law: Value = Field(description="The closed law there; null where there is none.")


class TailGeneration(Answer):
    """The same learner at the end of fewer generations."""

    generation: int
    founders: Value = Field(
        description="Expected number of independent real samples that all it has seen descends from."
    )
    test_error: Value


class TailPlateau(Answer):
    """The error that more samples of the same kind do not lower, or not for long."""

    cause: Literal["tail_cut", "memory", "generations"]
    height: Value
    begins: Value = Field(description="T_c: real samples with that error. Null: more than 1e18.")
    begins_law: Value = Field(description="(K/P)^(1/c), the closed law of it; of generations the founders.")
    halved_at: Value = Field(
        description='Samples of this mix at which half of the plateau is left ("grokking"); null: never.'
    )
    real_samples_to_halve: Value = Field(
        description="Real samples that end the plateau: half of it is left, however many synthetic ones there are."
    )
    real_samples_to_halve_law: Value = Field(
        description="x_½ k^β Z, its closed law; of generations founders × (2^(1/c) − 1)."
    )


class TailPrediction(DistributionPrediction):
    """The test error of a learner that fails on what it has not seen."""

    kind: Literal["tail"] = "tail"
    test_error: Value = Field(description="Expected error at `samples`, from the exact sum.")
    clean_error: Value = Field(description="The same with as many real samples and unlimited memory.")
    closed_law: Value
    effective_samples: Value = Field(
        description="Real samples that give the same error to a learner of unlimited memory."
    )
    decay: Value = Field(description="Exponent of the law before any plateau: error ~ samples^-decay.")
    local_decay: Value = Field(description="−d ln error / d ln samples at `samples`.")
    memory_floor: Value = Field(description="What the memory adds; 0 without one.")
    regime: Literal["scaling", "plateau", "recovered"] = Field(
        description="Before the plateau, on it, or beyond the samples that halve it."
    )
    plateau: TailPlateau | None
    curve: list[TailPoint]
    generations: list[TailGeneration] = Field(
        description="With kind recursive, the way there: generation 0 is trained on real samples. Else empty."
    )


class TailTried(Answer):
    """One value of what was varied, and the error there."""

    value: Value
    test_error: Value


class TailRecommendation(DistributionPrediction):
    """The value that keeps the bound, with the evaluation on the other side of it."""

    kind: Literal["tail_recommendation"] = "tail_recommendation"
    vary: str
    limit: float = Field(description="The largest test error that is allowed.")
    reachable: bool
    recommended: TailTried | None = Field(description="null: no value keeps the bound.")
    just_beyond: TailTried | None = Field(
        description="The next value, which does not keep it; null where all values do."
    )
    best: TailTried = Field(description="The value with the least error.")
    sentence: str
