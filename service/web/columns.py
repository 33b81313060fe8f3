"""Columns of numbers as JSON, CSV or Parquet, written as they are computed."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from io import RawIOBase
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
from numpy.typing import NDArray
from pydantic_core import to_json

from service.errors import NotAcceptable

JSON: Final = "application/json"
CSV: Final = "text/csv"
PARQUET: Final = "application/vnd.apache.parquet"
PROBLEM: Final = "problem"  # the column that says why a row has no numbers

Numbers = NDArray[np.float64]


class Writer(ABC):
    """Writes tables of one set of columns; what is not finite is null."""

    def __init__(self, names: Sequence[str], header: Mapping[str, object]) -> None:
        """``header``: what goes before the rows, where the format has a place for it."""
        self.names, self.header = list(names), dict(header)

    @abstractmethod
    def begin(self) -> bytes:
        """What comes before the first row."""

    @abstractmethod
    def rows(self, columns: Sequence[Numbers], problems: Mapping[int, str]) -> bytes:
        """Some rows; ``problems``: by row, why it has no numbers."""

    @abstractmethod
    def end(self) -> bytes:
        """What comes after the last row."""


class JsonWriter(Writer):
    """An object: the header's fields, ``columns`` (names), and ``rows``, each a list in that order."""

    def begin(self) -> bytes:
        """See Writer."""
        self._first = True
        opening = to_json({**self.header, "columns": [*self.names, PROBLEM]})
        return opening[:-1] + b',"rows":['

    def rows(self, columns: Sequence[Numbers], problems: Mapping[int, str]) -> bytes:
        """See Writer."""
        values = [[*row, None] for row in np.stack(columns, axis=1).tolist()]
        for i, problem in problems.items():
            values[i][-1] = problem
        comma = b"" if self._first else b","
        self._first = False
        return comma + to_json(values, inf_nan_mode="null")[1:-1]

    def end(self) -> bytes:
        """See Writer."""
        return b"]}"


class _Drain(RawIOBase):
    """A file that is written to its end once: what was written is taken away, its position goes on."""

    def __init__(self) -> None:
        super().__init__()
        self._parts: list[bytes] = []
        self._position = 0

    def writable(self) -> bool:
        """Yes."""
        return True

    def write(self, data: Any) -> int:
        """Keep until taken."""
        part = bytes(data)
        self._parts.append(part)
        self._position += len(part)
        return len(part)

    def tell(self) -> int:
        """All that was ever written."""
        return self._position

    def taken(self) -> bytes:
        """What was written since the last time."""
        found = b"".join(self._parts)
        self._parts.clear()
        return found


class _ArrowWriter(Writer):
    """Through pyarrow, some thousand rows at a time."""

    def __init__(self, names: Sequence[str], header: Mapping[str, object]) -> None:
        super().__init__(names, header)
        self.schema = pa.schema([*((name, pa.float64()) for name in names), (PROBLEM, pa.string())])
        self._sink = _Drain()
        self._file = self._open()
        self._waiting: list[pa.RecordBatch] = []

    least_rows = 1  # that are written at once

    @abstractmethod
    def _open(self) -> Any:
        """The writer onto the sink."""

    def begin(self) -> bytes:
        """See Writer."""
        return self._sink.taken()

    def rows(self, columns: Sequence[Numbers], problems: Mapping[int, str]) -> bytes:
        """See Writer."""
        numbers = [pa.array(values, mask=~np.isfinite(values)) for values in columns]
        texts = pa.array([problems.get(i) for i in range(len(columns[0]))], type=pa.string())
        self._waiting.append(pa.record_batch([*numbers, texts], schema=self.schema))
        if sum(batch.num_rows for batch in self._waiting) >= self.least_rows:
            self._write()
        return self._sink.taken()

    def _write(self) -> None:
        if self._waiting:
            self._file.write_table(pa.Table.from_batches(self._waiting))
            self._waiting.clear()

    def end(self) -> bytes:
        """See Writer."""
        self._write()
        self._file.close()
        return self._sink.taken()


class CsvWriter(_ArrowWriter):
    """A header line and one line for each row; what is null is empty."""

    def _open(self) -> Any:
        return pa.csv.CSVWriter(self._sink, self.schema)


class ParquetWriter(_ArrowWriter):
    """Row groups of some ten thousand rows: small ones are slow to read."""

    least_rows = 65_536

    def _open(self) -> Any:
        return pa.parquet.ParquetWriter(self._sink, self.schema)


WRITERS: Final[Mapping[str, type[Writer]]] = {JSON: JsonWriter, CSV: CsvWriter, PARQUET: ParquetWriter}


def accepted(accept: str | None) -> str:
    """The media type that an Accept header prefers, JSON where it does not care. Raises NotAcceptable."""
    weights = {media: _quality(accept or "*/*", media) for media in WRITERS}
    preferred = max(weights, key=lambda media: weights[media])  # of equal ones the first
    if weights[preferred] <= 0:
        raise NotAcceptable(f"Available are {', '.join(WRITERS)}.")
    return preferred


def _quality(accept: str, media: str) -> float:
    """The weight of a media type; the most specific range that matches counts (RFC 9110, 12.5.1)."""
    best = (-1, 0.0)
    family = media.split("/", maxsplit=1)[0]
    for one in accept.split(","):
        name, *parameters = (part.strip().lower() for part in one.split(";"))
        specific = {media: 2, f"{family}/*": 1, "*/*": 0}.get(name)
        if specific is None:
            continue
        quality = 1.0
        for parameter in parameters:
            if parameter.startswith("q="):
                try:
                    quality = min(max(float(parameter[2:]), 0.0), 1.0)
                except ValueError:
                    quality = 0.0
        best = max(best, (specific, quality))
    return best[1]
