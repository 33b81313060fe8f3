"""What a client says about a simulation, and what it is answered."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field, Strict, StrictFloat, StrictInt

from service.predictions.responses import Answer, GenerationParts, Value
from service.predictions.schemas import Dataset, DatasetId, Model, TrainingMix

MAX_REPLICATES = 10_000
MAX_POINTS = 256
MAX_AXES = 4
MAX_ERRORS = 1_000_000
MAX_SEED = 2**63 - 1

State = Literal["queued", "running", "succeeded", "failed", "cancelled"]
Number = StrictInt | Annotated[StrictFloat, Field(allow_inf_nan=False)]


class GridAxis(Model):
    """One number of the request, by RFC 6901 pointer, and the values it takes."""

    pointer: Annotated[str, Field(pattern=r"^/(dataset|training_mix)/", max_length=200)] = Field(
        examples=["/training_mix/generations", "/training_mix/penalty"]
    )
    values: Annotated[list[Number], Field(min_length=1, max_length=MAX_POINTS)]


class SimulationRequest(Model):
    """What to simulate. The grid is the product of its axes, the last one running fastest."""

    dataset: Dataset | DatasetId
    training_mix: TrainingMix
    replicates: Annotated[int, Field(ge=1, le=MAX_REPLICATES), Strict()] = Field(
        description=f"Independent repetitions of the whole process; at most {MAX_REPLICATES}."
    )
    seed: Annotated[int, Field(ge=0, le=MAX_SEED), Strict()] = Field(
        0, description="The same request with the same seed gives the same numbers, to the last bit."
    )
    method: Literal["literal"] = Field(
        "literal", description="Draws the samples, labels them by the model before, fits: no formula used."
    )
    grid: Annotated[list[GridAxis], Field(max_length=MAX_AXES)] = Field(
        default_factory=list,
        description=f"At most {MAX_AXES} axes and {MAX_POINTS} points; all points share their random numbers.",
    )


class PredictedError(Answer):
    """The theory's excess test error and its parts."""

    total: Value
    bias: Value
    variance: Value
    generation: Value
    generation_parts: GenerationParts
    expected_relative_error: float


class Quantiles(Answer):
    """Over the replicates: what to expect of a single run."""

    p05: float
    p25: float
    p50: float
    p75: float
    p95: float


class MeasuredError(Answer):
    """The simulated excess test error, over the replicates that are done."""

    replicates: int
    mean: Value
    standard_error: Value = Field(description="null for a single replicate.")
    quantiles: Quantiles | None


class SimulationPoint(Answer):
    """One point of the grid: predicted, measured, and how they compare."""

    parameters: dict[str, int | float]
    prediction: PredictedError | None
    prediction_missing: str | None = Field(description="Why there is no prediction.")
    test_error: MeasuredError | None = Field(description="null until the first replicates are done.")
    difference: Value = Field(description="Measured mean minus predicted total.")
    relative_difference: Value = Field(description="The difference by the predicted total.")
    z_score: Value = Field(description="The difference by the standard error.")


class Progress(Answer):
    """Replicates done, of all."""

    completed: int
    total: int


class Cost(Answer):
    """What a simulation takes; times are those of one core of a few years ago."""

    points: int
    replicates: int
    shards: int
    flops: float
    core_seconds: float


class Failure(Answer):
    """Why a simulation failed: a stable code and a sentence."""

    code: str
    message: str
    shard: int | None = None
    attempts: int | None = None


class SimulationSummary(Answer):
    """A simulation in a list."""

    id: str
    state: State
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    engine_version: str
    progress: Progress
    cost: Cost
    failure: Failure | None


class Simulation(SimulationSummary):
    """A simulation; once it has finished it never changes."""

    request: SimulationRequest
    points: list[SimulationPoint]


class SimulationEstimate(Answer):
    """The answer to validate_only: every check passed, nothing was stored."""

    cost: Cost
    points: list[SimulationPoint]


class SimulationPage(Answer):
    """A page of simulations, newest first."""

    items: list[SimulationSummary]
    next_cursor: str | None
