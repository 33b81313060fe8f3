"""Model n is fitted to the pool of all batches M_0 … M_{n−1}: real data first, nothing thrown away, and no collapse.

Adding M samples of model n to a pool of N, N' = N + M, multiplies the pool's scatter by 1 + X/D with X = χ²_{M−1} +
(N/N') χ²_1 independent of the past (one dimension, or along any direction). Exact: Kazdan et al. 2410.16713 give
the equal-batch mean, sin(π/√M)/(π/√M) in the limit.
"""

from dataclasses import dataclass
from math import comb, exp, expm1, inf, log1p, pi, sqrt

import numpy as np
from scipy.special import polygamma

from service.theory.distributions.schedule import Models, Schedule
from service.theory.distributions.special import digamma_minus_log, log_half_step, polygamma_of
from service.theory.model import Array

CHUNK = 65_536
# The relative spread of a pool's growth below which eight moments of it give its logarithm to rounding.
_NARROW = 0.004


@dataclass(frozen=True, eq=False)
class Pool:
    """Along one direction, at each model, shape (models,), in units of the true variance.

    ``log_variance``: ln E v; ``drift``: E e²; ``log_moment``: ln[E v²/(E v)²]; ``log_mean``: E ln v;
    ``log_deviation``: ln E √v; ``log_spread``: Var ln v; ``spread``: Σ M_i/N_i², the error covariance in units of
    the Fisher information; ``log_shape``: ln of (α − β)/(α + 2β), see ``fourth_order``; ``drift_per_variance``:
    E v e²/E v; ``drift_fourth``: E e⁴.
    """

    log_variance: Array
    drift: Array
    log_moment: Array
    log_mean: Array
    log_deviation: Array
    log_spread: Array
    spread: Array
    log_shape: Array
    drift_per_variance: Array
    drift_fourth: Array


def accumulate(schedule: Schedule, models: Models, *, unbiased: bool) -> Pool:
    """The pool's fits at the rising ``models``; time grows with the last of them, memory does not."""
    totals = _first(float(schedule.at(1)), unbiased)
    columns = np.empty((len(totals), len(models)))
    columns[:, models == 1] = totals[:, None]
    model, pool, last = 1, float(schedule.at(1)), int(models[-1])
    while model < last:
        count = min(CHUNK, last - model)
        batch = schedule.between(model + 1, model + count)
        sums = totals[:, None] + np.cumsum(_increments(pool, batch, totals, unbiased), axis=1)
        inside = (models > model) & (models <= model + count)
        columns[:, inside] = sums[:, models[inside] - model - 1]
        totals, pool, model = sums[:, -1], pool + float(batch.sum()), model + count
    return Pool(*columns)


def limit(schedule: Schedule, log_variance: float, drift: float, *, unbiased: bool) -> tuple[float, float]:
    """Expected variance and drift after infinitely many further batches of the last size M.

    ``log_variance`` and ``drift``: after the whole schedule, with x M samples. Maximum likelihood:
    Π_i (1 − 1/(M(x + i)²)) = Γ(y)²/(Γ(y − s) Γ(y + s)), y = x + 1, s = 1/√M, and variance and drift add up to 1.
    Unbiased: Γ(y − h) Γ(y + h)/(Γ(y − s) Γ(y + s)), y = x + 1 − h, h = 1/(2M), s² = h² + 1/M.
    """
    samples = sum(size * count for size, count in zip(schedule.sizes, schedule.repetitions, strict=True))
    M, x = float(schedule.last), samples / schedule.last
    if not unbiased:
        log_limit = log_variance - _gamma_curvature(x + 1, M**-0.5)
        return exp(log_limit), -expm1(log_limit)
    h = 0.5 / M
    log_limit = (
        log_variance + _gamma_curvature(x + 1 - h, h) - _gamma_curvature(x + 1 - h, sqrt(h**2 + 1 / M))
    )
    # the drift has no closed form: so many batches by the recursion, the rest at the limit's variance
    after = float(samples) + M * np.arange(1, CHUNK + 1)
    shrink = np.log1p(-M / (after * (after - 1)))
    before = np.exp(log_variance + np.concatenate([[0.0], np.cumsum(shrink)[:-1]]))
    tail = exp(log_limit) / M * float(polygamma(1, x + CHUNK + 1))
    return exp(log_limit), drift + float(np.sum(M / after**2 * before)) + tail


def _gamma_curvature(y: float, s: float) -> float:
    """ln[Γ(y − s) Γ(y + s)/Γ(y)²] = Σ_k 2 s^{2k}/(2k)! ψ^{(2k−1)}(y) without cancellation; s < y."""
    total, power = 0.0, 2.0
    for k in range(1, 80):
        power *= s * s / ((2 * k - 1) * (2 * k))
        term = power * float(polygamma(2 * k - 1, y))
        total += term
        if term < 1e-17 * total:
            break
    return total


def _first(samples: float, unbiased: bool) -> Array:
    """The columns of ``Pool`` for the first model."""
    half = np.array((samples - 1.0) / 2)
    moment = float(np.log1p(1.0 / half)) if half else 0.0  # one sample has no variance for certain
    with np.errstate(divide="ignore"):
        shrink = 0.0 if unbiased else float(np.log1p(-1.0 / samples))
    return np.array([
        shrink, 1.0 / samples, moment, float(digamma_minus_log(half)) + shrink,
        float(log_half_step(half)) + 0.5 * shrink, float(polygamma_of(1, half)), 1.0 / samples,
        log1p(-3.0 / (samples + 1.0)) if samples > 2 else -inf, 1.0 / samples, 3.0 / samples**2,
    ])  # fmt: skip


def _increments(pool: float, batch: Array, totals: Array, unbiased: bool) -> Array:
    """What each further batch adds to the columns of ``Pool``, shape (10, batches); ``totals``: before the first."""
    after = pool + np.cumsum(batch)
    before = after - batch
    divisor, next_divisor = (before - 1, after - 1) if unbiased else (before, after)
    share = before / after
    shrink = np.log1p(-batch / (after * next_divisor))
    variance = np.exp(_before(totals[0], shrink))
    mean, spread = batch - 1 + share, 2 * (batch - 1) + 2 * share**2
    scale = divisor + mean
    relative = spread / scale**2
    moment, step = np.log1p(relative), batch / after**2
    ratio = variance * np.exp(_before(totals[2], moment))  # E v²/E v
    per_variance = step * (1 + 2 * share / scale) * ratio
    fourth = 6 * step * variance * _before(totals[8], per_variance) + 3 * step**2 * variance * ratio
    log_mean, log_root, log_spread = _growth(batch, share, divisor, mean)
    return np.stack([
        shrink, step * variance, moment, log_mean + shrink, log_root + 0.5 * shrink, log_spread, step,
        np.log1p(-1.5 * spread / (scale**2 + spread)), per_variance, fourth,
    ])  # fmt: skip


def _before(total: float, steps: Array) -> Array:
    """Σ of the steps before each, from ``total``."""
    sums: Array = total + np.concatenate([[0.0], np.cumsum(steps)[:-1]])
    return sums


def _growth(batch: Array, share: Array, divisor: Array, mean: Array) -> tuple[Array, Array, Array]:
    """E ln y, ln E √y and Var ln y of y = (1 + X/D)/(1 + E X/D), X = χ²_{M−1} + share χ²_1."""
    scale = divisor + mean
    narrow = 2 * (batch - 1 + share**2) < (_NARROW * scale) ** 2
    log_mean, log_root, log_spread = (np.zeros_like(batch) for _ in range(3))
    if narrow.any():
        moments = _central_moments(batch[narrow], share[narrow], scale[narrow])
        log_mean[narrow] = sum((-1) ** (k + 1) * moment / k for k, moment in moments.items())
        root = sum(_half_binomial(k) * moment for k, moment in moments.items())
        log_root[narrow] = np.log1p(root)
        square = sum(_square_log(k) * moment for k, moment in moments.items())
        log_spread[narrow] = square - log_mean[narrow] ** 2
    if not narrow.all():
        wide = ~narrow
        found = _wide(batch[wide], share[wide], divisor[wide])
        known = np.log1p(mean[wide] / divisor[wide])
        log_mean[wide], log_spread[wide] = found[0] - known, found[1]
        log_root[wide] = found[2] - 0.5 * known
    return log_mean, log_root, log_spread


def _wide(batch: Array, share: Array, divisor: Array) -> tuple[Array, Array, Array]:
    """E ln Y, Var ln Y and ln E √Y of Y = 1 + X/D, by quadrature of the law of T = ε/Y, ε ~ Exp(1).

    T has the survival function E e^{−tY} = e^{−t} φ(t), φ(t) = (1 + 2t/D)^{−(M−1)/2} (1 + 2t share/D)^{−1/2}, and
    ln T = ln ε − ln Y. The trapezoidal rule in ln t is exact to rounding: the integrand is analytic and falls off
    at both ends.
    """
    step = 0.2
    u = np.arange(-80.0, 7.0, step)
    t = np.exp(u)
    N, q, D = batch[:, None], share[:, None], divisor[:, None]
    survival = np.exp(-t - 0.5 * (N - 1) * np.log1p(2 * t / D) - 0.5 * np.log1p(2 * t * q / D))
    weight = step * t * survival * (1 + (N - 1) / (D + 2 * t) + q / (D + 2 * t * q))
    mean = weight @ u
    variance = weight @ u**2 - mean**2
    return -np.euler_gamma - mean, variance - pi**2 / 6, np.log(weight @ np.exp(-0.5 * u) / sqrt(pi))


def _central_moments(batch: Array, share: Array, scale: Array) -> dict[int, Array]:
    """E z^k for z = (X − E X)/scale, k = 2 … 8, from the cumulants κ_k = 2^{k−1}(k − 1)! (M − 1 + share^k)."""
    cumulant: dict[int, Array] = {}
    factorial = 1.0
    for k in range(2, 9):
        factorial *= k - 1
        cumulant[k] = 2.0 ** (k - 1) * factorial * (batch - 1 + share**k) / scale**k
    moments: dict[int, Array] = {0: np.ones_like(batch), 1: np.zeros_like(batch)}
    for k in range(2, 9):
        moments[k] = sum(
            (comb(k - 1, j - 1) * cumulant[j] * moments[k - j] for j in range(2, k + 1)), np.zeros_like(batch)
        )
    return {k: moments[k] for k in range(2, 9)}


def _half_binomial(k: int) -> float:
    """Coefficient of z^k in √(1 + z)."""
    value = 1.0
    for j in range(k):
        value *= (0.5 - j) / (j + 1)
    return value


def _square_log(k: int) -> float:
    """Coefficient of z^k in ln²(1 + z): 2 (−1)^k H_{k−1}/k."""
    return 2.0 * (-1.0) ** k * sum(1.0 / j for j in range(1, k)) / k
