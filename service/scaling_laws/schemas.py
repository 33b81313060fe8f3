"""What a client asks about how a recursion scales."""

from typing import Annotated

from pydantic import Field, Strict

from service.predictions.schemas import Model, PredictionRequest

Exponent = Annotated[float, Field(gt=0, le=20, allow_inf_nan=False), Strict()]
Rate = Annotated[float, Field(ge=-20, le=20, allow_inf_nan=False), Strict()]


class Exponents(Model):
    """The power law of the data: eigenvalues ∝ i^-capacity, w_i² σ_i ∝ i^(-1 - 2 capacity source)."""

    capacity: Annotated[float, Field(gt=1, le=20, allow_inf_nan=False), Strict()]
    source: Exponent


class Growth(Model):
    """How the generators grow with the last fit's samples T: Σ σ_k² ∝ T^noise, T_k - d ∝ T^samples."""

    noise: Rate = 0.0
    samples: Rate


class ScalingLawsRequest(PredictionRequest):
    """A data set and a recursion on it."""

    exponents: Exponents | None = Field(
        None, description="Default: those of the data set, exact for power laws, fitted for stored ones."
    )
    growth: Growth | None = Field(
        None,
        description="For the schedule of penalties; default: read off the numbers as if constants were 1.",
    )
