"""What routes that store predictions ask for; the state lives on ``app.state``."""

from typing import Annotated

from fastapi import Depends, Request

from service.predictions.recent import RecentAnswers
from service.predictions.record import Records


async def _records(request: Request) -> Records:
    records: Records = request.app.state.records
    return records


async def _recent(request: Request) -> RecentAnswers:
    recent: RecentAnswers = request.app.state.recent
    return recent


RecordsDep = Annotated[Records, Depends(_records)]
RecentDep = Annotated[RecentAnswers, Depends(_recent)]
