"""From an upload to canonical rows: float64, finite, hashed, and sampled where they are many."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from service.datasets import limits
from service.datasets.limits import refuse, shown
from service.datasets.matrix import Matrix
from service.datasets.readers import FEATURES, LABELS, open_upload
from service.datasets.schemas import Equals, Identity, Modulo, TargetTransform, UploadOptions
from service.datasets.text_schemas import TextOptions
from service.errors import InvalidInput
from service.theory.empirical import MAX_ROWS
from service.theory.model import Array

SAMPLE_SEED: Final = 0


@dataclass(frozen=True)
class Upload:
    """Files on disk, what was said about them, where to work, and most bytes they may take unpacked."""

    file: Path
    target_file: Path | None
    options: UploadOptions | TextOptions
    folder: Path
    max_bytes: int


@dataclass(frozen=True)
class Ingested:
    """Counts, sha256 of all rows and labels, sha256 of the population's rows, and where those are."""

    count: int
    columns: int
    target: str
    content_hash: str
    rows_hash: str
    rows: Path
    labels: Path

    @property
    def sampled(self) -> bool:
        """Whether the population is a sample of the rows."""
        return self.count > MAX_ROWS


def ingest(upload: Upload) -> Ingested | InvalidInput:
    """Read, check, hash and sample an upload; what is wrong with it is returned, not raised."""
    try:
        return _ingest(upload)
    except InvalidInput as error:
        return error


def _ingest(upload: Upload) -> Ingested:
    options = upload.options
    assert isinstance(options, UploadOptions)
    matrix, labels = open_upload(
        upload.file, upload.target_file, options.features, options.target, upload.folder, upload.max_bytes
    )
    canonical = _Canonical(upload, matrix, labels)
    y = transformed(canonical.labels, options.target_transform)
    X = canonical.features
    if len(X) > MAX_ROWS:
        chosen = np.random.default_rng(SAMPLE_SEED).choice(len(X), MAX_ROWS, replace=False, shuffle=False)
        chosen.sort()
        X, y = X[chosen], y[chosen]
    X = np.ascontiguousarray(X)
    if not X.any():
        raise refuse(
            FEATURES, "constant_features", "every feature of every row is zero: nothing can be learnt"
        )
    if np.ptp(y) == 0:
        raise refuse("target", "constant_target", "all labels are equal: there is nothing to predict")
    rows, kept = upload.folder / "rows.npy", upload.folder / "labels.npy"
    np.save(rows, X)
    np.save(kept, y)
    digest = hashlib.sha256(f"{X.shape}".encode())
    digest.update(X.data)
    return Ingested(
        count=len(canonical.labels),
        columns=X.shape[1],
        target=canonical.target,
        content_hash=canonical.digest,
        rows_hash=digest.hexdigest(),
        rows=rows,
        labels=kept,
    )


class _Canonical:
    """All rows as a float64 file of their own, mapped; all labels in memory; the hash of both."""

    def __init__(self, upload: Upload, matrix: Matrix, labels: Matrix | int) -> None:
        self._limit = upload.max_bytes
        position = labels if isinstance(labels, int) else None
        columns = matrix.columns - (position is not None)
        if columns == 0:
            raise refuse(FEATURES, "no_features", "there is no column beside the target")
        limits.check_shape(FEATURES, matrix.rows or 0, columns, self._limit)
        assert isinstance(upload.options, UploadOptions)
        self.target = matrix.names[position] if position is not None else upload.options.target or LABELS
        path = upload.folder / "features.f64"
        digest = hashlib.sha256()
        parts: list[Array] = []
        rows = 0
        with path.open("wb") as file:
            for chunk in matrix.chunks():
                _check_numbers(chunk, matrix, rows)
                rows += len(chunk)
                limits.check_shape(FEATURES, rows, columns, self._limit)
                features = chunk
                if position is not None:
                    parts.append(chunk[:, position].copy())
                    features = np.delete(chunk, position, axis=1)
                data = np.ascontiguousarray(features).tobytes()
                digest.update(data)
                file.write(data)
        if isinstance(labels, Matrix):
            parts = list(self._label_chunks(labels))
        self.labels = np.concatenate(parts) if parts else np.empty(0)
        if rows < limits.MIN_ROWS:
            raise refuse(FEATURES, "too_few_rows", f"{rows} rows; at least {limits.MIN_ROWS} are needed")
        if len(self.labels) != rows:
            raise refuse(
                LABELS if upload.target_file is not None else "target",
                "mismatched_lengths",
                f"{rows} rows of features and {len(self.labels)} labels: one label per row is needed",
            )
        digest.update(self.labels.tobytes())
        digest.update(f"{rows}x{columns}".encode())
        self.digest = digest.hexdigest()
        self.features: Array = np.memmap(path, dtype=np.float64, mode="r", shape=(rows, columns))

    def _label_chunks(self, labels: Matrix) -> Iterator[Array]:
        rows = 0
        for chunk in labels.chunks():
            _check_numbers(chunk, labels, rows)
            rows += len(chunk)
            limits.check_shape(labels.field, rows, 1, self._limit)
            yield chunk[:, 0].copy()


def _check_numbers(chunk: Array, matrix: Matrix, first: int) -> None:
    """Refuse NaN, infinity and what would overflow once squared; says where, and never the value."""
    size = np.abs(chunk)
    if not (bad := ~(size <= limits.MAX_MAGNITUDE)).any():
        return
    row, column = (int(i) for i in np.argwhere(bad)[0])
    where = f"row {first + row}, column {shown(matrix.names[column])}"
    if np.isfinite(chunk[row, column]):
        raise refuse(
            matrix.field,
            "too_large_number",
            f"{where}: a number larger than {limits.MAX_MAGNITUDE:g}, the most accepted: rescale the column",
        )
    raise refuse(
        matrix.field,
        "not_finite",
        f"{where}: missing, NaN or infinite; every cell must be a finite number: fill in or drop the row",
    )


def transformed(labels: Array, transform: TargetTransform) -> Array:
    """The labels after the transform that was asked for."""
    match transform:
        case Identity():
            return labels
        case Modulo(divisor=divisor):
            if (labels != np.rint(labels)).any():
                raise refuse("target_transform", "not_whole", "modulo needs labels that are whole numbers")
            return np.asarray(np.mod(labels, float(divisor)), dtype=np.float64)
        case Equals(value=value):
            return np.asarray(labels == value, dtype=np.float64)


def sample_description(ingested: Ingested) -> str:
    """How the population was chosen, in a sentence."""
    if not ingested.sampled:
        return "All rows are the population."
    return (
        f"{MAX_ROWS} of the {ingested.count} rows, drawn without replacement (numpy default_rng, seed "
        f"{SAMPLE_SEED}), are the population; only these are kept for simulations."
    )
