"""Special functions without cancellation: sample sizes reach 1e18, where plain gammaln and digamma lose everything."""

import numpy as np
from scipy.special import digamma, gammaln, polygamma

from service.theory.model import Array

_LARGE = 30.0


def digamma_minus_log(x: Array) -> Array:
    """ψ(x) − ln x for x ≥ 0, relative accuracy 1e-14; −∞ at 0.

    From 30 on the asymptotic series −1/(2x) − y/12 + y²/120 − y³/252 + y⁴/240 − y⁵/132, y = x^-2.
    """
    x = np.asarray(x, dtype=float)
    large = np.maximum(x, _LARGE)
    y = large**-2.0
    series = -0.5 / large - y * (1 / 12 - y * (1 / 120 - y * (1 / 252 - y * (1 / 240 - y / 132))))
    small = np.clip(x, 1e-300, _LARGE)
    direct = np.where(x > 0, digamma(small) - np.log(small), -np.inf)
    value: Array = np.where(x < _LARGE, direct, series)
    return value


def log_half_step(x: Array) -> Array:
    """L(x) = ln[Γ(x + ½)/(Γ(x) √x)] for x ≥ 0; −∞ at 0.

    E √(χ²_ν/ν) = exp L(ν/2). From 30 on −z/8 + z³/192 − z⁵/640 + 17 z⁷/14336, z = 1/x.
    """
    x = np.asarray(x, dtype=float)
    z = 1.0 / np.maximum(x, _LARGE)
    series = z * (-1 / 8 + z**2 * (1 / 192 + z**2 * (-1 / 640 + z**2 * 17 / 14336)))
    small = np.clip(x, 1e-300, _LARGE)
    direct = np.where(x > 0, gammaln(small + 0.5) - gammaln(small) - 0.5 * np.log(small), -np.inf)
    value: Array = np.where(x < _LARGE, direct, series)
    return value


def polygamma_of(order: int, x: Array) -> Array:
    """ψ^(order)(x) for order ≥ 1 and x ≥ 0; ±∞ at 0 (trigamma: +∞)."""
    x = np.asarray(x, dtype=float)
    sign = 1.0 if order % 2 else -1.0
    with np.errstate(divide="ignore", over="ignore"):
        value: Array = np.where(x > 0, polygamma(order, np.maximum(x, 1e-300)), sign * np.inf)
    return value
