"""The expected entropy of a model: a closure that knows how many founders there are, and how unequal their families.

With A founders whose families have shares W of the model, a type's share is the sum of W over the founders that are
of this type. W is taken as symmetric Dirichlet(κ) on A founders; κ is set by the kinship Φ, which is exact:
E_A (κ + 1)/(κ A + 1) = Φ. Then

    E entropy = E_A Σ_i p_i {ψ(κ A + 1) − E_J ψ(κ (J + 1) + 1)},  J ~ Binomial(A − 1, p_i).

κ = ∞ is a sample straight from the truth, where this is exact; κ = 1 the coalescent of many samples, exact as well.
"""

from math import exp, inf
from typing import Final

import numpy as np
from scipy.optimize import brentq
from scipy.special import digamma, gammaln

from service.theory.distributions.vocabulary.founders import Founders
from service.theory.distributions.vocabulary.levels import Vocabulary
from service.theory.model import Array

_FEW: Final = 60  # values of A that are summed one by one
_DIRECT: Final = 60.0  # expected J up to which the binomial law is summed term by term
_TERMS: Final = 90  # more than eleven standard deviations of a law of mean 60
_SOME: Final = 6.0  # expected J up to which a third of the terms will do
_RAREST: Final = 1e-7  # expected tokens
_CERTAIN: Final = 1e-7  # squared relative spread of A below which its mean will do
_LOG_EQUAL: Final = 20.0  # |ln κ| beyond which it is 0 or infinite
_EQUAL: Final = 1e8  # κ beyond which families are equal
_THREE: Final = ((0.0, 2.0 / 3.0), (-np.sqrt(3.0), 1.0 / 6.0), (np.sqrt(3.0), 1.0 / 6.0))
_HERMITE_X, _HERMITE_W = np.polynomial.hermite_e.hermegauss(12)


def expected_entropy(vocabulary: Vocabulary, founders: Founders, kinship: float) -> float:
    """E[−Σ p ln p] of the model, nats, in [0, ln min(A, types)].

    ``kinship``: Φ, the probability that two of its tokens descend from one real token.
    """
    kappa = _evenness(founders, kinship)
    levels = vocabulary.even
    p = levels.probabilities
    return max(levels.total(p * _at_levels(founders, kappa, p)), 0.0)


def _evenness(founders: Founders, kinship: float) -> float:
    """κ with E_A (κ + 1)/(κ A + 1) = Φ; inf where families are equal, E_A 1/A ≥ Φ."""
    values, weights = _support(founders)
    if values.size == 1:
        unequal = kinship * float(values[0]) - 1.0
        return (1.0 - kinship) / unequal if unequal > (1.0 - kinship) * exp(-_LOG_EQUAL) else inf

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


def _at_levels(founders: Founders, kappa: float, p: Array) -> Array:
    """ψ(κA + 1) − E_J ψ(κ(J + 1) + 1) in the mean over A, for each p, in decreasing order."""
    # Below it, J = 0 but for a part linear in p.
    used = max(int(np.searchsorted(-p, -_RAREST / founders.mean)), 1)
    values = _surprise(founders, kappa, p[:used])
    return np.append(values, np.full(p.size - used, values[-1]))


def _surprise(founders: Founders, kappa: float, p: Array) -> Array:
    if founders.weights is not None and founders.first + founders.weights.size <= _FEW + 1:
        return _few(founders, kappa, p)
    # A long support is taken as normal again: three values stand for it.
    values, weights = _support(Founders(founders.mean, founders.variance))
    value = np.zeros_like(p)
    for number, weight in zip(values, weights, strict=True):
        value += weight * _one(float(number), kappa, p)
    return value


def _few(founders: Founders, kappa: float, p: Array) -> Array:
    """Summed over A = first … first + support: Bernstein polynomials of one table, by de Casteljau's rule."""
    assert founders.weights is not None
    last = founders.first + founders.weights.size - 1
    table = _psi(kappa, np.arange(1.0, last + 1))
    row = np.broadcast_to(table, (p.size, last)).copy()
    value = np.zeros_like(p)
    for a in range(1, last + 1):  # row[:, 0] is E ψ(κ(J + 1) + 1) with J ~ Binomial(a − 1, p)
        if a >= founders.first:
            value += founders.weights[a - founders.first] * (table[a - 1] - row[:, 0])
        row = row[:, :-1] + p[:, None] * np.diff(row, axis=1)
    return value


def _psi(kappa: float, count: Array) -> Array:
    """ψ(κ count + 1) − ln κ, which is ln count for equal families; the constant cancels."""
    if kappa > _EQUAL:
        return np.asarray(np.log(count))
    value: Array = digamma(kappa * count + 1.0) - np.log(kappa)
    return value


def _one(founders: float, kappa: float, p: Array) -> Array:
    """For one number A of founders: J summed where few are expected, by Gauss-Hermite with its skewness else."""
    top = _psi(kappa, np.array([founders]))[0]
    trials = max(founders - 1.0, 0.0)
    value = np.empty_like(p)
    rare = trials * p <= _DIRECT
    ruling = ~rare & (trials * (1.0 - p) <= _DIRECT)
    between = ~rare & ~ruling
    j = np.arange(min(_DIRECT + _TERMS, np.floor(trials)) + 1.0)
    below = 0.0
    for most in (_SOME, _DIRECT):  # of few only the first terms count
        some = rare & (trials * p <= most) & (trials * p >= below)
        if some.any():
            first = j[: int(most + _TERMS * (most / _DIRECT) ** 0.5) + 1]
            value[some] = _binomial_weights(trials, p[some], first) @ _psi(kappa, first + 1.0)
        below = most
    if ruling.any():  # the others are counted: J = A − 1 − j
        value[ruling] = _binomial_weights(trials, 1.0 - p[ruling], j) @ _psi(kappa, trials - j + 1.0)
    if between.any():
        value[between] = _by_quadrature(trials, kappa, p[between])
    return np.asarray(top - value)


def _by_quadrature(trials: float, kappa: float, p: Array) -> Array:
    """E ψ(κ(J + 1) + 1) by Gauss and Hermite, the nodes bent by skewness and excess (Cornish and Fisher)."""
    mean = trials * p
    spread = np.sqrt(mean * (1.0 - p))
    skew = ((1.0 - 2.0 * p) / spread)[:, None]
    excess = ((1.0 - 6.0 * p * (1.0 - p)) / spread**2)[:, None]
    x = _HERMITE_X[None, :]
    bent = (
        x
        + skew * (x**2 - 1.0) / 6.0
        + excess * (x**3 - 3.0 * x) / 24.0
        - skew**2 * (2.0 * x**3 - 5.0 * x) / 36.0
    )
    j = np.clip(mean[:, None] + spread[:, None] * bent, 0.0, trials)
    return np.asarray(_psi(kappa, j + 1.0) @ (_HERMITE_W / _HERMITE_W.sum()))


def _binomial_weights(trials: float, p: Array, j: Array) -> Array:
    """P(J = j), J ~ Binomial(trials, p), shape (p, j), normalised; trials need not be whole."""
    q = np.clip(p, 1e-300, 1.0 - 1e-15)[:, None]
    logs = _log_binomial(trials, j)[None, :] + j[None, :] * (np.log(q) - np.log1p(-q)) + trials * np.log1p(-q)
    weights = np.exp(logs)
    value: Array = weights / weights.sum(axis=1, keepdims=True)
    return value


def _log_binomial(n: float, j: Array) -> Array:
    """ln C(n, j) for small j and any n ≥ j, by products, since gammaln loses digits at large n."""
    if n < 1e6:
        value: Array = gammaln(n + 1.0) - gammaln(j + 1.0) - gammaln(n - j + 1.0)
        return value
    steps = np.log((n - np.arange(j.size - 1.0)) / np.arange(1.0, j.size))
    return np.concatenate([[0.0], np.cumsum(steps)])
