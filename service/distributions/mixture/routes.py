"""HTTP of the Gaussian mixtures."""

from fastapi import APIRouter

from service.distributions.answering import Reply
from service.distributions.mixture import recommend
from service.distributions.mixture.engine import KIND, SEARCH, predicted, seconds_of
from service.distributions.mixture.responses import MixturePrediction, MixtureRecommendation
from service.distributions.mixture.schemas import MixtureRecommendationRequest, MixtureRequest
from service.distributions.mixture.simulation import MIXTURE, MixtureSimulation, MixtureSimulationRequest
from service.errors import DatabaseUnavailable, InvalidInput, TooManyRequests
from service.simulations.create import Submission, created
from service.simulations.resource import SimulationEstimate
from service.web.problems import responses as problem_responses

router = APIRouter(prefix="/v1/distributions/mixture")


@router.post("/predictions", responses=problem_responses(InvalidInput, TooManyRequests, DatabaseUnavailable))
async def create_mixture_prediction(request: MixtureRequest, reply: Reply) -> MixturePrediction:
    """Predict what becomes of a well-separated Gaussian mixture that is refitted to its own samples."""
    return await reply.prediction(KIND, predicted, request, seconds=seconds_of(request))


@router.post(
    "/recommendations", responses=problem_responses(InvalidInput, TooManyRequests, DatabaseUnavailable)
)
async def create_mixture_recommendation(
    request: MixtureRecommendationRequest, reply: Reply
) -> MixtureRecommendation:
    """Find the least fresh real data per generation that keep a mixture's components or their weights."""
    return await reply.prediction(recommend.KIND, recommend.recommended, request, seconds=SEARCH)


@router.post("/simulations", status_code=202, responses=created(MIXTURE))
async def create_mixture_simulation(
    request: MixtureSimulationRequest, submission: Submission
) -> MixtureSimulation | SimulationEstimate:
    """Queue a simulation of mixtures, refitted by EM, by generation; it lives at /v1/simulations."""
    answer: MixtureSimulation | SimulationEstimate = await submission.accepted(MIXTURE, request)
    return answer
