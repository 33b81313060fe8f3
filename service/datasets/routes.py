"""POST, GET and DELETE /v1/datasets."""

import re
from collections.abc import Mapping
from typing import Annotated, Final

from fastapi import APIRouter, Depends, File, Form, Query, Request, Response, UploadFile

from service.datasets import store
from service.datasets.create import Sent, create
from service.datasets.describer import Describer
from service.datasets.forms import FEATURE_MAP, TARGET_TRANSFORM
from service.datasets.limits import refuse
from service.datasets.schemas import StoredDataset, UploadOptions
from service.datasets.text_schemas import AnyDataset, DatasetPage, StoredText, TextOptions, Tokens
from service.errors import (
    DatabaseUnavailable,
    IdempotencyConflict,
    InvalidInput,
    NotFound,
    PayloadTooLarge,
    TooManyRequests,
)
from service.web.conditional import matches
from service.web.dependencies import DatabaseDep, IdempotencyKey, RequestId, SettingsDep
from service.web.problems import responses

router = APIRouter(prefix="/v1/datasets", tags=["datasets"])

_ID: Final = re.compile(r"dst_[a-z0-9]{26}")


async def _describer(request: Request) -> Describer:
    found: Describer = request.app.state.describer
    return found


DescriberDep = Annotated[Describer, Depends(_describer)]


@router.post(
    "",
    status_code=201,
    responses={
        200: {"model": AnyDataset, "description": "The same upload was described before."},
        **responses(InvalidInput, IdempotencyConflict, PayloadTooLarge, TooManyRequests, DatabaseUnavailable),
    },
)
async def create_dataset(  # noqa: PLR0917 (form fields)
    describer: DescriberDep,
    response: Response,
    database: DatabaseDep,
    settings: SettingsDep,
    request_id: RequestId,
    file: Annotated[
        UploadFile,
        File(
            description="Rows: NPY, NPZ, CSV, Parquet or IDX, told by its content; NPY, CSV, IDX also gzipped. With "
            "tokens: plain text in UTF-8, also gzipped."
        ),
    ],
    feature_map: Annotated[
        str | None,
        Form(json_schema_extra=FEATURE_MAP.schema, description=f"{FEATURE_MAP.description} Rows need it."),
    ] = None,
    tokens: Annotated[
        Tokens | None,
        Form(
            description="The file is a text, and this is a token of it: what white space separates, a word (letters, "
            "digits and inner apostrophes, in lower case), or a character."
        ),
    ] = None,
    target_file: Annotated[UploadFile | None, File(description="Labels, where they are a file of their own.")] = None,
    target: Annotated[
        str | None,
        Form(min_length=1, max_length=200, description="Column or array that is the target; NPY: column number."),
    ] = None,
    features: Annotated[
        str | None, Form(min_length=1, max_length=200, description="Array of an NPZ file that holds the rows.")
    ] = None,
    target_transform: Annotated[
        str | None, Form(json_schema_extra=TARGET_TRANSFORM.schema, description=TARGET_TRANSFORM.description)
    ] = None,
    noise_variance: Annotated[
        float | None,
        Form(
            ge=0, le=1e15, allow_inf_nan=False,
            description="Given: recorded labels are the truth, and training labels have this noise. "
            "Absent: truth and noise are estimated from the labels.",
        ),
    ] = None,
    name: Annotated[
        str | None, Form(min_length=1, max_length=200, pattern=r"^\P{C}+$", description="For people.")
    ] = None,
    idempotency_key: IdempotencyKey = None,
) -> AnyDataset:  # fmt: skip
    """Upload real data; what comes back describes it for predictions, and its rows are kept for simulations.

    The population is the empirical one of the rows (a seeded sample of 5,000 where there are more). The id is
    determined by rows, labels and options: the same upload again gives the same data set.
    """
    about_rows = {
        "feature_map": feature_map, "target_file": target_file, "target": target, "features": features,
        "target_transform": target_transform, "noise_variance": noise_variance,
    }  # fmt: skip
    options = (
        _text_options(tokens, about_rows)
        if tokens is not None
        else UploadOptions(
            target=target,
            features=features,
            target_transform=TARGET_TRANSFORM.parsed(target_transform or '{"kind": "identity"}'),
            feature_map=FEATURE_MAP.parsed(_given(feature_map)),
            noise_variance=noise_variance,
        )
    )
    sent = Sent(
        file=file.file,
        target_file=target_file.file if target_file is not None else None,
        options=options,
        name=name,
        request_id=request_id,
        idempotency_key=idempotency_key,
    )
    async with describer.admitted():
        dataset, is_new = await create(sent, database, describer, settings)
    if not is_new:
        response.status_code = 200
    response.headers["Location"] = f"{router.prefix}/{dataset.id}"
    response.headers["ETag"] = _etag(dataset)
    return dataset


@router.get("", responses=responses(InvalidInput, DatabaseUnavailable))
async def list_datasets(
    database: DatabaseDep,
    cursor: Annotated[
        str | None, Query(max_length=200, description="next_cursor of the page before.")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
) -> DatasetPage:
    """Stored data sets, newest first, without their spectra."""
    async with database.transaction() as connection:
        return await store.page(connection, cursor=cursor, limit=limit)


@router.get(
    "/{dataset_id}",
    responses={304: {"description": "Not modified."}, **responses(NotFound, DatabaseUnavailable)},
)
async def get_dataset(
    dataset_id: str, request: Request, response: Response, database: DatabaseDep
) -> AnyDataset:
    """A stored data set."""
    _known_form(dataset_id)
    async with database.transaction() as connection:
        dataset = await store.fetch(connection, dataset_id)
    etag = _etag(dataset)
    if matches(request, etag):
        return Response(status_code=304, headers={"ETag": etag})  # type: ignore[return-value]
    response.headers["ETag"] = etag
    return dataset


@router.delete("/{dataset_id}", status_code=204, responses=responses(NotFound, DatabaseUnavailable))
async def delete_dataset(dataset_id: str, database: DatabaseDep, settings: SettingsDep) -> None:
    """Delete the rows; the description stays, and predictions with it. Deleting twice is no error."""
    _known_form(dataset_id)
    async with database.transaction() as connection:
        await store.delete_rows(connection, dataset_id, settings.rows_dir)


def _known_form(dataset_id: str) -> None:
    if not _ID.fullmatch(dataset_id):
        raise NotFound("There is no such data set: ids are dst_ and 26 lower-case letters and digits.")


def _text_options(tokens: Tokens, about_rows: Mapping[str, object]) -> TextOptions:
    """Raises InvalidInput where something is said that only rows have."""
    for name, value in about_rows.items():
        if value is not None:
            raise refuse(name, "not_for_text", "it is about rows; a text (tokens) has none: leave it out")
    return TextOptions(tokens=tokens)


def _given(feature_map: str | None) -> str:
    if feature_map is None:
        raise refuse(
            "feature_map",
            "missing",
            f"rows need it; send {FEATURE_MAP.description} For a text, send tokens instead",
        )
    return feature_map


def _etag(dataset: StoredDataset | StoredText) -> str:
    # The description is immutable; whether the rows are there is all that can change.
    return f'"{dataset.id}{"-deleted" if dataset.rows_deleted_at else ""}"'
