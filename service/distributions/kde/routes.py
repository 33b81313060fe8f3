"""HTTP of the kernel density estimates."""

from fastapi import APIRouter

from service.distributions.answering import Reply
from service.distributions.kde import recommend
from service.distributions.kde.engine import KIND, SEARCH, predicted, seconds_of
from service.distributions.kde.responses import KdePrediction, KdeRecommendation
from service.distributions.kde.schemas import KdeRecommendationRequest, KdeRequest
from service.distributions.kde.simulation import KDE, KdeSimulation, KdeSimulationRequest
from service.errors import DatabaseUnavailable, InvalidInput, TooManyRequests
from service.simulations.create import Submission, created
from service.simulations.resource import SimulationEstimate
from service.web.problems import responses as problem_responses

router = APIRouter(prefix="/v1/distributions/kde")


@router.post("/predictions", responses=problem_responses(InvalidInput, TooManyRequests, DatabaseUnavailable))
async def create_kde_prediction(request: KdeRequest, reply: Reply) -> KdePrediction:
    """Predict what becomes of kernel density estimates that are made of each other's samples."""
    return await reply.prediction(KIND, predicted, request, seconds=seconds_of(request))


@router.post(
    "/recommendations", responses=problem_responses(InvalidInput, TooManyRequests, DatabaseUnavailable)
)
async def create_kde_recommendation(request: KdeRecommendationRequest, reply: Reply) -> KdeRecommendation:
    """Find the least fresh real data per generation that keep kernel density estimates within a bound."""
    return await reply.prediction(recommend.KIND, recommend.recommended, request, seconds=SEARCH)


@router.post("/simulations", status_code=202, responses=created(KDE))
async def create_kde_simulation(
    request: KdeSimulationRequest, submission: Submission
) -> KdeSimulation | SimulationEstimate:
    """Queue a simulation of kernel density estimates by generation; it lives at /v1/simulations."""
    answer: KdeSimulation | SimulationEstimate = await submission.accepted(KDE, request)
    return answer
