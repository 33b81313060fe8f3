"""What routes ask for; the state lives on ``app.state``.

All of it is async: what is not is called in a thread, which costs more than many a prediction.
"""

from typing import Annotated

from fastapi import Depends, Header, Request

from service.database.engine import Database
from service.settings import Settings
from service.web.aside import Aside


async def _database(request: Request) -> Database:
    database: Database = request.app.state.database
    return database


async def _settings(request: Request) -> Settings:
    settings: Settings = request.app.state.settings
    return settings


async def _aside(request: Request) -> Aside:
    return Aside(request)


async def _request_id(request: Request) -> str:
    identity: str = request.state.request_id
    return identity


DatabaseDep = Annotated[Database, Depends(_database)]
SettingsDep = Annotated[Settings, Depends(_settings)]
AsideDep = Annotated[Aside, Depends(_aside)]
RequestId = Annotated[str, Depends(_request_id)]
IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        pattern=r"^[\x21-\x7e]+$",
        description="A key of the client's choice: the same key and body give the same resource, "
        "the same key with another body (or another `order`) is a 409.",
    ),
]
