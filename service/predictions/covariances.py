"""Covariance matrices of sources: what a client sends, and the checks that it gets."""

import base64
import binascii
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, field_validator
from scipy.linalg import eigvalsh, lapack

from service.errors import InvalidInput
from service.theory.matrices.prediction import MAX_MODES
from service.theory.model import Array

_LARGEST = 1e60
_SYMMETRIC = 1e-9  # relative to the largest entry: what rounding in the client leaves
_POSITIVE = 1e-9  # relative to the mean variance
_BYTES = 8


class MatrixCovariance(BaseModel):
    """A covariance in the data set's eigenbasis: row i and column i belong to the i-th eigenvalue of the data set."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["matrix"]
    values: Any = Field(
        description="Rows of numbers, symmetric and positive semidefinite; or, four times shorter, the base64 of the "
        f"rows as little-endian doubles. At most {MAX_MODES} × {MAX_MODES}.",
        json_schema_extra={
            "anyOf": [
                {"type": "array", "items": {"type": "array", "items": {"type": "number"}}},
                {"type": "string", "format": "byte"},
            ]
        },
    )

    @field_validator("values")
    @classmethod
    def _packed(cls, values: object) -> str:
        """As base64, however it came: records and hashes see one form."""
        if isinstance(values, str):
            return values
        if not isinstance(values, list) or not values or not all(isinstance(row, list) for row in values):
            raise ValueError("give rows of numbers, or the base64 of the matrix's doubles")
        size = len(values)
        if size > MAX_MODES:
            raise ValueError(f"the matrix has {size} rows; at most {MAX_MODES} are computed")
        if any(len(row) != size for row in values):
            raise ValueError(f"the matrix has {size} rows, so every row must have {size} numbers")
        if not all(isinstance(x, int | float) and not isinstance(x, bool) for row in values for x in row):
            raise ValueError("every entry must be a number")
        if any(abs(x) > _LARGEST for row in values for x in row):
            raise ValueError(f"entries must lie within ±{_LARGEST:g}")
        return base64.b64encode(np.array(values, dtype="<f8").tobytes()).decode("ascii")


Covariance = Annotated[
    MatrixCovariance | None,
    Field(description="Covariate shift that changes the eigenbasis, in the place of `spectrum`."),
]


def matrix_of(covariance: MatrixCovariance, modes: int, pointer: str) -> Array:
    """The checked matrix, shape (modes, modes). Raises InvalidInput."""
    at = f"{pointer}/values"
    try:
        raw = base64.b64decode(covariance.values, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidInput.at(at, "not_base64", f"the text is not base64: {error}") from error
    if len(raw) != _BYTES * modes * modes:
        size = (len(raw) / _BYTES) ** 0.5
        raise InvalidInput.at(
            at, "wrong_length",
            f"the data set has {modes} modes, so the matrix must be {modes} × {modes}; got {size:.6g} × {size:.6g}",
        )  # fmt: skip
    matrix = np.frombuffer(raw, dtype="<f8").astype(np.float64).reshape(modes, modes)
    if not np.all(np.abs(matrix) <= _LARGEST):
        raise InvalidInput.at(at, "out_of_range", f"entries must be finite and lie within ±{_LARGEST:g}")
    skew = np.abs(matrix - matrix.T)
    i, j = np.unravel_index(int(skew.argmax()), skew.shape)
    if skew[i, j] > _SYMMETRIC * np.abs(matrix).max():
        raise InvalidInput.at(
            at, "not_symmetric",
            f"entries [{i}][{j}] and [{j}][{i}] are {matrix[i, j]:.6g} and {matrix[j, i]:.6g}; they must be equal",
        )  # fmt: skip
    matrix = 0.5 * (matrix + matrix.T)
    _refuse_negative(matrix, at)
    return matrix


def _refuse_negative(matrix: Array, pointer: str) -> None:
    """Raise InvalidInput for an eigenvalue below 0 by more than rounding."""
    slack = _POSITIVE * max(float(matrix.trace()) / len(matrix), 0.0)
    _, info = lapack.dpotrf(matrix + (slack or 1e-300) * np.eye(len(matrix)), lower=1)
    if info == 0:
        return
    least = float(eigvalsh(matrix, subset_by_index=[0, 0])[0])
    if least < -slack:
        raise InvalidInput.at(
            pointer, "not_positive",
            f"the least eigenvalue is {least:.6g}: a covariance has none below 0; "
            "add the amount to the diagonal, or drop the eigenvector",
        )  # fmt: skip
