"""What routes that store predictions ask for; the state lives on ``app.state``."""

from typing import Annotated

from fastapi import Depends, Request

from service.predictions.record import Records
from service.remembered import Remembered


async def _records(request: Request) -> Records:
    records: Records = request.app.state.records
    return records


async def _recent(request: Request) -> Remembered[str]:
    """Answers given lately, as they were sent, by their id, which names input, engine and order."""
    recent: Remembered[str] = request.app.state.recent
    return recent


RecordsDep = Annotated[Records, Depends(_records)]
RecentDep = Annotated[Remembered[str], Depends(_recent)]
