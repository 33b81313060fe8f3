"""Where a prediction is computed: by what it takes."""

import asyncio
from typing import Literal

from service.predictions import responses, schemas
from service.predictions.engine import compiled, is_quick, predicted, seconds_of
from service.predictions.populations import has_matrices
from service.theory.model import Population, TrainingMix
from service.web.aside import Aside


async def computed(
    aside: Aside,
    request: schemas.PredictionRequest,
    stored: Population | None,
    order: Literal[0, 1],
) -> responses.Prediction:
    """On the event loop where it takes about a millisecond, in a child where it takes a second, else in a thread.

    ``stored``: the population of the data set that the request names. Raises ServiceError, ClientGone.
    """
    population, mix = await compiled_aside(request, stored)
    if is_quick(population, mix, order):
        return predicted(request, population, mix, order)
    seconds = seconds_of(population, mix)
    return await aside.run(seconds, predicted, request, population, mix, order)


async def compiled_aside(
    request: schemas.PredictionRequest, stored: Population | None
) -> tuple[Population, TrainingMix]:
    """The population and the mix of a request, in a thread where their checks alone take a while."""
    if has_matrices(request.training_mix):
        return await asyncio.to_thread(compiled, request, stored)
    return compiled(request, stored)
