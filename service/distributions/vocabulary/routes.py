"""HTTP of the vocabularies."""

from fastapi import APIRouter

from service.database.engine import Database
from service.datasets import store as datasets
from service.distributions.answering import Reply
from service.distributions.vocabulary import recommend
from service.distributions.vocabulary.answer import KIND
from service.distributions.vocabulary.engine import predicted
from service.distributions.vocabulary.responses import VocabularyPrediction, VocabularyRecommendation
from service.distributions.vocabulary.schemas import VocabularyRecommendationRequest, VocabularyRequest
from service.distributions.vocabulary.simulation import (
    VOCABULARY,
    VocabularySimulation,
    VocabularySimulationRequest,
)
from service.errors import DatabaseUnavailable, InvalidInput, NotFound
from service.simulations.create import Submission, created
from service.simulations.resource import SimulationEstimate
from service.theory.distributions.vocabulary.levels import Vocabulary
from service.web.dependencies import DatabaseDep
from service.web.problems import responses as problem_responses

router = APIRouter(prefix="/vocabulary")


@router.post("/predictions", responses=problem_responses(InvalidInput, NotFound, DatabaseUnavailable))
async def create_vocabulary_prediction(
    request: VocabularyRequest, reply: Reply, database: DatabaseDep
) -> VocabularyPrediction:
    """Predict which types a vocabulary loses when its models are trained on each other's text."""
    stored = await _stored(request.vocabulary, database)
    return await reply.prediction(KIND, request, lambda one: predicted(one, stored), inline=False)


@router.post("/recommendations", responses=problem_responses(InvalidInput, NotFound, DatabaseUnavailable))
async def create_vocabulary_recommendation(
    request: VocabularyRecommendationRequest, reply: Reply, database: DatabaseDep
) -> VocabularyRecommendation:
    """Find the least real data per generation that keep a vocabulary's diversity, types, mass or a token."""
    stored = await _stored(request.vocabulary, database)
    return await reply.prediction(
        recommend.KIND, request, lambda one: recommend.recommended(one, stored), inline=False
    )


@router.post("/simulations", status_code=202, responses=created(VOCABULARY))
async def create_vocabulary_simulation(
    request: VocabularySimulationRequest, submission: Submission
) -> VocabularySimulation | SimulationEstimate:
    """Draw the counts of every generation, and lay them beside their prediction."""
    answer: VocabularySimulation | SimulationEstimate = await submission.accepted(VOCABULARY, request)
    return answer


async def _stored(vocabulary: object, database: Database) -> Vocabulary | None:
    if not isinstance(vocabulary, str):
        return None
    async with database.transaction() as connection:
        return await datasets.vocabulary(connection, vocabulary)
