"""What a client says about a recursion of kernel density estimates."""

from typing import Annotated, Literal

from pydantic import Field, Strict, model_validator

from service.distributions.schemas import Count, Fresh, Generations, Recursion, Replace
from service.predictions.schemas import Model

Width = Annotated[float, Field(ge=1e-9, le=1e9, allow_inf_nan=False), Strict()]


class FixedBandwidth(Model):
    """The same bandwidth in every generation, in units of the truth's standard deviation."""

    kind: Literal["fixed"]
    value: Width


class RelativeBandwidth(Model):
    """A multiple of the sample's own standard deviation (divisor M).

    ``corrected``: samples are shrunk by 1/√(1 + factor²), so that a model has the variance of its sample.
    """

    kind: Literal["relative"]
    factor: Width
    corrected: bool = False


class SilvermanBandwidth(Model):
    """The rule of thumb 1.06 M^(-1/5) times the sample's own standard deviation; needs one sample size."""

    kind: Literal["silverman"]
    corrected: bool = False


AnyBandwidth = Annotated[FixedBandwidth | RelativeBandwidth | SilvermanBandwidth, Field(discriminator="kind")]


class KdeRequest(Recursion):
    """A normal truth of variance 1, in one dimension or along one direction, and the kernel."""

    bandwidth: AnyBandwidth
    workflow: Annotated[Replace | Fresh, Field(discriminator="kind")]


class KdeBound(Model):
    """What must be kept: a variance (over the true one) at most or at least ``limit``; drift at most."""

    quantity: Literal["sample_variance", "model_variance", "drift"]
    limit: Annotated[float, Field(ge=1e-60, le=1e60, allow_inf_nan=False), Strict()]
    sense: Literal["at_most", "at_least"] = Field(
        "at_most", description="Kernels widen a distribution, unless they are corrected, or very narrow."
    )

    @model_validator(mode="after")
    def _drift_at_most(self) -> "KdeBound":
        if self.quantity == "drift" and self.sense == "at_least":
            raise ValueError("a drift is bounded from above; leave sense out")
        return self


class KdeRecommendationRequest(Model):
    """The least fresh real data per generation that keep kernel density estimates within a bound."""

    samples: Count = Field(description="Samples of every generation, real and synthetic together.")
    generations: Generations | None = Field(
        description="After so many synthetic generations; null: for ever."
    )
    bandwidth: AnyBandwidth
    allocation: Literal["stratified", "iid"] = Field(
        "stratified", description="Of the real samples: a fixed number, or each sample with a chance."
    )
    bound: KdeBound
