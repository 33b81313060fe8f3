"""The vocabulary of variations.py: what of a mix is varied, and what is said about each point."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from service.theory.model import Array

COLUMNS: Final = (
    "penalty", "total", "bias", "variance", "generation",
    "label_noise", "distortion", "shift", "noise_mismatch",
    "recommended_penalty", "total_at_recommended",
    "clean_optimal_penalty", "cost_of_clean_choice", "effective_samples",
)  # fmt: skip


@dataclass(frozen=True)
class Slot:
    """One number of a mix: ``samples``, ``noise_variance`` or ``weight`` of a source, or the ``penalty`` of a stage.

    ``shift``: what the power of a source's shift is multiplied with. Without a stage, ``noise_variance`` is the
    population's. ``source`` is None for what belongs to the stage.
    """

    field: Literal["samples", "noise_variance", "weight", "penalty", "shift"]
    stage: int | None = None
    source: int | None = None


@dataclass(frozen=True, eq=False)
class Columns:
    """Predictions as COLUMNS, each of shape (points,): infinite where the theory puts them there.

    ``problems``: by point, why there is none; the numbers are nan there.
    """

    values: Mapping[str, Array]
    problems: Mapping[int, str]
