"""POST /v1/sweeps."""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Header
from starlette.responses import StreamingResponse

from service.datasets import store as datasets
from service.errors import DatabaseUnavailable, InvalidInput, NotAcceptable, NotFound, TooManyRequests
from service.sweeps import metrics
from service.sweeps.grid import Grid, grid
from service.sweeps.schemas import Sweep, SweepRequest
from service.theory.slots import COLUMNS
from service.web.columns import CSV, PARQUET, WRITERS, Writer, accepted
from service.web.dependencies import DatabaseDep
from service.web.problems import responses as problem_responses

router = APIRouter(prefix="/v1/sweeps", tags=["sweeps"])

MAX_RUNNING = 8  # each computes in a thread of its own
_BYTES = {"schema": {"type": "string", "format": "binary"}}


@router.post(
    "",
    response_class=StreamingResponse,
    responses={
        200: {
            "description": "One row for each point: the axes' values, then the columns; null where a value is infinite "
            "or does not exist, with the reason in the column `problem` where there is no prediction at all.",
            "model": Sweep,
            "content": {CSV: _BYTES, PARQUET: _BYTES},
        },
        **problem_responses(InvalidInput, NotFound, NotAcceptable, TooManyRequests, DatabaseUnavailable),
    },
)
async def create_sweep(
    request: SweepRequest, database: DatabaseDep, accept: Annotated[str | None, Header()] = None
) -> StreamingResponse:
    """Predict every point of a grid over any numeric fields of one request; nothing is stored.

    Streamed in order as it is computed. When the client goes, the computation stops.
    """
    media = accepted(accept)
    population = None
    if isinstance(request.base.dataset, str):
        async with database.transaction() as connection:
            population = await datasets.population(connection, request.base.dataset)
    if metrics.running() >= MAX_RUNNING:
        raise TooManyRequests(
            f"{MAX_RUNNING} sweeps are running, as many as one process takes.", headers={"Retry-After": "5"}
        )
    points = await asyncio.to_thread(grid, request, population)
    columns = list(request.columns or COLUMNS)
    names = [*(axis.pointer for axis in request.axes), *columns]
    writer = WRITERS[media](names, {"points": points.size, "order": request.order})
    return StreamingResponse(_written(points, columns, writer), media_type=media)


async def _written(points: Grid, columns: list[str], writer: Writer) -> AsyncIterator[bytes]:
    """The bytes of the answer; between two chunks a client that has gone ends this."""
    with metrics.sweep():
        yield writer.begin()
        chunks = points.chunks()
        while (part := await asyncio.to_thread(next, chunks, None)) is not None:
            values, found = part
            numbers = [*values.T, *(found.values[name] for name in columns)]
            metrics.computed(len(values))
            yield writer.rows(numbers, found.problems)
        yield writer.end()
