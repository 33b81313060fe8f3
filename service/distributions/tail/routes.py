"""HTTP of the tails."""

from fastapi import APIRouter

from service.distributions.answering import Reply
from service.distributions.tail import recommend
from service.distributions.tail.answer import KIND
from service.distributions.tail.drawn import TailSimulationRequest
from service.distributions.tail.engine import SEARCHED, curve_of, predicted, seconds_of
from service.distributions.tail.responses import TailPrediction, TailRecommendation
from service.distributions.tail.schemas import TailRecommendationRequest, TailRequest
from service.distributions.tail.simulation import TAIL, TailSimulation
from service.errors import DatabaseUnavailable, InvalidInput, TooManyRequests
from service.simulations.create import Submission, created
from service.simulations.resource import SimulationEstimate
from service.web.problems import responses as problem_responses

router = APIRouter(prefix="/v1/distributions/tail")


@router.post("/predictions", responses=problem_responses(InvalidInput, TooManyRequests, DatabaseUnavailable))
async def create_tail_prediction(request: TailRequest, reply: Reply) -> TailPrediction:
    """Predict the error of a learner that fails on what it has not seen: scaling law, plateau, and what ends it."""
    return await reply.prediction(
        KIND, predicted, request, seconds=seconds_of(request, len(curve_of(request)))
    )


@router.post(
    "/recommendations", responses=problem_responses(InvalidInput, TooManyRequests, DatabaseUnavailable)
)
async def create_tail_recommendation(request: TailRecommendationRequest, reply: Reply) -> TailRecommendation:
    """Find the least samples, real samples or real fraction, or the most generations, that keep the error in bounds."""
    return await reply.prediction(
        recommend.KIND, recommend.recommended, request, seconds=seconds_of(request, SEARCHED)
    )


@router.post("/simulations", status_code=202, responses=created(TAIL))
async def create_tail_simulation(
    request: TailSimulationRequest, submission: Submission
) -> TailSimulation | SimulationEstimate:
    """Have workers show items to a learner, one by one, and compare it with the prediction."""
    answer: TailSimulation | SimulationEstimate = await submission.accepted(TAIL, request)
    return answer
