"""From exact moments to logarithms, divergences and probabilities, by a matched law or to first order in 1/M.

One direction: v is taken as lognormal with its exact mean and variance. Several dimensions: a fit's error is V
times that of one sample, so that E KL ≈ d(d + 3)/4 V. The errors (``trust``) grow with the squared relative spread
c = Var v/(E v)² and with V, and beyond the largest measured ones nothing is returned.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr

from service.theory.distributions.gaussian.fourth_order import FourthOrder
from service.theory.distributions.gaussian.model import Curve, Gaussian
from service.theory.distributions.gaussian.transport import leading_transport
from service.theory.distributions.schedule import Models
from service.theory.model import Array

_NOTHING = 1e-13
_NEARLY_GONE = -0.9
LARGEST_RELATIVE_VARIANCE = 1.5
"""c = Var v/(E v)² up to which the lognormal match was measured."""
LARGEST_FIRST_ORDER = 0.6
"""(d + 1) V up to which the first order in V was measured."""
LARGEST_REVERSE = 0.2
"""(d + 3) V up to which the first order of KL(truth ‖ fit) is returned: it is the slowest to hold."""


@dataclass(frozen=True, eq=False)
class Direction:
    """The law of v = 1 + x along a direction, in units of the truth, shape (models,); ``variance``: E v."""

    x: Array
    variance: Array
    drift: Array
    relative_variance: Array
    log_mean: Array
    log_variance: Array
    log_deviation: Array
    below: Array


def lognormal(x: Array, x_squared: Array, drift: Array, thresholds: Array, fourth: FourthOrder) -> Direction:
    """The match: E ln v = ln E v − ½ ln(1 + c), Var ln v = ln(1 + c), E √v = √(E v) (1 + c)^{−1/8}.

    ``fourth``: where v is nearly gone its own moments have the digits that those of x = v − 1 have lost.
    """
    # without them, what is left of a variance below the rounding of x is nothing
    x = np.where(x > _NOTHING - 1.0, x, -1.0)
    nearly_gone = (x < _NEARLY_GONE) & ~np.isnan(fourth.variance)
    variance = np.where(nearly_gone, fourth.variance, 1.0 + x)
    # no variance at all has the logarithm −∞; an unstable mix has no moments
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        relative = np.maximum(x_squared - x**2, 0.0) / (1.0 + x) ** 2
        relative = np.where(nearly_gone, np.maximum(fourth.square / variance / variance - 1.0, 0.0), relative)
        relative = np.where(np.isnan(relative), np.inf, relative)  # beyond double precision
        relative = np.where(variance > 0.0, relative, 0.0)
        spread = np.where(variance > 0.0, np.log1p(relative), np.inf)
        log_variance = np.where(nearly_gone, np.log(variance), np.log1p(x))
        log_mean = log_variance - 0.5 * np.log1p(relative)
        below = ndtr((np.log(thresholds)[:, None] - log_mean) / np.sqrt(spread))
        log_root = 0.5 * log_variance - np.log1p(relative) / 8
    hidden = np.where(relative <= LARGEST_RELATIVE_VARIANCE, 0.0, np.nan)
    # a variance that is zero for certain is below every threshold
    below = np.where(variance > 0.0, below + hidden, 1.0)
    return Direction(
        x, variance, drift, relative, log_mean + hidden, spread + hidden, log_root + hidden, below
    )


def curve_of(
    truth: Gaussian, models: Models, direction: Direction, spread: Array, fourth: FourthOrder
) -> Curve:
    """The whole curve; ``spread``: V at each model, for the first orders in several dimensions."""
    d, one = truth.dimension, direction
    with np.errstate(invalid="ignore", over="ignore"):
        moment = one.variance**2 * (1 + one.relative_variance)
        divergence = 0.5 * (one.x + one.drift - one.log_mean)
        distance = one.drift + one.x - 2 * np.expm1(one.log_deviation)
        determinant = d * (one.x + one.drift)
    first = (d + 1) * spread <= LARGEST_FIRST_ORDER
    leading = np.where(first, d * (d + 3) / 4 * spread, np.nan)
    return Curve(
        models=models, variance=one.variance, drift=one.drift, second_moment=moment,
        relative_variance=one.relative_variance, log_mean=one.log_mean, log_variance=one.log_variance,
        deviation=np.exp(one.log_deviation),
        log_det_mean=one.log_mean if d == 1 else determinant - 2 * leading,
        log_det_variance=one.log_variance if d == 1 else np.where(first, 2 * d * spread, np.nan),
        kl_fit_true=divergence if d == 1 else leading,
        kl_true_fit=np.where((d + 3) * spread <= LARGEST_REVERSE, d * (d + 3) / 4 * spread, np.nan),
        w2=truth.trace * distance if d == 1 else np.where(first, leading_transport(truth, spread), np.nan),
        w2_lower=truth.trace * distance, variance_drift=fourth.variance_drift, drift_fourth=fourth.drift_fourth,
        trace_squared=fourth.trace_squared, square_trace=fourth.square_trace,
        below=one.below,
    )  # fmt: skip
