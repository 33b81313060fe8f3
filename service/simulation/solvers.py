"""Ridge and kernel ridge regression with sample weights, by LAPACK."""

from typing import cast

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve, eigh

from service.theory.model import Array


def ridge(X: Array, y: Array, weights: Array, penalty: float) -> Array:
    """argmin_w (1/N) Σ weights (X w − y)² + penalty ‖w‖², for ``X`` (N, d); of least norm for penalty 0."""
    N, d = X.shape
    if N == 0:
        return np.zeros(d)
    if not np.all(weights == 1.0):
        root = np.sqrt(weights)
        X, y = root[:, None] * X, root * y
    if penalty == 0:
        return cast(Array, np.linalg.lstsq(X, y, rcond=None)[0])
    if d <= N:
        return _solve_positive(X.T @ X, N * penalty, X.T @ y)
    return X.T @ _solve_positive(X @ X.T, N * penalty, y)


def kernel_ridge(K: Array, y: Array, weights: Array, penalty: float) -> Array:
    """α of f = Σ α_j k(x_j, ·), argmin_f (1/N) Σ weights (f(x_j) − y_j)² + penalty ‖f‖², shape (N,).

    ``K`` (N, N) is the kernel matrix of the samples. Penalty 0: the least-squares fit of least norm.
    """
    N = len(y)
    root = np.sqrt(weights)
    if not np.all(root == 1.0):
        K = root[:, None] * K * root
    if penalty == 0:
        return cast(Array, root * np.linalg.lstsq(K, root * y, rcond=None)[0])
    return cast(Array, root * _solve_positive(K, N * penalty, root * y))


def _solve_positive(A: Array, ridge: float, b: Array) -> Array:
    """(A + ridge I)^-1 b for a positive semi-definite ``A`` and ridge > 0."""
    A = np.array(A)
    diagonal = A.diagonal().copy()
    np.fill_diagonal(A, diagonal + ridge)
    try:
        return cast(Array, cho_solve(cho_factor(A, lower=True, check_finite=False), b, check_finite=False))
    except LinAlgError:
        # The ridge is below the rounding of A: numerically zero modes are left out, as for ridge → 0.
        np.fill_diagonal(A, diagonal)
        s, U = eigh(A, check_finite=False)
        keep = s > len(s) * np.finfo(float).eps * s[-1]
        return cast(Array, U[:, keep] @ ((U[:, keep].T @ b) / (s[keep] + ridge)))


def ridge_flops(samples: int, features: int, penalty: float | str) -> float:
    """Operations of drawing (20 per number) and of ``ridge``: by SVD for penalty 0, else by Cholesky."""
    least = min(samples, features)
    product = 2.0 * samples * features * least
    return 24.0 * samples * features + product + least**3 * (20.0 if penalty == 0 else 1.0 / 3.0)


def kernel_ridge_flops(samples: int, penalty: float | str) -> float:
    """Operations of ``kernel_ridge``."""
    return samples**3 * (20.0 if penalty == 0 else 1.0 / 3.0)
