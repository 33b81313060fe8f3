"""Gaussian designs of many samples that are drawn only as far as their fits look at them.

Z, shape (T, d), of independent normal numbers, enters a fit through products with vectors alone. Along orthonormal
directions Q that were looked at so far, Z Q = V R with V orthonormal and R triangular (Bartlett), and the rows
Vᵀ Z = R Qᵀ + G (1 − Q Qᵀ) are known but for G, independent normal numbers; what Z does beside Q and V is independent of
all that, whatever of it the next direction was chosen by. So a solver by products meets the numbers that it would meet
with a Z that was drawn whole (the argument of Bolthausen, Commun. Math. Phys. 325, 333, 2014). Coordinates of vectors
over the samples are those along V: nothing has T entries.

A ridge fit is solved by Galerkin's method in a block Krylov space, in coordinates u = w/D, D_i = (T s_i + ridge)^-1/2,
where the matrix of the fit is

    H = E ZᵀZ E + diag(ridge D²),   E_i = √s_i D_i,   H = 1 + O(√γ),   γ = Σ_i (T s_i D_i²)²/T ≤ d/T,

so that every step leaves a share of about √γ of the error. Where the directions become dependent before the fit is
accurate (few features that matter), what was not looked at is drawn too and the fit made of the whole. Without penalty
(T ≥ d) one number is enough: in whitened coordinates the error of a fit is σ n/√χ²(T − d + 1) with a normal vector n,
for any design (Muirhead, Aspects of Multivariate Statistical Theory, theorem 3.2.12, and invariance under rotations).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from math import ceil, log, sqrt
from typing import Final, cast

import numpy as np
from numpy.random import Generator
from scipy.linalg.blas import dtrsm
from scipy.linalg.lapack import dpotrf, dpotrs

from service.simulation.features import bartlett_rows
from service.simulation.plan import Alone
from service.simulation.problem import Labels, Wanted
from service.theory.model import Array

ACCURACY: Final = 1e-9
"""Of the residual of a fit, relative to its right-hand side and to the largest share of a label that it takes."""

_SLOWEST: Final = 0.25
"""What a step may leave of the error: beyond, directions often become dependent before the fit is accurate."""

_WEAKEST: Final = 1e-3
"""The largest share of a label that a fit takes: below it the fit is a difference that rounding would spoil."""

# A whole triangular factor is faster where more than a sixth of it would be drawn, or it is small.
_SHARE: Final = 6
_LEAST: Final = 200
_NEARLY_DEPENDENT: Final = 1e-8
_DEPENDENT: Final = 1e-12
_MORE: Final = 4  # steps beyond those expected: it takes one or two at most


@dataclass(frozen=True, eq=False)
class ByProducts:
    """How fits of a design of T ``samples`` are solved; the letters are those above, ``rest`` is ridge D².

    ``deviations``: of the features, shape (d,); ``expected``: steps, 0 without penalty.
    """

    samples: int
    ridge: float
    deviations: Array
    D: Array
    E: Array
    rest: Array
    expected: int


@dataclass(frozen=True, eq=False)
class Revealed:
    """A design, its own numbers, and those of the noise of its labels."""

    method: ByProducts
    design: Generator
    noise: Generator

    @property
    def samples(self) -> int:
        """T."""
        return self.method.samples


@dataclass(frozen=True, eq=False)
class Unlabelled(Labels):
    """Labels that are not made: the model that makes them and the variance of their noise."""

    wanted: Wanted = field(kw_only=True)


def by_products(variances: Array, samples: int, alone: Alone) -> ByProducts | None:
    """How to fit such a design; None where a whole triangular factor is as fast, or needed."""
    expected = steps(variances, samples, alone)
    if expected is None:
        return None
    ridge, root = samples * alone.penalty, np.sqrt(variances)
    D = 1.0 / np.sqrt(samples * variances + ridge)
    return ByProducts(samples, ridge, root, D, root * D, ridge * D**2, expected)


def steps(variances: Array, samples: int, alone: Alone) -> int | None:
    """Steps that a fit is expected to take, 0 without penalty; None where it cannot, or should not, be done so."""
    if alone.penalty == 0:
        return 0 if samples >= len(variances) and variances.min() > 0 else None
    q = variances / (variances + alone.penalty)
    rate = sqrt(float(np.sum(q**2)) / max(samples, 1))
    if not (0.0 < rate <= _SLOWEST and q.max() >= _WEAKEST):
        return None
    count = max(ceil(log(ACCURACY * q.max()) / log(0.9 * rate)), 2)  # 0.9: as seen, of the steps together
    if samples <= alone.labels * (count + _MORE):  # directions there are
        return None
    return count if max(_SHARE * count * alone.labels, _LEAST) <= len(variances) else None


def flops(variances: Array, samples: int, alone: Alone) -> float | None:
    """Of all fits of a design, about; None where they are not done so."""
    expected = steps(variances, samples, alone)
    if expected is None:
        return None
    drawn = expected * alone.labels  # for each feature
    return 8e5 * (1.0 + expected) + 2.0 * len(variances) * drawn * (50.0 + 6.0 * drawn)


class RevealedSystem:
    """argmin_w (1/T) ‖X w − y‖² + λ ‖w‖² of a ``Revealed`` design, λ its only penalty."""

    def __init__(self, drawn: Revealed) -> None:
        self._drawn = drawn

    def fit(self, penalty: float, labels: Sequence[Sequence[Labels]]) -> list[Array]:  # noqa: ARG002
        """The models, shape (d,), of several fits; each has one ``Unlabelled``."""
        wanted = [cast(Unlabelled, one).wanted for (one,) in labels]
        models = {id(w.model): w.model for w in wanted if w.model is not None}
        noisy = any(w.noise_variance > 0 for w in wanted)
        errors = self._errors if self._drawn.method.expected else self._errors_without_penalty
        missed, noise = errors(list(models.values()), noisy=noisy)
        by_model = dict(zip(models, missed, strict=True))
        found = []
        for one in wanted:
            fitted = sqrt(one.noise_variance) * noise
            if one.model is not None:
                fitted += one.model
                fitted += by_model[id(one.model)]
            found.append(fitted)
        return found

    def _errors_without_penalty(
        self, models: list[Array], *, noisy: bool
    ) -> tuple[Sequence[Array | float], Array]:
        """Errors of fits to labels of each model without noise, none here, and the fit to noise of variance 1."""
        root = self._drawn.method.deviations
        if not noisy:
            return [0.0] * len(models), np.zeros_like(root)
        chi = sqrt(self._drawn.design.chisquare(self._drawn.samples - len(root) + 1.0))
        return [0.0] * len(models), self._drawn.noise.standard_normal(len(root)) / (chi * root)

    def _errors(self, models: list[Array], *, noisy: bool) -> tuple[Sequence[Array | float], Array]:
        """The same with penalty."""
        method = self._drawn.method
        if not models and not noisy:
            return [], np.zeros_like(method.D)
        B = np.empty((len(models) + noisy, len(method.D)))
        for row, model in zip(B, models, strict=False):
            np.multiply(model, -method.ridge * method.D, out=row)
        first = None
        if noisy:
            first = self._drawn.noise.standard_normal(len(method.D))
            np.multiply(method.E, sqrt(self._drawn.noise.chisquare(method.samples)) * first, out=B[-1])
        solved = _solve(B, first, self._drawn)
        solved *= method.D
        return list(solved[: len(models)]), solved[-1] if noisy else np.zeros_like(method.D)


def _solve(B: Array, first: Array | None, drawn: Revealed) -> Array:
    """u with H u = b for the rows b of ``B``; ``first``: the row vᵀZ, v the direction of the noise."""
    E, rest, expected = drawn.method.E, drawn.method.rest, drawn.method.expected
    p = _independent(B, E)
    m, d = p.shape
    if m == 0:
        return np.zeros_like(B)
    most = expected + _MORE
    noises = 0 if first is None else 1
    P, Q = np.empty((most * m, d)), np.empty((most * m, d))
    C = np.empty((noises + most * m, d))  # Vᵀ Z
    M = np.zeros((most * m, len(C)))  # (Vᵀ Z E P)ᵀ
    if first is not None:
        C[0] = first
    degrees = drawn.samples - noises - np.arange(float(most * m))
    R = drawn.design.standard_normal((most, m, m)) * _above(m)
    R[:, range(m), range(m)] = np.sqrt(drawn.design.chisquare(degrees)).reshape(most, m)
    # The next directions: (H − 1) p at about unit length, without the ones before it, as orthogonal polynomials of the
    # semicircle have it, which the eigenvalues of H − 1 are near.
    q = 1.0 - rest
    unit = 1.0 / sqrt(float(np.sum(q**2)) / drawn.samples)
    E_next, q_next = unit * E, unit * q
    looked, block = np.empty((2, m, d)), np.empty((2 * m, d))
    X, G = block[:m], block[m:]
    tolerance = ACCURACY * q.max() * np.sqrt(np.einsum("ij,ij->i", B, B))
    seen = 0
    for step in range(most):
        old, new = step * m, (step + 1) * m
        P[old:new] = p
        x = np.multiply(p, E, out=looked[0])
        X[...] = x
        drawn.design.standard_normal(out=G)
        if step:
            block -= (block @ Q[:old].T) @ Q[:old]
        L, failed = dpotrf(X @ X.T, lower=1)
        if failed or np.any(L.diagonal() ** 2 <= _NEARLY_DEPENDENT * np.einsum("ij,ij->i", x, x)):
            break
        seen = new
        Q[old:new] = dtrsm(1.0, L, X.T, side=1, lower=1, trans_a=1).T
        G += (R[step] - G @ Q[old:new].T) @ Q[old:new]
        C[noises + old : noises + new] = G
        known = M[old:new, : noises + new]
        np.matmul(x, C[: noises + new].T, out=known)
        if step + 1 >= expected:
            u, left = _galerkin(P[:new], M[:new, : noises + new], C[: noises + new], B, drawn.method)
            if np.all(left <= tolerance):
                return u
        p = (known @ C[: noises + new]) * E_next - q_next * p
        if step:
            p -= P[old - m : old]
    return _completed(B, C[: noises + seen], Q[:seen], drawn)


def _completed(B: Array, C: Array, Q: Array, drawn: Revealed) -> Array:
    """The same by a direct solver: what was not looked at, beside the rows of ``C`` and ``Q``, is drawn now."""
    E, seen = drawn.method.E, len(Q)
    beside = np.linalg.qr(Q.T, mode="complete").Q[:, seen:]
    rows = bartlett_rows(drawn.design, drawn.samples - len(C), beside.shape[1])
    Z = np.concatenate([C, rows @ beside.T]) * E
    factor, _ = dpotrf(Z.T @ Z + np.diag(drawn.method.rest), lower=1)
    return np.asarray(dpotrs(factor, B.T, lower=1)[0].T)


def _galerkin(P: Array, M: Array, C: Array, B: Array, method: ByProducts) -> tuple[Array, Array]:
    """Solutions in the space of the rows of ``P``, and the norms of what they leave of ``B``."""
    A = M @ M.T + (P * method.rest) @ P.T
    factor, _ = dpotrf(A, lower=1)
    x = dpotrs(factor, P @ B.T, lower=1)[0].T
    u = x @ P
    left = B - ((x @ M) @ C) * method.E - method.rest * u
    return u, np.sqrt(np.einsum("ij,ij->i", left, left))


def _independent(B: Array, E: Array) -> Array:
    """Rows of ``B`` at unit length; what nearly depends on others, times ``E``, made independent or left out."""
    size = np.sqrt(np.einsum("ij,ij->i", B, B))
    if not np.all(size > 0):
        B, size = B[size > 0], size[size > 0]
    p: Array = B / size[:, None]
    X = p * E
    squares = X @ X.T
    factor, failed = dpotrf(squares, lower=1)
    if not failed and np.all(factor.diagonal() ** 2 > _NEARLY_DEPENDENT * squares.diagonal()):
        return p
    pivots = np.abs(np.linalg.qr(X.T).R.diagonal())
    p = p[pivots > _DEPENDENT * np.sqrt(squares.diagonal())]
    independent: Array = np.linalg.solve(np.linalg.qr((p * E).T).R.T, p)
    return independent


@lru_cache(maxsize=8)
def _above(size: int) -> Array:
    """Ones above the diagonal."""
    return np.triu(np.ones((size, size)), 1)
