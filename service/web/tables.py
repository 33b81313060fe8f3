"""A flat table of mixed columns as JSON, CSV or Parquet, by what the client accepts; small, and made at once."""

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Final, Literal

from service.web.columns import CSV, JSON, PARQUET, accepted

Format = Literal["json", "csv", "parquet"]
Cell = str | float | int | bool | None

MEDIA: Final[dict[Format, str]] = {"json": JSON, "csv": CSV, "parquet": PARQUET}


def chosen(accept: str | None, wanted: Format | None) -> Format:
    """The format asked for by name, else the best one that ``Accept`` allows. Raises NotAcceptable."""
    if wanted is not None:
        return wanted
    media = accepted(accept)
    return next(name for name, known in MEDIA.items() if known == media)


def as_csv(rows: Sequence[Mapping[str, Cell]]) -> bytes:
    """With a header line; nothing is an empty field; numbers as the shortest digits that give them back."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, fieldnames=list(rows[0]) if rows else [])
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def as_parquet(rows: Sequence[Mapping[str, Cell]]) -> bytes:
    """Columns of 64-bit floats, integers, booleans and text, with nulls."""
    import pyarrow as pa  # slow to import
    from pyarrow import parquet

    columns = {name: _column([row[name] for row in rows]) for name in (rows[0] if rows else ())}
    sink = io.BytesIO()
    parquet.write_table(pa.table(columns), sink)
    return sink.getvalue()


def _column(values: list[Cell]) -> object:
    import pyarrow as pa  # slow to import

    numbers = [value for value in values if value is not None]
    if numbers and all(isinstance(value, int | float) and not isinstance(value, bool) for value in numbers):
        kind = pa.int64() if all(isinstance(value, int) for value in numbers) else pa.float64()
        return pa.array([None if value is None else kind.to_pandas_dtype()(value) for value in values], kind)
    return pa.array(values, None if numbers else pa.float64())
