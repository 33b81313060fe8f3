"""Is the process alive, and can it do its work."""

from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel, Field

import service
from service.database.migrate import at_head
from service.database.monitoring import live_workers, queue_answers
from service.errors import ServiceError
from service.web.dependencies import DatabaseDep, SettingsDep
from service.web.problems import responses

router = APIRouter(tags=["operations"])


class NotReady(ServiceError):
    """The service cannot store or simulate now; predictions still work."""

    status = 503
    code = "not_ready"


class Health(BaseModel):
    """The process answers."""

    status: Literal["ok"]
    version: str


class Readiness(BaseModel):
    """The database answers, its schema is this version's, and the queue can be reached."""

    status: Literal["ready"]
    version: str
    live_workers: int = Field(description="Workers with a recent heartbeat; 0 means simulations will wait.")


@router.get("/healthz")
async def healthz() -> Health:
    """Whether the process answers; looks at nothing else."""
    return Health(status="ok", version=service.__version__)


@router.get("/readyz", responses=responses(NotReady))
async def readyz(database: DatabaseDep, settings: SettingsDep) -> Readiness:
    """Whether the database answers, is migrated to this version's schema, and holds the queue."""
    try:
        async with database.transaction() as connection:
            if not await at_head(connection):
                raise NotReady("The database is not at this version's schema: run `collapse migrate`.")
            await queue_answers(connection)
            workers = await live_workers(connection, settings.stalled_after)
    except NotReady:
        raise
    except ServiceError as error:
        raise NotReady(error.detail) from error
    return Readiness(status="ready", version=service.__version__, live_workers=workers)
