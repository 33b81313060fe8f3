"""Exact moments of fits to real and synthetic samples together: fresh real samples, or the same ones in every fit.

All along one direction, in units of the true variance: v = 1 + x is the fitted variance, e the fitted mean's error,
each fit has M samples, a = m/M of them real, b = 1 − a, k = M − m, h = mk/M; D = M or M − 1. Conditional on the
last fit the next one's moments are polynomials in the last one's, so that all moments up to order four in e and two
in v are one linear recursion. Written for x, not for v: at M = 1e12 nothing cancels. They hold along every
direction in any dimension, since the projection of a pooled covariance is the pooled variance of the projections.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import inf

import numpy as np

from service.theory.distributions.recursion import propagate
from service.theory.distributions.schedule import Mix, Models
from service.theory.model import Array


@dataclass(frozen=True, eq=False)
class Moments:
    """E x, E x², the drift E e², and its first order in 1/M (``spread``, section 5's V), shape (models,)."""

    x: Array
    x_squared: Array
    drift: Array
    spread: Array


@dataclass(frozen=True)
class Stationary:
    """Where E x, E x² and the drift go with the last fit repeated; infinite where they grow without bound.

    ``rate``: the factor by which the distance of the means to it falls per fit. ``spread``: V. ``variance``: E v, with
    the digits that 1 + x may have lost.
    """

    x: float
    variance: float
    x_squared: float
    drift: float
    rate: float
    spread: float


def fresh_moments(mix: Mix, models: Models, *, unbiased: bool) -> Moments:
    """Fresh real samples in every fit."""
    means, squares = _propagated(
        lambda run: _fresh_step(mix, run, unbiased), mix, np.eye(6)[0], [0, 1, 2], 3, models
    )
    spread = propagate(lambda run: _spread_step(mix, run), mix.schedule, np.array([1.0, 0.0]), models)[:, 1]
    return Moments(means[:, 1], squares, means[:, 2], spread)


def fresh_stationary(mix: Mix, *, unbiased: bool) -> Stationary:
    """The fixed point of the last run."""
    step = _fresh_step(mix, len(mix.real) - 1, unbiased)
    _, rate = _fixed(step[1:3, 1:3], step[1:3, 0])
    second, _ = _fixed(step[1:, 1:], step[1:, 0])
    V = _spread_limit(mix, 1.0)
    x, variance, drift = _fresh_means(mix, unbiased)
    return Stationary(x=x, variance=variance, drift=drift, x_squared=second[2], rate=rate, spread=V)


def _fresh_means(mix: Mix, unbiased: bool) -> tuple[float, float, float]:
    """x, v and drift at the fixed point, in closed form: solved for, they lose digits where next to nothing is real.

    With a = m/M, b = 1 − a, g = M(1 − b²): MLE drift 1/(g + b), i.i.d. 1/(g + b²), x = −drift, v = 1 − drift without a
    difference; unbiased drift
    1/(g − b² M/(M − 1)), i.i.d. 1/(g − b), x = b drift, b drift M/(M − 1) if stratified;
    infinite where the denominator is not positive.
    """
    samples, a = float(mix.schedule.last), float(mix.real[-1] / mix.schedule.last)
    b = 1.0 - a
    gained = samples * a * (1.0 + b)
    if not unbiased:
        left = a * (1.0 + b) * (samples - 1.0) if mix.independent else a * (samples * (1.0 + b) - 1.0)
        drift = 1.0 / (gained + (b * b if mix.independent else b))
        return -drift, left * drift, drift
    lost = b if mix.independent else b * b * samples / (samples - 1.0)
    if gained <= lost:
        return inf, inf, inf
    drift = 1.0 / (gained - lost)
    x = (b if mix.independent else b * samples / (samples - 1.0)) * drift
    return x, 1.0 + x, drift


def retained_moments(mix: Mix, models: Models, *, unbiased: bool) -> Moments:
    """The same ``mix.real`` samples in every fit; the rest of the first fit's samples are real too."""
    kept = float(mix.real[0])
    # q has mean 0 for ever, so that the means are those of 1, x and u² alone
    means, squares = _propagated(
        lambda run: _retained_step(mix, run, unbiased), mix, _retained_start(kept), [0, 1, 3], 4, models
    )
    b = 1.0 - mix.real / mix.schedule.array
    with np.errstate(divide="ignore"):
        memory = np.exp(
            mix.schedule.cumulative(np.log(b), models)
        )  # E R u = Π b/m: how the first model is forgotten
    first_order = propagate(
        lambda run: _spread_step(mix, run, retained=True), mix.schedule, np.array([1.0, 1.0 / kept]), models
    )
    base = (1.0 - 2.0 * memory) / kept
    drift = propagate(lambda run: _retained_drift(mix, run, unbiased), mix.schedule, np.eye(4)[0], models)[
        :, 3
    ]
    return Moments(means[:, 1], squares, drift, base + first_order[:, 1])


def retained_stationary(mix: Mix, *, unbiased: bool) -> Stationary:
    """The fixed point of the last run."""
    step = _retained_step(mix, len(mix.real) - 1, unbiased)
    kept = float(mix.real[0])
    means = [1, 3]
    _, rate = _fixed(step[np.ix_(means, means)], step[means, 0])
    # the retained set's own scatter q never changes: its moments are given, not solved for
    moving, given = [1, 3, 4, 5, 7, 8, 9], [0, 2, 6]
    second, _ = _fixed(
        step[np.ix_(moving, moving)], step[np.ix_(moving, given)] @ _retained_start(kept)[given]
    )
    b = 1.0 - kept / float(mix.schedule.sizes[-1])
    V = 1.0 / kept + _spread_limit(mix, b)
    # in closed form, as with fresh samples: (m + b/(1 + b)) x = −(1 + 2b)/(1 + b) by MLE
    variance = (kept - 1.0) * (1.0 + b) / (kept * (1.0 + b) + b)
    x = -(1.0 + 2.0 * b) / (kept * (1.0 + b) + b)
    if unbiased:  # (m − a − b²/(1 + b)) x = −b/(1 + b)
        x = -b / (kept * (1.0 + b) - 1.0) if b > 0.0 else 0.0
        variance = 1.0 + x
    drift = (1.0 + 2.0 * b + b * x) / (kept * (1.0 + b))
    return Stationary(x=x, variance=variance, drift=drift, x_squared=second[2], rate=rate, spread=V)


def _propagated(  # noqa: PLR0917
    step: Callable[[int], Array], mix: Mix, start: Array, first: list[int], square: int, models: Models
) -> tuple[Array, Array]:
    """The means, whose indices are ``first``, and E x², at index ``square``.

    Means do not depend on second moments, which may grow beyond double precision where the means do not.
    """
    block = np.ix_(first, first)
    means = propagate(lambda run: step(run)[block], mix.schedule, start[first], models)
    squares = propagate(step, mix.schedule, start, models)[:, square]
    # powers beyond double precision: infinity times zero
    return np.where(np.isnan(means), np.inf, means), np.where(np.isnan(squares), np.inf, squares)


def _fixed(matrix: Array, shift: Array) -> tuple[Array, float]:
    """The fixed point of x ← matrix x + shift, infinite where it is not stable, and the spectral radius."""
    rate = float(np.abs(np.linalg.eigvals(matrix)).max())
    if rate >= 1:
        return np.full(len(shift), np.inf), rate
    point: Array = np.asarray(np.linalg.solve(np.eye(len(shift)) - matrix, shift), dtype=float)
    return point, rate


def _fresh_step(mix: Mix, run: int, unbiased: bool) -> Array:
    """Matrix of one fit on the moments (1, x, e², x², x e², e⁴)."""
    samples, fraction = float(mix.schedule.sizes[run]), float(mix.real[run] / mix.schedule.sizes[run])
    if not mix.independent:
        return _stratified(samples, fraction, unbiased)
    # polynomial of degree 4 in the number of real samples: three Gauss nodes of the binomial law average it exactly
    nodes, weights = binomial_rule(samples, fraction)
    matrix: Array = sum(
        (w * _stratified(samples, float(a), unbiased) for a, w in zip(nodes, weights, strict=True)),
        np.zeros((6, 6)),
    )
    matrix[0] = np.eye(6)[0]  # the weights' rounding would grow with every further fit
    return matrix


def _stratified(M: float, a: float, unbiased: bool) -> Array:
    """Matrix of one fit with real fraction ``a``: rows for 1, x', e'², x'², x'e'², e'⁴."""
    b, D = 1.0 - a, M - 1.0 if unbiased else M
    h, left = a * b * M, b * M - 1.0
    bias, cx, cy = (0.0 if unbiased else -1.0 / M), (left + a) / D, h / D
    matrix: Array = np.array([
        [1, 0, 0, 0, 0, 0],
        [bias, cx, cy, 0, 0, 0],
        [1 / M, b / M, b**2, 0, 0, 0],
        [
            bias**2 + 2 * (M - 1) / D**2, 2 * bias * cx + 4 * (left + a) / D**2, 2 * bias * cy + 4 * h / D**2,
            cx**2 + 2 * (left + a**2) / D**2, 2 * cx * cy + 4 * a * h / D**2, cy**2,
        ],
        [
            bias / M, (bias * b + cx) / M, bias * b**2 + cy / M,
            cx * b / M + 2 * h / (D * M**2), cx * b**2 + cy * b / M + 4 * h * b / (D * M), cy * b**2,
        ],
        [3 / M**2, 6 * b / M**2, 6 * b**2 / M, 3 * b**2 / M**2, 6 * b**3 / M, b**4],
    ])  # fmt: skip
    return matrix


def binomial_rule(samples: float, p: float) -> tuple[Array, Array]:
    """Nodes (as fractions of the samples) and weights of the Gauss rule of Binomial(samples, p), up to three."""
    count = int(min(3, samples + 1))
    i = np.arange(count)
    diagonal = p + i * (1 - 2 * p) / samples
    beside = np.sqrt(i[1:] * p * (1 - p) * (samples - i[1:] + 1)) / samples
    nodes, vectors = np.linalg.eigh(np.diag(diagonal) + np.diag(beside, 1) + np.diag(beside, -1))
    return nodes, vectors[0] ** 2


def _spread_step(mix: Mix, run: int, *, retained: bool = False) -> Array:
    """First order in 1/M: V ← b²V + 1/M with fresh samples; E u² ← b²E u² + b/M about retained ones."""
    samples = float(mix.schedule.sizes[run])
    b = 1.0 - float(mix.real[run]) / samples
    return np.array([[1.0, 0.0], [(b if retained else 1.0) / samples, b**2]])


def _spread_limit(mix: Mix, noise: float) -> float:
    """Fixed point of V ← b²V + noise/M; infinite without real samples."""
    samples = float(mix.schedule.sizes[-1])
    a = float(mix.real[-1]) / samples
    return noise / (samples * a * (2.0 - a)) if a else float("inf")


def _retained_start(kept: float) -> Array:
    """Before the first fit, which draws its other samples from the truth: v = 1 and u = R ~ N(0, 1/m)."""
    start = np.zeros(10)
    start[[0, 3, 6, 9]] = 1.0, 1.0 / kept, 2.0 * (kept - 1.0), 3.0 / kept**2
    return start


def _retained_drift(mix: Mix, run: int, unbiased: bool) -> Array:
    """Matrix of one fit on E (1, x, R e, e²), e from 0: next to nothing of 1/m at first, and no digits lost."""
    M, m = float(mix.schedule.sizes[run]), float(mix.real[run])
    a, b, D = m / M, 1.0 - m / M, (M - 1.0 if unbiased else M)
    cu = m * b / D
    matrix: Array = np.array([
        [1, 0, 0, 0],
        [(M - 2.0 + a - D) / D + cu / m, (M - m - 1.0 + a) / D, -2 * cu, cu],
        [1.0 / M, 0, b, 0],
        [(a + b) / M, b / M, 2 * a * b, b * b],
    ])  # fmt: skip
    return matrix


def _retained_step(mix: Mix, run: int, unbiased: bool) -> Array:
    """Matrix of one fit on the moments (1, x, q, u², x², xq, q², xu², qu², u⁴).

    u = R − e is the retained mean less the model's, q the retained scatter less its mean m − 1. With ζ ~ N(0, v/k)
    the error of the synthetic samples' mean: u' = b(u − ζ), v' = [m − 1 + q + v χ²_{k−1} + h(u − ζ)²]/D.
    """
    M, m = float(mix.schedule.sizes[run]), float(mix.real[run])
    a, b, D, k = m / M, 1.0 - m / M, (M - 1.0 if unbiased else M), M - m
    h, c0, cx = m * b, (M - 2.0 + a - D) / D, (k - 1.0 + a) / D
    cq, cu, g = 1.0 / D, m * b / D, b / M
    # x' = c0 + cx x + cq q + cu u² on average, u'² = b²u² + g(1 + x)
    scatter, both = 2.0 * (k - 1.0 + a**2) / D**2, 4.0 * a * h / D**2
    product, square = 4.0 * a * b**2 / D, 2.0 * a * g / D
    matrix: Array = np.array([
        [1, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        [c0, cx, cq, cu, 0, 0, 0, 0, 0, 0],
        [0, 0, 1, 0, 0, 0, 0, 0, 0, 0],
        [g, g, 0, b**2, 0, 0, 0, 0, 0, 0],
        [
            c0**2 + scatter, 2 * (c0 * cx + scatter), 2 * c0 * cq, 2 * c0 * cu + both, cx**2 + scatter, 2 * cx * cq,
            cq**2, 2 * cx * cu + both, 2 * cq * cu, cu**2,
        ],
        [0, 0, c0, 0, 0, cx, cq, 0, cu, 0],
        [0, 0, 0, 0, 0, 0, 1, 0, 0, 0],
        [
            c0 * g + square, (c0 + cx) * g + 2 * square, cq * g, c0 * b**2 + cu * g + product, cx * g + square,
            cq * g, 0, cx * b**2 + cu * g + product, cq * b**2, cu * b**2,
        ],
        [0, 0, g, 0, 0, g, 0, 0, b**2, 0],
        [3 * g**2, 6 * g**2, 0, 6 * b**2 * g, 3 * g**2, 0, 0, 6 * b**2 * g, 0, b**4],
    ])  # fmt: skip
    return matrix
