"""POST and GET /v1/predictions."""

from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query, Request, Response

from service import __version__
from service.datasets import store as datasets
from service.errors import DatabaseUnavailable, InvalidInput, NotFound, TooManyRequests
from service.predictions import responses, schemas, store
from service.predictions.computing import computed
from service.predictions.dependencies import RecentDep, RecordsDep
from service.predictions.engine import prediction_id
from service.predictions.identity import input_hash
from service.web.conditional import matches
from service.web.dependencies import AsideDep, DatabaseDep, IdempotencyKey, RequestId
from service.web.problems import responses as problem_responses

router = APIRouter(prefix="/v1/predictions", tags=["predictions"])

PredictionId = Annotated[str, Path(pattern=r"^prd_[a-z0-9]{26}$")]


@router.post("", responses=problem_responses(InvalidInput, NotFound, TooManyRequests, DatabaseUnavailable))
async def create_prediction(  # noqa: PLR0917
    request: schemas.PredictionRequest,
    database: DatabaseDep,
    records: RecordsDep,
    recent: RecentDep,
    aside: AsideDep,
    request_id: RequestId,
    idempotency_key: IdempotencyKey = None,
    order: Annotated[
        int,
        Query(ge=0, le=1, description="0: the asymptotic value; 1: of finite samples where that is known."),
    ] = 1,
) -> responses.Prediction:
    """Predict the test error of a training mix, its decomposition, and the penalty to use.

    Computed without the database and stored for audit in the same request; `record` says whether that succeeded. What
    was asked lately is not computed again. What takes seconds (large covariance matrices) is computed one by one, and
    stops when the client goes.
    """
    population = None
    if isinstance(request.dataset, str):
        async with database.transaction() as connection:
            population = await datasets.population(connection, request.dataset)
    digest = input_hash(request)
    terms: Literal[0, 1] = 1 if order else 0
    name = prediction_id(digest, terms)
    answer = recent.get(name)
    if answer is None:
        answer = (await computed(aside, request, population, terms)).model_dump_json()
        recent.put(name, answer, len(answer))
    audit = store.Audit(name, digest, __version__, request.model_dump_json(), answer, request_id)
    asked = digest if terms else f"{digest} order 0"  # order 1 is what a request without one asks for
    record = await records.keep(audit, "predictions", idempotency_key, asked)
    if not record.stored:
        found = responses.Prediction.model_validate_json(answer)
        answer = found.model_copy(update={"record": record}).model_dump_json()
    return Response(answer, media_type="application/json", headers={"ETag": _etag(name)})  # type: ignore[return-value]


@router.get(
    "/{prediction_id}",
    responses={304: {"description": "Not modified."}, **problem_responses(NotFound, DatabaseUnavailable)},
)
async def get_prediction(
    prediction_id: PredictionId, request: Request, response: Response, database: DatabaseDep
) -> responses.Prediction:
    """A stored prediction, as it was answered."""
    async with database.transaction() as connection:
        found = await store.load(connection, prediction_id)
    if found is None:
        raise NotFound(f"There is no prediction {prediction_id}; POST /v1/predictions makes one.")
    etag = _etag(prediction_id)
    if matches(request, etag):
        return Response(status_code=304, headers={"ETag": etag})  # type: ignore[return-value]
    response.headers["ETag"] = etag
    return responses.Prediction.model_validate(found)


def _etag(prediction_id: str) -> str:
    # content-addressed and immutable: the id is the content
    return f'"{prediction_id}"'
