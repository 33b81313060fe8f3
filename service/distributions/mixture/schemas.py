"""What a client says about a recursion of Gaussian mixtures."""

from itertools import pairwise
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, Strict, model_validator

from service.distributions.schemas import MAX_REPORTED, Count, Fresh, Generations, Replace
from service.predictions.schemas import Model

MAX_COMPONENTS = 20
MAX_WORK = 2_000_000_000
"""Generations × samples² of the exact chain of counts, for all distinct weights together: seconds."""


def _adding_up(weights: list[float]) -> list[float]:
    if abs(sum(weights) - 1.0) > 1e-9:
        raise ValueError(f"weights add up to {sum(weights):.12g}; they must add up to 1")
    return weights


Weight = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False), Strict()]
Weights = Annotated[
    list[Weight],
    Field(min_length=1, max_length=MAX_COMPONENTS, description="True weights; they add up to 1."),
    AfterValidator(_adding_up),
]
Separation = Annotated[
    float,
    Field(
        ge=0, le=1e9, allow_inf_nan=False,
        description="Least distance of two components' means, in their standard deviations.",
    ),
    Strict(),
]  # fmt: skip


class MixtureRequest(Model):
    """Equal normal components far apart on a line, refitted to samples of each other."""

    generations: Annotated[Generations, Field(le=10_000)]
    samples: Count = Field(description="Training samples of every generation.")
    weights: Weights
    separation: Separation
    workflow: Annotated[Replace | Fresh, Field(discriminator="kind")] = Replace(kind="replace")
    at: Annotated[
        list[Annotated[int, Field(ge=0, le=10_000), Strict()]] | None,
        Field(
            max_length=MAX_REPORTED, description="The generations to report, rising; null: a choice of them."
        ),
    ] = None

    @model_validator(mode="after")
    def _consistent(self) -> "MixtureRequest":
        if self.at is not None and (not self.at or any(b <= a for a, b in pairwise(self.at))):
            raise ValueError("at needs at least one generation, each above the one before")
        if self.at is not None and self.at[-1] > self.generations:
            raise ValueError(f"at ends with {self.at[-1]}, beyond the last generation, {self.generations}")
        return self


class MixtureBound(Model):
    """What must be kept.

    lost and weight_variance, of one ``component``, at most ``limit``; surviving_components at least. ``component``: 1,
    2, … in the order of ``weights``.
    """

    quantity: Literal["lost", "weight_variance", "surviving_components"]
    limit: Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False), Strict()]
    component: Annotated[int, Field(ge=1, le=MAX_COMPONENTS), Strict()] | None = None

    @model_validator(mode="after")
    def _says_which(self) -> "MixtureBound":
        if (self.quantity == "surviving_components") != (self.component is None):
            raise ValueError("lost and weight_variance need a component, surviving_components has none")
        return self


class MixtureRecommendationRequest(Model):
    """The least fresh real data per generation that keep a mixture's components."""

    samples: Count = Field(description="Training samples of every generation, real and synthetic together.")
    generations: Generations | None = Field(
        description="After so many synthetic generations; null: for ever."
    )
    weights: Weights
    separation: Separation
    allocation: Literal["stratified", "iid"] = Field(
        "stratified", description="Of the real samples: a fixed number, or each sample with a chance."
    )
    bound: MixtureBound

    @model_validator(mode="after")
    def _has_the_component(self) -> "MixtureRecommendationRequest":
        if self.bound.component is not None and self.bound.component > len(self.weights):
            raise ValueError(
                f"bound.component is {self.bound.component}, and there are {len(self.weights)} components"
            )
        return self
