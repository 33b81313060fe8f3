"""What a client is answered about a chain of estimators."""

from typing import Literal

from pydantic import Field

from service.distributions.least_real import Recommendation
from service.distributions.responses import DistributionPrediction
from service.predictions.responses import Answer, Value


class EstimatorGeneration(Answer):
    """One generation's error."""

    generation: int
    model: int = Field(description="The theory's index: generation + 1.")
    samples: int
    error_variance: Value = Field(description="V: E e eᵀ = V × (Fisher information of one sample)⁻¹.")
    effective_samples: Value = Field(description="1/V: real samples whose own estimate is as good.")
    real_weight: Value = Field(description="Weight of the real samples' own estimate.")
    squared_error: Value = Field(
        description="E |e|²: in the Fisher metric (linear, efficient), of the coefficients per unit of label noise "
        "(least_squares), relative to the scale (exponential), of the mean (poisson)."
    )
    kl: Value = Field(description="E KL(fit ‖ truth), nats.")
    log_variance: Value = Field(
        description="Var ln θ of the exponential scale under replace; null elsewhere."
    )
    extinction: Value = Field(description="P(λ = 0) of the Poisson mean under replace; null elsewhere.")


class OptimalWeight(Answer):
    """The constant weight of the real estimate that is best for ever, at the last generation's sizes."""

    real_per_synthetic: Value = Field(description="κ, real over synthetic samples.")
    weight: Value = Field(description="(√(κ² + 4κ) − κ)/2; at κ = 1 it is 0.618…, one over the golden ratio.")
    error_variance: Value = Field(description="The limit of V with it: weight / real samples.")
    pooled_error_variance: Value = Field(description="The limit of V when everything is pooled.")
    real_only_error_variance: Value = Field(description="Of the real samples of one generation alone.")


class EstimatorPrediction(DistributionPrediction):
    """The error of estimators fitted to their predecessors' data, generation by generation."""

    kind: Literal["estimator"] = "estimator"
    final: EstimatorGeneration
    curve: list[EstimatorGeneration]
    limit: Value = Field(description="V after infinitely many generations; null: it grows without bound.")
    growth: str = Field(description="How V goes there, in words.")
    optimal_weight: OptimalWeight | None


class EstimatorRecommendation(Recommendation):
    """The least real data per generation that keeps a chain of estimators within a bound."""

    kind: Literal["estimator_recommendation"] = "estimator_recommendation"
