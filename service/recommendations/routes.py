"""POST /v1/recommendations."""

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Final

from fastapi import APIRouter, Query

from service.datasets import store as datasets
from service.errors import DatabaseUnavailable, InvalidInput, NotFound, TooManyRequests
from service.predictions.engine import compiled, work_of
from service.recommendations import responses, schemas
from service.recommendations.answer import recommended
from service.recommendations.evaluation import SECONDS
from service.theory.model import Population, TrainingMix
from service.web.dependencies import DatabaseDep
from service.web.problems import responses as problem_responses

router = APIRouter(prefix="/v1/recommendations", tags=["predictions"])

MAX_WORK: Final = 5_000_000  # of one prediction, see work_of: about a second; hundreds of them are made
_THREADS: Final = os.cpu_count() or 1
_WAITING: Final = 16 * _THREADS
_pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="recommendations")
_admitted = 0


@router.post("", responses=problem_responses(InvalidInput, NotFound, TooManyRequests, DatabaseUnavailable))
async def create_recommendation(
    request: schemas.RecommendationRequest,
    database: DatabaseDep,
    order: Annotated[
        int,
        Query(ge=0, le=1, description="0: the asymptotic value; 1: of finite samples where that is known."),
    ] = 1,
) -> responses.Recommendation:
    """What to change so that the test error meets a bound: each thing alone, with the error there and what binds.

    Best penalty, best loss weights, largest synthetic share and count, fewest real samples, most generations, whether
    each synthetic source helps, and the cheapest single change where samples have a cost. Every value that is named
    meets the bound, by the same formulas as POST /v1/predictions with this `order`; what takes longer than the time
    limit is left out and said so.
    """
    population = None
    if isinstance(request.dataset, str):
        async with database.transaction() as connection:
            population = await datasets.population(connection, request.dataset)
    population, mix = compiled(request, population)
    work = work_of(population, mix)
    if work > MAX_WORK:
        raise InvalidInput.at(
            "/training_mix", "too_large",
            f"one prediction of this mix costs {work:.2g} (modes × sources² × stages, more for covariate shift and "
            f"joint penalties), and hundreds are needed; at most {MAX_WORK:.2g} is accepted. Give the spectrum as "
            "levels with multiplicities, fewer stages, or penalties as numbers.",
        )  # fmt: skip
    return await _computed(request, population, mix, 1 if order else 0)


async def _computed(
    request: schemas.RecommendationRequest, population: Population, mix: TrainingMix, order: int
) -> responses.Recommendation:
    """In one of as many threads as there are cores; raises TooManyRequests where too many wait already."""
    global _admitted  # noqa: PLW0603 - counts what this process has in its pool
    if _admitted >= _WAITING:
        raise TooManyRequests(
            f"{_admitted} recommendations are being computed or wait; try again later.",
            headers={"Retry-After": str(round(SECONDS))},
        )
    _admitted += 1
    try:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(_pool, recommended, request, population, mix, 1 if order else 0)
    finally:
        _admitted -= 1
