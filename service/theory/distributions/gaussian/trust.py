"""How far the closures can be trusted: errors measured by simulation, as functions of c = Var v/(E v)² and of V.

Lognormal match along a direction, chains of 10 to 100 fits: E KL within 0.3 c (at most 20 %), E W_2² within 0.15 c
(8 %), Var ln v within 0.9 c (60 %), E √v within 0.02 c, P(v < t) within 0.09 √c absolute, for c up to 1.5. First
order in d > 1: E KL, E W_2² within 0.3 (d + 1) V, KL(truth ‖ fit) within 1.1 (d + 3) V, up to d = 8.
"""

import numpy as np

from service.theory.distributions.accuracy import Accuracy, Caution, approximate, exact
from service.theory.distributions.gaussian.closure import (
    LARGEST_FIRST_ORDER,
    LARGEST_RELATIVE_VARIANCE,
    LARGEST_REVERSE,
)
from service.theory.distributions.gaussian.fourth_order import FOURTH_ORDER
from service.theory.distributions.gaussian.model import Curve, Gaussian
from service.theory.model import Array

_MATCH = "lognormal with the exact mean and variance"
_ORDER = "first order in 1/M"
_MOMENTS = ("variance", "drift", "second_moment", "relative_variance")
_ALONG = ("log_mean", "log_variance", "deviation", "w2_lower")
_JOINT = ("kl_fit_true", "w2", "log_det_mean", "log_det_variance")


def accuracies(truth: Gaussian, curve: Curve, spread: Array, *, known: bool) -> tuple[Accuracy, ...]:
    """Of every quantity of the curve; ``known``: the logarithm's moments along a direction are exact."""
    d = truth.dimension
    shown = curve.relative_variance[curve.relative_variance <= LARGEST_RELATIVE_VARIANCE]
    c, V = float(shown.max(initial=0.0)), float(spread.max(initial=0.0))
    first = (d + 1) * min(V, LARGEST_FIRST_ORDER / (d + 1))
    divergence = min(0.3 * c, 0.2)
    along = {
        "log_mean": _of_difference(curve, divergence),
        "log_variance": min(0.9 * c, 0.6),
        "deviation": 0.02 * c,
        "w2_lower": min(0.15 * c, 0.08),
    }
    joint = {"kl_fit_true": 0.3, "w2": 0.3, "log_det_mean": 0.3, "log_det_variance": 0.7}
    if d == 1:
        along |= {
            "kl_fit_true": divergence,
            "w2": along["w2_lower"],
            "log_det_mean": along["log_mean"],
            "log_det_variance": along["log_variance"],
        }
        joint = {}
    return (
        *(exact(name, "linear recursion of moments") for name in _MOMENTS),
        *(
            exact(name, "moments of order four of two directions")
            for name in FOURTH_ORDER
            if not np.isnan(getattr(curve, name)).any()
        ),
        *(
            exact(name, "independent growth factors") if known else approximate(name, error, _MATCH)
            for name, error in along.items()
        ),
        *(approximate(name, factor * first, _ORDER) for name, factor in joint.items()),
        approximate("kl_true_fit", 1.1 * min((d + 3) * V, LARGEST_REVERSE), _ORDER),
        approximate("below", 0.01 if known else 0.09 * c**0.5, "lognormal; the error is absolute"),
    )


def cautions(truth: Gaussian, curve: Curve, spread: Array, *, known: bool) -> list[Caution]:
    """What is not returned, and why."""
    d, V, found = truth.dimension, float(spread.max(initial=0.0)), list[Caution]()
    widest = float(curve.relative_variance.max(initial=0.0))
    if not known and widest > LARGEST_RELATIVE_VARIANCE:
        message = (
            f"Var v/(E v)² reaches {widest:.3g}; beyond {LARGEST_RELATIVE_VARIANCE:g} the "
            "lognormal match fails and nothing is extrapolated. Simulate it, or use more samples or more real data."
        )
        names = (*_ALONG, "below", *(_JOINT if d == 1 else ()))
        found += [Caution("simulate", message, name) for name in names]
    if np.isnan(curve.drift_fourth).any():
        message = (
            "Moments of order four are not followed where real samples are retained. Simulate it, or see "
            "variance_second_moment and drift."
        )
        found += [Caution("no_formula", message, name) for name in FOURTH_ORDER]
    if (d + 3) * V > LARGEST_REVERSE:
        message = (
            "KL(truth ‖ fit) is known to first order in 1/M alone, which fails from "
            f"(d + 3) V = {LARGEST_REVERSE:g} on; here it reaches {(d + 3) * V:.3g}. Simulate it, or use more samples."
        )
        found.append(Caution("simulate", message, "kl_true_fit"))
    if d > 1 and (d + 1) * V > LARGEST_FIRST_ORDER:
        message = (
            "In several dimensions this is known to first order in 1/M alone, which fails from "
            f"(d + 1) V = {LARGEST_FIRST_ORDER:g} on; here it reaches {(d + 1) * V:.3g}. "
            "Simulate it, or use more samples."
        )
        found += [Caution("simulate", message, name) for name in _JOINT]
    return found


def _of_difference(curve: Curve, divergence: float) -> float:
    """E ln v = E v − 1 + drift − 2 KL is off by 2 KL × the divergence's error: much, where it is itself near zero."""
    kl = 0.5 * (curve.variance - 1 + curve.drift - curve.log_mean)
    with np.errstate(divide="ignore", invalid="ignore"):
        error = 2 * kl * divergence / np.abs(curve.log_mean)
    return float(error[np.isfinite(error)].max(initial=0.0))
