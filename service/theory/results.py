"""What a prediction consists of. Values are finite, or ``inf`` where the theory diverges."""

from dataclasses import dataclass
from enum import StrEnum
from math import isfinite
from typing import Literal

import numpy as np

from service.theory.model import Array, TrainingMix
from service.theory.response import Regime


class Method(StrEnum):
    """How the test error was found."""

    EXACT = "exact"
    EQUIVALENT = "deterministic_equivalent"


@dataclass(frozen=True)
class GenerationParts:
    """The generation term, split exactly (up to rounding) into its causes."""

    label_noise: float
    distortion: float
    shift: float
    noise_mismatch: float


@dataclass(frozen=True)
class SourceNoise:
    """What the label noise of one source of an earlier stage adds to the final test error."""

    stage: str
    source: str
    label_noise: float


@dataclass(frozen=True)
class Decomposition:
    """Excess test error E‖ŵ − w_0‖²_Σ = bias + variance + generation."""

    total: float
    bias: float
    variance: float
    generation: float
    parts: GenerationParts
    by_source: tuple[SourceNoise, ...]

    @property
    def diverged(self) -> bool:
        """Whether the theory puts the error at infinity."""
        return self.total == float("inf")


ROUNDING = float(64 * np.finfo(float).eps)
_LEAST = float(np.finfo(float).tiny)  # smaller numbers have fewer digits


def assemble(
    total: float,
    bias: float,
    variance: float,
    by_source: tuple[SourceNoise, ...],
    *,
    shift: float,
    mismatch: float,
) -> Decomposition:
    """The decomposition of a finite total: what the causes leave of the generation term is distortion.

    Both are −∞ where the same stage on clean data, with samples of weight 0 in use, is at its interpolation threshold.
    """
    label_noise = float(sum([source.label_noise for source in by_source]))
    causes = label_noise + shift + mismatch
    generation = total - bias - variance
    distortion = generation - causes
    # a distortion below the rounding of the sums that it is the difference of is none
    lost = ROUNDING * (len(by_source) + 2) * max(total, bias, variance)
    if isfinite(distortion) and abs(distortion) <= max(lost, _LEAST):
        generation, distortion = causes, 0.0
    parts = GenerationParts(label_noise, distortion, shift, mismatch)
    return Decomposition(total, bias, variance, generation, parts, by_source)


def generation_terms(
    total: Array, bias: Array, variance: Array, causes: Array, sources: int
) -> tuple[Array, Array]:
    """Generation and distortion of ``assemble`` for many totals; ``causes``: the other parts of generation, added."""
    generation = total - bias - variance
    distortion = generation - causes
    largest = np.maximum(total, np.maximum(bias, variance))
    lost = np.abs(distortion) <= np.maximum(ROUNDING * (sources + 2) * largest, _LEAST)
    return np.where(lost, causes, generation), np.where(lost, 0.0, distortion)


@dataclass(frozen=True)
class Best:
    """Least error over all penalties; the penalty is infinite when predicting zero is best."""

    penalty: float
    total: float


@dataclass(frozen=True)
class FlatRange:
    """Penalties ``low`` to ``high`` around the best one with a test error within one per cent of the least.

    ``low`` 0: no penalty at all is within it too; ``high`` infinite: so is every larger one, and predicting zero.
    """

    low: float
    high: float


@dataclass(frozen=True)
class Baseline:
    """The final stage on real data: at the same penalty, and at its own best one."""

    samples: float
    total: float
    bias: float
    variance: float
    best: Best


@dataclass(frozen=True)
class Regularization:
    """``penalty`` of the final stage (resolved if "optimal") beside the recommended and the clean-data optimum."""

    penalty: float
    recommended: Best
    flat_range: FlatRange
    at_recommended: Decomposition
    clean_optimal_penalty: float
    cost_of_clean_choice: float
    effective_samples: float


@dataclass(frozen=True)
class Prediction:
    """Everything the theory says about one training mix. ``mix``: with every "optimal" penalty resolved.

    ``openness``: the least over the stages that are fitted, see Response.openness; ``expected_relative_error``: of the
    total, for Gaussian features; ``method``: of the test error, the other values being deterministic equivalents;
    ``order``: of those, 0 for asymptotic errors, 1 with their finite-size correction;
    ``moved``: sum of the absolute corrections of the total's contributions, as a share of it;
    ``asymptotic_real_only``: whether that baseline alone is of order 0, its correction not being small.
    """

    mix: TrainingMix
    regimes: tuple[Regime, ...]
    test_error: Decomposition
    clean: Baseline
    real_only: Baseline | None
    null_predictor: float
    regularization: Regularization
    irreducible: float
    openness: float
    expected_relative_error: float
    method: Method = Method.EQUIVALENT
    order: Literal[0, 1] = 0
    moved: float | None = None
    asymptotic_real_only: bool = False
