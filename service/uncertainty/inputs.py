"""Uncertain numbers in a request: where they are, and what they are distributed as."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite, log, log1p, sqrt
from typing import Any, Literal

import numpy as np
from scipy.special import ndtr, ndtri

from service.errors import InvalidInput
from service.predictions.schemas import LARGEST
from service.theory.model import Array
from service.web.pointers import pointer

CUT = 3.0  # standard deviations
_FORMS = (frozenset({"low", "high"}), frozenset({"mean", "sd"}))
_WORDS = frozenset().union(*_FORMS)  # no field of a request has such a name


@dataclass(frozen=True)
class Uncertainty:
    """One uncertain number. ``location`` and ``scale``: of the normal or its logarithm, or low and width."""

    pointer: str
    distribution: Literal["uniform", "normal", "log_normal"]
    location: float
    scale: float
    central: float

    def quantiles(self, probabilities: Array) -> Array:
        """Values at probabilities in [0, 1]."""
        if self.distribution == "uniform":
            return self.location + self.scale * probabilities
        cut = ndtr(-CUT)
        normal = self.location + self.scale * ndtri(cut + (1.0 - 2.0 * cut) * probabilities)
        return np.asarray(normal if self.distribution == "normal" else np.exp(normal))


def extracted(request: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[Uncertainty, ...]]:
    """The request with a number for each uncertain one, and those. Raises InvalidInput."""
    found: list[Uncertainty] = []

    def certain(value: Any, path: tuple[str | int, ...]) -> Any:
        if isinstance(value, Mapping):
            if frozenset(value) in _FORMS:
                found.append(_uncertainty(value, pointer(path)))
                return found[-1].central
            if not _WORDS.isdisjoint(value):
                raise InvalidInput.at(
                    pointer(path), "half_an_uncertainty",
                    'An uncertain number is {"low", "high"} or {"mean", "sd"}, both of them and nothing else.',
                )  # fmt: skip
            return {key: certain(item, (*path, key)) for key, item in value.items()}
        if isinstance(value, list) and not all(isinstance(item, int | float) for item in value):
            return [certain(item, (*path, i)) for i, item in enumerate(value)]
        return value

    plain: dict[str, Any] = certain(request, ())
    return plain, tuple(found)


def _uncertainty(value: Mapping[str, Any], at: str) -> Uncertainty:
    for name in value:
        number = value[name]
        if isinstance(number, bool) or not isinstance(number, int | float) or not abs(number) <= LARGEST:
            raise InvalidInput.at(
                f"{at}/{name}", "float_type", f"It should be a number of at most {LARGEST:g}."
            )
    if "low" in value:
        low, high = float(value["low"]), float(value["high"])
        if low >= high:
            raise InvalidInput.at(
                at, "empty_interval", "low must be below high; give a number where it is known."
            )
        return Uncertainty(at, "uniform", low, high - low, low + (high - low) / 2)
    mean, sd = float(value["mean"]), float(value["sd"])
    if sd <= 0:
        raise InvalidInput.at(f"{at}/sd", "greater_than", "It should be greater than 0.")
    if mean <= 0 or mean > CUT * sd:
        return Uncertainty(at, "normal", mean, sd, mean)
    variance = log1p((sd / mean) ** 2)  # of the logarithm: the log-normal of this mean and standard deviation
    if not isfinite(variance):
        raise InvalidInput.at(f"{at}/sd", "too_large", "It is too many orders of magnitude above the mean.")
    return Uncertainty(at, "log_normal", log(mean) - variance / 2, sqrt(variance), mean)
