"""What a client says about an upload, and what a stored data set is."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from service.predictions.schemas import Dataset, DatasetId

MAX_DEGREE = 10
Scale = Annotated[float, Field(ge=1e-15, le=1e15, allow_inf_nan=False)]


class Options(BaseModel):
    """Base of the JSON form fields: unknown fields are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


# --- request --------------------------------------------------------------------------------------


class LinearMap(Options):
    """The columns themselves: k(x, y) = x·y."""

    kind: Literal["linear"]


class RbfMap(Options):
    """Gaussian kernel: k(x, y) = exp(-‖x - y‖² / (2 bandwidth²))."""

    kind: Literal["rbf"]
    bandwidth: Scale | None = Field(None, description="Default: the median distance between two rows.")


class PolynomialMap(Options):
    """Polynomial kernel: k(x, y) = (x·y / scale² + offset)^degree."""

    kind: Literal["polynomial"]
    degree: Annotated[int, Field(ge=1, le=MAX_DEGREE)]
    offset: Annotated[float, Field(ge=0, le=1e3, allow_inf_nan=False)] = 1.0
    scale: Scale | None = Field(None, description="Default: √columns times the largest |entry|.")


FeatureMap = Annotated[LinearMap | RbfMap | PolynomialMap, Field(discriminator="kind")]


class Identity(Options):
    """The labels as they are."""

    kind: Literal["identity"]


class Modulo(Options):
    """The remainder of whole-number labels: divisor 2 is the parity of digits."""

    kind: Literal["modulo"]
    divisor: Annotated[int, Field(ge=2, le=10**9)]


class Equals(Options):
    """1 where the label is this value, else 0."""

    kind: Literal["equals"]
    value: Annotated[float, Field(ge=-1e15, le=1e15, allow_inf_nan=False)]


TargetTransform = Annotated[Identity | Modulo | Equals, Field(discriminator="kind")]


class UploadOptions(Options):
    """Everything about an upload but its bytes; with the content's hash it determines the data set's id."""

    target: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    features: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    target_transform: TargetTransform = Identity(kind="identity")
    feature_map: FeatureMap
    noise_variance: Annotated[float, Field(ge=0, le=1e15, allow_inf_nan=False)] | None = None


# --- resource -------------------------------------------------------------------------------------

Origin = Literal["declared", "measured", "estimated"]


class Answer(BaseModel):
    """Base of every answer."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ResolvedFeatureMap(Answer):
    """The feature map with every parameter resolved; those of other kinds are null."""

    kind: Literal["linear", "rbf", "polynomial"]
    bandwidth: float | None
    degree: int | None
    offset: float | None
    scale: float | None


class Rows(Answer):
    """How many rows were uploaded, and which of them are the population."""

    count: int
    columns: int
    population: int = Field(description="Rows that were described and that simulations draw from.")
    sampled: bool = Field(description="Whether the population is a sample of the rows.")
    how: str = Field(description="How the population was chosen, in a sentence.")
    hash: str = Field(description="sha256 of all rows and labels as float64.")


class Target(Answer):
    """The labels: which column, array or file, what was done to them, and their size."""

    name: str
    transform: TargetTransform
    mean: float
    mean_square: float


class Noise(Answer):
    """Where the noise variance comes from: its value is label noise plus unreachable."""

    mode: Literal["declared", "estimated"]
    declared: float | None = Field(description="As given; null where it was estimated.")
    unreachable: float = Field(
        description="Mean square of the part of the labels that no mode carries: noise to every fit."
    )
    smoothing_penalty: float | None = Field(
        description="Of least generalised cross-validation; null if declared."
    )
    smoothing_degrees_of_freedom: float | None


class DegreesOfFreedom(Answer):
    """df1(penalty) = Σ s_i / (s_i + penalty): how many modes a fit at this penalty per sample resolves."""

    penalty: float
    value: float


class Leverage(Answer):
    """Of fits that resolve so many modes: how a row's leverage and its squared residual vary together over the rows,
    as a share of their means, less what it were for Gaussian features. Times df1 / samples it is about the relative
    error of a prediction.
    """

    degrees_of_freedom: float
    excess_covariance: float


class EffectiveDimensions(Answer):
    """How many dimensions the features really have, by three measures."""

    rank: int
    participation_ratio: float
    df1: list[DegreesOfFreedom]
    leverages: list[Leverage] = Field(
        default_factory=list, description="Empty for data sets stored by versions that did not measure it."
    )


class Exponent(Answer):
    """A fitted power law; value null where there is none, with the reason."""

    value: float | None
    standard_error: float | None
    r_squared: float | None
    first_rank: int | None
    last_rank: int | None
    reason: str | None

    @model_validator(mode="after")
    def _value_or_reason(self) -> "Exponent":
        if (self.value is None) == (self.reason is None):
            raise ValueError("an exponent has either a value or a reason")
        return self


class Exponents(Answer):
    """Capacity β of s_i ~ i^-β and source r of s_i w_i² ~ i^(-1 - 2βr)."""

    capacity: Exponent
    source: Exponent


class Provenance(Answer):
    """Where a number comes from: ``pointer`` (RFC 6901) names it, or all numbers below it."""

    pointer: str
    origin: Origin
    how: str


class Warning(Answer):
    """Something to know before using the numbers."""

    code: str
    message: str


class Description(Answer):
    """What is known about a data set without its rows; ``dataset`` can be sent as an inline data set."""

    kind: Literal["rows"] = "rows"
    engine_version: str
    rows: Rows
    feature_map: ResolvedFeatureMap
    target: Target
    noise: Noise
    effective_dimensions: EffectiveDimensions
    exponents: Exponents
    provenance: list[Provenance]
    warnings: list[Warning]
    dataset: Dataset


class Summary(Answer):
    """A stored data set in a list: its description without the spectrum."""

    kind: Literal["rows"] = "rows"
    id: DatasetId
    name: str | None
    created_at: datetime
    rows_deleted_at: datetime | None
    rows: Rows
    feature_map: ResolvedFeatureMap
    target: Target
    noise_variance: float


class StoredDataset(Description):
    """A stored, immutable data set; only its rows can be deleted."""

    id: DatasetId
    name: str | None
    created_at: datetime
    rows_deleted_at: datetime | None = Field(
        description="When the rows were deleted (predictions still work, simulations do not), or null."
    )
