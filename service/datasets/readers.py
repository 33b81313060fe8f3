"""From an uploaded file to a ``Matrix``: the format is told by the first bytes, never by the name."""

import math
from pathlib import Path

from service.datasets.arrays import AnyArray, check_numeric, is_idx, is_npy, open_idx, open_npy, row_chunks
from service.datasets.containers import arrays, extract, is_zip, unpacked
from service.datasets.limits import check_shape, refuse, shown
from service.datasets.matrix import Matrix
from service.datasets.tables import is_parquet, open_csv, open_parquet

FEATURES = "file"
LABELS = "target_file"


def open_upload(  # noqa: PLR0917
    file: Path, target_file: Path | None, features: str | None, target: str | None, folder: Path, limit: int
) -> tuple[Matrix, Matrix | int]:
    """Features, and the labels: a matrix of one column, or the position of a column of the features.

    ``features``, ``target``: names of arrays in an NPZ file; ``target`` else a column. ``limit``: bytes,
    decompressed. Raises InvalidInput.
    """
    path = unpacked(file, folder, FEATURES, limit)
    labels: Matrix | None = None
    if target_file is not None:
        labels = _open(unpacked(target_file, folder, LABELS, limit), target, folder, LABELS, limit)
    if is_zip(path):
        names = arrays(path, FEATURES)
        if labels is None and len(names) > 1:
            chosen = _array(names, target, "target")
            labels = _open(path, chosen, folder, FEATURES, limit)
            rest = {name: size for name, size in names.items() if name != chosen}
            features = _array(rest, features, "features")
    elif features is not None:
        raise refuse("features", "not_npz", "features names an array of an NPZ file; file is not one")
    matrix = _open(path, features, folder, FEATURES, limit)
    if labels is None:
        return matrix, matrix.position(target)
    if labels.columns != 1:
        if labels.is_named and target is not None:
            return matrix, _column(labels, labels.position(target))
        raise refuse(
            labels.field,
            "wrong_shape",
            f"the labels have {labels.columns} columns; one label per row is needed",
        )
    return matrix, labels


def _open(path: Path, array: str | None, folder: Path, field: str, limit: int) -> Matrix:
    """The matrix in a plain file; ``array`` names the one of an NPZ file."""
    if path.stat().st_size == 0:
        raise refuse(field, "empty", "the file is empty")
    if is_zip(path):
        chosen = _array(arrays(path, field), array, "features" if field == FEATURES else "target")
        path = extract(path, chosen, folder, field, limit)
        return _from_array(open_npy(path, field), field, limit)
    if is_npy(path):
        return _from_array(open_npy(path, field), field, limit)
    if is_idx(path):
        return _from_array(open_idx(path, field), field, limit)
    if is_parquet(path):
        matrix = open_parquet(path, field, limit)
        check_shape(field, matrix.rows or 0, matrix.columns - 1, limit)
        return matrix
    return open_csv(path, field)


def _from_array(array: AnyArray, field: str, limit: int) -> Matrix:
    check_numeric(array, field)
    if array.ndim == 0 or array.size == 0:
        raise refuse(field, "empty", f"the array of shape {array.shape} holds no rows")
    columns = math.prod(array.shape[1:])
    check_shape(field, len(array), columns - 1, limit)  # one may be the target
    names = tuple(str(i) for i in range(columns))
    return Matrix(field, names, columns, len(array), lambda: row_chunks(array), is_named=False)


def _array(names: dict[str, int], wanted: str | None, option: str) -> str:
    """The array to take: the one that is named, or the only one."""
    if wanted in names:
        return wanted
    if wanted is None and len(names) == 1:
        return next(iter(names))
    listed = ", ".join(shown(name) for name in names)
    if wanted is None:
        raise refuse(option, "missing", f"name the array that holds the {option}; the file has {listed}")
    raise refuse(option, "unknown_array", f"there is no array {shown(wanted)}; the file has {listed}")


def _column(matrix: Matrix, position: int) -> Matrix:
    """One column of a matrix."""
    return Matrix(
        matrix.field,
        (matrix.names[position],),
        1,
        matrix.rows,
        lambda: (chunk[:, position : position + 1] for chunk in matrix.chunks()),
        matrix.is_named,
    )
