"""Fits against scikit-learn's on the same rows."""

from collections.abc import Sequence

import mpmath
import numpy as np
import pytest
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import LinearRegression, Ridge

from service.simulation.features import Gaussian
from service.simulation.plan import Design
from service.simulation.problem import Labels, Streams
from service.simulation.rows import FeatureSystem, KernelSystem
from service.simulation.solvers import (
    MANY,
    PositiveSolver,
    gram,
    gram_of_triangle,
    least_squares,
    symmetric,
)
from service.simulation.spectrum import Drawn
from service.simulation.systems import WeightSystem
from service.theory.kernels import Polynomial, Rbf
from service.theory.kernels import gram as kernel_matrix
from service.theory.model import Array

RNG = np.random.default_rng(2)


def problem(N: int, d: int) -> tuple[Array, Array, Array]:
    return RNG.standard_normal((N, d)), RNG.standard_normal(N), RNG.uniform(0.1, 3.0, N)


def rows_of(X: Array) -> Drawn:
    stream = (Streams(0, 0), Design((0, 0), len(X), None))
    return Drawn(len(X), len(X), np.ones(X.shape[1]), Gaussian(), stream, X)


def weight_fit(
    parts: Sequence[tuple[Array, Array, float]], penalty: float, P: Array | None = None, *, kept: bool = True
) -> Array:
    """The fit of several designs; ``kept`` False: of their Gram matrices and moments alone."""
    designs, labels = [], []
    for X, y, _ in parts:
        drawn = rows_of(X)
        if not kept:
            drawn.gram = gram(X)
            drawn.kept = None
        designs.append(drawn)
        labels.append(Labels(y) if kept else Labels(None, X.T @ y))
    system = WeightSystem(parts[0][0].shape[1], designs, [w for _, _, w in parts], P, [penalty])
    return system.fit(penalty, [labels])[0]


@pytest.mark.parametrize(("N", "d"), [(50, 8), (8, 50), (20, 20), (14, 8)])
@pytest.mark.parametrize("penalty", [1e-6, 0.3, 100.0])
@pytest.mark.parametrize("weight", [1.0, 0.3])
def test_ridge_agrees_with_sklearn(N: int, d: int, penalty: float, weight: float) -> None:
    """scikit-learn's loss is a sum: its alpha is N times the penalty per sample."""
    X, y, _ = problem(N, d)
    half = N // 2
    weights = np.where(np.arange(N) < half, 1.0, weight)
    expected = Ridge(alpha=N * penalty, fit_intercept=False).fit(X, y, sample_weight=weights).coef_
    parts = [(X[:half], y[:half], 1.0), (X[half:], y[half:], weight)]
    np.testing.assert_allclose(weight_fit(parts, penalty), expected, rtol=1e-6, atol=1e-10)
    if d <= half:
        np.testing.assert_allclose(weight_fit(parts, penalty, kept=False), expected, rtol=1e-6, atol=1e-10)
    together = FeatureSystem(X, np.arange(N), np.sqrt(weights), [N * penalty])
    np.testing.assert_allclose(together.fit(penalty, [[Labels(y)]])[0], X @ expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(("N", "d"), [(50, 8), (8, 50), (12, 8)])
def test_ridgeless_agrees_with_sklearn(N: int, d: int) -> None:
    X, y, _ = problem(N, d)
    expected = LinearRegression(fit_intercept=False).fit(X, y).coef_
    np.testing.assert_allclose(weight_fit([(X, y, 1.0)], 0.0), expected, atol=1e-10)
    if N == 50:
        np.testing.assert_allclose(weight_fit([(X, y, 1.0)], 0.0, kept=False), expected, atol=1e-10)


@pytest.mark.parametrize("penalty", [0.0, 0.1])
@pytest.mark.parametrize(("N", "m"), [(50, 5), (6, 12), (30, 12), (20, 12)])
def test_random_features_agree_with_sklearn(N: int, m: int, penalty: float) -> None:
    X, y, _ = problem(N, 9)
    P = RNG.standard_normal((m, 9)) / np.sqrt(m)
    model = Ridge(alpha=N * penalty, fit_intercept=False, solver="svd") if penalty else None
    fitted = (model or LinearRegression(fit_intercept=False)).fit(X @ P.T, y).coef_
    np.testing.assert_allclose(weight_fit([(X, y, 1.0)], penalty, P), P.T @ fitted, atol=1e-9)


@pytest.mark.parametrize("feature_map", [Rbf(2.0), Polynomial(5, 1.0, 3.0)])
@pytest.mark.parametrize("weighted", [False, True])
def test_kernel_ridge_agrees_with_sklearn(feature_map: Rbf | Polynomial, weighted: bool) -> None:
    """Fitted to rows that are drawn twice, evaluated on others."""
    X, y, weights = problem(60, 5)
    weights = weights if weighted else np.ones(60)
    everything = np.concatenate([X[:30], RNG.standard_normal((10, 5))])
    chosen = np.concatenate([np.arange(30), np.arange(30)])
    K = kernel_matrix(feature_map, everything, everything)
    reference = KernelRidge(alpha=60 * 1e-3, kernel="precomputed")
    reference.fit(K[np.ix_(chosen, chosen)], y, sample_weight=weights)
    system = KernelSystem(K, chosen, np.sqrt(weights), [60 * 1e-3])
    ours = system.fit(1e-3, [[Labels(y)]])[0]
    np.testing.assert_allclose(ours, reference.predict(K[:, chosen]), atol=1e-10)


def test_kernel_ridge_of_linear_features_is_ridge() -> None:
    X, y, weights = problem(40, 6)
    weights[3] = 0.0
    for penalty in (0.0, 0.05):
        chosen, roots = np.arange(40), np.sqrt(weights)
        kernel = KernelSystem(X @ X.T, chosen, roots, [40 * penalty]).fit(penalty, [[Labels(y)]])
        linear = FeatureSystem(X, chosen, roots, [40 * penalty]).fit(penalty, [[Labels(y)]])
        np.testing.assert_allclose(kernel[0], linear[0], atol=1e-9)


def test_zero_weight_is_as_good_as_absent_but_counts_in_n() -> None:
    X, y, _ = problem(40, 6)
    parts = [(X[:30], y[:30], 1.0), (X[30:], y[30:], 0.0)]
    np.testing.assert_allclose(weight_fit(parts, 0.03), weight_fit(parts[:1], 0.04), rtol=1e-10)


def test_penalty_below_rounding_still_solves() -> None:
    """Repeated rows: the kernel matrix is singular, and 1e-25 on its diagonal is lost in rounding."""
    X, y, _ = problem(30, 2)
    chosen = np.concatenate([np.arange(30), np.arange(30)])
    labels = np.concatenate([y, y])
    system = KernelSystem(kernel_matrix(Rbf(1.0), X, X), chosen, np.ones(60), [60 * 1e-25])
    fitted = system.fit(1e-25, [[Labels(labels)]])[0]
    assert np.isfinite(fitted).all()
    assert np.mean((fitted - y) ** 2) < 1e-3


def test_without_samples_the_fit_is_zero() -> None:
    np.testing.assert_array_equal(WeightSystem(4, [], [], None, [0.1]).fit(0.1, [[]])[0], np.zeros(4))
    np.testing.assert_array_equal(weight_fit([(np.ones((3, 4)), np.ones(3), 0.0)], 0.1), np.zeros(4))


# --- one decomposition for many penalties ---------------------------------------------------------


def test_one_decomposition_serves_many_penalties(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same solutions as a factor for each, from one tridiagonal form."""
    X, _, _ = problem(60, 20)
    A, B = gram(X), RNG.standard_normal((20, 3))
    ridges = list(np.geomspace(1e-3, 1e3, MANY))
    calls = []
    from service.simulation import solvers

    original = solvers.dsytrd
    monkeypatch.setattr(solvers, "dsytrd", lambda *a, **k: calls.append(1) or original(*a, **k))
    together = PositiveSolver(A, ridges)
    for ridge in ridges:
        expected = np.linalg.solve(X.T @ X + ridge * np.eye(20), B)
        np.testing.assert_allclose(together.solve(ridge, B), expected, rtol=1e-9)
        np.testing.assert_allclose(PositiveSolver(A, [ridge]).solve(ridge, B), expected, rtol=1e-9)
    assert len(calls) == 1
    for size in (1, 2):  # nothing to reflect, a single reflector
        few = PositiveSolver(A[:size, :size], ridges)
        for ridge in ridges:
            expected = np.linalg.solve((X.T @ X)[:size, :size] + ridge * np.eye(size), B[:size])
            np.testing.assert_allclose(few.solve(ridge, B[:size]), expected, rtol=1e-9)


def test_eigenvalues_thirty_orders_of_magnitude_apart_do_no_harm() -> None:
    """A fit's error is that of the scaled problem: against 50 digits."""
    scale = np.logspace(0, -15, 6)
    X = RNG.standard_normal((40, 6)) * scale
    y = X @ (1 / scale) + RNG.standard_normal(40)
    with mpmath.workdps(60):
        A = mpmath.matrix((X[:, :, None] * 1.0).squeeze().tolist())
        exact = mpmath.lu_solve(A.T * A, A.T * mpmath.matrix(y.tolist()))
        exact = np.array([float(value) for value in exact])
    for kept in (True, False):
        np.testing.assert_allclose(weight_fit([(X, y, 1.0)], 0.0, kept=kept), exact, rtol=1e-9)


def test_dependent_columns_and_rows_give_the_fit_of_least_norm() -> None:
    X, y, _ = problem(12, 3)
    for A in (X[:, [0, 1, 2, 2]], X[[0, 1, 1]], np.zeros((5, 2)), np.column_stack([X, np.zeros(12)])):
        Y = y[: len(A), None]
        np.testing.assert_allclose(least_squares(A, Y), np.linalg.pinv(A) @ Y, atol=1e-12)


def test_gram_matrices() -> None:
    X = RNG.standard_normal((30, 7))
    np.testing.assert_allclose(symmetric(gram(X)), X.T @ X, rtol=1e-12)
    np.testing.assert_allclose(symmetric(gram(X, gram(X))), 2 * X.T @ X, rtol=1e-12)
    L = np.tril(RNG.standard_normal((7, 7)))
    np.testing.assert_allclose(symmetric(gram_of_triangle(L)), L.T @ L, rtol=1e-12)


@pytest.mark.parametrize("count", [3, 40])
def test_kernel_functions_are_summed_alike_by_copies_and_by_rows(count: int) -> None:
    """Few of twenty rows, and so many that some are there repeatedly."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((20, 4))
    chosen, coefficients = rng.integers(0, 20, count), rng.standard_normal((count, 2))
    system = KernelSystem(X @ X.T, chosen, np.ones(count), [1.0])
    expected = sum(np.outer(X @ X[row], own) for row, own in zip(chosen, coefficients, strict=True))
    np.testing.assert_allclose(system.everywhere(coefficients), expected, rtol=1e-12, atol=1e-12)
