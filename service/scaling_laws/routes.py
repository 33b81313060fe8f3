"""POST /v1/scaling-laws."""

from fastapi import APIRouter

from service.datasets import store as datasets
from service.errors import DatabaseUnavailable, InvalidInput, NotFound, TooManyRequests
from service.predictions.engine import INLINE_WORK, compiled, seconds_of, work_of
from service.scaling_laws import responses, schemas
from service.scaling_laws.answer import answer
from service.web.dependencies import AsideDep, DatabaseDep
from service.web.problems import responses as problem_responses

router = APIRouter(prefix="/v1/scaling-laws", tags=["predictions"])


@router.post("", responses=problem_responses(InvalidInput, NotFound, TooManyRequests, DatabaseUnavailable))
async def create_scaling_laws(
    request: schemas.ScalingLawsRequest, database: DatabaseDep, aside: AsideDep
) -> responses.ScalingLaws:
    """How the best penalty and the least test error of a recursion scale: closed form beside the numerical optimum.

    For power laws (arXiv 2402.07712): exponents, effective samples, the crossover beyond which the penalty for clean
    data is wrong, and the exponent ℓ* of λ = T^-ℓ. The database is asked for stored data sets only. When the
    client goes, the computation stops.
    """
    population, fitted = None, None
    if isinstance(request.dataset, str):
        async with database.transaction() as connection:
            population = await datasets.population(connection, request.dataset)
            fitted = (await datasets.fetch_rows(connection, request.dataset)).exponents
    population, mix = compiled(request, population)
    if 3 * work_of(population, mix) <= INLINE_WORK:
        return answer(request, population, mix, fitted)
    seconds = 3 * seconds_of(population, mix)
    return await aside.run(seconds, answer, request, population, mix, fitted)
