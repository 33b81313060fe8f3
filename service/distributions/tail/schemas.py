"""What a client says about a learner that fails on what it has not seen."""

from itertools import pairwise
from typing import Annotated, Literal

from pydantic import Field, Strict, model_validator

from service.distributions.schemas import MAX_GENERATIONS, Count, Fraction
from service.predictions.schemas import MAX_SAMPLES, Model

MAX_RANK = 10**15
MAX_EXPONENT = 20.0
LEAST_ENDLESS = 1.01
MAX_CURVE = 200
MAX_GENERATORS = 200
LEAST_MEMORY_EXPONENT = 1e-3

Exponent = Annotated[float, Field(gt=0, le=MAX_EXPONENT, allow_inf_nan=False), Strict()]
EndlessExponent = Annotated[float, Field(ge=LEAST_ENDLESS, le=MAX_EXPONENT, allow_inf_nan=False), Strict()]
Rank = Annotated[int, Field(ge=1, le=MAX_RANK), Strict()]


class ZipfLaw(Model):
    """Items i = 1, 2, … of probability ∝ i^-exponent."""

    kind: Literal["zipf"]
    exponent: Exponent = Field(description=f"β; at least {LEAST_ENDLESS} where the law is endless.")
    types: Rank | None = Field(None, description="How many items there are; null: infinitely many.")

    @model_validator(mode="after")
    def _sums_to_one(self) -> "ZipfLaw":
        if self.types is None and self.exponent < LEAST_ENDLESS:
            raise ValueError(
                f"a law of infinitely many items needs an exponent of at least {LEAST_ENDLESS}; "
                "give the number of types for smaller ones"
            )
        return self


class BigramLaw(Model):
    """Pairs: context i ∝ i^-context_exponent, then the token of rank j after it ∝ j^-token_exponent; both endless."""

    kind: Literal["bigram"]
    context_exponent: EndlessExponent
    token_exponent: EndlessExponent


Law = Annotated[ZipfLaw | BigramLaw, Field(discriminator="kind")]


class Real(Model):
    """All samples are real."""

    kind: Literal["real"]


class Cut(Model):
    """All samples are from a generator that knows only the ``rank`` most frequent items (tokens of every context)."""

    kind: Literal["cut"]
    rank: Rank


class NarrowedTraining(Model):
    """All samples are from a generator whose law is steeper than the truth: ∝ i^-exponent."""

    kind: Literal["narrowed"]
    exponent: Exponent


class MixedTraining(Model):
    """Each sample is real with probability ``real_fraction``, else from a generator that knows ``rank`` items."""

    kind: Literal["mixed"]
    rank: Rank
    real_fraction: Fraction


class CountsTraining(Model):
    """``real_samples`` real samples, and ``samples`` of a generator that knows ``rank`` items besides."""

    kind: Literal["counts"]
    rank: Rank
    real_samples: Annotated[int, Field(ge=0, le=MAX_SAMPLES), Strict()]


class RecursiveTraining(Model):
    """Samples of the last of so many generators, each trained on samples of the one before it, the first on real ones.

    ``generations`` 0 is real data. ``real_fraction`` of what each generator after the first and the learner are trained
    on is real and fresh: exactly (``stratified``), or each sample with that probability (``iid``).
    """

    kind: Literal["recursive"]
    generations: Annotated[int, Field(ge=0, le=MAX_GENERATIONS), Strict()] = Field(
        description="Generations of synthetic data: the number of generators."
    )
    generator_samples: Count | Annotated[list[Count], Field(min_length=1, max_length=MAX_GENERATORS)] = Field(
        description=f"Of every generator, or a list of at most {MAX_GENERATORS}, one for each."
    )
    real_fraction: Fraction = 0.0
    allocation: Literal["stratified", "iid"] = "stratified"

    @model_validator(mode="after")
    def _one_for_each(self) -> "RecursiveTraining":
        if isinstance(self.generator_samples, list) and len(self.generator_samples) != self.generations:
            raise ValueError(
                f"generator_samples has {len(self.generator_samples)} entries for {self.generations} generations; "
                "give one number, or one for each"
            )
        return self


Training = Annotated[
    Real | Cut | NarrowedTraining | MixedTraining | CountsTraining | RecursiveTraining,
    Field(discriminator="kind"),
]


class ItemMemory(Model):
    """The learner keeps only so many items: the truly most probable, or those most frequent in its samples."""

    kind: Literal["items"]
    items: Rank
    keeps: Literal["most_probable", "most_frequent"] = "most_probable"


class AssociativeMemory(Model):
    """A memory of finite width adds width^-exponent to the error; the exponent is yours: no theory gives it."""

    kind: Literal["associative"]
    width: Count
    exponent: Annotated[float, Field(ge=LEAST_MEMORY_EXPONENT, le=10, allow_inf_nan=False), Strict()]


Memory = Annotated[ItemMemory | AssociativeMemory, Field(discriminator="kind")]


class TailProblem(Model):
    """A law, what the learner is trained on, and what it can keep."""

    law: Law
    training: Training
    samples: Count = Field(description="Training samples T; with kind counts, the synthetic ones.")
    memory: Memory | None = None

    @model_validator(mode="after")
    def _kinds_fit(self) -> "TailProblem":
        if isinstance(self.law, BigramLaw):
            if not isinstance(self.training, Real | Cut):
                raise ValueError(
                    "a bigram law is trained on kind real or cut; there is no formula for others"
                )
            if isinstance(self.memory, ItemMemory):
                raise ValueError("an item memory is for a zipf law; there is no formula for pairs")
        elif isinstance(self.training, RecursiveTraining):
            if isinstance(self.memory, ItemMemory) and self.memory.keeps == "most_frequent":
                raise ValueError(
                    "after generations the most frequent items are not the most probable ones, and there is no "
                    "formula; ask for keeps most_probable, or simulate"
                )
        elif isinstance(self.training, NarrowedTraining) and self.training.exponent < self.law.exponent:
            raise ValueError(
                f"a narrowed generator is steeper than the truth: training.exponent must be at least "
                f"law.exponent, {self.law.exponent:g}"
            )
        return self


class TailRequest(TailProblem):
    """A prediction is asked for."""

    curve: Annotated[list[Count], Field(min_length=1, max_length=MAX_CURVE)] | None = Field(
        None,
        description="Numbers of samples to report besides, rising; null: 33 of them, four decades around `samples`.",
    )

    @model_validator(mode="after")
    def _curve_rises(self) -> "TailRequest":
        if self.curve is not None and any(b <= a for a, b in pairwise(self.curve)):
            raise ValueError("curve needs each number of samples above the one before")
        return self


class TailBound(Model):
    """The test error is to be at most ``limit``; ``relative``: at most so many times the clean error.

    The clean error is that of as many real samples and unlimited memory.
    """

    limit: Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False), Strict()]
    relative: bool = False


class TailRecommendationRequest(TailProblem):
    """Which value of one number of the problem keeps the test error within a bound.

    ``vary``: the least ``samples``; the least ``real_samples`` (kind counts); the least ``real_fraction`` (kinds mixed
    and recursive); the most ``generations`` (kind recursive). What the problem says about that number is ignored.
    """

    vary: Literal["samples", "real_samples", "real_fraction", "generations"]
    bound: TailBound
    for_ever: bool = Field(
        False, description="With kind recursive: after any number of generations, whatever the problem says."
    )

    @model_validator(mode="after")
    def _can_be_varied(self) -> "TailRecommendationRequest":
        kind = self.training.kind
        kinds = {
            "real_samples": ("counts",),
            "real_fraction": ("mixed", "recursive"),
            "generations": ("recursive",),
        }
        if kind not in kinds.get(self.vary, (kind,)):
            raise ValueError(
                f"{self.vary} can be varied with training of kind {' or '.join(kinds[self.vary])} only"
            )
        if isinstance(self.training, RecursiveTraining) and isinstance(self.training.generator_samples, list):
            raise ValueError(
                "give generator_samples as one number: recommendations are for equal generations"
            )
        if self.for_ever and (kind != "recursive" or self.vary == "generations"):
            raise ValueError(
                "for_ever is for training of kind recursive, where something else than generations varies"
            )
        if isinstance(self.memory, ItemMemory) and self.memory.keeps == "most_frequent":
            raise ValueError(
                "recommendations are for a memory that keeps most_probable: the other has no formula"
            )
        return self
