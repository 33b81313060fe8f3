"""ln det of a fitted covariance matrix: sums over the chi-squares of Bartlett's decomposition."""

import numpy as np

from service.theory.distributions.schedule import Schedule
from service.theory.distributions.special import digamma_minus_log, polygamma_of
from service.theory.model import Array

_BLOCK = 100_000  # numbers at a time


def log_determinant_steps(schedule: Schedule, dimension: int, *, unbiased: bool) -> tuple[Array, Array]:
    """E and Var of ln det(Σ_i)/det(Σ_{i−1}) for each run of the schedule, shape (runs,).

    Σ_j ψ((M − j)/2) − ln(D/2) and Σ_j ψ'((M − j)/2), j = 1 … d: the determinant of a Wishart matrix is a product of
    independent χ²(M − j). Minus infinity where M ≤ d.
    """
    samples, one = schedule.array, 1 if unbiased else 0
    mean, variance = np.zeros_like(samples), np.zeros_like(samples)
    divisor = (samples - one)[:, None]
    block = max(_BLOCK // len(samples), 1)
    for first in range(1, dimension + 1, block):
        j = np.arange(first, min(first + block, dimension + 1), dtype=float)
        left = np.maximum(samples[:, None] - j, 0.0) / 2
        with np.errstate(divide="ignore", invalid="ignore"):  # one sample has no unbiased variance
            shrunk = np.log1p(-np.minimum((j - one) / divisor, 1.0))
        mean += (digamma_minus_log(left) + shrunk).sum(axis=1)
        variance += polygamma_of(1, left).sum(axis=1)
    return mean, variance
