"""What a client says about a vocabulary, how it is trained on and how it is sampled."""

from typing import Annotated, Literal

import numpy as np
from pydantic import Field, Strict, model_validator

from service.distributions.schemas import At, Count, Generations, Recursion, Samples, Workflow
from service.distributions.vocabulary.counts import CountList, merged
from service.predictions.schemas import DatasetId, Model

MAX_TYPES = 10**15
MAX_EXPONENT = 20.0
MAX_RANKS = 100

_ONLY_IN_A_TEXT = (
    "strings are known of a stored text alone: name one as the vocabulary, or say which types by their ranks"
)

Token = Annotated[str, Field(min_length=1, max_length=1000), Strict()]
Rank = Annotated[int, Field(ge=1, le=MAX_TYPES), Strict()]


class ZipfVocabulary(Model):
    """p_i proportional to i^-exponent, i = 1 … types, or without end."""

    kind: Literal["zipf"]
    types: Annotated[int, Field(ge=1, le=MAX_TYPES), Strict()] | None = Field(
        description="How many types there are; null: infinitely many (exponent ≥ 1.01)."
    )
    exponent: Annotated[float, Field(ge=0, le=MAX_EXPONENT, allow_inf_nan=False), Strict()]

    @model_validator(mode="after")
    def _has_a_sum(self) -> "ZipfVocabulary":
        if self.types is None and self.exponent < 1.01:
            raise ValueError(
                "infinitely many types need an exponent of at least 1.01, or their probabilities have no usable sum; "
                "give a finite number of types"
            )
        return self


class CountsVocabulary(Model):
    """How often each type occurs; its probability is its share.

    ``types``: how many types have each count. Without it, every entry of ``values`` is one type. Kept and hashed in the
    shorter form, the distinct counts, largest first, with the ``types`` of each, null where that is one for all: the
    order of the list does not matter.
    """

    kind: Literal["counts"]
    values: CountList
    types: CountList | None = None

    @model_validator(mode="after")
    def _same_length(self) -> "CountsVocabulary":
        if self.types is not None and len(self.types) != len(self.values):
            raise ValueError(
                f"values has {len(self.values)} entries and types {len(self.types)}; they must be of the same length"
            )
        return self

    @model_validator(mode="after")
    def _in_short(self) -> "CountsVocabulary":
        types = None if self.types is None else np.asarray(self.types)
        distinct, types = merged(np.asarray(self.values), types)
        # the model is frozen for everybody else
        object.__setattr__(self, "values", distinct)
        object.__setattr__(self, "types", types)
        return self


Vocabulary = Annotated[ZipfVocabulary | CountsVocabulary, Field(discriminator="kind")] | DatasetId


class Decoding(Model):
    """How tokens are drawn from a model: temperature, then the top_k types, then the fewest that have top_p."""

    temperature: Annotated[float, Field(ge=0.01, le=100, allow_inf_nan=False), Strict()] = 1.0
    top_k: Rank | None = None
    top_p: Annotated[float, Field(ge=1e-6, le=1, allow_inf_nan=False), Strict()] = 1.0


class VocabularyRequest(Recursion):
    """A vocabulary, how its models are trained and sampled, and which tokens to follow."""

    vocabulary: Vocabulary
    workflow: Workflow
    samples: Samples | None = Field(  # type: ignore[assignment]  # the base knows no infinity
        description="Tokens that each generation is trained on; null: infinitely many, so that only the decoding "
        "narrows (workflow replace, or fresh with a real_fraction)."
    )
    decoding: Decoding = Decoding()
    ranks: Annotated[list[Rank], Field(max_length=MAX_RANKS)] = Field(
        [], description="Types, by rank of their true frequency, whose probability of being gone is wanted."
    )
    tokens: Annotated[list[Token], Field(max_length=MAX_RANKS)] = Field(
        [], description="The same by the types' strings, where the vocabulary is a stored text."
    )
    at: At = Field(
        None,
        max_length=1000,
        description="The generations to report, rising; null: all up to 30, else 31 of them, evenly in "
        "log(generation + 1).",
    )

    @model_validator(mode="after")
    def _tokens_of_a_text(self) -> "VocabularyRequest":
        if self.tokens and not isinstance(self.vocabulary, str):
            raise ValueError(f"tokens: {_ONLY_IN_A_TEXT}")
        return self


class Bound(Model):
    """What must be kept: a quantity and a limit on it.

    diversity, entropy (nats), surviving_types: at least ``limit``, or ``limit`` times the truth's where
    ``relative``. kl_fit_true (nats), missing_mass, gone (of the type of ``rank``, or of this ``token`` of a
    stored text): at most ``limit``.
    """

    quantity: Literal["diversity", "entropy", "kl_fit_true", "surviving_types", "missing_mass", "gone"]
    limit: Annotated[float, Field(ge=0, le=1e18, allow_inf_nan=False), Strict()]
    relative: bool = False
    rank: Rank | None = None
    token: Token | None = None

    @model_validator(mode="after")
    def _says_what_it_needs(self) -> "Bound":
        said = (self.rank is not None) + (self.token is not None)
        if said != (self.quantity == "gone"):
            raise ValueError("the quantity gone needs either rank or token, and no other quantity has them")
        if self.relative and self.quantity in {"kl_fit_true", "missing_mass", "gone"}:
            raise ValueError("kl_fit_true, missing_mass and gone are absolute; leave relative out")
        return self


class VocabularyRecommendationRequest(Model):
    """The least real data per generation that keeps a quantity within a bound."""

    vocabulary: Vocabulary
    samples: Count = Field(description="Tokens that each generation is trained on.")
    generations: Generations | None = Field(
        description="After so many synthetic generations; null: for ever."
    )
    bound: Bound
    workflow: Literal["fresh", "retained"] = Field(
        "fresh", description="New real samples in every generation, or the same ones kept in all."
    )
    allocation: Literal["stratified", "iid"] = Field(
        "stratified", description="Of fresh samples: a fixed number, or each with a chance."
    )

    @model_validator(mode="after")
    def _allocation_of_fresh(self) -> "VocabularyRecommendationRequest":
        if self.workflow == "retained" and self.allocation == "iid":
            raise ValueError("allocation iid is about fresh samples; retained ones are a fixed set")
        return self

    @model_validator(mode="after")
    def _token_of_a_text(self) -> "VocabularyRecommendationRequest":
        if self.bound.token is not None and not isinstance(self.vocabulary, str):
            raise ValueError(f"bound.token: {_ONLY_IN_A_TEXT}")
        return self
