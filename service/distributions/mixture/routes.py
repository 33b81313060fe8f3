"""HTTP of the Gaussian mixtures."""

from fastapi import APIRouter

from service.distributions.answering import Reply
from service.distributions.mixture.engine import KIND, predicted
from service.distributions.mixture.responses import MixturePrediction
from service.distributions.mixture.schemas import MixtureRequest
from service.errors import DatabaseUnavailable, InvalidInput
from service.web.problems import responses as problem_responses

router = APIRouter(prefix="/mixture")


@router.post("/predictions", responses=problem_responses(InvalidInput, DatabaseUnavailable))
async def create_mixture_prediction(request: MixtureRequest, reply: Reply) -> MixturePrediction:
    """Predict what becomes of a well-separated Gaussian mixture that is refitted to its own samples."""
    return await reply.prediction(KIND, request, predicted, inline=False)
