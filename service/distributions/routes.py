"""The distributions resource: one router per kind, and the stored predictions of all of them."""

from typing import Annotated

from fastapi import APIRouter, Path, Request, Response
from pydantic import Field, TypeAdapter

from service.distributions.estimator.responses import EstimatorPrediction, EstimatorRecommendation
from service.distributions.estimator.routes import router as estimator
from service.distributions.gaussian.responses import GaussianPrediction, GaussianRecommendation
from service.distributions.gaussian.routes import router as gaussian
from service.distributions.kde.responses import KdePrediction, KdeRecommendation
from service.distributions.kde.routes import router as kde
from service.distributions.mixture.responses import MixturePrediction, MixtureRecommendation
from service.distributions.mixture.routes import router as mixture
from service.distributions.ngram.routes import router as ngram
from service.distributions.tail.responses import TailPrediction, TailRecommendation
from service.distributions.tail.routes import router as tail
from service.distributions.vocabulary.responses import VocabularyPrediction, VocabularyRecommendation
from service.distributions.vocabulary.routes import router as vocabulary
from service.errors import DatabaseUnavailable, NotFound
from service.predictions import store
from service.web.conditional import matches
from service.web.dependencies import DatabaseDep
from service.web.problems import responses as problem_responses

# whole paths in every router: metrics name a route by the path in its own
router = APIRouter(tags=["distributions"])

Kinds = (
    EstimatorPrediction
    | EstimatorRecommendation
    | GaussianPrediction
    | GaussianRecommendation
    | KdePrediction
    | KdeRecommendation
    | MixturePrediction
    | MixtureRecommendation
    | TailPrediction
    | TailRecommendation
    | VocabularyPrediction
    | VocabularyRecommendation
)
AnyPrediction = Annotated[Kinds, Field(discriminator="kind")]
_STORED: TypeAdapter[Kinds] = TypeAdapter(AnyPrediction)
PredictionId = Annotated[str, Path(pattern=r"^dpr_[a-z0-9]{26}$")]


@router.get(
    "/v1/distributions/predictions/{prediction_id}",
    responses={304: {"description": "Not modified."}, **problem_responses(NotFound, DatabaseUnavailable)},
)
async def get_distribution_prediction(
    prediction_id: PredictionId, request: Request, response: Response, database: DatabaseDep
) -> AnyPrediction:
    """A stored prediction about a distribution, as it was answered."""
    async with database.transaction() as connection:
        found = await store.load(connection, prediction_id)
    if found is None:
        raise NotFound(
            f"There is no prediction {prediction_id}; POST /v1/distributions/KIND/predictions makes one."
        )
    etag = f'"{prediction_id}"'
    if matches(request, etag):
        return Response(status_code=304, headers={"ETag": etag})  # type: ignore[return-value]
    response.headers["ETag"] = etag
    return _STORED.validate_python(found)


for kind in (estimator, gaussian, kde, mixture, tail, vocabulary, ngram):
    router.include_router(kind)
