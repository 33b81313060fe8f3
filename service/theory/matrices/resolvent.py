"""The resolvent of weighted covariance matrices, and what every Newton step needs of it: products and traces."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import lapack

from service.theory.errors import NotConverged
from service.theory.fixed_point import Traces
from service.theory.model import Array

_DEFINITE = 1e-12
_ENOUGH = 1e-2  # a product that is what others leave of 1 is right to rounding over this


@dataclass(frozen=True, eq=False)
class Resolvent:
    """Q = (Σ_s a_s Σ_s + κ)^-1, shape (d, d), the products Q Σ_s, and their traces."""

    Q: Array
    products: list[Array]
    traces: Traces

    @staticmethod
    def of(covariances: Sequence[Array], a: Array, kappa: float, size: int) -> "Resolvent":
        """One inverse, and a product for every full covariance but one. Raises NotConverged."""
        Q = _inverse(covariances, a, kappa, size)
        products = _products(Q, covariances, a, kappa)
        # what belongs to the same covariance is the same
        index = {id(covariance): s for s, covariance in enumerate(covariances)}
        place = [index[id(covariance)] for covariance in covariances]
        distinct = sorted(set(place))
        first, plain = np.zeros(len(covariances)), np.zeros(len(covariances))
        gram = np.zeros((len(covariances), len(covariances)))
        for s in distinct:
            first[s] = float(products[s].trace())
            doubled = np.einsum("ij,ij->i", products[s], Q)  # the diagonal of Q Σ_s Q
            plain[s] = float(doubled.sum())
            for t in distinct:
                if covariances[t].ndim == 1:
                    gram[s, t] = gram[t, s] = float(doubled @ covariances[t])
                elif t <= s and covariances[s].ndim == 2:
                    gram[s, t] = gram[t, s] = float(np.einsum("ij,ji->", products[s], products[t]))
        return Resolvent(Q, products, Traces(first[place], gram[np.ix_(place, place)], plain[place]))


def trace(covariance: Array) -> float:
    """Of a diagonal or a full one."""
    return float(covariance.sum() if covariance.ndim == 1 else covariance.trace())


def is_definite(covariance: Array) -> bool:
    """Whether all eigenvalues are positive beyond rounding."""
    if covariance.ndim == 1:
        return bool(np.all(covariance > 0))
    shifted = covariance - _DEFINITE * covariance.trace() / len(covariance) * np.eye(len(covariance))
    _, info = lapack.dpotrf(shifted, lower=1)
    return bool(info == 0)


def total_covariance(covariances: Sequence[Array], a: Array, size: int) -> Array:
    """Σ_s a_s Σ_s, shape (size, size)."""
    total = np.zeros((size, size))
    diagonal = np.einsum("ii->i", total)
    for factor, covariance in zip(a.tolist(), covariances, strict=True):
        if covariance.ndim == 1:
            diagonal += factor * covariance
        elif factor > 0:
            total += factor * covariance
    return total


def _inverse(covariances: Sequence[Array], a: Array, kappa: float, size: int) -> Array:
    total = total_covariance(covariances, a, size)
    np.einsum("ii->i", total)[:] += kappa
    # symmetric, so its transpose is the same matrix in the order that LAPACK works in
    factor_, info = lapack.dpotrf(total.T, lower=1, overwrite_a=1)
    if info == 0:
        lower, info = lapack.dpotri(factor_, lower=1, overwrite_c=1)
    if info != 0:
        raise NotConverged("the covariances are too close to singular for this penalty")
    upper = np.triu(lower.T)  # of the transpose, in C order
    upper += np.triu(upper, 1).T
    return np.asarray(upper)


def _products(Q: Array, covariances: Sequence[Array], a: Array, kappa: float) -> list[Array]:
    """Q Σ_s; the same covariance once, and the full one that is learned most by Σ_s a_s Q Σ_s + κ Q = 1."""
    strength: dict[int, float] = {}
    for factor, covariance in zip(a.tolist(), covariances, strict=True):
        strength[id(covariance)] = strength.get(id(covariance), 0.0) + factor
    distinct = {id(covariance): covariance for covariance in covariances}
    full = [name for name, covariance in distinct.items() if covariance.ndim == 2]
    learned = {name: strength[name] * float(np.vdot(Q, distinct[name])) for name in full}
    most = max(full, key=lambda name: learned[name], default=None)
    if most is not None and learned[most] < _ENOUGH * len(Q):
        most = None  # too small to be told from the rest
    known = {
        name: Q * covariance if covariance.ndim == 1 else Q @ covariance
        for name, covariance in distinct.items()
        if name != most
    }
    if most is not None:
        rest = -kappa * Q
        for name, product in known.items():
            rest -= strength[name] * product
        np.einsum("ii->i", rest)[:] += 1.0
        rest /= strength[most]
        known[most] = rest
    return [known[id(covariance)] for covariance in covariances]
