"""What a client says about a recursion of kernel density estimates."""

from typing import Annotated, Literal

from pydantic import Field, Strict

from service.distributions.schemas import Fresh, Recursion, Replace
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
