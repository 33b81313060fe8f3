"""What a client says about a recursion of Gaussian mixtures."""

from itertools import pairwise
from typing import Annotated

from pydantic import Field, Strict, model_validator

from service.distributions.schemas import MAX_REPORTED, Count, Generations
from service.predictions.schemas import Model

MAX_COMPONENTS = 20
MAX_WORK = 2_000_000_000
"""Generations × samples² of the exact chain of counts, for all distinct weights together: seconds."""

Weight = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False), Strict()]


class MixtureRequest(Model):
    """Equal normal components far apart on a line, refitted to samples of each other."""

    generations: Annotated[Generations, Field(le=10_000)]
    samples: Count = Field(description="Training samples of every generation.")
    weights: Annotated[list[Weight], Field(min_length=1, max_length=MAX_COMPONENTS)] = Field(
        description="True weights; they add up to 1."
    )
    separation: Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False), Strict()] = Field(
        description="Least distance of two components' means, in their standard deviations."
    )
    at: Annotated[
        list[Annotated[int, Field(ge=0, le=10_000), Strict()]] | None,
        Field(
            max_length=MAX_REPORTED, description="The generations to report, rising; null: a choice of them."
        ),
    ] = None

    @model_validator(mode="after")
    def _consistent(self) -> "MixtureRequest":
        if abs(sum(self.weights) - 1.0) > 1e-9:
            raise ValueError(f"weights add up to {sum(self.weights):.12g}; they must add up to 1")
        if self.at is not None and (not self.at or any(b <= a for a, b in pairwise(self.at))):
            raise ValueError("at needs at least one generation, each above the one before")
        if self.at is not None and self.at[-1] > self.generations:
            raise ValueError(f"at ends with {self.at[-1]}, beyond the last generation, {self.generations}")
        return self
