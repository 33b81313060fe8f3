"""The theorems of the papers, written out here, as special cases of the engine."""

import math

import numpy as np
import pytest
from scipy.optimize import brentq

from service.theory.model import REAL, Population, Shift, Source, Stage, TrainingMix
from service.theory.prediction import predict
from tests.theory.problems import isotropic, power_law, recursive, two_sources


def close(a: float, b: float, rel: float = 1e-11) -> bool:
    return math.isclose(a, b, rel_tol=rel, abs_tol=0.0)


@pytest.mark.parametrize("n", [0, 1, 5, 20])
@pytest.mark.parametrize(
    "population", [isotropic(300, 0.04), power_law(300, 2.0, 0.04)], ids=["iso", "power"]
)
def test_chain_of_least_squares(n: int, population: Population) -> None:
    """Dohmatob, Feng, Kempe, theorem 1: σ²φ/(1−φ) + n σ_0²φ_0/(1−φ_0), whatever the covariance."""
    d, T, T0, noise, noise0 = 300, 1000, 600, 0.04, 0.09
    error = predict(population, recursive(n, T0, T, 0.0, noise0=noise0, noise=noise)).test_error
    phi, phi0 = d / T, d / T0
    assert close(error.variance, noise * phi / (1 - phi))
    assert error.bias == 0
    assert close(error.parts.label_noise, n * noise0 * phi0 / (1 - phi0)) or n == 0
    assert error.parts.distortion == 0
    assert close(error.total, noise * phi / (1 - phi) + n * noise0 * phi0 / (1 - phi0))


@pytest.mark.parametrize("penalty", [1e-6, 1e-2, 1.0])
def test_ridge_after_least_squares(penalty: float) -> None:
    """Dohmatob, Feng, Kempe, theorem 2: generation = n σ_0²/(T_0 − d) ρ, asymptotically."""
    d, T, T0, n, noise, noise0 = 120, 150, 400, 3, 0.3, 0.2
    population = power_law(d, 0.7, noise)
    sigma = population.eigenvalues
    kappa = brentq(
        lambda k: k * (1 - (sigma / (sigma + k)).sum() / T) - penalty, 1e-12, 1e3, xtol=1e-15, rtol=1e-14
    )
    S = sigma / (sigma + kappa)
    df2 = (S**2).sum()
    rho = df2 + kappa**2 * ((sigma + kappa) ** -2.0).sum() * df2 / (T - df2)
    error = predict(population, recursive(n, T0, T, penalty, noise0=noise0, noise=noise)).test_error
    bias = kappa**2 * (sigma * population.target_power / (sigma + kappa) ** 2).sum() / (1 - df2 / T)
    assert close(error.bias, bias, 1e-9)
    assert close(error.variance, noise * df2 / (T - df2), 1e-9)
    assert close(error.generation, n * noise0 / (T0 - d) * rho, 1e-9)


def test_label_noise_of_each_generation_adds_up() -> None:
    population = power_law(200, 1.3)
    error = predict(
        population, recursive(4, 150, 250, 0.03, noise0=0.5, noise=0.25, penalty0=0.01)
    ).test_error
    assert len(error.by_source) == 4
    assert close(sum(s.label_noise for s in error.by_source), error.parts.label_noise)
    silent = predict(
        population, recursive(4, 150, 250, 0.03, noise0=0.0, noise=0.25, penalty0=0.01)
    ).test_error
    assert close(error.total - silent.total, error.parts.label_noise, 1e-9)
    assert close(silent.generation, silent.parts.distortion)
    assert close(error.parts.distortion, silent.parts.distortion, 1e-9)


def test_overparametrized_generators_raise_the_error_without_noise() -> None:
    """Every generation projects on its own T_0 random directions: the learned part shrinks by T_0/d each time."""
    d, T0 = 300, 150
    population = isotropic(d, 0.0)
    errors = [
        predict(population, recursive(n, T0, 10**15, 0.0, noise0=0.0, noise=0.0)).test_error.total
        for n in range(1, 5)
    ]
    # least-norm interpolation of isotropic features: E w_n·w = (T_0/d)^n, E‖w_n‖² = (T_0/d)^n in the limit
    for n, error in enumerate(errors, start=1):
        assert close(error, 1 - (T0 / d) ** n, 1e-9)


def strong_collapse(population: Population, p2: float, N: float, penalty: float, shift: np.ndarray) -> float:
    """Dohmatob, Feng, Subramonian, Kempe, theorem 1: ζ."""
    sigma = population.eigenvalues
    if penalty == 0:
        kappa = 0.0
    else:
        kappa = brentq(
            lambda k: k * (1 - (sigma / (sigma + k)).sum() / N) - penalty, 1e-14, 1e4, xtol=1e-18, rtol=1e-14
        )
    df2 = (sigma**2 / (sigma + kappa) ** 2).sum()
    u = df2 / N / (1 - df2 / N)
    trace = [
        (shift * sigma).sum(),
        (shift * sigma**3 / (sigma + kappa) ** 2).sum(),
        (shift * sigma**2 / (sigma + kappa)).sum(),
    ]
    return p2 * u * trace[0] + p2**2 * (1 + u) * trace[1] - 2 * p2**2 * u * trace[2]


@pytest.mark.parametrize("penalty", [0.0, 1e-3, 0.1])
@pytest.mark.parametrize(("T1", "T2"), [(400, 100), (100, 900), (60, 40)])
def test_mixture_of_qualities(penalty: float, T1: int, T2: int) -> None:
    d = 80
    population = power_law(d, 1.2, 0.3)
    shift = np.random.default_rng(1).exponential(0.02, d)
    error = predict(population, two_sources(T1, T2, shift, penalty, 0.3)).test_error
    expected = strong_collapse(population, T2 / (T1 + T2), T1 + T2, penalty, shift)
    assert close(error.generation, expected, 1e-9)
    assert close(error.parts.shift, expected, 1e-9)
    assert error.parts.distortion == 0


def test_isotropic_mixture_in_closed_form() -> None:
    """E = σ²φ/(1−φ) + c² p_2 (p_2 + p_1 φ/(1−φ)) at penalty 0."""
    d, T1, T2, c2, noise = 100, 300, 200, 0.7, 0.4
    population = isotropic(d, noise)
    error = predict(population, two_sources(T1, T2, np.array([c2 / d]), 0.0, noise)).test_error
    phi, p1, p2 = d / (T1 + T2), T1 / (T1 + T2), T2 / (T1 + T2)
    assert close(error.total, noise * phi / (1 - phi) + c2 * p2 * (p2 + p1 * phi / (1 - phi)))


@pytest.mark.parametrize("width", [50, 90, 110, 400])
@pytest.mark.parametrize("penalty", [1e-3, 0.3])
def test_random_features(width: int, penalty: float) -> None:
    """Dohmatob, Feng, Subramonian, Kempe, theorem 2."""
    d, T1, T2, noise = 120, 70, 30, 0.3
    N, m, p1, p2 = T1 + T2, width, 0.7, 0.3
    population = power_law(d, 1.1, noise)
    shift = np.random.default_rng(2).exponential(0.02, d)
    sigma, gamma = population.eigenvalues, population.target_power

    def df1(t: float) -> float:
        return float((sigma / (sigma + t)).sum())

    low = brentq(lambda t: df1(t) - min(N, m), 1e-12, 1e6, rtol=1e-14) if min(N, m) < d else 0.0
    theta = brentq(
        lambda t: t * (1 - df1(t) / N) * (1 - df1(t) / m) - penalty,
        low * (1 + 1e-12) + 1e-14,
        1e6,
        xtol=1e-18,
        rtol=1e-14,
    )
    R2 = (sigma + theta) ** -2.0
    df2, a = (sigma**2 * R2).sum(), (sigma * R2).sum()
    r = df2 / N + theta**2 * a**2 / (N * m * (1 - df2 / m))
    u = r / (1 - r)
    w = (1 + u) * theta**2 * (a / m) / (1 - df2 / m)
    bias = (1 + u) * theta**2 * (gamma * sigma * R2).sum() + w * (gamma * sigma**2 * R2).sum()
    zeta = p2**2 * (shift * sigma**2 * ((1 + p1 * u) * sigma + w) * R2).sum()
    zeta += p2 * u * (shift * sigma * (p1 * sigma + theta) ** 2 * R2).sum()
    error = predict(population, two_sources(T1, T2, shift, penalty, noise, width=width)).test_error
    assert close(error.bias, bias, 1e-8)
    assert close(error.variance, noise * u, 1e-8)
    assert close(error.generation, zeta, 1e-8)


def test_weighted_mixture_with_much_data() -> None:
    """φ -> 0 with loss weights (1−α)/p_1 and α/p_2: E ≈ α²c² + ((1−α)²σ_1²/p_1 + α²σ_2²/p_2) φ."""
    d, N, p1, alpha, c2, s1, s2 = 10, 10**9, 0.3, 0.2, 0.5, 0.7, 0.4
    population = isotropic(d, s1)
    sources = (
        Source(REAL, REAL, p1 * N, s1, (1 - alpha) / p1),
        Source("synthetic", Shift(np.array([c2 / d])), (1 - p1) * N, s2, alpha / (1 - p1)),
    )
    error = predict(population, TrainingMix((Stage("final", sources, 0.0),))).test_error
    phi = d / N
    assert close(error.parts.shift, alpha**2 * c2, 1e-6)
    noise = ((1 - alpha) ** 2 * s1 / p1 + alpha**2 * s2 / (1 - p1)) * phi
    assert close(error.total - error.parts.shift, noise, 1e-5)


def test_iterated_mixing_converges_geometrically() -> None:
    """Relabelling the synthetic share with the current model: E -> Ē/(1−p_2²), the transient like p_2^{2t}."""
    d, T1, T2, noise = 5, 6 * 10**8, 4 * 10**8, 1.0
    p2 = T2 / (T1 + T2)
    population = isotropic(d, noise)

    def error(t: int) -> float:
        stages = [Stage("s0", (Source(REAL, REAL, T1, noise),), 0.0)]
        for k in range(1, t + 1):
            sources = (Source(REAL, REAL, T1, noise), Source(f"s{k - 1}", f"s{k - 1}", T2, noise))
            stages.append(Stage(f"s{k}", sources, 0.0))
        return predict(population, TrainingMix(tuple(stages))).test_error.total

    limit = noise * d / (T1 + T2) / (1 - p2**2)
    assert close(error(40), limit, 1e-6)
    ratio = (error(6) - limit) / (error(5) - limit)
    assert close(ratio, p2**2, 1e-3)


@pytest.mark.parametrize("penalty", [0.0, 1e-4, 0.2])
@pytest.mark.parametrize("samples", [(40, 30), (90, 160)])
@pytest.mark.parametrize("width", [None, 60.0, 150.0])
def test_several_equal_covariances_are_one(
    penalty: float, samples: tuple[int, int], width: float | None
) -> None:
    population = power_law(100, 1.1)
    shift = Shift(np.full(100, 0.01))

    def mix(own: np.ndarray | None) -> TrainingMix:
        sources = (
            Source(REAL, REAL, samples[0], 0.2, 1.0),
            Source("synthetic", shift, samples[1], 0.4, 0.3, own),
        )
        return TrainingMix((Stage("final", sources, penalty, width),))

    one, several = predict(population, mix(None)), predict(population, mix(population.eigenvalues.copy()))
    assert close(one.test_error.total, several.test_error.total, 1e-9)
    assert close(one.test_error.parts.shift, several.test_error.parts.shift, 1e-9)
    assert close(one.regularization.recommended.total, several.regularization.recommended.total, 1e-6)


@pytest.mark.parametrize(
    ("samples", "d", "width"), [(100, 100, None), (50, 100, 50), (100, 100, 100), (100, 100, 300)]
)
def test_thresholds_diverge(samples: int, d: int, width: float | None) -> None:
    population = isotropic(d)
    source = Source(REAL, REAL, samples, 1.0)
    prediction = predict(population, TrainingMix((Stage("final", (source,), 0.0, width),)))
    assert prediction.test_error.total == math.inf
    assert prediction.regularization.recommended.penalty > 0
    near = predict(population, TrainingMix((Stage("final", (source,), 1e-9, width),)))
    assert 1e2 < near.test_error.total < math.inf


def test_a_divergent_generator_makes_the_chain_diverge() -> None:
    prediction = predict(isotropic(100), recursive(2, 100, 300, 0.1, noise0=1.0, noise=1.0))
    assert prediction.test_error.total == math.inf
    assert prediction.regularization.recommended.penalty == math.inf
    assert prediction.regularization.recommended.total == 1.0  # predicting zero


def test_double_descent_by_width() -> None:
    """At penalty 1e-6 the error peaks where the width equals the number of samples."""
    population, N = isotropic(600, 0.1), 200
    widths = [50, 150, 200, 250, 400, 2000]
    errors = [
        predict(
            population, TrainingMix((Stage("f", (Source(REAL, REAL, N, 0.1),), 1e-6, m),))
        ).test_error.total
        for m in widths
    ]
    assert int(np.argmax(errors)) == widths.index(200)
    assert errors[-1] < errors[-2] < errors[-3]


def test_no_data_predicts_zero() -> None:
    population = power_law(50)
    prediction = predict(population, recursive(1, 0, 100, 0.1, noise0=1.0, noise=0.25))
    assert prediction.test_error.total > population.signal  # labels are noise
    assert prediction.regularization.recommended.penalty == math.inf
    nothing = predict(population, recursive(0, 0, 0, 0.1, noise0=1.0, noise=0.25))
    assert nothing.test_error.total == population.signal


@pytest.mark.parametrize("penalty", [0.0, 0.1])
def test_only_labels_of_one_unknown_model(penalty: float) -> None:
    """All labels from w_0 + δ: the fit estimates w_0 + δ, so with much data the error is c² + the penalty's bias."""
    d, c2, noise = 40, 0.7, 0.4
    population = isotropic(d, noise)
    shift = np.array([c2 / d])
    sources = (Source("s", Shift(shift), 10**14, noise),)
    error = predict(population, TrainingMix((Stage("f", sources, penalty),))).test_error
    S = 1 / (1 + penalty)
    assert close(error.total, S**2 * c2 + (1 - S) ** 2, 1e-9)
    assert close(error.parts.shift, S**2 * c2, 1e-9)


def test_as_many_noiseless_samples_as_modes_are_learned_exactly() -> None:
    population = isotropic(5, 0.0)
    prediction = predict(population, recursive(0, 10, 5, 0.0, noise0=0.0, noise=0.0))
    assert prediction.test_error.total == 0
    assert prediction.regularization.recommended.penalty == 0
    assert prediction.regularization.recommended.total == 0
