"""Finite-sample formulas against simulation, closed forms and their limits."""

import math
from fractions import Fraction
from typing import Literal

import numpy as np
import pytest

from service.theory.exact import unpenalized_variance
from service.theory.model import REAL, Array, Population, Shift, Source, Stage, TrainingMix
from service.theory.prediction import predict
from service.theory.results import Method, Prediction
from tests.theory.problems import isotropic, power_law, recursive, two_sources


def exact(population: Population, mix: TrainingMix) -> Prediction:
    prediction = predict(population, mix, order=1)
    assert prediction.method is Method.EXACT
    return prediction


def fit(X: Array, y: Array) -> Array:
    """Least-norm solutions of many problems at once: X (runs, rows, d), y (runs, rows)."""
    turned = X.transpose(0, 2, 1)
    if X.shape[1] < X.shape[2]:
        return (turned @ np.linalg.solve(X @ turned, y[..., None]))[..., 0]
    return np.linalg.solve(turned @ X, turned @ y[..., None])[..., 0]


def simulated(population: Population, mix: TrainingMix, runs: int, seed: int) -> tuple[float, float]:
    """Mean test error and its standard error, every stage on samples of its own."""
    rng = np.random.default_rng(seed)
    sigma, d = population.eigenvalues, population.eigenvalues.size
    w = np.sqrt(population.target_power)
    models: dict[str, Array] = {REAL: np.broadcast_to(w, (runs, d))}
    for stage in mix.stages:
        rows, labels = [], []
        for source in stage.sources:
            T = int(source.samples)
            X = rng.normal(size=(runs, T, d)) * np.sqrt(sigma)
            if isinstance(source.labels, Shift):
                model = w + rng.normal(size=(runs, d)) * np.sqrt(source.labels.power)
            else:
                model = models[source.labels]
            noise = rng.normal(size=(runs, T)) * math.sqrt(source.noise_variance)
            rows.append(X)
            labels.append(np.einsum("rij,rj->ri", X, model) + noise)
        models[stage.name] = fit(np.concatenate(rows, 1), np.concatenate(labels, 1))
    errors = ((models[mix.stages[-1].name] - w) ** 2) @ sigma
    return float(errors.mean()), float(errors.std() / math.sqrt(runs))


def agrees(population: Population, mix: TrainingMix, runs: int, seed: int) -> None:
    mean, error = simulated(population, mix, runs, seed)
    total = exact(population, mix).test_error.total
    assert abs(mean - total) < 4 * error
    assert error < 0.02 * total  # or the comparison would say nothing


@pytest.mark.parametrize("widths", [(9.0, 7.0), (7.0, 50.0), (8.0, None)])
def test_random_features_that_span_all_modes_change_nothing(widths: tuple[float, float | None]) -> None:
    """Least squares on P x, P of full rank, is least squares on x; simulated with features of its own."""
    population, T, noise = power_law(7, 1.4, 0.3), (20, 16), (0.3, 0.5)
    stages = [
        Stage("g", (Source("r", REAL, T[0], noise[0]),), 0.0, widths[0]),
        Stage("final", (Source("g", "g", T[1], noise[1]),), 0.0, widths[1]),
    ]
    found = exact(population, TrainingMix(tuple(stages)))
    closed = sum(s2 * 7 / (t - 8) for t, s2 in zip(T, noise, strict=True))
    assert math.isclose(found.test_error.total, closed, rel_tol=1e-13)
    rng, runs, errors = np.random.default_rng(1), 3000, []
    root = np.sqrt(population.eigenvalues)
    for _ in range(runs):
        error = np.zeros(7)  # of the model: labels are what it says, or what the truth says, and noise
        for width, rows, s2 in zip(widths, T, noise, strict=True):
            X = rng.normal(size=(rows, 7)) * root
            P = np.eye(7) if width is None else rng.normal(size=(int(width), 7))
            v = np.linalg.lstsq(X @ P.T, X @ error + math.sqrt(s2) * rng.normal(size=rows), rcond=1e-12)[0]
            error = P.T @ v
        errors.append(error**2 @ population.eigenvalues)
    mean, se = float(np.mean(errors)), float(np.std(errors)) / math.sqrt(runs)
    assert abs(mean - found.test_error.total) < 4 * se
    assert se < 0.03 * mean


@pytest.mark.parametrize("n", [0, 1, 4])
@pytest.mark.parametrize("population", [isotropic(7, 0.3), power_law(7, 1.4, 0.3)], ids=["flat", "power"])
def test_chain_of_least_squares(n: int, population: Population) -> None:
    """σ² d/(T − d − 1) + Σ σ_k² d/(T_k − d − 1) at every size, the per-generation sizes and noises being any."""
    stages, expected = [], 0.3 * 7 / (20 - 8)
    for k in range(n):
        T, noise, label = 12.0 + 3 * k, 0.1 * (k + 1), f"g{k}" if k else REAL
        stages.append(Stage(f"g{k + 1}", (Source(label, label, T, noise),), 0.0))
        expected += noise * 7 / (T - 8)
    label = f"g{n}" if n else REAL
    mix = TrainingMix((*stages, Stage("final", (Source(label, label, 20.0, 0.3),), 0.0)))
    found = exact(population, mix)
    assert math.isclose(found.test_error.total, expected, rel_tol=1e-13)
    assert math.isclose(found.test_error.variance, 0.3 * 7 / 12, rel_tol=1e-13)
    for k, source in enumerate(found.test_error.by_source):
        assert math.isclose(source.label_noise, 0.1 * (k + 1) * 7 / (4 + 3 * k), rel_tol=1e-13)
    assert found.test_error.parts.distortion == 0
    assert found.expected_relative_error == 0


def test_the_asymptotic_value_stays_available() -> None:
    mix = recursive(2, 30, 20, 0.0, noise0=0.5, noise=0.3)
    found = predict(power_law(7, 1.4, 0.3), mix, order=0)
    assert found.method is Method.EQUIVALENT
    assert math.isclose(found.test_error.total, 0.3 * 7 / 13 + 2 * 0.5 * 7 / 23, rel_tol=1e-12)


def test_sources_that_disagree_in_one_dimension() -> None:
    """d = 1: the weights of two sources are beta distributed, Var = 2 p (1 − p)/(N + 2)."""
    population = Population(np.array([2.0]), np.ones(1), np.array([1.0]), 0.0)
    for T1, T2 in ((3, 4), (1, 2), (50, 7)):
        p, N, c2 = T2 / (T1 + T2), T1 + T2, 0.6
        found = exact(population, two_sources(T1, T2, np.array([c2 / 2]), 0.0, 0.0))
        assert math.isclose(found.test_error.total, c2 * (p**2 + 2 * p * (1 - p) / (N + 2)), rel_tol=1e-13)


def test_a_stage_of_three_sources_against_simulation() -> None:
    population = power_law(4, 0.8, 0.2)
    sources = (
        Source("real", REAL, 4, 0.2),
        Source("bad", Shift(np.array([0.5, 0.1, 0.3, 0.2])), 3, 0.4),
        Source("worse", Shift(np.array([0.1, 2.0, 0.3, 0.9])), 6, 0.1),
    )
    agrees(population, TrainingMix((Stage("final", sources, 0.0),)), 40_000, 1)


def test_a_mix_of_generations_against_simulation() -> None:
    """Earlier models that share a parent: their errors are correlated."""
    first = Stage("a", (Source(REAL, REAL, 9, 0.5),), 0.0)
    left = Stage("b", (Source(REAL, REAL, 4, 0.3), Source("a", "a", 5, 0.2)), 0.0)
    right = Stage("c", (Source("a", "a", 10, 0.4), Source("b", "b", 3, 0.1)), 0.0)
    final = Stage("d", (Source("a", "a", 3, 0.1), Source("b", "b", 4, 0.2), Source("c", "c", 5, 0.3)), 0.0)
    population = power_law(4, 0.8, 0.2)
    mix = TrainingMix((first, left, right, final))
    agrees(population, mix, 60_000, 2)
    parts = exact(population, mix).test_error
    assert math.isclose(
        parts.parts.label_noise + parts.parts.noise_mismatch + parts.variance, parts.total, rel_tol=1e-12
    )


def test_fewer_samples_than_modes_of_a_flat_spectrum() -> None:
    """E = 1 − q^n + noise: every generation projects on T_0 random directions (q = T_0/d)."""
    population = Population(np.full(12, 0.5), np.ones(12), np.full(12, 1 / 6), 0.2)
    mix = recursive(3, 6, 40, 0.0, noise0=0.3, noise=0.2)
    q, nu = 6 / 12, 6 / (12 - 6 - 1)
    expected = population.signal * (1 - q**3) + 0.3 * nu * (1 + q + q**2) + 0.2 * 12 / (40 - 13)
    assert math.isclose(exact(population, mix).test_error.total, expected, rel_tol=1e-13)
    agrees(population, mix, 20_000, 3)
    agrees(population, recursive(2, 40, 6, 0.0, noise0=0.3, noise=0.2), 20_000, 4)


def test_projection_of_a_correlated_label() -> None:
    """A final fit on a mix of models of different age, one of them seen through projections."""
    population = isotropic(5, 0.2)
    population = Population(np.ones(5), np.ones(5), np.full(5, 0.2), 0.2)
    stages = (
        Stage("a", (Source(REAL, REAL, 3, 0.1),), 0.0),
        Stage("b", (Source("a", "a", 3, 0.1),), 0.0),
        Stage("f", (Source(REAL, REAL, 4, 0.1), Source("a", "a", 5, 0.2), Source("b", "b", 6, 0.1)), 0.0),
    )
    agrees(population, TrainingMix(stages), 40_000, 5)


@pytest.mark.parametrize("d", [3, 10, 200])
def test_around_the_threshold_the_expectation_is_infinite(d: int) -> None:
    population = power_law(d, 1.2, 0.3)
    for T in (d - 1, d, d + 1):
        found = exact(population, recursive(0, 0, T, 0.0, noise0=0.0, noise=0.3))
        assert found.test_error.total == math.inf
    assert exact(population, recursive(0, 0, d + 2, 0.0, noise0=0.0, noise=0.3)).test_error.total < math.inf


def test_modes_without_variance_do_not_count() -> None:
    population = Population(np.array([1.0, 0.5, 0.0]), np.ones(3), np.ones(3), 0.3)
    found = exact(population, recursive(0, 0, 6, 0.0, noise0=0.0, noise=0.3))
    assert math.isclose(found.test_error.total, 0.3 * 2 / 3, rel_tol=1e-13)


@pytest.mark.parametrize(
    "mix",
    [
        recursive(2, 30, 20, 0.1, noise0=0.5, noise=0.3),
        recursive(2, 30, 20, 0.0, noise0=0.5, noise=0.3, penalty0=0.1),
        recursive(2, 4, 20, 0.0, noise0=0.5, noise=0.3),
    ],
    ids=["penalty", "earlier penalty", "fewer samples than modes"],
)
def test_what_is_not_exact_is_not_called_so(mix: TrainingMix) -> None:
    found = predict(power_law(7, 1.4, 0.3), mix, order=1)
    assert found.method is Method.EQUIVALENT
    assert found.expected_relative_error > 0


def test_what_random_features_decide_is_not_called_exact() -> None:
    """Fewer than modes, or more where they choose among interpolating models."""
    for samples, width in ((20.0, 6.0), (5.0, 9.0), (6.0, 9.0)):
        mix = TrainingMix((Stage("f", (Source("r", REAL, samples, 0.3),), 0.0, width),))
        assert predict(isotropic(7, 0.3), mix, order=1).method is Method.EQUIVALENT
    few = Source("r", REAL, 4.0, 0.3), Source("s", Shift(np.full(1, 0.1)), 30.0, 0.3)
    mix = TrainingMix((Stage("f", few, 0.0, 9.0),))
    population = isotropic(7, 0.3)
    found = exact(population, mix)
    plain = exact(population, TrainingMix((Stage("f", few, 0.0),)))
    assert found.test_error.total == plain.test_error.total
    assert found.real_only is not None
    assert plain.real_only is not None
    assert found.real_only.bias != plain.real_only.bias


def test_weights_are_not_called_exact() -> None:
    sources = (Source(REAL, REAL, 20, 0.2), Source("s", Shift(np.full(7, 0.1)), 20, 0.2, 0.5))
    mix = TrainingMix((Stage("f", sources, 0.0),))
    assert predict(power_law(7), mix, order=1).method is Method.EQUIVALENT


@pytest.mark.parametrize("factor", [10**3, 10**5])
def test_tends_to_the_deterministic_equivalent(factor: int) -> None:
    """Sizes together to infinity: the difference is of the order of 1/N."""
    population, shift = isotropic(2 * factor, 0.3), np.array([0.5 / factor])
    mix = two_sources(3 * factor, 2 * factor, shift, 0.0, 0.3)
    a, b = (predict(population, mix, order=order).test_error.total for order in (0, 1))
    assert 0 < abs(a - b) < 5 * b / factor


def test_inverse_wishart_mean_in_rational_numbers() -> None:
    """d = 1: E 1/χ²_T = 1/(T − 2), and E tr (XX')^-1 of T = 1 row of d modes is 1/(d − 2)."""
    for T in range(3, 30):
        assert Fraction(unpenalized_variance(isotropic(1), T) or 0).limit_denominator(1000) == Fraction(
            1, T - 2
        )
        assert Fraction(unpenalized_variance(isotropic(T), 1) or 0).limit_denominator(1000) == Fraction(
            1, T - 2
        )


@pytest.mark.parametrize("d", [2, 30])
def test_no_penalty_is_not_recommended_where_it_is_infinitely_bad(d: int) -> None:
    """d + 1 samples with hardly any noise: asymptotically flat down to penalty 0, exactly a pole there."""
    population = Population(np.ones(d), np.ones(d), np.ones(d), 1e-9)
    for n in (0, 1):
        mix = recursive(n, 3 * d, d + 1, 0.0, noise0=1e-9, noise=1e-9)
        found = predict(population, mix, order=1)
        assert found.test_error.total == math.inf
        best = found.regularization
        assert best.recommended.penalty > 0
        assert best.at_recommended.total == best.recommended.total < population.signal


@pytest.mark.parametrize("order", [0, 1])
def test_rows_of_weight_0_teach_nothing_on_their_own_either(order: Literal[0, 1]) -> None:
    population = Population(np.ones(5), np.ones(5), np.full(5, 0.2), 1.0)
    stage = Stage("final", (Source("real", REAL, 2.0, 1.0, weight=0.0),), 0.0)
    found = predict(population, TrainingMix((stage,)), order=order).real_only
    assert found is not None
    assert (found.total, found.bias, found.variance) == (1.0, 1.0, 0.0)
