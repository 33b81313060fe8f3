"""HTTP of the n-gram models."""

from fastapi import APIRouter

from service.distributions.ngram.schemas import NgramSimulation, NgramSimulationRequest
from service.distributions.ngram.simulation import NGRAM
from service.simulations.create import Submission, created
from service.simulations.resource import SimulationEstimate

router = APIRouter(prefix="/v1/distributions/ngram")


@router.post("/simulations", status_code=202, responses=created(NGRAM))
async def create_ngram_simulation(
    request: NgramSimulationRequest, submission: Submission
) -> NgramSimulation | SimulationEstimate:
    """Train an n-gram model on a stored text, let it write as much, train on that, and so on."""
    answer: NgramSimulation | SimulationEstimate = await submission.accepted(NGRAM, request)
    return answer
