"""HTTP of the estimator chains."""

from fastapi import APIRouter

from service.distributions.answering import Reply
from service.distributions.estimator import recommend
from service.distributions.estimator.answer import KIND
from service.distributions.estimator.engine import predicted, seconds_of, seconds_of_search
from service.distributions.estimator.responses import EstimatorPrediction, EstimatorRecommendation
from service.distributions.estimator.schemas import EstimatorRecommendationRequest, EstimatorRequest
from service.distributions.estimator.simulation import (
    ESTIMATOR,
    EstimatorSimulation,
    EstimatorSimulationRequest,
)
from service.errors import DatabaseUnavailable, InvalidInput, TooManyRequests
from service.simulations.create import Submission, created
from service.simulations.resource import SimulationEstimate
from service.web.problems import responses as problem_responses

router = APIRouter(prefix="/v1/distributions/estimator")


@router.post("/predictions", responses=problem_responses(InvalidInput, TooManyRequests, DatabaseUnavailable))
async def create_estimator_prediction(request: EstimatorRequest, reply: Reply) -> EstimatorPrediction:
    """Predict the error of an efficient estimator that is fitted to data of its predecessors, and the best weights."""
    return await reply.prediction(KIND, predicted, request, seconds=seconds_of(request))


@router.post("/simulations", status_code=202, responses=created(ESTIMATOR))
async def create_estimator_simulation(
    request: EstimatorSimulationRequest, submission: Submission
) -> EstimatorSimulation | SimulationEstimate:
    """Queue a simulation of a chain of estimators by generation; it lives at /v1/simulations."""
    answer: EstimatorSimulation | SimulationEstimate = await submission.accepted(ESTIMATOR, request)
    return answer


@router.post(
    "/recommendations", responses=problem_responses(InvalidInput, TooManyRequests, DatabaseUnavailable)
)
async def create_estimator_recommendation(
    request: EstimatorRecommendationRequest, reply: Reply
) -> EstimatorRecommendation:
    """Find the least real data per generation that keep a chain of estimators' error within a bound."""
    return await reply.prediction(
        recommend.KIND, recommend.recommended, request, seconds=seconds_of_search(request)
    )
