"""What every kind of distribution is asked: how many generations, of how many samples, on what data."""

from itertools import pairwise
from typing import Annotated, Literal

from pydantic import Field, Strict, model_validator

from service.predictions.schemas import MAX_SAMPLES, Model

MAX_GENERATIONS = 10**6
MAX_RUNS = 10_000
MAX_REPORTED = 1000

Generations = Annotated[
    int,
    Field(
        ge=0,
        le=MAX_GENERATIONS,
        description="Generations of synthetic data: 0 is the model trained on real data only. "
        "The theory's model index is generations + 1.",
    ),
    Strict(),
]
Count = Annotated[int, Field(ge=1, le=MAX_SAMPLES), Strict()]
Fraction = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False), Strict()]


class Run(Model):
    """So many generations in a row with so many samples each."""

    samples: Count
    repetitions: Annotated[int, Field(ge=1, le=MAX_GENERATIONS + 1), Strict()]


Samples = Annotated[
    Count
    | Annotated[list[Count], Field(min_length=1, max_length=MAX_RUNS)]
    | Annotated[list[Run], Field(min_length=1, max_length=MAX_RUNS)],
    Field(
        description="Training samples of each generation: one number for all, a list with one entry for each of the "
        f"generations 0 … n (at most {MAX_RUNS:,}), or runs of equal generations."
    ),
]

At = Annotated[
    list[Annotated[int, Field(ge=0, le=MAX_GENERATIONS), Strict()]] | None,
    Field(
        max_length=MAX_REPORTED,
        description="The generations to report, rising; null: all up to 100, else 101 of them, evenly in "
        "log(generation + 1).",
    ),
]


# --- what a generation is trained on ---------------------------------------------------------------


class Replace(Model):
    """Every generation is trained on samples of the previous model alone."""

    kind: Literal["replace"]


class Fresh(Model):
    """Every generation is trained on fresh real samples and samples of the previous model, together.

    ``real_samples``: how many of the samples are real, one number for the generations 1 … n or a list of n; or
    ``real_fraction`` of them. ``allocation``: exactly that many are real (stratified), or each sample is real with
    that probability (iid): different models with different answers.
    """

    kind: Literal["fresh"]
    real_samples: (
        Annotated[int, Field(ge=0, le=MAX_SAMPLES), Strict()]
        | Annotated[
            list[Annotated[int, Field(ge=0, le=MAX_SAMPLES), Strict()]],
            Field(min_length=1, max_length=MAX_RUNS),
        ]
        | None
    ) = None
    real_fraction: Fraction | None = None
    allocation: Literal["stratified", "iid"] = "stratified"

    @model_validator(mode="after")
    def _one_of_both(self) -> "Fresh":
        if (self.real_samples is None) == (self.real_fraction is None):
            raise ValueError("give exactly one of real_samples and real_fraction")
        return self


class Retained(Model):
    """The same real samples in every generation, filled up with samples of the previous model.

    Generation 0 is trained on the retained samples alone where ``samples`` is one number; where it is a list, its
    first entry says how many real samples generation 0 had, of which ``real_samples`` are retained.
    """

    kind: Literal["retained"]
    real_samples: Count


class Accumulate(Model):
    """Every generation adds its samples to the pool: real data first, and nothing is ever thrown away."""

    kind: Literal["accumulate"]


Workflow = Annotated[Replace | Fresh | Retained | Accumulate, Field(discriminator="kind")]


class Recursion(Model):
    """Base of the requests about a recursion over generations."""

    generations: Generations
    samples: Samples
    at: At = None

    @model_validator(mode="after")
    def _generations_fit(self) -> "Recursion":
        if isinstance(self.samples, list):
            given = sum(one.repetitions if isinstance(one, Run) else 1 for one in self.samples)
            if given != self.generations + 1:
                raise ValueError(
                    f"samples describes {given} generations; generations 0 … {self.generations} are "
                    f"{self.generations + 1}: give one number, or one entry for each"
                )
        if self.at is not None:
            if not self.at or any(b <= a for a, b in pairwise(self.at)):
                raise ValueError("at needs at least one generation, each above the one before")
            if self.at[-1] > self.generations:
                raise ValueError(
                    f"at ends with {self.at[-1]}, beyond the last generation, {self.generations}"
                )
        return self
