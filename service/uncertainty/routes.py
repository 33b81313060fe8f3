"""POST /v1/predictions:uncertain."""

import re

from fastapi import APIRouter

from service.datasets import store as datasets
from service.errors import DatabaseUnavailable, InvalidInput, NotFound, TooManyRequests
from service.predictions.order import OrderParameter, with_order
from service.uncertainty.engine import answer, study
from service.uncertainty.schemas import Uncertain, UncertainRequest
from service.web.dependencies import AsideDep, DatabaseDep
from service.web.problems import responses as problem_responses

router = APIRouter(prefix="/v1/predictions:uncertain", tags=["predictions"])

_DATASET = re.compile(r"dst_[a-z0-9]{26}")


@router.post("", responses=problem_responses(InvalidInput, NotFound, TooManyRequests, DatabaseUnavailable))
async def create_uncertain_prediction(
    asked: UncertainRequest, database: DatabaseDep, aside: AsideDep, order: OrderParameter = None
) -> Uncertain:
    """Predict from uncertain inputs: an interval for every output, and which input to measure better.

    Any number of `dataset` and `training_mix` may be an interval `{"low", "high"}` (uniform) or `{"mean", "sd"}`
    (normal). Seeded quasi-random sampling; nothing is stored. When the client goes, the computation stops.
    """
    asked = with_order(asked, order)
    population = None
    if isinstance(asked.dataset, str) and _DATASET.fullmatch(asked.dataset):
        async with database.transaction() as connection:
            population = await datasets.population(connection, asked.dataset)
    found = await aside.run(aside.compilation_seconds, study, asked, population)
    return await aside.run(found.seconds, answer, found)
