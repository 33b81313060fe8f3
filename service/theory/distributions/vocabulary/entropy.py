"""The expected entropy of a model: a closure that knows how many founders there are, and how unequal their families.

With A founders whose families have shares W of the model, a type's share is the sum of W over the founders that are
of this type. W is taken as symmetric Dirichlet(κ) on A founders; κ is set by the kinship Φ, which is exact:
E_A (κ + 1)/(κ A + 1) = Φ. Then

    E entropy = E_A Σ_i p_i {ψ(κ A + 1) − E_J ψ(κ (J + 1) + 1)},  J ~ Binomial(A − 1, p_i).

κ = ∞ is a sample straight from the truth, where this is exact; κ = 1 the coalescent of many samples, exact as well.
By the integral of ψ(x) − ψ(y), with q = 1 − p (1 − e^-u) and g(x) = x/(e^x − 1), the braces are

    ∫ g(u/κ) e^-u E_A [q^(A−1) − e^(−u (A − 1))] d ln u,

whose trapezoidal rule in ln u converges geometrically.
"""

from math import ceil, exp, floor, inf, log, sqrt
from typing import Final

import numpy as np
from scipy.optimize import brentq

from service.theory.distributions.vocabulary.founders import Founders
from service.theory.distributions.vocabulary.levels import Vocabulary
from service.theory.model import Array

_FEW: Final = 60  # values of A that are summed one by one
_CERTAIN: Final = 1e-6  # squared relative spread of A below which its mean will do
_LOG_EQUAL: Final = 20.0  # |ln κ| beyond which it is 0 or infinite
_THREE: Final = ((0.0, 2.0 / 3.0), (-np.sqrt(3.0), 1.0 / 6.0), (np.sqrt(3.0), 1.0 / 6.0))
_STEP: Final = (
    0.4  # of ln u; the integrands are analytic for |Im ln u| < π/2: e^(−π²/step) is the error, 2e-11
)
_LARGEST: Final = 34.0  # u
_SMALLEST: Final = 1e-5  # of the u at which anything bends; below, the integrand is linear in u


class Entropies:
    """Expected entropies of models of one vocabulary."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        levels = vocabulary.even
        self._p, self._masses = levels.probabilities, levels.multiplicities * levels.probabilities
        self._first, self._logs = ceil(log(_LARGEST) / _STEP) + 1, np.empty((self._p.size, 0))

    def expected(self, founders: Founders, kinship: float) -> float:
        """E[−Σ p ln p] of a model, nats, in [0, ln min(A, types)].

        ``kinship``: Φ, the probability that two of its tokens descend from one real token.
        """
        kappa = _evenness(founders, kinship)
        u, logs = self._nodes(_SMALLEST * min(1.0 / _largest(founders), kappa))
        rule = _STEP * _bend(u / kappa) * np.exp(-u)
        rule[0] /= -np.expm1(-_STEP)  # for all the nodes further below
        seen = self._masses @ _power(founders, logs) - self._masses.sum() * _power(founders, -u)
        return max(float(seen @ rule), 0.0)

    def _nodes(self, smallest: float) -> tuple[Array, Array]:
        """u from ``smallest`` on, and ln(1 − p (1 − e^-u)), shape (levels, nodes)."""
        first = floor(log(smallest) / _STEP)
        if first < self._first:
            more = np.exp(_STEP * np.arange(first, self._first))
            more = np.log1p(self._p[:, None] * np.expm1(-more))
            self._first, self._logs = first, np.concatenate([more, self._logs], axis=1)
        logs = self._logs[:, first - self._first :]
        return np.exp(_STEP * (first + np.arange(logs.shape[1]))), logs


def _bend(x: Array) -> Array:
    """x/(e^x − 1), 1 at 0."""
    with np.errstate(over="ignore", invalid="ignore"):
        value: Array = np.where(x > 0.0, x / np.expm1(x), 1.0)
    return value


def _power(founders: Founders, log_q: Array) -> Array:
    """E q^(A − 1)."""
    if _by_value(founders):
        assert founders.weights is not None
        q, summed = np.exp(log_q), np.zeros_like(log_q)
        for weight in founders.weights[::-1]:
            summed = summed * q + weight
        return np.asarray(summed * np.exp((founders.first - 1) * log_q))
    # A long support is taken as normal again: three values stand for it.
    values, weights = _support(Founders(founders.mean, founders.variance))
    return np.asarray(
        sum(w * np.exp(max(a - 1.0, 0.0) * log_q) for a, w in zip(values, weights, strict=True))
    )


def _by_value(founders: Founders) -> bool:
    return founders.weights is not None and founders.first + founders.weights.size <= _FEW + 1


def _largest(founders: Founders) -> float:
    """About the largest A."""
    return founders.mean + 2.0 * sqrt(founders.variance)


def _evenness(founders: Founders, kinship: float) -> float:
    """κ with E_A (κ + 1)/(κ A + 1) = Φ; inf where families are equal, E_A 1/A ≥ Φ."""
    values, weights = _support(founders)
    if values.size == 1:
        unequal = kinship * float(values[0]) - 1.0
        if unequal <= (1.0 - kinship) * exp(-_LOG_EQUAL):
            return inf
        return max((1.0 - kinship) / unequal, exp(-_LOG_EQUAL))

    def excess(log_kappa: float) -> float:
        kappa = exp(log_kappa)
        return float(weights @ ((kappa + 1.0) / (kappa * values + 1.0))) / kinship - 1.0

    if excess(_LOG_EQUAL) >= -1e-9:
        return inf
    if excess(-_LOG_EQUAL) <= 0.0:
        return exp(-_LOG_EQUAL)
    return exp(brentq(excess, -_LOG_EQUAL, _LOG_EQUAL, xtol=1e-10))


def _support(founders: Founders) -> tuple[Array, Array]:
    """Values and weights that stand for the law of A."""
    if founders.weights is not None:
        return founders.first + np.arange(founders.weights.size, dtype=float), founders.weights
    if founders.variance < _CERTAIN * founders.mean**2:
        return np.array([founders.mean]), np.ones(1)
    deviation = np.sqrt(founders.variance)
    values = np.maximum(founders.mean + deviation * np.array([x for x, _ in _THREE]), 1.0)
    return values, np.array([w for _, w in _THREE])
