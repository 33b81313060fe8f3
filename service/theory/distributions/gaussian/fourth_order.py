"""Moments of order four of a fit, exact: E v e² and E e⁴ along a direction, E (tr Σ)² and E tr Σ² of the covariance.

In units of the truth the law of a fit does not change under rotations, so that of its mean e and covariance S
everything of that order follows from two orthogonal directions 1 and 2 (in one dimension a second one is imagined):

    E S_ij S_kl = α δ_ij δ_kl + β (δ_ik δ_jl + δ_il δ_jk),   α = E S_11 S_22, β = E S_12²,   E v² = α + 2 β,
    E (tr Σ)² = α t² + 2 β s,   E tr Σ² = α s + β (s + t²),   t = tr Σ_0, s = tr Σ_0².

Every recursion is one of these moments themselves, in positive terms but for those of S_12 e_1 e_2, so that nothing
cancels where the variance is nearly the truth's nor where it is nearly gone.
"""

from dataclasses import dataclass, replace
from math import inf
from typing import Final

import numpy as np

from service.theory.distributions.gaussian.accumulate import Pool
from service.theory.distributions.gaussian.mixed import binomial_rule
from service.theory.distributions.gaussian.model import Gaussian
from service.theory.distributions.recursion import propagate
from service.theory.distributions.schedule import Mix, Models
from service.theory.model import Array

FOURTH_ORDER: Final = ("variance_drift", "drift_fourth", "trace_squared", "square_trace")


@dataclass(frozen=True, eq=False)
class FourthOrder:
    """At each model, shape (models,); NaN where there is no formula.

    ``variance_drift``: E v e², ``drift_fourth``: E e⁴, along a direction in units of the truth. ``trace_squared``:
    E (tr Σ)² and ``square_trace``: E tr Σ², in the variables' units. ``variance``: E v and ``square``: E v², to all
    their digits where next to nothing is left.
    """

    variance: Array
    square: Array
    variance_drift: Array
    drift_fourth: Array
    trace_squared: Array
    square_trace: Array

    @classmethod
    def unknown(cls, models: int) -> "FourthOrder":
        """No formula."""
        return cls(*np.full((6, models), np.nan))


def traces(truth: Gaussian, alpha: Array, beta: Array) -> tuple[Array, Array]:
    """E (tr Σ)² and E tr Σ²; infinite where they are beyond double precision."""
    whole = truth.trace
    share = float(truth.multiplicities @ (truth.eigenvalues / whole) ** 2)  # s/t²
    with np.errstate(over="ignore"):
        return (alpha + 2.0 * beta * share) * whole * whole, (
            alpha * share + beta * (1.0 + share)
        ) * whole * whole


def fresh_fourth_order(truth: Gaussian, mix: Mix, models: Models, *, unbiased: bool) -> FourthOrder:
    """Fits to real and synthetic samples together; without real ones in any, of replacement."""
    start = np.zeros(8)
    start[[0, 1, 5]] = 1.0  # the truth: v = 1, S_11 S_22 = 1, no error
    # by themselves: second moments may grow beyond double precision where means do not
    means = propagate(lambda run: _step(mix, run, unbiased)[:3, :3], mix.schedule, start[:3], models)
    moments = propagate(lambda run: _step(mix, run, unbiased), mix.schedule, start, models)
    # powers beyond double precision: infinity times zero
    _, v, _ = np.where(np.isnan(means), np.inf, means).T
    _, _, _, beta, z, alpha, y, g = np.where(np.isnan(moments), np.inf, moments).T
    with np.errstate(over="ignore"):
        return FourthOrder(v, alpha + 2.0 * beta, y + 2.0 * z, 3.0 * g, *traces(truth, alpha, beta))


def fresh_for_ever(mix: Mix, variance: float, *, unbiased: bool) -> FourthOrder:
    """Of the last run's fixed point with its E v: E v², infinite where it grows; the others are not known."""
    step, square = _step(mix, len(mix.real) - 1, unbiased), inf
    if np.abs(np.linalg.eigvals(step[1:, 1:])).max() < 1.0:
        moments = np.linalg.solve(np.eye(7) - step[1:, 1:], step[1:, 0])
        square = float(moments[4] + 2.0 * moments[2])
    return replace(FourthOrder.unknown(1), variance=np.array([variance]), square=np.array([square]))


def pooled_fourth_order(truth: Gaussian, pool: Pool) -> FourthOrder:
    """Fits to all data so far: α − β and α + 2β each gain a factor of their own with every batch."""
    with np.errstate(over="ignore"):
        variance = np.exp(pool.log_variance)
        third = variance**2 * np.exp(pool.log_moment) / 3.0
        alpha = third * (1.0 + 2.0 * np.exp(pool.log_shape))
        beta = -third * np.expm1(pool.log_shape)
    return FourthOrder(
        variance,
        3.0 * third,
        pool.drift_per_variance * variance,
        pool.drift_fourth,
        *traces(truth, alpha, beta),
    )


def _step(mix: Mix, run: int, unbiased: bool) -> Array:
    """Matrix of one fit; averaged over the binomial law of the real samples where they are independent."""
    samples, fraction = float(mix.schedule.sizes[run]), float(mix.real[run] / mix.schedule.sizes[run])
    if not mix.independent:
        return _stratified(samples, fraction, unbiased)
    # of degree 4 in the number of real samples: the three-point rule is exact
    nodes, weights = binomial_rule(samples, fraction)
    steps = np.array([_stratified(samples, float(a), unbiased) for a in nodes])
    matrix: Array = np.tensordot(weights, steps, axes=1)
    matrix[0] = np.eye(8)[0]  # the weights' rounding would grow with every further fit
    return matrix


def _stratified(M: float, a: float, unbiased: bool) -> Array:
    """Matrix on the means of (1, S_11, e_1², S_12², S_12 e_1 e_2, S_11 S_22, S_11 e_2², e_1² e_2²).

    With m = aM real samples, k = bM others, h = mk/M: S' = [W_{m−1}(I) + W_{k−1}(S) + h u uᵀ]/D, u = A − e − B and
    e' = aA + b(e + B), A ~ N(0, I/m), B ~ N(0, S/k). p and r: of tr W and h u uᵀ, what does not and what does depend
    on v.
    """
    b, D = 1.0 - a, M - 1.0 if unbiased else M
    h, p, r = a * b * M, a * (M - 1.0), b * (M - 1.0)
    fixed, moving = (
        a * (M - 1.0 - b),
        b * (M - 1.0 - a),
    )  # of the Wishart matrices' and of u's own fluctuations
    scale = np.array([1.0, D, 1.0, D * D, D, D * D, D, 1.0])[:, None]
    rows: Array = np.array([
        [1, 0, 0, 0, 0, 0, 0, 0],
        [p, r, h, 0, 0, 0, 0, 0],
        [a / M, b / M, b * b, 0, 0, 0, 0, 0],
        [fixed, 2 * a * b, 2 * h * b, r * r + moving, 2 * h * (r + a), moving, 2 * h * a, h * h],
        [
            h / M**2, -2 * h / M**2, -2 * h * b / M, r * b / M + h / M**2, r * b * b + 3 * h * b / M, h / M**2,
            2 * h * b / M, h * b * b,
        ],
        [p * p, 2 * p * r, 2 * p * h, 2 * moving, 4 * h * a, r * r, 2 * r * h, h * h],
        [
            p * a / M, (p * b + r * a) / M, p * b * b + h * a / M, 2 * h / M**2, 4 * h * b / M, r * b / M,
            r * b * b + h * b / M, h * b * b,
        ],
        [
            a * a / M**2, 2 * a * b / M**2, 2 * a * b * b / M, 2 * b * b / M**2, 4 * b**3 / M, b * b / M**2,
            2 * b**3 / M, b**4,
        ],
    ])  # fmt: skip
    matrix: Array = rows / scale
    return matrix
