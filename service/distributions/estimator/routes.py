"""HTTP of the estimator chains."""

from fastapi import APIRouter

from service.distributions.answering import Reply
from service.distributions.estimator.answer import KIND
from service.distributions.estimator.engine import INLINE_WORK, predicted, work_of
from service.distributions.estimator.responses import EstimatorPrediction
from service.distributions.estimator.schemas import EstimatorRequest
from service.errors import DatabaseUnavailable, InvalidInput
from service.web.problems import responses as problem_responses

router = APIRouter(prefix="/estimator")


@router.post("/predictions", responses=problem_responses(InvalidInput, DatabaseUnavailable))
async def create_estimator_prediction(request: EstimatorRequest, reply: Reply) -> EstimatorPrediction:
    """Predict the error of an efficient estimator that is fitted to data of its predecessors, and the best weights."""
    return await reply.prediction(KIND, request, predicted, inline=work_of(request) <= INLINE_WORK)
