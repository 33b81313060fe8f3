"""Lists of counts as arrays: a million of them are checked, merged and hashed without a Python loop."""

import hashlib
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import (
    Field,
    PlainSerializer,
    SerializationInfo,
    ValidatorFunctionWrapHandler,
    WithJsonSchema,
    WrapValidator,
)

from service.distributions.schemas import Count
from service.predictions.identity import HASHING
from service.predictions.schemas import MAX_LIST, MAX_SAMPLES

_SCHEMA = {
    "type": "array", "minItems": 1, "maxItems": MAX_LIST,
    "items": {"type": "integer", "minimum": 1, "maximum": MAX_SAMPLES},
}  # fmt: skip


def _checked(values: Any, check: ValidatorFunctionWrapHandler) -> NDArray[np.int64]:
    """The array; whatever is wrong is left to ``check``, which says where."""
    if type(values) is list and 0 < len(values) <= MAX_LIST and set(map(type, values)) == {int}:
        try:
            found = np.array(values, dtype=np.int64)
        except OverflowError:
            found = np.zeros(1, dtype=np.int64)
        if found.min() >= 1 and found.max() <= MAX_SAMPLES:
            return found
    return np.array(check(values), dtype=np.int64)


def _as_json(values: NDArray[np.int64], info: SerializationInfo) -> Any:
    if info.context is HASHING:
        return "sha256:" + hashlib.sha256(values.astype("<i8", copy=False).data).hexdigest()
    return values.tolist()


CountList = Annotated[
    Annotated[list[Count], Field(min_length=1, max_length=MAX_LIST)],
    WrapValidator(_checked),
    PlainSerializer(_as_json),
    WithJsonSchema(_SCHEMA),
]
"""Whole numbers from 1, held as an int64 array; in a request's hash they stand by the sha256 of their bytes."""


def merged(
    values: NDArray[np.int64], types: NDArray[np.int64] | None
) -> tuple[NDArray[np.int64], NDArray[np.int64] | None]:
    """The distinct values, largest first, and how many types have each; None where each has one. Raises ValueError."""
    if types is None and np.all(values[1:] < values[:-1]):
        return values, None  # as most are given
    if types is None:
        distinct, occurrences = np.unique(values, return_counts=True)
    else:
        distinct, where = np.unique(values, return_inverse=True)
        if np.any(np.bincount(where, weights=types.astype(float)) > MAX_SAMPLES):
            raise ValueError(f"more than {MAX_SAMPLES:,} types have the same count; give fewer")
        occurrences = np.zeros(distinct.size, dtype=np.int64)
        np.add.at(occurrences, where, types)
    several = None if np.all(occurrences == 1) else occurrences[::-1].astype(np.int64)
    return distinct[::-1].copy(), several
