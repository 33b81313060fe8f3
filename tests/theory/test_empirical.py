"""Empirical populations against brute force, exact power laws, and known noise."""

import numpy as np
import pytest
from sklearn.kernel_ridge import KernelRidge

from service.theory import empirical, exponents, kernels

RNG = np.random.default_rng(11)
X = RNG.standard_normal((120, 6))
Y = np.sin(X[:, 0]) + 0.3 * X[:, 1] * X[:, 2]
MAPS = [kernels.Linear(), kernels.rbf(X), kernels.polynomial(X, 3, 1.0)]


@pytest.mark.parametrize("feature_map", MAPS)
def test_spectrum_and_coefficients_agree_with_numpy(feature_map: kernels.FeatureMap) -> None:
    """Brute force: numpy's eigenvectors of the n × n matrix, also where d × d is what is decomposed."""
    s, U = np.linalg.eigh(kernels.gram(feature_map, X, X) / len(X))
    modes = empirical.modes(feature_map, X, Y)
    rank = len(modes.eigenvalues)
    np.testing.assert_allclose(modes.eigenvalues, s[::-1][:rank], rtol=1e-9, atol=1e-15)
    power = (U.T @ Y)[::-1][:rank] ** 2 / len(X)
    np.testing.assert_allclose(modes.coefficients**2, power, rtol=1e-5, atol=1e-12)
    # The functions are orthonormal under the mean over rows, and carry the kernel.
    np.testing.assert_allclose(modes.functions.T @ modes.functions / len(X), np.eye(rank), atol=1e-10)
    kernel = (modes.functions * modes.eigenvalues) @ modes.functions.T
    np.testing.assert_allclose(kernel, kernels.gram(feature_map, X, X), atol=1e-11)


def test_rank_is_that_of_the_features() -> None:
    assert len(empirical.modes(kernels.Linear(), X, Y).eigenvalues) == 6
    # All monomials of degree at most 3 in 6 variables: C(9, 3) = 84.
    assert len(empirical.modes(kernels.polynomial(X, 3, 1.0), X, Y).eigenvalues) == 84
    assert len(empirical.modes(kernels.rbf(X), X, Y).eigenvalues) == 120


@pytest.mark.parametrize("feature_map", MAPS)
def test_parseval(feature_map: kernels.FeatureMap) -> None:
    """Σ s_i w_i² + unreachable = mean y²: nothing of the target is lost."""
    described = empirical.empirical_population(feature_map, X, Y, 0.1)
    carried = described.population.eigenvalues @ described.population.target_power
    assert carried + described.unreachable == pytest.approx(np.mean(Y**2), rel=1e-10)


def test_unreachable_part_is_the_least_squares_residual_and_counts_as_noise() -> None:
    residual = np.linalg.lstsq(X, Y)[1][0] / len(X)
    described = empirical.empirical_population(kernels.Linear(), X, Y, 0.1)
    assert described.unreachable == pytest.approx(residual, rel=1e-10)
    assert described.population.noise_variance == pytest.approx(0.1 + residual, rel=1e-10)
    np.testing.assert_allclose(described.truth, X @ np.linalg.lstsq(X, Y)[0], atol=1e-10)


def test_full_rank_leaves_nothing_unreachable() -> None:
    described = empirical.empirical_population(kernels.rbf(X), X, Y, 0.1)
    assert described.unreachable == 0.0
    assert described.population.noise_variance == 0.1
    np.testing.assert_allclose(described.truth, Y, atol=1e-9)


@pytest.mark.parametrize(
    "make", [lambda _: kernels.Linear(), kernels.rbf, lambda Z: kernels.polynomial(Z, 3, 1.0)]
)
def test_repeated_rows_are_the_same_population(make: object) -> None:
    assert callable(make)
    once = empirical.empirical_population(make(X), X, Y, 0.1)
    twice = empirical.empirical_population(make(np.tile(X, (3, 1))), np.tile(X, (3, 1)), np.tile(Y, 3), 0.1)
    assert twice.rank == once.rank
    np.testing.assert_allclose(twice.population.eigenvalues, once.population.eigenvalues, rtol=1e-8)
    assert twice.unreachable == pytest.approx(once.unreachable, abs=1e-12)
    for name in ("eigenvalues", "multiplicities"):
        np.testing.assert_allclose(getattr(twice.population, name), getattr(once.population, name), rtol=1e-8)
    power = twice.population.eigenvalues * twice.population.target_power
    np.testing.assert_allclose(power, once.population.eigenvalues * once.population.target_power, atol=1e-9)
    np.testing.assert_allclose(twice.truth, np.tile(once.truth, 3), atol=1e-8)


def test_rows_that_repeat_with_other_labels_leave_an_unreachable_part() -> None:
    """Labels +1 and −1 on the same row: their variance is out of reach of every function of the rows."""
    twice = np.concatenate([X, X])
    labels = np.concatenate([Y + 0.5, Y - 0.5])
    described = empirical.empirical_population(kernels.rbf(twice), twice, labels, 0.0)
    assert described.unreachable == pytest.approx(0.25, rel=1e-9)
    np.testing.assert_allclose(described.truth[:120], Y, atol=1e-9)


def test_estimated_noise_and_truth() -> None:
    """Smooth function plus noise of variance 0.09, 600 points: the estimate is within sampling error."""
    rng = np.random.default_rng(3)
    Z = rng.uniform(-2, 2, (600, 1))
    f = np.sin(2 * Z[:, 0])
    labels = f + 0.3 * rng.standard_normal(600)
    described = empirical.empirical_population(kernels.Rbf(0.7), Z, labels, None)
    smoother = described.smoother
    assert smoother is not None
    assert not smoother.at_edge
    # Var of the mean of 600 squared Gaussians: relative standard deviation √(2/600) = 5.8 %.
    assert described.population.noise_variance == pytest.approx(0.09, rel=3 * np.sqrt(2 / 600))
    assert np.mean((described.truth - f) ** 2) < 0.09 * 30 / 600
    # The truth is scikit-learn's kernel ridge fit at the penalty that is reported (its alpha is n times ours).
    fit = KernelRidge(alpha=600 * smoother.penalty, kernel="rbf", gamma=1 / (2 * 0.7**2)).fit(Z, labels)
    np.testing.assert_allclose(described.truth, fit.predict(Z), atol=1e-8)
    S = np.linalg.solve(fit._get_kernel(Z) + 600 * smoother.penalty * np.eye(600), fit._get_kernel(Z))
    assert smoother.degrees_of_freedom == pytest.approx(np.trace(S), rel=1e-8)
    residual = float(np.sum((labels - fit.predict(Z)) ** 2))
    assert smoother.noise_variance == pytest.approx(residual / (600 - np.trace(S)), rel=1e-8)

    def gcv(penalty: float) -> float:
        K = fit._get_kernel(Z)
        A = np.linalg.solve(K + 600 * penalty * np.eye(600), K)
        return float(np.mean((labels - A @ labels) ** 2) / (1 - np.trace(A) / 600) ** 2)

    assert gcv(smoother.penalty) < min(gcv(0.8 * smoother.penalty), gcv(1.25 * smoother.penalty))


def test_penalty_of_noiseless_labels_is_said_to_be_at_the_edge() -> None:
    """An exactly linear target: the less smoothing the better, down to the least penalty searched."""
    described = empirical.empirical_population(kernels.Linear(), X, X @ np.arange(6.0), None)
    assert described.smoother is not None
    assert described.smoother.at_edge


def test_effective_dimensions() -> None:
    s = np.array([1.0, 0.5, 0.25])
    assert empirical.participation_ratio(s) == pytest.approx(1.75**2 / 1.3125)
    assert empirical.participation_ratio(1e-200 * np.ones(7)) == pytest.approx(7)
    assert empirical.degrees_of_freedom(s, 0.5) == pytest.approx(1 / 1.5 + 0.5 + 0.25 / 0.75)


@pytest.mark.parametrize("beta", [1.2, 1.65, 2.0])
@pytest.mark.parametrize("r", [0.097, 0.375, 1.0])
@pytest.mark.parametrize("scale", [1.0, 1e-9, 255.0])
def test_exact_power_laws_give_back_their_exponents(beta: float, r: float, scale: float) -> None:
    i = np.arange(1, 3001.0)
    capacity = exponents.capacity_exponent(scale * i**-beta)
    assert isinstance(capacity, exponents.PowerLawFit)
    assert capacity.value == pytest.approx(beta, rel=1e-10)
    assert capacity.r_squared == pytest.approx(1.0, abs=1e-12)
    assert capacity.standard_error < 1e-10
    source = exponents.source_exponent(scale * i ** (-1 - 2 * beta * r), capacity.value)
    assert isinstance(source, exponents.PowerLawFit)
    # The sum over a block is the integral to second order in 1/rank: 1e-3 at rank 10.
    assert source.value == pytest.approx(r, rel=2e-3)
    assert (source.first_rank, source.last_rank <= 750) == (10, True)


def test_source_exponent_of_random_coefficients_is_within_its_error() -> None:
    """c_i Gaussian with power-law variance, 200 draws: z-scores about 0, and not too wide."""
    rng = np.random.default_rng(0)
    i = np.arange(1, 3001.0)
    z = []
    for _ in range(200):
        fit = exponents.source_exponent(i ** (-1 - 2 * 1.5 * 0.3) * rng.standard_normal(3000) ** 2, 1.5)
        assert isinstance(fit, exponents.PowerLawFit)
        z.append((fit.value - 0.3) / fit.standard_error)
    assert np.abs(np.mean(np.clip(z, -5, 5))) < 0.5
    assert np.mean(np.abs(z) < 3) > 0.9


def test_few_modes_give_a_reason_instead_of_an_exponent() -> None:
    described = empirical.empirical_population(kernels.Linear(), X, Y, 0.1)
    assert isinstance(described.capacity, str)
    assert "too few" in described.capacity
    assert "too few" in str(described.source)


def test_too_many_rows_are_refused() -> None:
    with pytest.raises(ValueError, match="at most 5000"):
        empirical.empirical_population(kernels.Linear(), np.ones((5001, 1)), np.ones(5001), 0.1)
