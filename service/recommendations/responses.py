"""What a client is recommended. Every null is explained by the sentence beside it."""

from typing import Literal

from pydantic import Field

from service.predictions.responses import Answer, FlatRange, Value

Outcome = Literal["found", "unlimited", "impossible", "not_applicable", "not_computed"]


class BoundValue(Answer):
    """The bound as a number, and where it comes from."""

    test_error: float
    relative_to: Literal["clean", "real_only", "null_predictor"] | None
    reference: float | None = Field(description="Test error of the baseline; null for an absolute bound.")
    factor: float | None


class Point(Answer):
    """A value and the test error there; null where it is infinite."""

    value: int
    test_error: Value


class WholeRange(Answer):
    """Whole numbers that meet the bound; `last` null: no end was found."""

    first: int
    last: int | None


class Search(Answer):
    """A number of samples or generations. The error need not be monotone in it: `ranges` are all that were found.

    `value` meets the bound and `beside`, its neighbour, does not; `outcome` unlimited: arbitrarily large values meet
    it; impossible: none does, and `least` is the best there is.
    """

    outcome: Outcome
    value: int | None
    test_error: Value
    beside: Point | None
    ranges: list[WholeRange]
    least: Point | None
    sentence: str


class ShareSearch(Search):
    """The same for the synthetic samples out of a fixed number."""

    total: int | None
    share: float | None


class StageSearch(Search):
    """The same for the real samples of one stage."""

    stage: str


class PenaltyAdvice(Answer):
    """The best penalty of the last stage, all else as given."""

    recommended_penalty: Value
    test_error: Value
    flat_range: FlatRange
    meets_bound: bool
    sentence: str


class SourceWeight(Answer):
    """The best loss weight of one source; the real data keep theirs."""

    source: str
    weight: float
    best_weight: Value


class WeightAdvice(Answer):
    """The best loss weights of the synthetic sources of the last stage, jointly with its penalty."""

    outcome: Outcome
    weights: list[SourceWeight]
    penalty: Value
    test_error: Value
    meets_bound: bool | None
    sentence: str


class SourceAdvice(Answer):
    """Whether a synthetic source of the last stage helps: the least test error with it and without it."""

    source: str
    helps: bool | None
    test_error_with: Value
    test_error_without: Value
    helps_at_its_best_weight: bool | None
    sentence: str


BindingCause = Literal[
    "nothing", "penalty", "threshold", "floor", "bias", "variance", "label_noise", "distortion", "shift",
    "noise_mismatch", "unknown",
]  # fmt: skip


class Binding(Answer):
    """What keeps the test error where it is."""

    cause: BindingCause
    floor: Value = Field(description="Test error with a million times all samples, at the best penalty.")
    sentence: str


ChangeKind = Literal[
    "none", "penalty", "weights", "real_samples", "synthetic_samples", "synthetic_share", "generations"
]


class Change(Answer):
    """One change that meets the bound, all else as given."""

    kind: ChangeKind
    stage: str | None
    value: int | float | None = Field(description="A penalty, or a number of samples or generations.")
    cost: float
    test_error: Value
    sentence: str


class Recommendation(Answer):
    """What can be changed so that the test error meets the bound, each thing alone."""

    engine_version: str
    order: Literal[0, 1]
    bound: BoundValue
    test_error: Value
    meets_bound: bool
    penalty: PenaltyAdvice
    weights: WeightAdvice
    synthetic_samples: Search
    synthetic_share: ShareSearch
    real_samples: list[StageSearch]
    generations: Search
    sources: list[SourceAdvice]
    binding: Binding
    cheapest_change: Change | None
    changes: list[Change] | None = Field(description="All that meet the bound, the cheapest first.")
    sentence: str
