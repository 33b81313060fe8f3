"""What a client is answered about a recursion of Gaussian mixtures."""

from typing import Literal

from pydantic import Field

from service.distributions.least_real import Recommendation
from service.distributions.responses import DistributionPrediction
from service.predictions.responses import Answer, Value


class ComponentState(Answer):
    """One component at one generation."""

    weight: float = Field(description="True weight, and the expected one for ever.")
    weight_variance: Value = Field(description="Var of the fitted weight.")
    lost: Value = Field(description="Probability that no sample of it is left.")
    variance: Value = Field(description="E[variance, counted 0 once lost] over the true variance.")


class MixtureGeneration(Answer):
    """One generation."""

    generation: int
    model: int = Field(description="The theory's index: generation + 1.")
    components: list[ComponentState]
    surviving_components: Value = Field(description="Expected number of components that are left.")


class MixturePrediction(DistributionPrediction):
    """Well-separated Gaussian mixtures refitted to their own samples, generation by generation."""

    kind: Literal["mixture"] = "mixture"
    final: MixtureGeneration
    curve: list[MixtureGeneration]


class MixtureRecommendation(Recommendation):
    """The least fresh real data per generation that keep a mixture's components."""

    kind: Literal["mixture_recommendation"] = "mixture_recommendation"
