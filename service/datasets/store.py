"""Data sets in PostgreSQL: content-addressed, immutable; and whether their rows are still there."""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from sqlalchemy import Row, func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from service.database.pages import Cursor, newest_first
from service.database.schema import datasets
from service.datasets import files
from service.datasets.schemas import Description, StoredDataset, Summary
from service.datasets.text_schemas import DatasetPage, StoredText, TextDescription, TextSummary
from service.datasets.words import ranks_of
from service.errors import InvalidInput, NotFound, RowsDeleted
from service.remembered import Remembered
from service.simulation.rows import EmpiricalProblem
from service.theory import kernels
from service.theory.distributions.vocabulary.levels import Vocabulary, from_counts
from service.theory.leverage import Leverages
from service.theory.model import Population

_REMEMBERED: Final = 128 * 2**20  # bytes
# By server, database and id; a stored description never changes, so an entry cannot be stale.
_populations = Remembered[Population](_REMEMBERED)


async def save(
    connection: AsyncConnection,
    *,
    dataset_id: str,
    name: str | None,
    request_id: str,
    description: Description | TextDescription,
    rows_hash: str,
) -> bool:
    """Store a description, or mark the rows of one that is there as present; returns whether it is new."""
    statement = insert(datasets).values(
        id=dataset_id,
        name=name,
        request_id=request_id,
        description=description.model_dump(mode="json"),
        rows_hash=rows_hash,
    )
    # xmax is 0 for a row that this statement inserted.
    is_new = await connection.execute(
        statement.on_conflict_do_update(
            index_elements=[datasets.c.id], set_={datasets.c.rows_deleted_at: None}
        ).returning(text("xmax = 0"))
    )
    return bool(is_new.scalar_one())


async def fetch(connection: AsyncConnection, dataset_id: str) -> StoredDataset | StoredText:
    """A stored data set; raises NotFound."""
    row = await _row(connection, dataset_id)
    stored = StoredText if _is_text(row) else StoredDataset
    return stored(
        id=row.id,
        name=row.name,
        created_at=row.created_at,
        rows_deleted_at=row.rows_deleted_at,
        **row.description,
    )


async def fetch_rows(connection: AsyncConnection, dataset_id: str) -> StoredDataset:
    """A stored data set of rows; raises NotFound, and InvalidInput where it is a text."""
    found = await fetch(connection, dataset_id)
    if isinstance(found, StoredText):
        raise _wrong_kind(dataset_id, "/dataset", text=False)
    return found


async def fetch_text(connection: AsyncConnection, dataset_id: str, pointer: str) -> StoredText:
    """A stored text; raises NotFound, and InvalidInput at ``pointer`` where it is none."""
    found = await fetch(connection, dataset_id)
    if not isinstance(found, StoredText):
        raise _wrong_kind(dataset_id, pointer, text=True)
    return found


async def has_rows(connection: AsyncConnection, dataset_id: str, rows_dir: Path) -> bool:
    """Whether the data set is stored and its rows are on this machine's disk."""
    query = select(datasets.c.rows_hash, datasets.c.rows_deleted_at).where(datasets.c.id == dataset_id)
    row = (await connection.execute(query)).one_or_none()
    return row is not None and row.rows_deleted_at is None and _complete(rows_dir, row.rows_hash, dataset_id)


async def page(connection: AsyncConnection, *, cursor: str | None, limit: int) -> DatasetPage:
    """A page of summaries, newest first; raises InvalidInput on a foreign cursor."""
    columns = [datasets.c[name] for name in ("id", "name", "created_at", "rows_deleted_at")]
    # The spectrum makes a description large; all that a list needs of it is the noise.
    noise = datasets.c.description["dataset"]["noise_variance"].label("noise_variance")
    names = ("kind", "rows", "feature_map", "target", "tokens", "count", "types")
    parts = [datasets.c.description[part].label(f"part_{part}") for part in names]
    found = (
        await connection.execute(newest_first(select(*columns, noise, *parts), datasets, cursor, limit))
    ).all()
    rows, more = found[:limit], len(found) > limit
    return DatasetPage(
        items=[_summary(dict(row._mapping)) for row in rows],
        next_cursor=Cursor(rows[-1].created_at, rows[-1].id).encode() if more else None,
    )


def _summary(row: dict[str, Any]) -> Summary | TextSummary:
    """One row of a page; what the other kind has is null in it."""
    parts = {name.removeprefix("part_"): row.pop(name) for name in list(row) if name.startswith("part_")}
    noise = row.pop("noise_variance")
    if parts["kind"] == "text":
        return TextSummary(**row, **{name: parts[name] for name in ("tokens", "count", "types")})
    return Summary(
        **row, noise_variance=noise, **{name: parts[name] for name in ("rows", "feature_map", "target")}
    )


async def lock_rows(connection: AsyncConnection, rows_hash: str) -> None:
    """Serialise, until the transaction ends, everybody who publishes or deletes these rows."""
    await connection.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(rows_hash, 0))))


async def delete_rows(connection: AsyncConnection, dataset_id: str, rows_dir: Path) -> None:
    """Mark the rows as deleted and delete the files that no other data set needs; raises NotFound.

    Deleting twice is no error. Should the transaction fail after this, the files are gone though not marked:
    ``empirical_problem`` then answers as if they were.
    """
    row = await _row(connection, dataset_id)
    await lock_rows(connection, row.rows_hash)
    await connection.execute(
        update(datasets)
        .where(datasets.c.id == dataset_id, datasets.c.rows_deleted_at.is_(None))
        .values(rows_deleted_at=func.now())
    )
    users = await connection.execute(
        select(func.count()).where(
            datasets.c.rows_hash == row.rows_hash, datasets.c.rows_deleted_at.is_(None)
        )
    )
    files.remove(files.truth_path(rows_dir, dataset_id))
    files.remove(files.types_path(rows_dir, dataset_id))
    if users.scalar_one() == 0:
        files.remove(files.rows_path(rows_dir, row.rows_hash))


async def population(connection: AsyncConnection, dataset_id: str) -> Population:
    """The population that a stored description stands for; raises NotFound."""
    key = (connection.engine.url.render_as_string(hide_password=True), dataset_id)
    known = _populations.get(key)
    if known is not None:
        return known
    row = await _row(connection, dataset_id)
    _needs(row, "/dataset", text=False)
    dataset = row.description["dataset"]
    found = Population(
        eigenvalues=np.array(dataset["spectrum"]["values"], dtype=float),
        multiplicities=np.array(dataset["spectrum"]["multiplicities"], dtype=float),
        target_power=np.array(dataset["target"]["values"], dtype=float),
        noise_variance=float(dataset["noise_variance"]),
        leverages=_leverages(row.description),
    )
    _populations.put(key, found, found.bytes)
    return found


def _leverages(description: Mapping[str, Any]) -> Leverages | None:
    found = description["effective_dimensions"].get("leverages")  # older descriptions have none
    if not found:
        return None
    return Leverages(
        int(description["rows"]["population"]),
        np.array([one["degrees_of_freedom"] for one in found]),
        np.array([one["excess_covariance"] for one in found]),
    )


async def empirical_problem(connection: AsyncConnection, dataset_id: str, rows_dir: Path) -> EmpiricalProblem:
    """The rows behind a stored description, for a literal simulation; raises NotFound, RowsDeleted."""
    row = await _row(connection, dataset_id)
    _needs(row, "/dataset", text=False)
    _needs_rows(row, rows_dir)
    given = {name: value for name, value in row.description["feature_map"].items() if value is not None}
    return EmpiricalProblem(
        rows=files.rows_path(rows_dir, row.rows_hash),
        truth=files.truth_path(rows_dir, dataset_id),
        feature_map=kernels.from_json(given),
    )


async def vocabulary(connection: AsyncConnection, dataset_id: str) -> Vocabulary:
    """The frequencies of a stored text; raises NotFound, and InvalidInput where it is no text."""
    row = await _row(connection, dataset_id)
    _needs(row, "/vocabulary", text=True)
    frequencies = row.description["frequencies"]
    return from_counts(
        np.array(frequencies["counts"], dtype=float), np.array(frequencies["types"], dtype=float)
    )


async def token_ranks(
    connection: AsyncConnection, dataset_id: str, rows_dir: Path, tokens: Sequence[str], pointer: str
) -> tuple[int, ...]:
    """The rank of each of the ``tokens`` in a stored text.

    Raises NotFound, RowsDeleted, and InvalidInput at ``pointer`` (with ``#`` for the token's place) where one does
    not occur, or this is no text.
    """
    if not tokens:
        return ()
    row = await _row(connection, dataset_id)
    _needs(row, "/vocabulary", text=True)
    types, counts = files.types_path(rows_dir, dataset_id), files.truth_path(rows_dir, dataset_id)
    if row.rows_deleted_at is not None or not (types.is_file() and counts.is_file()):
        raise RowsDeleted(
            f"The tokens of {dataset_id} are not there, so that none can be looked up: ask for ranks, or upload the "
            "same text with the same options again."
        )
    found = await asyncio.to_thread(ranks_of, tokens, types, counts)
    for place, (token, rank) in enumerate(zip(tokens, found, strict=True)):
        if rank is None:
            how = {
                "whitespace": "what white space separates, punctuation and case included",
                "word": "words in lower case, without punctuation",
                "character": "single characters",
            }[row.description["tokens"]]
            raise InvalidInput.at(
                pointer.replace("#", str(place)), "unknown_token",
                f"{token!r} does not occur in {dataset_id}. Its tokens are {how}; ask for one that occurs.",
            )  # fmt: skip
    return tuple(rank for rank in found if rank is not None)


async def tokens(connection: AsyncConnection, dataset_id: str, rows_dir: Path, pointer: str) -> Path:
    """The numbered tokens of a stored text (int32, NPY); raises NotFound, RowsDeleted, InvalidInput at ``pointer``."""
    row = await _row(connection, dataset_id)
    _needs(row, pointer, text=True)
    _needs_rows(row, rows_dir)
    return files.rows_path(rows_dir, row.rows_hash)


def _is_text(row: Row[Any]) -> bool:
    return bool(row.description.get("kind") == "text")


def _needs(row: Row[Any], pointer: str, *, text: bool) -> None:
    if _is_text(row) != text:
        raise _wrong_kind(row.id, pointer, text=text)


def _wrong_kind(dataset_id: str, pointer: str, *, text: bool) -> InvalidInput:
    message = (
        f"{dataset_id} holds rows, and this needs a text: upload one to /v1/datasets with the form field tokens."
        if text
        else f"{dataset_id} is a text, and this needs rows with labels; texts go with /v1/distributions/vocabulary."
    )
    return InvalidInput.at(pointer, "wrong_kind", message)


def _needs_rows(row: Row[Any], rows_dir: Path) -> None:
    if row.rows_deleted_at is not None or not _complete(rows_dir, row.rows_hash, row.id):
        raise RowsDeleted(
            f"The rows of {row.id} were deleted, so it cannot be simulated; predictions still work. "
            "Upload the same file with the same options again to bring them back."
        )


def _complete(rows_dir: Path, rows_hash: str, dataset_id: str) -> bool:
    return files.rows_path(rows_dir, rows_hash).is_file() and files.truth_path(rows_dir, dataset_id).is_file()


async def _row(connection: AsyncConnection, dataset_id: str) -> Row[Any]:
    found = (await connection.execute(select(datasets).where(datasets.c.id == dataset_id))).one_or_none()
    if found is None:
        raise NotFound(f"There is no data set {dataset_id}; POST /v1/datasets makes one.")
    return found
