"""P(v_n < t) for a product of independent scaled chi-squares, by inverting its characteristic function.

v_n = Π_i χ²_{ν_i}/D_i, so ln v_n is a sum of independent terms with
ln E e^{is ln χ²_ν} = is ln 2 + lnΓ(ν/2 + is) − lnΓ(ν/2).
Gil-Pelaez (Biometrika 38, 1951) with the midpoint rule of Davies (Biometrika 60, 1973).
"""

from math import exp, factorial, pi, sqrt

import numpy as np
from numpy.typing import NDArray
from scipy.special import loggamma

from service.theory.distributions.special import digamma_minus_log, polygamma_of
from service.theory.model import Array

Complex = NDArray[np.complex128]

_LARGE = 30.0
_NEGLIGIBLE = 1e-13
_BLOCK = 512
_NARROW = 20.0  # half over |x| from which the cumulants below give a factor to rounding
_ORDERS = range(2, 15)
_FEW = 20  # factors that are not worth their cumulants


def centred_log_gamma(a: float, shift: NDArray[np.complexfloating]) -> Complex:
    """lnΓ(a + x) − lnΓ(a) − x ψ(a) without cancellation, x the complex ``shift``; its shape; a > 0, Re x > −a.

    From a = 30 on, with z = x/a: a[(1 + z) ln(1 + z) − z] − ½ ln(1 + z) + S(a + x) − S(a) − x[ψ(a) − ln a], S
    Stirling's series; the bracket is summed as Σ_k (−z)^k/(k(k − 1)) where z is small.
    """
    if a < _LARGE:
        value: Complex = (
            loggamma(a + shift) - loggamma(a) - shift * (digamma_minus_log(np.array(a)) + np.log(a))
        )
        return value
    z = shift / a
    small = np.abs(z) < 0.1
    tiny = np.where(small, z, 0.0)
    series = sum((-tiny) ** k / (k * (k - 1)) for k in range(2, 18))
    bracket = np.where(small, series, (1 + z) * np.log(1 + z) - z)
    log_one_plus = np.log1p(np.where(small, 0.0, z)) + np.where(
        small, -sum((-tiny) ** k / k for k in range(1, 18)), 0.0
    )
    stirling = _stirling(a + shift) - _stirling(np.array(a + 0j))
    return a * bracket - 0.5 * log_one_plus + stirling - shift * digamma_minus_log(np.array(a))


def _stirling(x: NDArray[np.complexfloating]) -> Complex:
    y = x**-2.0
    value: Complex = (1 / 12 - y * (1 / 360 - y * (1 / 1260 - y * (1 / 1680 - y / 1188)))) / x
    return value


def probability_below(log_threshold: float, mean: float, halves: Array, counts: Array) -> float:
    """P(ln v < log_threshold), absolute accuracy about 1e-11.

    ``mean``: E ln v; ``halves``: ν/2 of the distinct factors, shape (k,); ``counts``: how often each occurs.
    A factor with ν = 0 makes v zero: the mean is −∞ and the probability 1.
    """
    if mean == -np.inf:
        return 1.0
    factors = _Factors(halves, counts)
    deviation = sqrt(float(counts @ polygamma_of(1, halves)))
    distance = log_threshold - mean
    if abs(distance) > 12 * deviation and _chernoff(distance, deviation, factors) < _NEGLIGIBLE:
        return 0.0 if distance < 0 else 1.0
    span = 2 * abs(distance) + 40 * deviation + 80 / float(halves.min())
    step, total, start = 2 * pi / span, 0.0, 0
    while True:
        k = np.arange(start, start + _BLOCK) + 0.5
        log_phi = factors.log_moment(1j * step * k)
        total += float(np.sum(np.imag(np.exp(log_phi - 1j * k * step * distance)) / k))
        if log_phi.real[-1] < np.log(_NEGLIGIBLE):
            return min(max(0.5 - total / pi, 0.0), 1.0)
        start += _BLOCK


class _Factors:
    """ln E e^{x (ln v − E ln v)} of the product: factors that are narrow at this x by their cumulants, all at once."""

    def __init__(self, halves: Array, counts: Array) -> None:
        order = np.argsort(halves)
        self.halves, self._counts = halves[order], counts[order]
        # Σ count ψ^(k−1)(half)/k! over this and all larger ones, k = 2 …: nothing is summed before it is asked for
        self._sums: Array | None = None

    def log_moment(self, x: NDArray[np.complexfloating]) -> Complex:
        """At the complex ``x``; its shape."""
        first = int(np.searchsorted(self.halves, _NARROW * float(np.abs(x).max())))
        if self.halves.size - first < _FEW:
            first = self.halves.size
        value = sum(
            (
                count * centred_log_gamma(half, x)
                for half, count in zip(self.halves[:first], self._counts[:first], strict=True)
            ),
            np.zeros(x.shape, dtype=complex),
        )
        if first < self.halves.size:
            powers = sum(term * x**k for k, term in zip(_ORDERS, self._cumulants()[:, first], strict=True))
            value = value + powers
        return value

    def _cumulants(self) -> Array:
        if self._sums is None:
            each = np.array([self._counts * polygamma_of(k - 1, self.halves) / factorial(k) for k in _ORDERS])
            self._sums = np.cumsum(each[:, ::-1], axis=1)[:, ::-1]
        return self._sums


def _chernoff(distance: float, deviation: float, factors: _Factors) -> float:
    """A bound on the tail beyond ``distance``: exp(K(θ) − θ distance), at a θ near the normal law's best."""
    theta = max(distance / deviation**2, -0.9 * float(factors.halves[0]))
    log_mgf = float(factors.log_moment(np.array(theta + 0j)).real)
    return exp(min(log_mgf - theta * distance, 0.0))
