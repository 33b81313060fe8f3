"""What a client is answered about a recursion of kernel density estimates."""

from typing import Literal

from pydantic import Field

from service.distributions.least_real import Recommendation
from service.distributions.responses import DistributionPrediction
from service.predictions.responses import Answer, Value


class KdeGeneration(Answer):
    """One generation; variances in units of the true one."""

    generation: int
    model: int = Field(description="The theory's index: generation + 1.")
    samples: int
    sample_variance: Value = Field(description="Expected, of the training sample (divisor M).")
    model_variance: Value = Field(description="Expected, of the density estimate itself.")
    drift: Value = Field(description="E e² of the mean, in units of the true variance.")
    integrated_squared_error: Value = Field(
        description="E ∫ (estimate − truth)²; known for a fixed bandwidth, one sample size, and replacing."
    )


class KdePrediction(DistributionPrediction):
    """Kernel density estimates of their own samples, generation by generation."""

    kind: Literal["kde"] = "kde"
    final: KdeGeneration
    curve: list[KdeGeneration]
    limit_variance: Value = Field(description="Of the sample, for ever; null: it grows without bound.")
    limit_drift: Value = Field(description="For ever; null: it grows without bound.")


class KdeRecommendation(Recommendation):
    """The least fresh real data per generation that keep kernel density estimates within a bound."""

    kind: Literal["kde_recommendation"] = "kde_recommendation"
