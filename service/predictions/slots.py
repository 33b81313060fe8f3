"""What a field of a request does to the compiled mix: the slots that hold its value."""

from typing import Literal

import numpy as np

from service.theory.model import Array, Population, Shift, TrainingMix
from service.theory.slots import Slot

Compiled = tuple[Population, TrainingMix]

_ROUNDING = 1e-13  # relative, of numbers that are one in theory


def slots_of(at_high: Compiled, at_low: Compiled, high: float, low: float) -> tuple[Slot, ...] | None:
    """The slots that hold the field's value; None where it does something else as well."""
    (a, mix_a), (b, mix_b) = at_high, at_low
    same = [
        _same_array(getattr(a, name), getattr(b, name))
        for name in ("eigenvalues", "multiplicities", "target_power", "target")
    ]
    if not all(same) or len(mix_a.stages) != len(mix_b.stages) or mix_a.keeps_data != mix_b.keeps_data:
        return None
    found: list[Slot] = []

    def settled(x: object, y: object, slot: Slot) -> bool:
        if x == y:
            return True
        found.append(slot)
        return x == high and y == low

    def settled_labels(x: str | Shift, y: str | Shift, slot: Slot) -> bool:
        if isinstance(x, str) or isinstance(y, str):
            return x == y
        if np.array_equal(x.power, y.power):
            return True
        found.append(slot)
        return high > 0 and np.allclose(y.power, (low / high) * x.power, rtol=_ROUNDING, atol=0.0)

    if mix_a.keeps_data or not settled(a.noise_variance, b.noise_variance, Slot("noise_variance")):
        return None
    for k, (stage, other) in enumerate(zip(mix_a.stages, mix_b.stages, strict=True)):
        if (stage.name, stage.width, len(stage.sources)) != (other.name, other.width, len(other.sources)):
            return None
        if stage.passes != other.passes:
            return None
        if not settled(stage.penalty, other.penalty, Slot("penalty", k)):
            return None
        for j, (x, y) in enumerate(zip(stage.sources, other.sources, strict=True)):
            if x.name != y.name or not settled_labels(x.labels, y.labels, Slot("shift", k, j)):
                return None
            if x.covariance_key != y.covariance_key:
                return None
            fields: tuple[Literal["samples", "noise_variance", "weight"], ...] = (
                "samples", "noise_variance", "weight",
            )  # fmt: skip
            if not all(settled(getattr(x, name), getattr(y, name), Slot(name, k, j)) for name in fields):
                return None
    return tuple(found)


def _same_array(x: Array | None, y: Array | None) -> bool:
    return x is y or (x is not None and y is not None and np.array_equal(x, y))
