"""E W_2² between truth and model n for d > 1, where there is no closed form: a closure, within its measured range."""

import numpy as np

from service.theory.distributions.accuracy import Accuracy, Caution, approximate, exact
from service.theory.distributions.gaussian.determinant import log_determinant_steps
from service.theory.distributions.gaussian.model import Curve, Gaussian
from service.theory.distributions.recursion import propagate
from service.theory.distributions.schedule import Models, Schedule
from service.theory.model import Array

LARGEST_SPREAD = 1.0
"""V = Σ 1/M_i up to which the closure was measured, in at most ``MEASURED_DIMENSIONS``."""
MEASURED_DIMENSIONS = 8
SMALL_SPREAD = 0.1
"""d V up to which it is returned in more dimensions, where it is near its first order."""


def leading_transport(truth: Gaussian, spread: Array) -> Array:
    """E W_2² ≈ V [3/2 tr Σ_0 + Σ_{i<j} λ_i λ_j/(λ_i + λ_j)] for a fit with error covariance V/(Fisher information)."""
    value: Array = spread * (1.5 * truth.trace + truth.pairs)
    return value


def transport(
    truth: Gaussian, schedule: Schedule, curve: Curve, *, unbiased: bool
) -> tuple[Array, Accuracy, list[Caution]]:
    """E W_2² of replaced models: exact for d = 1; else the leading order times what the closure makes of a Σ_0 = I.

    Of as many dimensions as the pairs of eigenvalues stand for: 1 + 4 Σ_{i<j} λ_i λ_j/(λ_i + λ_j) / tr Σ_0, which is d
    for equal eigenvalues and 1 where one rules; between whole numbers the ratio is interpolated.
    """
    d = truth.dimension
    if d == 1:
        return curve.w2, exact("w2", "gamma-function products"), []
    models = curve.models
    spread = schedule.cumulative(1.0 / schedule.array, models)
    leading = leading_transport(truth, spread)
    largest = LARGEST_SPREAD if d <= MEASURED_DIMENSIONS else SMALL_SPREAD / d
    known = (schedule.smallest(models) > max(d + 2, 2 * d - 1)) & (spread <= largest)
    value = np.full(len(models), np.nan)
    # below this the ratio is 1 to better than rounding in the closure leaves of it
    tiny = known & (spread * d < 1e-6)
    value[tiny] = leading[tiny]
    rest = known & ~tiny
    effective = _effective_dimension(truth)
    if rest.any():
        whole = min(int(effective), d - 1)
        low, high = (_isotropic_ratio(schedule, k, models[rest], unbiased) for k in (whole, whole + 1))
        value[rest] = leading[rest] * (low + (effective - whole) * (high - low))
    cautions = []
    if not known.all():
        cautions.append(Caution(
            "simulate",
            f"Beyond a cumulative 1/M of {largest:.3g}, or with fewer than {max(d + 3, 2 * d)} samples in {d} "
            "dimensions, there is no formula for the transport distance; its lower bound stands. Simulate it.",
            "w2",
        ))  # fmt: skip
    return (
        value,
        approximate(
            "w2",
            _error(d, effective, float(spread[known].max(initial=0.0))),
            "closure of the log eigenvalues",
        ),
        cautions,
    )


def _effective_dimension(truth: Gaussian) -> float:
    return min(1.0 + 4.0 * truth.pairs / truth.trace, float(truth.dimension))


def _isotropic_ratio(schedule: Schedule, d: int, models: Models, unbiased: bool) -> Array:
    """E W_2² from Σ_0 = I over its leading order, by a closure, shape (models,).

    With m_1 = E tr Σ/d, m_2 = E tr Σ²/d and μ = E ln det Σ/d, E tr Σ^{1/2}/d ≈ exp(¾ ln c_2 + ¼ ln c_1),
    ln c_1 = ¾ ln m_1 − ⅛ ln m_2, ln c_2 = (ln m_1 + μ)/4: right through the third cumulant of the log eigenvalues.
    """
    total = schedule.cumulative
    spread = total(1.0 / schedule.array, models)
    with np.errstate(divide="ignore"):  # of later fits to one sample
        log_r = np.zeros_like(schedule.array) if unbiased else np.log1p(-1.0 / schedule.array)
    log_m1 = total(log_r, models)
    drift = spread if unbiased else -np.expm1(log_m1)
    log_m2 = np.log(_isotropic_square(schedule, d, unbiased, models) / d)
    mu = total(log_determinant_steps(schedule, d, unbiased=unbiased)[0], models) / d
    log_root = 0.75 * (log_m1 + mu) / 4 + 0.25 * (0.75 * log_m1 - 0.125 * log_m2)
    closure = drift + np.expm1(log_m1) - 2 * np.expm1(log_root)
    ratio: Array = closure / (spread * (1.5 + (d - 1) / 4))
    return ratio


def _isotropic_square(schedule: Schedule, d: int, unbiased: bool, models: Models) -> Array:
    """E tr Σ_n² from Σ_0 = I."""
    return second_moments(schedule, unbiased, float(d) ** 2, float(d), models)[:, 1]


def second_moments(
    schedule: Schedule, unbiased: bool, trace_squared: float, square_trace: float, models: Models
) -> Array:
    """(E (tr Σ_n)², E tr Σ_n²) of replaced models, shape (models, 2): A' = (ν²A + 2νB)/D², B' = ((ν² + ν)B + νA)/D²."""

    def step(run: int) -> Array:
        nu = schedule.array[run] - 1
        divisor = nu if unbiased else schedule.array[run]
        matrix: Array = np.array([[nu**2, 2 * nu], [nu, nu**2 + nu]]) / divisor**2
        return matrix

    return propagate(step, schedule, np.array([trace_squared, square_trace]), models)


def _error(dimension: int, effective: float, spread: float) -> float:
    """Measured up to d = 8, condition number 1000 and V = 1, and beyond where d V is small; exact as V → 0."""
    return min(0.016 + 0.012 * effective * spread, max(spread * dimension, 1e-12))
