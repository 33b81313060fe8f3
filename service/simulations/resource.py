"""What every simulation has in common, whatever it simulates: what a client may ask, and what it is answered."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field, Strict

from service.predictions.responses import Answer
from service.predictions.schemas import Model

MAX_REPLICATES = 10_000
MAX_OUTCOMES = 4_000_000
MAX_SEED = 2**63 - 1

State = Literal["queued", "running", "succeeded", "failed", "cancelled"]


class SimulationOptions(Model):
    """How a simulation is carried out; the base of every kind's request."""

    replicates: Annotated[int, Field(ge=1, le=MAX_REPLICATES), Strict()] = Field(
        description=f"Independent repetitions of the whole process; at most {MAX_REPLICATES}."
    )
    seed: Annotated[int, Field(ge=0, le=MAX_SEED), Strict()] = Field(
        0, description="The same request with the same seed gives the same numbers, to the last bit."
    )


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
    """A simulation in a list; the base of every kind's answer."""

    id: str
    kind: str = Field(description="What is simulated: regression, or a kind of distribution.")
    state: State
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    engine_version: str
    progress: Progress
    cost: Cost
    failure: Failure | None


class SimulationEstimate(Answer):
    """The answer to validate_only: every check passed, nothing was stored."""

    cost: Cost


class SimulationPage(Answer):
    """A page of simulations, newest first."""

    items: list[SimulationSummary]
    next_cursor: str | None
