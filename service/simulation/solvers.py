"""Linear systems of ridge and kernel ridge regression, by LAPACK."""

from collections.abc import Sequence
from functools import cached_property
from typing import Final, cast

import numpy as np
from scipy.linalg import eigh, solve_triangular
from scipy.linalg.blas import dsymm, dsyrk
from scipy.linalg.lapack import dlauum, dorgqr, dpotrf, dpotrs, dpttrf, dpttrs, dsytrd, dtrtrs

from service.theory.model import Array

MANY: Final = 12
"""From so many ridges on, one tridiagonal form is cheaper than a Cholesky factor for each (d = 300 and 1,000)."""

_BLOCK: Final = 64  # LAPACK's own block size at most: what its workspace is for
_EPS: Final = float(np.finfo(float).eps)
# An orthogonal transformation errs by ε times the largest eigenvalue; a ridge this far above that does not see it.
_VISIBLE: Final = 1e5
# Columns of unit length whose triangular factor has a smaller pivot are dependent, as far as can be told.
_DEPENDENT: Final = 1e-11


class PositiveSolver:
    """(A + ridge I)^-1 B for a positive semi-definite ``A``, shape (n, n); ``ridges``: all that will be asked for.

    One tridiagonal form Qᵀ A Q serves many ridges, each a Cholesky factor where they are few or near rounding.
    Cholesky's error does not depend on how the variables are scaled, so that eigenvalues many orders of magnitude apart
    do no harm where the scaled matrix is well conditioned. Ridge 0, or one that is lost in rounding: numerically zero
    modes are left out, which is the limit ridge → 0. ``A`` is symmetric; its lower triangle is read.
    """

    def __init__(self, A: Array, ridges: Sequence[float]) -> None:
        self._A = A
        distinct = set(ridges)
        self._many = (
            len(distinct) >= MANY and len(A) > 1 and min(distinct) > _VISIBLE * _EPS * float(np.trace(A))
        )

    @cached_property
    def _tridiagonal(self) -> tuple[Array, Array, Array]:
        """Diagonal, off-diagonal, and Q without its first row and column, which are those of the identity."""
        A = np.array(self._A, order="F")
        reflectors, diagonal, beside, tau, _ = dsytrd(A, lower=1, lwork=_BLOCK * len(A), overwrite_a=1)
        Q, _, _ = dorgqr(reflectors[1:, :-1], tau, lwork=_BLOCK * len(A))
        return diagonal, beside, Q

    @cached_property
    def _modes(self) -> tuple[Array, Array]:
        s, U = eigh(self._A, driver="evd", check_finite=False)
        return s, U

    def solve(self, ridge: float, B: Array) -> Array:
        """(A + ridge I)^-1 B, for ``B`` of shape (n, k)."""
        if self._many:
            diagonal, beside, Q = self._tridiagonal
            D, E, _ = dpttrf(diagonal + ridge, beside)
            Y, _ = dpttrs(D, E, np.concatenate([B[:1], Q.T @ B[1:]]))
            return np.concatenate([Y[:1], Q @ Y[1:]])
        A = np.array(
            self._A, order="F"
        )  # Cholesky is faster by half in LAPACK's own order, from the lower triangle
        A.ravel(order="K")[:: len(A) + 1] += ridge
        diagonal = A.diagonal().copy()
        factor, failed = dpotrf(A, lower=1, overwrite_a=1, clean=0)
        # a pivot that is rounding beside the diagonal entry it was left of says nothing
        if not failed and np.all(factor.diagonal() ** 2 > _rounding(len(A)) * diagonal):
            return cast(Array, dpotrs(factor, B, lower=1)[0])
        s, U = self._modes
        keep = s > _rounding(len(s)) * s[-1]
        return np.asarray(U[:, keep] @ ((U[:, keep].T @ B) / (s[keep] + ridge)[:, None]))


def _rounding(size: int) -> float:
    """What is this small beside the largest of its kind may be nothing but rounding."""
    return 16 * max(size, 64) * _EPS


def least_squares(X: Array, Y: Array) -> Array:
    """argmin ‖X W − Y‖² of least norm, for ``X`` (n, d) and ``Y`` (n, k): shape (d, k).

    By QR of the columns scaled to unit length (n ≥ d: the fit does not depend on their scale), or of Xᵀ (n < d);
    by a singular value decomposition where those are numerically dependent.
    """
    n, d = X.shape
    if n >= d:
        scale = np.sqrt(np.einsum("ij,ij->j", X, X))
        used = scale > 0  # a feature that never occurs has weight 0
        if used.any():
            Q, R = np.linalg.qr(X[:, used] / scale[used])
            if np.abs(R.diagonal()).min() > _DEPENDENT:
                W = np.zeros((d, Y.shape[1]))
                W[used] = solve_triangular(R, Q.T @ Y, check_finite=False) / scale[used, None]
                return W
    elif n > 0:
        Q, R = np.linalg.qr(X.T)
        pivots = np.abs(R.diagonal())
        if pivots.min() > 10 * d * _EPS * pivots.max():
            return np.asarray(Q @ solve_triangular(R, Y, trans="T", check_finite=False))
    return least_norm(X, Y)


def least_norm(X: Array, Y: Array) -> Array:
    """argmin ‖X W − Y‖² of least norm by singular values; those below rounding count as zero."""
    return cast(Array, np.linalg.lstsq(X, Y, rcond=None)[0])


def gram(X: Array, total: Array | None = None) -> Array:
    """XᵀX, shape (d, d), for ``X`` (n, d) in C order; the lower triangle alone is filled, and added to ``total``."""
    if total is None:
        total = np.zeros((X.shape[1], X.shape[1]), order="F")
    return cast(Array, dsyrk(1.0, X.T, beta=1.0, c=total, lower=1, overwrite_c=1))


def gram_of_triangle(L: Array) -> Array:
    """LᵀL of a lower triangular ``L`` in C order, at a third of the cost; the lower triangle alone is filled."""
    # its transpose is an upper triangle U in Fortran order, and U Uᵀ is symmetric: the upper triangle of the result
    # is the lower one of its transpose
    product, _ = dlauum(L.T, lower=0)
    return cast(Array, product.T)


def solve_triangle(L: Array, Y: Array) -> Array:
    """W with L W = Y for a lower triangular ``L`` in C order without zeros on its diagonal, and ``Y`` (n, k)."""
    return cast(Array, dtrtrs(L.T, Y, lower=0, trans=1)[0])


def symmetric(A: Array) -> Array:
    """The whole of a symmetric matrix whose lower triangle is given."""
    return np.tril(A) + np.tril(A, -1).T


def times_symmetric(A: Array, B: Array) -> Array:
    """A B, in Fortran order, for a symmetric ``A`` whose lower triangle is given."""
    if A.flags.f_contiguous:
        return cast(Array, dsymm(1.0, A, B, lower=1))
    return cast(Array, dsymm(1.0, A.T, B, lower=0))
