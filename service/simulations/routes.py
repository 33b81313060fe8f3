"""POST and GET /v1/simulations, POST /v1/simulations/{id}:cancel."""

import hashlib
import re
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Annotated, Any, Final

from fastapi import APIRouter, Query, Request, Response

from service.errors import Conflict, DatabaseUnavailable, InvalidInput, NotFound
from service.simulations import store
from service.simulations.create import PREFIX, Submission, created
from service.simulations.registry import KINDS
from service.simulations.regression import REGRESSION
from service.simulations.resource import SimulationPage, SimulationSummary, State
from service.simulations.schemas import RegressionEstimate, Simulation, SimulationRequest
from service.web.conditional import matches
from service.web.dependencies import DatabaseDep
from service.web.problems import responses

router = APIRouter(prefix=PREFIX, tags=["simulations"])

if TYPE_CHECKING:
    AnySimulation = SimulationSummary
else:  # as the document tells it: every kind's answer
    AnySimulation = reduce(or_, (kind.simulation for kind in KINDS.values()))

_ID: Final = re.compile(r"sim_[a-z0-9]{26}")
_NOT_MODIFIED: Final[dict[int | str, dict[str, Any]]] = {304: {"description": "Not modified."}}


@router.post("", status_code=202, responses=created(REGRESSION))
async def create_simulation(
    request: SimulationRequest, submission: Submission
) -> Simulation | RegressionEstimate:
    """Simulate a training mix, next to its prediction, at every point of a grid.

    The answer comes at once; workers compute. Follow it at the address in Location.
    """
    answer: Simulation | RegressionEstimate = await submission.accepted(REGRESSION, request)
    return answer


@router.get("", responses=responses(InvalidInput, DatabaseUnavailable))
async def list_simulations(
    database: DatabaseDep,
    state: Annotated[State | None, Query(description="Only those in this state.")] = None,
    cursor: Annotated[
        str | None, Query(max_length=200, description="next_cursor of the page before.")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
) -> SimulationPage:
    """Simulations, newest first."""
    async with database.transaction() as connection:
        return await store.page(connection, state=state, cursor=cursor, limit=limit)


@router.get("/{simulation_id}", responses={**_NOT_MODIFIED, **responses(NotFound, DatabaseUnavailable)})
async def get_simulation(
    simulation_id: str, request: Request, response: Response, database: DatabaseDep
) -> AnySimulation:
    """A simulation: its state, its progress, and its results or the estimates so far."""
    _known_form(simulation_id)
    async with database.transaction() as connection:
        simulation: AnySimulation = await store.fetch(connection, simulation_id)
    etag = _etag(simulation)
    if matches(request, etag):
        return Response(status_code=304, headers={"ETag": etag})  # type: ignore[return-value]
    response.headers["ETag"] = etag
    response.headers["Cache-Control"] = "no-cache"
    return simulation


@router.post("/{simulation_id}:cancel", responses=responses(NotFound, Conflict, DatabaseUnavailable))
async def cancel_simulation(simulation_id: str, database: DatabaseDep) -> AnySimulation:
    """Stop a simulation; what is being computed is stopped within a second. Cancelling twice is no error."""
    _known_form(simulation_id)
    async with database.transaction() as connection:
        await store.cancel(connection, simulation_id)
        simulation: AnySimulation = await store.fetch(connection, simulation_id)
    return simulation


def _known_form(simulation_id: str) -> None:
    if not _ID.fullmatch(simulation_id):
        raise NotFound("There is no such simulation: ids are sim_ and 26 lower-case letters and digits.")


def _etag(simulation: SimulationSummary) -> str:
    return f'"{hashlib.sha256(simulation.model_dump_json().encode()).hexdigest()[:32]}"'
