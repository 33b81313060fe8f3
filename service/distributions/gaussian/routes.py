"""HTTP of the Gaussian recursions."""

from fastapi import APIRouter

from service.distributions.answering import Reply
from service.distributions.gaussian.answer import KIND
from service.distributions.gaussian.engine import INLINE_WORK, predicted, work_of
from service.distributions.gaussian.responses import GaussianPrediction
from service.distributions.gaussian.schemas import GaussianRequest
from service.errors import DatabaseUnavailable, InvalidInput
from service.web.problems import responses as problem_responses

router = APIRouter(prefix="/gaussian")


@router.post("/predictions", responses=problem_responses(InvalidInput, DatabaseUnavailable))
async def create_gaussian_prediction(request: GaussianRequest, reply: Reply) -> GaussianPrediction:
    """Predict what becomes of a Gaussian that is fitted to samples of its fits, generation by generation."""
    return await reply.prediction(KIND, request, predicted, inline=work_of(request) <= INLINE_WORK)
