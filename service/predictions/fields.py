"""A field of a request that varies: its place, its values, and the request with one of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from pydantic import ValidationError

from service.predictions.schemas import PredictionRequest
from service.theory.model import Array

Path = tuple[str | int, ...]

_QUANTILES = (0.1, 0.3, 0.5, 0.7, 0.9)


@dataclass(frozen=True)
class Variant:
    """A field that varies: ``pointer`` into the request, ``low`` and ``high`` of its values.

    ``whole``: whether they are whole numbers; ``at``: where the client says all this, for errors; ``typical``: some
    values that stand for all of them, where these are known.
    """

    pointer: str
    low: float
    high: float
    whole: bool
    at: str
    typical: tuple[float, ...] = ()

    @staticmethod
    def of(pointer: str, values: Array, at: str, *, whole: bool) -> "Variant":
        """A field that takes these values."""
        typical = np.quantile(values, _QUANTILES, method="nearest").tolist()
        return Variant(pointer, float(values.min()), float(values.max()), whole, at, tuple(typical))

    @property
    def path(self) -> Path:
        """The pointer's steps."""
        steps = [step.replace("~1", "/").replace("~0", "~") for step in self.pointer.split("/")[1:]]
        return tuple(int(step) if step.isdecimal() else step for step in steps)

    def replaced(self, base: Mapping[str, Any], value: float) -> dict[str, Any]:
        """The request with this number in the field. Raises KeyError where it has no such place."""
        return with_number(base, self.path, self.number(value))

    def number(self, value: float) -> int | float:
        """As the request has it."""
        return int(value) if self.whole else float(value)


def holds_whole_numbers(base: Mapping[str, Any], pointer: str) -> bool:
    """Whether a field of a valid request refuses a number only because it has a fraction."""
    try:
        PredictionRequest.model_validate(with_number(base, Variant(pointer, 1.5, 1.5, False, "").path, 1.5))
    except ValidationError as error:
        return any(one["type"] in {"int_type", "int_from_float"} for one in error.errors())
    except KeyError:
        return False
    return False


def with_number(base: Mapping[str, Any], path: Path, value: float) -> dict[str, Any]:
    """A copy of the request with one number replaced; only what is on the way is copied. Raises KeyError."""
    copy: Any = dict(base)
    here = copy
    for step, following in pairwise(path):
        child = _child(here, step)
        child = (
            dict(child) if isinstance(child, Mapping) else list(child) if isinstance(child, list) else None
        )
        if child is None:
            raise KeyError(following)
        here[step] = child
        here = child
    if isinstance(here, list):
        _child(here, path[-1])
    elif path[-1] in here and not isinstance(here[path[-1]], int | float | None):
        raise KeyError(path[-1])
    here[path[-1]] = value
    found: dict[str, Any] = copy
    return found


def _child(value: Any, step: str | int) -> Any:
    if isinstance(value, list) and isinstance(step, int) and step < len(value):
        return value[step]
    if isinstance(value, Mapping) and step in value:
        return value[step]
    raise KeyError(step)
