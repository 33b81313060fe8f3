"""HTTP of the Gaussian recursions."""

from fastapi import APIRouter

from service.distributions.answering import Reply
from service.distributions.gaussian import recommend
from service.distributions.gaussian.answer import KIND
from service.distributions.gaussian.engine import predicted, seconds_of, seconds_of_search
from service.distributions.gaussian.responses import GaussianPrediction, GaussianRecommendation
from service.distributions.gaussian.schemas import GaussianRecommendationRequest, GaussianRequest
from service.distributions.gaussian.simulation import GAUSSIAN, GaussianSimulation, GaussianSimulationRequest
from service.errors import DatabaseUnavailable, InvalidInput, TooManyRequests
from service.simulations.create import Submission, created
from service.simulations.resource import SimulationEstimate
from service.web.problems import responses as problem_responses

router = APIRouter(prefix="/v1/distributions/gaussian")


@router.post("/predictions", responses=problem_responses(InvalidInput, TooManyRequests, DatabaseUnavailable))
async def create_gaussian_prediction(request: GaussianRequest, reply: Reply) -> GaussianPrediction:
    """Predict what becomes of a Gaussian that is fitted to samples of its fits, generation by generation."""
    return await reply.prediction(KIND, predicted, request, seconds=seconds_of(request))


@router.post("/simulations", status_code=202, responses=created(GAUSSIAN))
async def create_gaussian_simulation(
    request: GaussianSimulationRequest, submission: Submission
) -> GaussianSimulation | SimulationEstimate:
    """Queue a simulation of Gaussian fits by generation; it lives at /v1/simulations."""
    answer: GaussianSimulation | SimulationEstimate = await submission.accepted(GAUSSIAN, request)
    return answer


@router.post(
    "/recommendations", responses=problem_responses(InvalidInput, TooManyRequests, DatabaseUnavailable)
)
async def create_gaussian_recommendation(
    request: GaussianRecommendationRequest, reply: Reply
) -> GaussianRecommendation:
    """Find the least real data per generation that keep Gaussian fits' variance, drift or divergence within a bound."""
    return await reply.prediction(
        recommend.KIND, recommend.recommended, request, seconds=seconds_of_search(request)
    )
