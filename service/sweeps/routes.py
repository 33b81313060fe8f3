"""POST /v1/sweeps."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated

from fastapi import APIRouter, Header
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from service.datasets import store as datasets
from service.errors import DatabaseUnavailable, InvalidInput, NotAcceptable, NotFound, TooManyRequests
from service.predictions.order import OrderParameter, with_order
from service.predictions.tables import Tables
from service.sweeps import metrics
from service.sweeps.grid import MAX_SECONDS, Grid, grid
from service.sweeps.schemas import Sweep, SweepRequest
from service.theory.slots import COLUMNS
from service.web.columns import CSV, PARQUET, WRITERS, Writer, accepted
from service.web.dependencies import AsideDep, DatabaseDep
from service.web.problems import responses as problem_responses

SECONDS = 2 * MAX_SECONDS
"""That an answer may take, a slow reader included; then its connection is cut."""

router = APIRouter(prefix="/v1/sweeps", tags=["sweeps"])

MAX_RUNNING = 8  # each computes in a thread of its own
_BYTES = {"schema": {"type": "string", "format": "binary"}}


class Stream(StreamingResponse):
    """A stream with a time limit: a reader that stops reading does not keep its place for ever."""

    def __init__(self, rows: AsyncGenerator[bytes], media: str) -> None:
        super().__init__(rows, media_type=media)
        self._rows = rows

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        async with aclosing(self._rows), asyncio.timeout(SECONDS):
            await super().__call__(scope, receive, send)


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
    request: SweepRequest,
    database: DatabaseDep,
    aside: AsideDep,
    accept: Annotated[str | None, Header()] = None,
    order: OrderParameter = None,
) -> StreamingResponse:
    """Predict every point of a grid over any numeric fields of one request; nothing is stored.

    Streamed in order as it is computed. When the client goes, the computation stops.
    """
    media, request = accepted(accept), with_order(request, order)
    population = None
    if isinstance(request.base.dataset, str):
        async with database.transaction() as connection:
            population = await datasets.population(connection, request.base.dataset)
    if metrics.running() >= MAX_RUNNING:
        raise TooManyRequests(
            f"{MAX_RUNNING} sweeps are running, as many as one process takes.", headers={"Retry-After": "5"}
        )
    points = await aside.run(aside.compilation_seconds * len(request.axes), grid, request, population)
    columns = list(request.columns or COLUMNS)
    names = [*(axis.pointer for axis in request.axes), *columns]
    writer = WRITERS[media](names, {"points": points.size, "order": request.order})
    tables = Tables(points.family, points.chunk_seconds, aside.calculator)
    return Stream(_written(points, tables, columns, writer), media)


async def _written(points: Grid, tables: Tables, columns: list[str], writer: Writer) -> AsyncGenerator[bytes]:
    """The bytes of the answer; cancelled where the client goes."""
    with metrics.sweep():
        yield writer.begin()
        for values in points.chunks():
            found = await tables.at(values)
            numbers = [*values.T, *(found.values[name] for name in columns)]
            metrics.computed(len(values))
            yield writer.rows(numbers, found.problems)
        yield writer.end()
