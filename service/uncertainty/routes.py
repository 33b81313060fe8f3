"""POST /v1/predictions:uncertain."""

import asyncio
import re

import numpy as np
from fastapi import APIRouter, Request

from service.datasets import store as datasets
from service.errors import DatabaseUnavailable, InvalidInput, NotFound
from service.uncertainty.engine import answer, study
from service.uncertainty.schemas import Uncertain, UncertainRequest
from service.web.dependencies import DatabaseDep
from service.web.problems import responses as problem_responses

router = APIRouter(prefix="/v1/predictions:uncertain", tags=["predictions"])

_DATASET = re.compile(r"dst_[a-z0-9]{26}")


@router.post("", responses=problem_responses(InvalidInput, NotFound, DatabaseUnavailable))
async def create_uncertain_prediction(
    asked: UncertainRequest, request: Request, database: DatabaseDep
) -> Uncertain:
    """Predict from uncertain inputs: an interval for every output, and which input to measure better.

    Any number of `dataset` and `training_mix` may be an interval `{"low", "high"}` (uniform) or `{"mean", "sd"}`
    (normal). Seeded quasi-random sampling; nothing is stored. When the client goes, the computation stops.
    """
    population = None
    if isinstance(asked.dataset, str) and _DATASET.fullmatch(asked.dataset):
        async with database.transaction() as connection:
            population = await datasets.population(connection, asked.dataset)
    found = await asyncio.to_thread(study, asked, population)
    parts, problems = [], list[str]()
    chunks = found.chunks()
    while (part := await asyncio.to_thread(next, chunks, None)) is not None:
        parts.append(part[0])
        problems += part[1]
        if await request.is_disconnected():
            break  # nobody reads the answer
    computed = np.concatenate(parts, axis=1)
    missing = len(found.values) - computed.shape[1]
    return answer(found, np.pad(computed, ((0, 0), (0, missing)), constant_values=np.nan), problems)
