"""HTTP of the vocabularies."""

from pathlib import Path

from fastapi import APIRouter

from service.database.engine import Database
from service.distributions.answering import Reply
from service.distributions.vocabulary import recommend
from service.distributions.vocabulary.answer import KIND
from service.distributions.vocabulary.asked import Text, text_of
from service.distributions.vocabulary.engine import SEARCH, predicted, seconds_of
from service.distributions.vocabulary.responses import VocabularyPrediction, VocabularyRecommendation
from service.distributions.vocabulary.schemas import (
    Vocabulary,
    VocabularyRecommendationRequest,
    VocabularyRequest,
)
from service.distributions.vocabulary.simulation import (
    VOCABULARY,
    VocabularySimulation,
    VocabularySimulationRequest,
)
from service.errors import DatabaseUnavailable, InvalidInput, NotFound, RowsDeleted, TooManyRequests
from service.simulations.create import Submission, created
from service.simulations.resource import SimulationEstimate
from service.web.dependencies import DatabaseDep, SettingsDep
from service.web.problems import responses as problem_responses

router = APIRouter(prefix="/v1/distributions/vocabulary")


@router.post(
    "/predictions",
    responses=problem_responses(InvalidInput, NotFound, RowsDeleted, TooManyRequests, DatabaseUnavailable),
)
async def create_vocabulary_prediction(
    request: VocabularyRequest, reply: Reply, database: DatabaseDep, settings: SettingsDep
) -> VocabularyPrediction:
    """Predict which types a vocabulary loses when its models are trained on each other's text."""
    stored = await _text(database, request.vocabulary, settings.rows_dir, request.tokens, "/tokens/#")
    return await reply.prediction(KIND, predicted, request, stored, seconds=seconds_of(request))


@router.post(
    "/recommendations",
    responses=problem_responses(InvalidInput, NotFound, RowsDeleted, TooManyRequests, DatabaseUnavailable),
)
async def create_vocabulary_recommendation(
    request: VocabularyRecommendationRequest, reply: Reply, database: DatabaseDep, settings: SettingsDep
) -> VocabularyRecommendation:
    """Find the least real data per generation that keep a vocabulary's diversity, types, mass or a token."""
    tokens = [] if request.bound.token is None else [request.bound.token]
    stored = await _text(database, request.vocabulary, settings.rows_dir, tokens, "/bound/token")
    return await reply.prediction(recommend.KIND, recommend.recommended, request, stored, seconds=SEARCH)


@router.post("/simulations", status_code=202, responses=created(VOCABULARY))
async def create_vocabulary_simulation(
    request: VocabularySimulationRequest, submission: Submission
) -> VocabularySimulation | SimulationEstimate:
    """Draw the counts of every generation, and lay them beside their prediction."""
    answer: VocabularySimulation | SimulationEstimate = await submission.accepted(VOCABULARY, request)
    return answer


async def _text(
    database: Database, vocabulary: Vocabulary, rows_dir: Path, tokens: list[str], pointer: str
) -> Text | None:
    if not isinstance(vocabulary, str):
        return None  # which needs no database
    async with database.transaction() as connection:
        return await text_of(connection, vocabulary, rows_dir, tokens, pointer)
