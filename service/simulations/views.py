"""GET /v1/simulations/{id}/results, /plot.svg and /events: a simulation as a table, a picture and a stream."""

import asyncio
import hashlib
from collections.abc import AsyncIterable
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Header, Query, Request, Response
from fastapi.sse import EventSourceResponse, ServerSentEvent
from starlette.exceptions import HTTPException

from service.database.engine import Database
from service.errors import DatabaseUnavailable, NotAcceptable, NotFound
from service.predictions.responses import Answer
from service.settings import Settings
from service.simulations import plot, store
from service.simulations.create import PREFIX
from service.simulations.follow import ENDED, changes, latest
from service.simulations.known import SimulationId
from service.simulations.registry import KINDS
from service.simulations.resource import SimulationSummary, State
from service.web.conditional import matches
from service.web.dependencies import DatabaseDep, SettingsDep
from service.web.problems import responses
from service.web.tables import MEDIA, Format, as_csv, as_parquet, chosen

router = APIRouter(prefix=PREFIX, tags=["simulations"])

_NOT_MODIFIED: Final[dict[int | str, dict[str, Any]]] = {304: {"description": "Not modified."}}
_SVG: Final = "image/svg+xml"


class SimulationResults(Answer):
    """The result of a simulation, or its estimates so far, as a flat table."""

    id: str
    kind: str
    state: State
    rows: list[dict[str, str | float | int | bool | None]]


@router.get(
    "/{simulation_id}/results",
    responses={
        200: {
            "model": SimulationResults,
            "content": {
                MEDIA["csv"]: {"schema": {"type": "string"}},
                MEDIA["parquet"]: {"schema": {"type": "string", "format": "binary"}},
            },
        },
        **_NOT_MODIFIED,
        **responses(NotFound, NotAcceptable, DatabaseUnavailable),
    },
)
async def get_simulation_results(
    *,
    simulation_id: SimulationId,
    request: Request,
    database: DatabaseDep,
    settings: SettingsDep,
    accept: Annotated[str | None, Header(max_length=1000)] = None,
    wanted: Annotated[
        Format | None, Query(alias="format", description="Instead of the Accept header.")
    ] = None,
) -> Response:
    """The result, or the estimates so far, as a flat table: JSON, CSV or Parquet by Accept or ``format``."""
    form = chosen(accept, wanted)
    simulation = await _fetched(database, simulation_id, settings)
    content = await asyncio.to_thread(_table, simulation, form)
    name = f"{simulation_id}.{form}"
    disposition = {} if form == "json" else {"Content-Disposition": f'attachment; filename="{name}"'}
    media = f"{MEDIA[form]}; charset=utf-8" if form == "csv" else MEDIA[form]
    return _answer(request, content, media, {**disposition, "Vary": "Accept"})


@router.get(
    "/{simulation_id}/plot.svg",
    response_class=Response,
    responses={
        200: {"description": "The plot.", "content": {_SVG: {"schema": {"type": "string"}}}},
        **_NOT_MODIFIED,
        **responses(NotFound, DatabaseUnavailable),
    },
)
async def get_simulation_plot(
    simulation_id: SimulationId, request: Request, database: DatabaseDep, settings: SettingsDep
) -> Response:
    """The prediction as a curve, simulated points with two standard errors, the predicted parts stacked."""
    simulation = await _fetched(database, simulation_id, settings)
    figure = KINDS[simulation.kind].figure(simulation)
    done = simulation.progress
    title = f"{simulation_id}: {simulation.state}, {done.completed} of {done.total} replicates"
    return _answer(request, await asyncio.to_thread(plot.svg, figure, title), _SVG, {})


LastEventId = Annotated[
    str | None, Header(alias="Last-Event-ID", max_length=200, description="The last event that was seen.")
]


async def _to_be_followed(
    simulation_id: SimulationId,
    database: DatabaseDep,
    settings: SettingsDep,
    last_event_id: LastEventId = None,
) -> str:
    """Said before the stream begins, later there is no status to say it with: it is there, and has more to tell."""
    found = await latest(database, simulation_id, settings.retention_days)
    if found.summary.state in ENDED and found.id == last_event_id:
        raise HTTPException(204)
    return simulation_id


@router.get(
    "/{simulation_id}/events",
    response_class=EventSourceResponse,
    responses={
        204: {"description": "It has ended, and that was seen: nothing will follow."},
        **responses(NotFound, DatabaseUnavailable),
    },
)
async def stream_simulation_events(
    simulation_id: Annotated[str, Depends(_to_be_followed)],
    database: DatabaseDep,
    settings: SettingsDep,
    last_event_id: LastEventId = None,
) -> AsyncIterable[ServerSentEvent]:
    """Server-sent events until the end: ``progress``, then one of ``succeeded``, ``failed``, ``cancelled``.

    Each carries the simulation without its results. A client that comes back with Last-Event-ID gets the latest
    state unless it has seen that already; states that passed in between are not repeated. One that has seen the end
    gets 204, at which a browser's EventSource stops coming back.
    """
    async for change in changes(database, simulation_id, last_event_id, settings.retention_days):
        yield ServerSentEvent(data=change.summary, event=change.event, id=change.id, retry=1000)


async def _fetched(database: Database, simulation_id: str, settings: Settings) -> Any:
    async with database.transaction() as connection:
        return await store.fetch(connection, simulation_id, settings)


def _table(simulation: Any, form: Format) -> bytes:
    summary: SimulationSummary = simulation
    rows = KINDS[summary.kind].rows(simulation)
    match form:
        case "csv":
            return as_csv(rows)
        case "parquet":
            return as_parquet(rows)
        case "json":
            table = SimulationResults(id=summary.id, kind=summary.kind, state=summary.state, rows=rows)
            return table.model_dump_json().encode()


def _answer(request: Request, content: bytes, media: str, headers: dict[str, str]) -> Response:
    etag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    headers = {**headers, "ETag": etag, "Cache-Control": "no-cache"}
    if matches(request, etag):
        return Response(status_code=304, headers=headers)
    return Response(content, media_type=media, headers=headers)
