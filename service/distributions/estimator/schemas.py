"""What a client says about a chain of estimators."""

from typing import Annotated, Literal

from pydantic import Field, Strict, model_validator

from service.distributions.schemas import Count, Fraction, Fresh, Generations, Recursion, Replace, Retained
from service.predictions.schemas import Model

MAX_PARAMETERS = 10**9
Parameters = Annotated[int, Field(ge=1, le=MAX_PARAMETERS), Strict()]


class Linear(Model):
    """An estimator linear in its samples, as a Gaussian mean: the law is an identity."""

    kind: Literal["linear"]
    parameters: Parameters = 1


class Efficient(Model):
    """Maximum likelihood in any regular family: the law's first order in parameters × V."""

    kind: Literal["efficient"]
    parameters: Parameters = 1


class LeastSquares(Model):
    """Linear regression on fresh standard normal features, label noise of variance 1: 1/(n − d − 1) in place of 1/n."""

    kind: Literal["least_squares"]
    dimension: Parameters


class Exponential(Model):
    """The scale of an exponential law, in units of the true one."""

    kind: Literal["exponential"]


class Poisson(Model):
    """The mean of a Poisson law."""

    kind: Literal["poisson"]
    mean: Annotated[float, Field(ge=1e-60, le=1e60, allow_inf_nan=False), Strict()]


Family = Annotated[Linear | Efficient | LeastSquares | Exponential | Poisson, Field(discriminator="kind")]


class WeightedFresh(Fresh):
    """Fresh real samples in every generation, combined with synthetic ones by ``weight``.

    ``weight``: of the real samples' own estimate: a number, "pooled" (their share of the samples), "optimal" (the
    best constant) or "kalman" (the best in each generation).
    """

    allocation: Literal["stratified"] = "stratified"  # the law knows no other to first order
    weight: Fraction | Literal["pooled", "optimal", "kalman"] = "pooled"


class WeightedRetained(Retained):
    """The same real samples in every generation, their estimate combined with the synthetic one by ``weight``."""

    weight: Fraction | Literal["pooled"] = "pooled"


class Pool(Model):
    """All data are kept; ``real_fraction`` of every later batch is real.

    ``fixed_budget``: every generation is trained on as many draws, with replacement, from the pool as a batch has
    samples.
    """

    kind: Literal["accumulate"]
    real_fraction: Fraction = 0.0
    fixed_budget: bool = False

    @model_validator(mode="after")
    def _one_or_the_other(self) -> "Pool":
        if self.fixed_budget and self.real_fraction:
            raise ValueError("a fixed budget is known for pools of synthetic data; give real_fraction 0")
        return self


class EstimatorRequest(Recursion):
    """A family, and what each generation is trained on."""

    family: Family = Linear(kind="linear")
    workflow: Annotated[Replace | WeightedFresh | WeightedRetained | Pool, Field(discriminator="kind")]


class EstimatorBound(Model):
    """What must be kept: error_variance V, kl (parameters × V/2) at most ``limit``; effective_samples 1/V at least."""

    quantity: Literal["error_variance", "effective_samples", "kl"]
    limit: Annotated[float, Field(ge=1e-60, le=1e60, allow_inf_nan=False), Strict()]


class EstimatorRecommendationRequest(Model):
    """The least fresh real data per generation that keeps a linear or efficient estimator's error within a bound."""

    samples: Count = Field(description="Training samples of every generation, real and synthetic together.")
    generations: Generations | None = Field(
        description="After so many synthetic generations; null: for ever."
    )
    weight: Literal["pooled", "optimal", "kalman"] = "pooled"
    parameters: Parameters = Field(1, description="How many are estimated; for the quantity kl.")
    bound: EstimatorBound
