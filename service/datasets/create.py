"""From what was sent to a stored data set: save, ingest, describe, publish; nothing is left behind half-done."""

import asyncio
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, TypeVar

from service.database import idempotency
from service.database.engine import Database
from service.datasets import files, store
from service.datasets.describe import describe
from service.datasets.describe_text import describe_text
from service.datasets.describer import Describer
from service.datasets.ingest import Ingested, Upload, ingest
from service.datasets.schemas import Description, StoredDataset, UploadOptions
from service.datasets.text import IngestedText, ingest_text
from service.datasets.text_schemas import StoredText, TextDescription, TextOptions
from service.errors import InvalidInput
from service.predictions.identity import canonical, identifier
from service.settings import Settings

T = TypeVar("T")

_SCOPE: Final = "datasets"
_CHUNK: Final = 1 << 20


@dataclass(frozen=True)
class Sent:
    """One POST: its files, as the framework spooled them, and everything else."""

    file: BinaryIO
    target_file: BinaryIO | None
    options: UploadOptions | TextOptions
    name: str | None
    request_id: str
    idempotency_key: str | None


async def create(
    sent: Sent, database: Database, describer: Describer, settings: Settings
) -> tuple[StoredDataset | StoredText, bool]:
    """The stored data set, and whether it is new. Raises InvalidInput, IdempotencyConflict, DatabaseUnavailable."""
    rows_dir = settings.rows_dir
    with files.working_folder(rows_dir) as folder:
        target_file = folder / "target_file" if sent.target_file is not None else None
        upload = Upload(folder / "file", target_file, sent.options, folder, settings.max_expanded_bytes)
        body_hash = await asyncio.to_thread(_save, sent, upload)
        if sent.idempotency_key is not None:
            async with database.transaction() as connection:
                known = await idempotency.find(connection, _SCOPE, sent.idempotency_key, body_hash)
                if known is not None:
                    return await store.fetch(connection, known), False
        ingested = await _ingested(describer, upload)
        options = canonical(sent.options.model_dump(mode="json"))
        dataset_id = identifier("dst", ingested.content_hash, options)
        description = None
        async with database.transaction() as connection:
            is_stored = await store.has_rows(connection, dataset_id, rows_dir)
        if isinstance(ingested, IngestedText):
            is_stored = is_stored and files.types_path(rows_dir, dataset_id).is_file()
        if not is_stored:
            description = await _described(describer, ingested, sent.options)
        async with database.transaction() as connection:
            if sent.idempotency_key is not None:
                known = await idempotency.claim(connection, _SCOPE, sent.idempotency_key, body_hash)
                if known is not None:
                    return await store.fetch(connection, known), False
                await idempotency.bind(connection, _SCOPE, sent.idempotency_key, dataset_id)
            is_new = False
            if description is not None:
                await store.lock_rows(connection, ingested.rows_hash)
                await asyncio.to_thread(_publish, ingested, dataset_id, rows_dir)
                is_new = await store.save(
                    connection,
                    dataset_id=dataset_id,
                    name=sent.name,
                    request_id=sent.request_id,
                    description=description,
                    rows_hash=ingested.rows_hash,
                )
            return await store.fetch(connection, dataset_id), is_new


async def _ingested(describer: Describer, upload: Upload) -> Ingested | IngestedText:
    if isinstance(upload.options, TextOptions):
        return _value(await describer.run(ingest_text, upload))
    return _value(await describer.run(ingest, upload))


async def _described(
    describer: Describer, ingested: Ingested | IngestedText, options: UploadOptions | TextOptions
) -> Description | TextDescription:
    if isinstance(ingested, IngestedText):
        return _value(await describer.run(describe_text, ingested, options))
    return _value(await describer.run(describe, ingested, options))


def _save(sent: Sent, upload: Upload) -> str:
    """Copy what was sent into the working folder; returns the hash of all of it."""
    digest = hashlib.sha256(canonical([sent.options.model_dump(mode="json"), sent.name]).encode())
    for source, path in ((sent.file, upload.file), (sent.target_file, upload.target_file)):
        if source is not None and path is not None:
            digest.update(_copy(source, path))
    return digest.hexdigest()


def _copy(source: BinaryIO, path: Path) -> bytes:
    digest = hashlib.sha256()
    with path.open("wb") as file:
        while chunk := source.read(_CHUNK):
            digest.update(chunk)
            file.write(chunk)
    return digest.digest()


def _value(outcome: T | InvalidInput) -> T:
    """What a child returned, where it is not what is wrong with the input."""
    if isinstance(outcome, InvalidInput):
        raise outcome
    return outcome


def _publish(ingested: Ingested | IngestedText, dataset_id: str, rows_dir: Path) -> None:
    """Move rows and truth into place, each at once; the same content may be there already."""
    files.publish(ingested.rows, files.rows_path(rows_dir, ingested.rows_hash))
    files.publish(ingested.labels, files.truth_path(rows_dir, dataset_id))
    if isinstance(ingested, IngestedText):
        files.publish(ingested.strings, files.types_path(rows_dir, dataset_id))
