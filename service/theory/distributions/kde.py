"""Kernel density estimates of samples of kernel density estimates: they spread, where Gaussian fits narrow.

Each new sample is one of the old ones plus h times a standard normal. Along one direction, in units of the truth's
standard deviation; the variance is that of the sample (maximum likelihood), the model's own is larger by h². All
exact.
"""

from dataclasses import dataclass
from math import inf, pi, sqrt

import numpy as np

from service.theory.distributions.recursion import propagate
from service.theory.distributions.schedule import Mix, Models, Schedule
from service.theory.model import Array


@dataclass(frozen=True)
class Bandwidth:
    """``fixed``: h in units of the truth; ``relative``: h over the sample's own standard deviation.

    ``corrected``: samples are shrunk by 1/√(1 + relative²), so that the model has its sample's variance.
    """

    fixed: float = 0.0
    relative: float = 0.0
    corrected: bool = False

    @property
    def growth(self) -> float:
        """Factor of the variance from sample to model, less one."""
        return 0.0 if self.corrected else self.relative**2

    def of_model(self, sample_variance: float) -> float:
        """Variance of the density estimate of a sample."""
        return sample_variance * (1.0 + self.growth) + self.fixed**2


@dataclass(frozen=True, eq=False)
class Kernels:
    """E v and E e² of the sample each model is made of, and E v of the model itself, shape (models,)."""

    sample_variance: Array
    drift: Array
    model_variance: Array


def spread(mix: Mix, models: Models, bandwidth: Bandwidth) -> Kernels:
    """v ← [(M − 1)(a + b ṽ) + M a b δ]/M with ṽ = v(1 + c²) + h² (iid: (M − 1)/M (a + b ṽ + a b δ)), δ ← b²δ + (…)/M.

    Without real samples v_n: (1 − 1/M)(v + h²), whose fixed point is (M − 1) h². The first sample is real.
    """
    start = np.array([1.0, 1.0, 0.0])
    first = _step(mix, 0, Bandwidth()) @ start
    later = models > 1
    states = np.broadcast_to(first, (len(models), 3)).copy()
    if later.any():
        rest, dropped = mix.schedule.later()
        states[later] = propagate(
            lambda run: _step(mix, run + dropped, bandwidth), rest, first, models[later] - 1
        )
    states = np.where(np.isnan(states), np.inf, states)  # powers beyond double precision: infinity times zero
    variance = states[:, 1]
    with np.errstate(over="ignore"):
        own = variance * (1 + bandwidth.growth) + bandwidth.fixed**2
    return Kernels(variance, states[:, 2], own)


def limit(mix: Mix, bandwidth: Bandwidth) -> tuple[float, float]:
    """Where variance and drift go with the last fit repeated; infinite where they grow.

    The fixed point of the recursion of ``spread``, with 1 less its matrix written in what is small: 1/M, a and c².
    """
    M, real = float(mix.schedule.array[-1]), float(mix.real[-1])
    a = real / M
    b, r, growth = 1.0 - a, 1.0 - 1.0 / M, bandwidth.growth
    source = a + b * bandwidth.fixed**2
    of_variance = a + b / M - r * b * growth
    if real == 0.0:
        # without real data the mean wanders for ever, unless nothing is left to wander
        return (r * source / of_variance if of_variance > 0.0 else inf), inf
    pulled = (r if mix.independent else 1.0) * a * b
    of_drift = a * (2.0 - a) - (a * b / M if mix.independent else 0.0)
    fed = b * (1.0 + growth) / M
    determinant = of_variance * of_drift - pulled * fed
    if of_variance <= 0.0 or determinant <= 0.0:
        return inf, inf
    return (
        source * (r * of_drift + pulled / M) / determinant,
        source * (of_variance / M + r * fed) / determinant,
    )


def _step(mix: Mix, run: int, bandwidth: Bandwidth) -> Array:
    """Matrix on (1, v, δ)."""
    M = mix.schedule.array[run]
    a = float(mix.real[run] / M)
    b, r = 1.0 - a, 1.0 - 1.0 / M
    own = np.array([a + b * bandwidth.fixed**2, b * (1 + bandwidth.growth), 0.0])
    pulled = np.array([0.0, 0.0, a * b])
    if mix.independent:
        own = own + pulled
        pulled = 0.0 * pulled
    matrix: Array = np.stack([[1.0, 0.0, 0.0], r * own + pulled, own / M + [0.0, 0.0, b**2]])
    return matrix


def integrated_squared_error(samples: int, h: float, models: Models) -> Array:
    """E ∫ (p̂_n − p_0)² for a normal truth of variance 1, bandwidth h > 0, M samples in every fit, shape (models,).

    By Parseval with q = 1 − 1/M: (1/2π)[(1/M) Σ_{j<n} q^j √π/(h √(j + 1)) + q^n √(π/(1 + n h²)) − 2 √(π/(1 + n
    h²/2)) + √π].
    """
    n = models.astype(float)
    with np.errstate(divide="ignore"):
        log_q = np.log1p(-1.0 / samples)
    j = np.arange(int(models[-1]), dtype=float)
    with np.errstate(invalid="ignore"):
        powers = np.exp(np.where(j > 0, j * log_q, 0.0))
    noise = np.cumsum(powers / np.sqrt(j + 1))[models - 1] / (samples * h)
    kept = np.exp(n * log_q)
    # the bias alone, (1 + x)^-½ − 2(1 + x/2)^-½ + 1, as a difference of two small numbers
    bias = np.expm1(-0.5 * np.log1p(n * h**2)) - 2 * np.expm1(-0.5 * np.log1p(n * h**2 / 2))
    lost = (kept - 1.0) / np.sqrt(1 + n * h**2)
    value: Array = sqrt(pi) * (noise + lost + bias) / (2 * pi)
    return value


def silverman(samples: int) -> float:
    """The rule-of-thumb bandwidth over the sample's standard deviation: 1.06 M^{-1/5}."""
    return float(1.06 * samples**-0.2)


def replaced(schedule: Schedule) -> Mix:
    """No real samples after the first fit."""
    return Mix(schedule, np.zeros(len(schedule.sizes)))
