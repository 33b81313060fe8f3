"""What every simulation has in common, whatever it simulates: what a client may ask, and what it is answered."""

from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import Field, Strict, model_validator

from service.predictions.responses import Answer
from service.predictions.schemas import Model

MAX_REPLICATES = 10_000
MAX_OUTCOMES = 4_000_000
MAX_SEED = 2**63 - 1

Priority = Literal["low", "normal", "high"]
Stopped = Literal["precision", "time", "replicates"]
State = Literal["queued", "running", "succeeded", "failed", "cancelled"]


class SimulationOptions(Model):
    """How a simulation is carried out; the base of every kind's request."""

    replicates: Annotated[int, Field(ge=1, le=MAX_REPLICATES), Strict()] | None = Field(
        None,
        description=f"Independent repetitions of the whole process; at most {MAX_REPLICATES}. Give this or"
        " relative_standard_error.",
    )
    relative_standard_error: Annotated[float, Field(ge=1e-6, le=1, allow_inf_nan=False), Strict()] | None = (
        Field(
            None,
            description="Repeat until the standard error of every point's measured mean, by the mean, is at most"
            " this; looked at after 32 replicates at first.",
        )
    )
    max_replicates: Annotated[int, Field(ge=1, le=MAX_REPLICATES), Strict()] | None = Field(
        None,
        description=f"With relative_standard_error: stop here even if it is not reached; null: {MAX_REPLICATES}, or"
        " as many as the limits on computing allow.",
    )
    max_seconds: Annotated[float, Field(gt=0, le=30 * 86400, allow_inf_nan=False), Strict()] | None = Field(
        None,
        description="Seconds after its start at which it ends with the replicates that are done, from the first on"
        " without a gap.",
    )
    priority: Priority = Field(
        "normal",
        description="How often its turn comes: high 4 times as often as normal, low a quarter as often. Nothing waits"
        " for ever.",
    )
    seed: Annotated[int, Field(ge=0, le=MAX_SEED), Strict()] = Field(
        0, description="The same request with the same seed gives the same numbers, to the last bit."
    )

    @model_validator(mode="after")
    def _replicates_or_precision(self) -> Self:
        if (self.replicates is None) == (self.relative_standard_error is None):
            raise ValueError("give either replicates or relative_standard_error")
        if self.replicates is not None and self.max_replicates is not None:
            raise ValueError("max_replicates goes with relative_standard_error, not with replicates")
        return self


class Progress(Answer):
    """Replicates done, of all; of at most so many while a precision is to be reached."""

    completed: int
    total: int


class Place(Answer):
    """Where an active simulation stands among the others; times suppose that the workers stay as they are."""

    position: int = Field(
        description="Among the simulations that have not begun, 1 is next; 0: it has begun."
    )
    core_seconds_left: float = Field(description="Its own, by its speed so far or else by its cost.")
    expected_finish_at: datetime | None = Field(description="null without a live worker.")


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
    """A simulation in a list; the base of every kind's answer, which adds ``kind``, ``request`` and its result."""

    id: str
    kind: str = Field(description="What is simulated: regression, or a kind of distribution.")
    state: State
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    engine_version: str
    priority: Priority
    submitter: str
    progress: Progress
    stopped: Stopped | None = Field(
        description="Why it ended, where a precision or a time was given: precision (reached), replicates or time (the"
        " caps). Its result is that of a simulation with progress.completed replicates."
    )
    place: Place | None = Field(None, description="null once it has ended, and in lists.")
    expires_at: datetime | None = Field(description="When it is deleted; null: it is kept.")
    cost: Cost
    failure: Failure | None


class SimulationEstimate(Answer):
    """The answer to validate_only: every check passed, nothing was stored."""

    cost: Cost = Field(description="With a precision to reach: at most.")
    place: Place = Field(description="Where it would stand if it were submitted now.")


class SimulationPage(Answer):
    """A page of simulations, newest first."""

    items: list[SimulationSummary]
    next_cursor: str | None
