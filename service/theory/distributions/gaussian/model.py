"""What a Gaussian recursion is given, and what is known of it after n fits."""

from dataclasses import dataclass, fields
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from service.theory.distributions.accuracy import Accuracy, Caution
from service.theory.distributions.schedule import Models
from service.theory.model import Array


@dataclass(frozen=True, eq=False)
class Gaussian:
    """The truth N(μ_0, Σ_0), by the eigenvalues of Σ_0 (all positive) and their multiplicities, shape (levels,)."""

    eigenvalues: Array
    multiplicities: Array

    @cached_property
    def dimension(self) -> int:
        """d."""
        return int(self.multiplicities.sum())

    @cached_property
    def trace(self) -> float:
        """tr Σ_0."""
        return float(self.multiplicities @ self.eigenvalues)

    @cached_property
    def trace_of_square(self) -> float:
        """tr Σ_0²."""
        return float(self.multiplicities @ self.eigenvalues**2)

    @cached_property
    def pairs(self) -> float:
        """Σ_{i<j} λ_i λ_j/(λ_i + λ_j) over pairs of modes."""
        weight, value = self.multiplicities, self.eigenvalues
        total = 0.0
        for m, v in zip(weight, value, strict=True):
            # λ_i λ_j/(λ_i + λ_j) as λ_i/(1 + λ_i/λ_j): no overflow where the eigenvalues are huge
            with np.errstate(over="ignore"):  # a ratio beyond double precision leaves nothing of the pair
                total += m * v * float(np.sum(weight / (1.0 + v / value)))
        return 0.5 * (total - 0.5 * self.trace)


@dataclass(frozen=True, eq=False)
class Curve:
    """Moments and distances of model n, at each n of ``models``, shape (models,); NaN where there is no formula.

    ``variance``: E Σ_n = variance × Σ_0. ``drift``: E (μ_n − μ_0)(μ_n − μ_0)ᵀ = drift × Σ_0. Along any fixed
    direction u, with v = uᵀΣ_n u / uᵀΣ_0 u: ``second_moment`` E v², ``relative_variance`` Var v/(E v)²,
    ``log_mean`` E ln v, ``log_variance`` Var ln v, ``deviation`` E √v. ``log_det_mean``, ``log_det_variance``: of
    ln det Σ_n/det Σ_0. ``kl_fit_true``: E KL(N_n‖N_0) and ``kl_true_fit``: E KL(N_0‖N_n), in nats. ``w2``: E W_2²,
    in units of the variables squared, and ``w2_lower``: a bound from below. ``variance_drift``, ``drift_fourth``,
    ``trace_squared``, ``square_trace``: see ``FourthOrder``. ``below``: P(v < t), shape (thresholds, models).
    """

    models: Models
    variance: Array
    drift: Array
    second_moment: Array
    relative_variance: Array
    log_mean: Array
    log_variance: Array
    deviation: Array
    log_det_mean: Array
    log_det_variance: Array
    kl_fit_true: Array
    kl_true_fit: Array
    w2: Array
    w2_lower: Array
    variance_drift: Array
    drift_fourth: Array
    trace_squared: Array
    square_trace: Array
    below: Array

    def at(self, chosen: NDArray[np.bool_]) -> "Curve":
        """The curve at the chosen models only."""
        return Curve(**{field.name: getattr(self, field.name)[..., chosen] for field in fields(self)})


@dataclass(frozen=True)
class HalfLife:
    """The first model whose variance is at most half the truth's, expected and typical; None where there is none.

    ``mean_fits``, ``typical_fits``: the real number of fits after which it is half at a constant sample size.
    """

    mean: int | None
    typical: int | None
    mean_fits: float | None
    typical_fits: float | None


@dataclass(frozen=True)
class FixedPoint:
    """Where variance and drift go for ever with the last sample size repeated; infinite where they grow."""

    variance: float
    drift: float
    relaxation: float | None
    stable: bool


@dataclass(frozen=True, eq=False)
class GaussianPrediction:
    """A curve, where it goes, and how far each quantity can be trusted."""

    curve: Curve
    fixed_point: FixedPoint
    half_life: HalfLife
    accuracies: tuple[Accuracy, ...]
    cautions: tuple[Caution, ...]


@dataclass(frozen=True, eq=False)
class Limit:
    """A curve of one model, the one after infinitely many fits; its ``models`` mean nothing."""

    curve: Curve
    accuracies: tuple[Accuracy, ...]
    cautions: tuple[Caution, ...]
