"""HTTP of the vocabularies."""

from fastapi import APIRouter

from service.distributions.answering import Reply
from service.distributions.vocabulary import recommend
from service.distributions.vocabulary.answer import KIND
from service.distributions.vocabulary.engine import predicted
from service.distributions.vocabulary.responses import VocabularyPrediction, VocabularyRecommendation
from service.distributions.vocabulary.schemas import VocabularyRecommendationRequest, VocabularyRequest
from service.errors import DatabaseUnavailable, InvalidInput
from service.web.problems import responses as problem_responses

router = APIRouter(prefix="/vocabulary")


@router.post("/predictions", responses=problem_responses(InvalidInput, DatabaseUnavailable))
async def create_vocabulary_prediction(request: VocabularyRequest, reply: Reply) -> VocabularyPrediction:
    """Predict which types a vocabulary loses when its models are trained on each other's text."""
    return await reply.prediction(KIND, request, lambda one: predicted(one, None), inline=False)


@router.post("/recommendations", responses=problem_responses(InvalidInput, DatabaseUnavailable))
async def create_vocabulary_recommendation(
    request: VocabularyRecommendationRequest, reply: Reply
) -> VocabularyRecommendation:
    """Find the least real data per generation that keep a vocabulary's diversity, types, mass or a token."""
    return await reply.prediction(
        recommend.KIND, request, lambda one: recommend.recommended(one, None), inline=False
    )
