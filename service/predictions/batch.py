"""POST /v1/predictions:batch: many predictions in one request, each with its own answer or error."""

import time
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field, ValidationError, model_validator

from service.database.engine import Database
from service.datasets import store as datasets
from service.errors import (
    DatabaseUnavailable,
    FieldError,
    InvalidInput,
    NotFound,
    ServiceError,
    TooManyRequests,
)
from service.predictions import responses, schemas, store
from service.predictions.computing import compiled_aside
from service.predictions.engine import MAX_WORK, predicted, seconds_of, work_of
from service.predictions.record import audit_of
from service.theory.model import Population
from service.web.aside import Aside, ClientGone
from service.web.dependencies import AsideDep, DatabaseDep, RequestId
from service.web.pointers import input_errors
from service.web.problems import Problem, of_service_error
from service.web.problems import responses as problem_responses

MAX_ITEMS = 1000
_LOOK = 0.1  # seconds of computation between two looks at whether the client is still there

router = APIRouter(prefix="/v1/predictions:batch", tags=["predictions"])

CustomId = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[\x20-\x7e]+$")]


class BatchItem(schemas.Model):
    """One prediction; ``custom_id`` names it in the answer."""

    custom_id: CustomId
    request: dict[str, Any] = Field(description="As for `POST /v1/predictions`; its errors are its own.")


class BatchRequest(schemas.Model):
    """Several predictions that need not have anything in common."""

    items: Annotated[list[BatchItem], Field(min_length=1, max_length=MAX_ITEMS)]

    @model_validator(mode="after")
    def _distinct(self) -> "BatchRequest":
        seen: set[str] = set()
        for item in self.items:
            if item.custom_id in seen:
                raise ValueError(f'the custom_id "{item.custom_id}" is used twice; each names one item')
            seen.add(item.custom_id)
        return self


class BatchAnswer(BaseModel):
    """The answer to one item: a prediction or an error, the other is null."""

    custom_id: str
    prediction: responses.Prediction | None
    error: Problem | None


class Batch(BaseModel):
    """The answers in the order of the items."""

    items: list[BatchAnswer]
    succeeded: int
    failed: int


@router.post("", responses=problem_responses(InvalidInput, DatabaseUnavailable))
async def create_predictions(
    batch: BatchRequest,
    database: DatabaseDep,
    aside: AsideDep,
    request_id: RequestId,
    order: Annotated[int, Query(ge=0, le=1, description="As for one prediction, for all items.")] = 1,
) -> Batch:
    """Predict up to 1,000 training mixes; an item that is wrong does not stop the others.

    Each is what `POST /v1/predictions` answers, and is stored like it. When the client goes, the computation stops.
    """
    found = [_validated(item, i) for i, item in enumerate(batch.items)]
    populations = await _populations(database, found)
    outcomes: list[responses.Prediction | ServiceError] = []
    spent, looked = 0.0, time.monotonic()
    for i, asked in enumerate(found):
        if isinstance(asked, ServiceError):
            outcomes.append(asked)
            continue
        work, outcome = await _outcome(
            aside, asked, populations, index=i, spent=spent, order=1 if order else 0
        )
        spent += work
        outcomes.append(outcome)
        if time.monotonic() - looked > _LOOK:
            if await aside.request.is_disconnected():
                raise ClientGone
            looked = time.monotonic()
    answers = await _stored(database, found, outcomes, request_id)
    items = [
        BatchAnswer(
            custom_id=item.custom_id,
            prediction=None if isinstance(answer, ServiceError) else answer,
            error=of_service_error(aside.request, answer) if isinstance(answer, ServiceError) else None,
        )
        for item, answer in zip(batch.items, answers, strict=False)
    ]
    succeeded = sum(item.error is None for item in items)
    return Batch(items=items, succeeded=succeeded, failed=len(items) - succeeded)


Asked = schemas.PredictionRequest | ServiceError


def _validated(item: BatchItem, index: int) -> Asked:
    try:
        return schemas.PredictionRequest.model_validate(item.request)
    except ValidationError as error:
        details = [{**one, "loc": ("body", *one["loc"])} for one in error.errors(include_url=False)]
        fields = [
            FieldError(f"/items/{index}/request{one.pointer}", one.code, one.message)
            for one in input_errors(details, item.request)
        ]
        return InvalidInput(f"{fields[0].pointer}: {fields[0].message}", errors=fields)


async def _populations(database: Database, found: Sequence[Asked]) -> dict[str, Population | ServiceError]:
    """The stored data sets that are asked for, each loaded once."""
    names = {
        one.dataset for one in found if not isinstance(one, ServiceError) and isinstance(one.dataset, str)
    }
    populations: dict[str, Population | ServiceError] = {}
    for name in sorted(names):
        try:
            async with database.transaction() as connection:
                populations[name] = await datasets.population(connection, name)
        except (NotFound, DatabaseUnavailable) as error:
            populations[name] = error
    return populations


async def _outcome(
    aside: Aside,
    asked: schemas.PredictionRequest,
    populations: dict[str, Population | ServiceError],
    *,
    index: int,
    spent: float,
    order: Literal[0, 1],
) -> tuple[float, responses.Prediction | ServiceError]:
    """Work and outcome of one item; ``spent``: the work of those before it."""
    try:
        stored = populations[asked.dataset] if isinstance(asked.dataset, str) else None
        if isinstance(stored, ServiceError):
            return 0.0, stored
        population, mix = await compiled_aside(asked, stored)
        work = work_of(population, mix)
        if spent + work > MAX_WORK:
            raise InvalidInput.at(
                "", "batch_too_large",
                f"with this item the batch's modes × sources × stages exceed {MAX_WORK:.2g}; send it in another batch",
            )  # fmt: skip
        seconds = seconds_of(population, mix)
        return work, await aside.run(seconds, predicted, asked, population, mix, order)
    except TooManyRequests as error:
        return 0.0, error
    except InvalidInput as error:
        fields = [
            FieldError(f"/items/{index}/request{one.pointer}", one.code, one.message) for one in error.errors
        ]
        return 0.0, InvalidInput(error.detail, errors=fields)


async def _stored(
    database: Database,
    found: Sequence[Asked],
    outcomes: Sequence[responses.Prediction | ServiceError],
    request_id: str,
) -> list[responses.Prediction | ServiceError]:
    """The answers with their records, all in one transaction."""
    audits = [
        audit_of(asked, answer, request_id)
        for asked, answer in zip(found, outcomes, strict=False)
        if not (isinstance(asked, ServiceError) or isinstance(answer, ServiceError))
    ]
    try:
        async with database.transaction() as connection:
            await store.save(connection, audits)
    except DatabaseUnavailable as error:
        record = responses.Record(stored=False, reason=error.detail)
        return [
            one if isinstance(one, ServiceError) else one.model_copy(update={"record": record})
            for one in outcomes
        ]
    return list(outcomes)
