"""POST /v1/recommendations."""

from typing import Annotated, Final

from fastapi import APIRouter, Query

from service.datasets import store as datasets
from service.errors import DatabaseUnavailable, InvalidInput, NotFound, TooManyRequests
from service.predictions.engine import compiled, work_of
from service.recommendations import responses, schemas
from service.recommendations.answer import recommended
from service.recommendations.evaluation import SECONDS
from service.web.dependencies import AsideDep, DatabaseDep
from service.web.problems import responses as problem_responses

router = APIRouter(prefix="/v1/recommendations", tags=["predictions"])

MAX_WORK: Final = 5_000_000  # of one prediction, see work_of: about a second; hundreds of them are made


@router.post("", responses=problem_responses(InvalidInput, NotFound, TooManyRequests, DatabaseUnavailable))
async def create_recommendation(
    request: schemas.RecommendationRequest,
    database: DatabaseDep,
    aside: AsideDep,
    order: Annotated[
        int,
        Query(ge=0, le=1, description="0: the asymptotic value; 1: of finite samples where that is known."),
    ] = 1,
) -> responses.Recommendation:
    """What to change so that the test error meets a bound: each thing alone, with the error there and what binds.

    Best penalty, best loss weights, largest synthetic share and count, fewest real samples, most generations, whether
    each synthetic source helps, and the cheapest single change where samples have a cost. Every value that is named
    meets the bound, by the same formulas as POST /v1/predictions with this `order`; what takes longer than the time
    limit is left out and said so. When the client goes, the computation stops.
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
    return await aside.run(SECONDS, recommended, request, population, mix, 1 if order else 0)
