"""GET /v1/workers: who computes."""

from datetime import datetime
from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel, Field

from service.database.monitoring import known_workers
from service.errors import DatabaseUnavailable
from service.web.dependencies import DatabaseDep, SettingsDep
from service.web.problems import responses

router = APIRouter(prefix="/v1/workers", tags=["operations"])


class Worker(BaseModel):
    """A worker process, as of its latest heartbeat."""

    id: str
    hostname: str
    pid: int
    version: str
    state: Literal["running", "draining", "lost"] = Field(
        description="lost: no heartbeat for STALLED_AFTER seconds; its shards are taken over."
    )
    concurrency: int = Field(description="Shards it computes at once.")
    shards_running: int
    shards_succeeded: int = Field(description="Of the simulations that are still stored.")
    started_at: datetime
    heartbeat_at: datetime


class WorkerList(BaseModel):
    """Every worker that has not signed off, the longest-serving first."""

    items: list[Worker]


@router.get("", responses=responses(DatabaseUnavailable))
async def list_workers(database: DatabaseDep, settings: SettingsDep) -> WorkerList:
    """Workers on all machines, with their heartbeats; those lost are shown for an hour."""
    async with database.transaction() as connection:
        rows = await known_workers(connection, settings.stalled_after)
    return WorkerList(items=[Worker.model_validate(row) for row in rows])
