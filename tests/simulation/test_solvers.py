"""Fits against scikit-learn's on the same rows."""

import numpy as np
import pytest
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import LinearRegression, Ridge

from service.simulation.solvers import kernel_ridge, ridge
from service.theory.kernels import Polynomial, Rbf, gram

RNG = np.random.default_rng(2)


def problem(N: int, d: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return RNG.standard_normal((N, d)), RNG.standard_normal(N), RNG.uniform(0.1, 3.0, N)


@pytest.mark.parametrize(("N", "d"), [(50, 8), (8, 50), (20, 20)])
@pytest.mark.parametrize("penalty", [1e-6, 0.3, 100.0])
@pytest.mark.parametrize("weighted", [False, True])
def test_ridge_agrees_with_sklearn(N: int, d: int, penalty: float, weighted: bool) -> None:
    """scikit-learn's loss is a sum: its alpha is N times the penalty per sample."""
    X, y, weights = problem(N, d)
    weights = weights if weighted else np.ones(N)
    expected = Ridge(alpha=N * penalty, fit_intercept=False).fit(X, y, sample_weight=weights).coef_
    np.testing.assert_allclose(ridge(X, y, weights, penalty), expected, rtol=1e-6, atol=1e-10)


@pytest.mark.parametrize(("N", "d"), [(50, 8), (8, 50)])
def test_ridgeless_agrees_with_sklearn(N: int, d: int) -> None:
    X, y, _ = problem(N, d)
    expected = LinearRegression(fit_intercept=False).fit(X, y).coef_
    np.testing.assert_allclose(ridge(X, y, np.ones(N), 0.0), expected, atol=1e-10)


@pytest.mark.parametrize("feature_map", [Rbf(2.0), Polynomial(5, 1.0, 3.0)])
@pytest.mark.parametrize("weighted", [False, True])
def test_kernel_ridge_agrees_with_sklearn(feature_map: Rbf | Polynomial, weighted: bool) -> None:
    X, y, weights = problem(60, 5)
    X[30:] = X[:30]  # drawing with replacement repeats rows
    weights = weights if weighted else np.ones(60)
    K = gram(feature_map, X, X)
    Z = RNG.standard_normal((10, 5))
    reference = KernelRidge(alpha=60 * 1e-3, kernel="precomputed").fit(K, y, sample_weight=weights)
    ours = gram(feature_map, Z, X) @ kernel_ridge(K, y, weights, 1e-3)
    np.testing.assert_allclose(ours, reference.predict(gram(feature_map, Z, X)), atol=1e-10)


def test_kernel_ridge_of_linear_features_is_ridge() -> None:
    X, y, weights = problem(40, 6)
    weights[3] = 0.0
    for penalty in (0.0, 0.05):
        alpha = kernel_ridge(X @ X.T, y, weights, penalty)
        np.testing.assert_allclose(X.T @ alpha, ridge(X, y, weights, penalty), atol=1e-9)


def test_zero_weight_is_as_good_as_absent_but_counts_in_n() -> None:
    X, y, _ = problem(40, 6)
    weights = np.concatenate([np.ones(30), np.zeros(10)])
    np.testing.assert_allclose(
        ridge(X, y, weights, 0.03), ridge(X[:30], y[:30], np.ones(30), 0.04), rtol=1e-10
    )


def test_penalty_below_rounding_still_solves() -> None:
    """Repeated rows: the kernel matrix is singular, and 1e-25 on its diagonal is lost in rounding."""
    X, y, _ = problem(30, 2)
    X = np.concatenate([X, X])
    labels = np.concatenate([y, y])
    K = gram(Rbf(1.0), X, X)
    fitted = K @ kernel_ridge(K, labels, np.ones(60), 1e-25)
    assert np.isfinite(fitted).all()
    assert np.mean((fitted - labels) ** 2) < 1e-3


def test_without_samples_the_fit_is_zero() -> None:
    np.testing.assert_array_equal(ridge(np.empty((0, 4)), np.empty(0), np.empty(0), 0.0), np.zeros(4))
