"""CSV and Parquet files as chunks of float64 rows, through pyarrow."""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from service.datasets.containers import magic
from service.datasets.limits import CHUNK_NUMBERS, MAX_COLUMNS, refuse, shown
from service.datasets.matrix import Matrix
from service.errors import InvalidInput
from service.theory.model import Array

_HEAD: Final = 4 << 20


def is_parquet(path: Path) -> bool:
    """Whether it begins as Parquet files do."""
    return magic(path, 4) == b"PAR1"


def open_csv(path: Path, field: str) -> Matrix:
    """Read the first line: column names, or 0, 1, 2, … where every cell is a number. Raises InvalidInput."""
    with path.open("rb") as file:
        head = file.read(_HEAD)
    if not head.strip():
        raise refuse(field, "empty", "the file is empty")
    line, newline, _ = head.removeprefix(b"\xef\xbb\xbf").lstrip(b"\r\n").partition(b"\n")
    if not newline and len(head) == _HEAD:
        raise _not_a_table(field)
    try:
        cells = next(csv.reader([line.decode().rstrip("\r")], strict=True))
    except (UnicodeDecodeError, csv.Error, StopIteration):
        raise _not_a_table(field) from None
    if any(not cell.isprintable() for cell in cells):
        raise _not_a_table(field)
    has_header = not all(_is_number(cell) for cell in cells)
    names = tuple(cells) if has_header else tuple(str(i) for i in range(len(cells)))
    if len(names) > MAX_COLUMNS + 1:
        raise refuse(
            field,
            "too_many_columns",
            f"{len(names)} columns; at most {MAX_COLUMNS} and a target are accepted",
        )
    _check_names(names, field)
    return Matrix(
        field, names, len(names), None, lambda: _csv_chunks(path, names, has_header, field), is_named=True
    )


def open_parquet(path: Path, field: str, limit: int) -> Matrix:
    """Read the schema; raises InvalidInput where a column is not numeric or the size passes ``limit``."""
    try:
        file = pa.parquet.ParquetFile(path)
        schema, metadata = file.schema_arrow, file.metadata
        size = sum(metadata.row_group(i).total_byte_size for i in range(metadata.num_row_groups))
        rows = int(metadata.num_rows)
    except (pa.ArrowException, OSError, ValueError):
        raise _invalid_parquet(field) from None
    _check_names(tuple(schema.names), field)
    for column in schema:
        kind = column.type
        if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)):
            raise refuse(
                field,
                "wrong_dtype",
                f"column {shown(column.name)} is of type {kind}; real numbers or booleans are needed: "
                "encode or drop it",
            )
    if size > limit:
        raise refuse(field, "too_large", f"decompressed it takes {size} bytes; at most {limit} are accepted")
    names = tuple(schema.names)
    if not names:
        raise refuse(field, "empty", "the file has no columns")
    return Matrix(
        field, names, len(names), rows, lambda: _parquet_chunks(path, len(names), field), is_named=True
    )


def _csv_chunks(path: Path, names: tuple[str, ...], has_header: bool, field: str) -> Iterator[Array]:
    positions = [str(i) for i in range(len(names))]
    try:
        reader = pa.csv.open_csv(
            path,
            # Names by position: what the header says was read already.
            read_options=pa.csv.ReadOptions(
                column_names=positions, skip_rows=int(has_header), use_threads=False, block_size=_HEAD
            ),
            convert_options=pa.csv.ConvertOptions(column_types={name: pa.float64() for name in positions}),
        )
        yield from _matrices(reader)
    except (pa.ArrowException, ValueError) as error:
        raise _csv_error(names, error, field) from None


def _parquet_chunks(path: Path, columns: int, field: str) -> Iterator[Array]:
    try:
        batches = pa.parquet.ParquetFile(path).iter_batches(
            batch_size=max(1, CHUNK_NUMBERS // columns), use_threads=False
        )
        yield from _matrices(batches)
    except (pa.ArrowException, OSError):
        raise _invalid_parquet(field) from None


def _matrices(batches: Any) -> Iterator[Array]:
    for batch in batches:
        # A null becomes NaN, which is refused like any other.
        columns = [column.cast(pa.float64()).to_numpy(zero_copy_only=False) for column in batch.columns]
        yield np.stack(columns, axis=1)


def _check_names(names: tuple[str, ...], field: str) -> None:
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise refuse(field, "duplicate_column", f"two columns are named {shown(twice)}: rename one")


def _csv_error(names: tuple[str, ...], error: Exception, field: str) -> InvalidInput:
    """pyarrow's error in the client's terms; of the content, only a column's name is repeated."""
    message = str(error)
    if "Expected" in message and "columns, got" in message:
        where = message.partition("Row #")[2].partition(":")[0]
        at = f"row {where}" if where.isdigit() else "a row"
        return refuse(
            field,
            "ragged",
            f"{at} has another number of cells than the {len(names)} of the first line: "
            "every row needs one cell per column",
        )
    if "conversion error" in message:
        position = message.partition("In CSV column #")[2].partition(":")[0]
        name = shown(names[int(position)]) if position.isdigit() else "a column"
        return refuse(
            field, "wrong_dtype", f"column {name} has a cell that is not a number: encode or drop the column"
        )
    if "Empty CSV" in message:
        return refuse(field, "empty", "the file has no rows")
    return _not_a_table(field)


def _not_a_table(field: str) -> InvalidInput:
    return refuse(
        field,
        "unknown_format",
        "this is none of NPY, NPZ, CSV (UTF-8, commas), Parquet and IDX (NPY, CSV and IDX may be gzipped)",
    )


def _invalid_parquet(field: str) -> InvalidInput:
    return refuse(field, "invalid_parquet", "the Parquet file is damaged or cut off: write it again")


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
