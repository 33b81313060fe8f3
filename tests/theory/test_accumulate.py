"""Kept data against simulation, the closed form without penalty, and plain ridge regression."""

import math

import mpmath as mp
import numpy as np
import pytest
from scipy.optimize import brentq

from service.theory.errors import Unsupported
from service.theory.general import general_prediction
from service.theory.model import OPTIMAL, REAL, Population, Source, Stage, TrainingMix
from service.theory.plain_correction import NotSmall, bias_and_variance
from service.theory.prediction import predict
from service.theory.results import Method
from service.theory.ridge_fits import effective_ridges
from tests.theory.problems import isotropic, power_law, recursive


def accumulate(samples: list[float], penalty_sum: float | str, noise: float) -> TrainingMix:
    stages: list[Stage] = []
    rows = 0.0
    for k, T in enumerate(samples):
        rows += T
        label = stages[-1].name if stages else REAL
        penalty = OPTIMAL if isinstance(penalty_sum, str) else penalty_sum / max(rows, 1.0)
        stages.append(Stage(f"g{k}", (Source(label, label, T, noise),), penalty))
    return TrainingMix(tuple(stages), keeps_data=True)


@pytest.mark.parametrize("n", [1, 2, 5, 10, 300])
@pytest.mark.parametrize("population", [isotropic(10), power_law(10, 1.5, 1.0)], ids=["flat", "power"])
def test_least_squares_in_closed_form(n: int, population: Population) -> None:
    """Σ_k (1/k) σ² d/(kT − d − 1), within π²/6 of its first term."""
    found = predict(population, accumulate([60] * n, 0.0, 1.0), order=1)
    expected = sum(10 / (60 * k - 11) / k for k in range(1, n + 1))
    assert math.isclose(found.test_error.total, expected, rel_tol=1e-12)
    assert found.test_error.total < math.pi**2 / 6 * 10 / 49
    assert found.method is Method.EXACT
    assert found.test_error.bias == found.test_error.parts.distortion == 0


def simulated(
    samples: list[int], penalty_sum: float, population: Population, runs: int, seed: int
) -> tuple[float, float]:
    """Every fit on all rows so far, by the normal equations; mean test error and its standard error."""
    rng = np.random.default_rng(seed)
    sigma, d = population.eigenvalues, population.eigenvalues.size
    w = np.sqrt(population.target_power)
    model = np.broadcast_to(w, (runs, d))
    X, y = np.zeros((runs, 0, d)), np.zeros((runs, 0))
    for T in samples:
        fresh = rng.normal(size=(runs, T, d)) * np.sqrt(sigma)
        noise = rng.normal(size=(runs, T)) * math.sqrt(population.noise_variance)
        y = np.concatenate([y, np.einsum("rij,rj->ri", fresh, model) + noise], axis=1)
        X = np.concatenate([X, fresh], axis=1)
        gram = np.einsum("rij,rik->rjk", X, X) + penalty_sum * np.eye(d)
        model = np.linalg.solve(gram, np.einsum("rij,ri->rj", X, y)[..., None])[..., 0]
    errors = ((model - w) ** 2) @ sigma
    return float(errors.mean()), float(errors.std() / math.sqrt(runs))


def test_unequal_batches_without_penalty_against_simulation() -> None:
    population = power_law(5, 1.0, 0.4)
    mean, error = simulated([9, 4, 12, 3], 0.0, population, 40_000, 1)
    total = predict(population, accumulate([9, 4, 12, 3], 0.0, 0.4), order=1).test_error.total
    assert abs(mean - total) < 4 * error < 0.05 * total


@pytest.mark.parametrize("samples", [[120, 60, 200], [40, 100, 30, 30]], ids=["many", "few first"])
def test_penalized_against_simulation(samples: list[int]) -> None:
    """The equivalents of B and V are off by O(1/N), well below 2 % here."""
    population = power_law(60, 1.2, 0.3)
    mean, error = simulated(samples, 2.0, population, 1000, 2)
    total = predict(population, accumulate([float(T) for T in samples], 2.0, 0.3), order=1).test_error.total
    assert abs(mean - total) < 4 * error + 0.01 * total
    assert error < 0.01 * total


@pytest.mark.parametrize("penalty_sum", [0.0, 0.3, 40.0])
def test_one_batch_is_plain_ridge_regression(penalty_sum: float) -> None:
    population = power_law(30, 1.2, 0.3)
    kept = predict(population, accumulate([80], penalty_sum, 0.3), order=1)
    plain = predict(population, recursive(0, 0, 80, penalty_sum / 80, noise0=0, noise=0.3), order=1)
    assert math.isclose(kept.test_error.total, plain.test_error.total, rel_tol=1e-12)
    assert abs(kept.test_error.generation) <= 1e-15 * kept.test_error.total
    a, b = kept.regularization, plain.regularization
    assert math.isclose(a.recommended.total, b.recommended.total, rel_tol=1e-9)
    assert math.isclose(a.recommended.penalty, b.recommended.penalty, rel_tol=1e-3)
    assert math.isclose(a.effective_samples, b.effective_samples, rel_tol=1e-6)


def test_decomposition_by_plain_fits() -> None:
    """E = B(C_1) + Σ σ² (T_k/C_k) V(C_k), with B and V of separate predictions; the parts add up."""
    population, samples, lam, noise = power_law(50, 1.3, 0.2), [40.0, 25.0, 70.0, 10.0], 1.5, 0.2
    found = predict(population, accumulate(samples, lam, noise), order=0)
    plain = [
        predict(population, recursive(0, 0, T, lam / T, noise0=0, noise=noise)).test_error
        for T in np.cumsum(samples).tolist()
    ]
    increments = [T / C * p.variance for T, C, p in zip(samples, np.cumsum(samples), plain, strict=True)]
    assert math.isclose(found.test_error.total, plain[0].bias + sum(increments), rel_tol=1e-11)
    assert math.isclose(found.test_error.bias, plain[-1].bias, rel_tol=1e-11)
    assert math.isclose(found.test_error.variance, plain[-1].variance, rel_tol=1e-11)
    assert math.isclose(found.test_error.parts.distortion, plain[0].bias - plain[-1].bias, rel_tol=1e-9)
    shares = [T / sum(samples) * plain[-1].variance for T in samples]
    for source, increment, share in zip(found.test_error.by_source, increments, shares, strict=False):
        assert math.isclose(source.label_noise, increment - share, rel_tol=1e-9)
    assert found.real_only is not None
    assert math.isclose(found.real_only.total, plain[0].total, rel_tol=1e-11)
    assert math.isclose(found.clean.total, plain[-1].total, rel_tol=1e-11)


def test_with_equal_eigenvalues_the_best_penalty_of_one_batch_is_bayes() -> None:
    population = Population(np.array([0.7]), np.array([30.0]), np.array([0.05]), 0.3)
    found = predict(population, accumulate([80.0], OPTIMAL, 0.3)).regularization.recommended
    assert math.isclose(found.penalty * 80, 0.3 / 0.05, rel_tol=1e-9)


@pytest.mark.parametrize("samples", [[40.0, 25.0, 70.0, 10.0], [10.0, 500.0], [400.0] * 3])
def test_the_best_penalty_is_the_vertex_of_the_errors_beside_it(samples: list[float]) -> None:
    population, step = power_law(50, 1.3, 0.4), 2e-3
    found = predict(population, accumulate(samples, OPTIMAL, 0.4)).regularization.recommended
    below, middle, above = (
        predict(population, accumulate(samples, found.penalty * sum(samples) * factor, 0.4)).test_error.total
        for factor in (math.exp(-step), 1.0, math.exp(step))
    )
    vertex = step * (below - above) / (2 * (below - 2 * middle + above))
    assert abs(vertex) < 1e-5  # of ln λ


@pytest.mark.parametrize("samples", [[30.0] * 6, [200.0, 10.0, 10.0], [5.0] * 120])
def test_the_recommended_penalty_is_the_best(samples: list[float]) -> None:
    population = power_law(50, 1.3, 0.4)
    found = predict(population, accumulate(samples, OPTIMAL, 0.4)).regularization
    rows = sum(samples)
    assert found.penalty == found.recommended.penalty
    totals = {
        factor: predict(population, accumulate(samples, found.penalty * rows * factor, 0.4)).test_error.total
        for factor in (1e-3, 0.1, 0.5, 0.99, 1.0, 1.01, 2.0, 10.0, 1e3)
    }
    assert min(totals.values()) >= found.recommended.total * (1 - 1e-9)
    assert totals[0.5] > found.recommended.total < totals[2.0]
    clean = predict(population, accumulate(samples, found.clean_optimal_penalty * rows, 0.4)).test_error.total
    assert math.isclose(found.cost_of_clean_choice, clean - found.recommended.total, abs_tol=1e-10)


def test_a_batch_that_fills_the_threshold_diverges() -> None:
    """The second fit has as many rows as modes, or one more or fewer: no later fit forgets its noise."""
    for second in (9, 10, 11):
        found = predict(power_law(20, 1.0, 0.3), accumulate([10, second, 40], 0.0, 0.3), order=1)
        assert found.test_error.total == math.inf
    assert predict(power_law(20), accumulate([10, 10, 40], 0.1, 0.3)).test_error.total < math.inf
    assert predict(power_law(20, noise=0.0), accumulate([20, 10, 40], 0.0, 0.0)).test_error.total == 0


def test_nothing_to_fit() -> None:
    population = power_law(20)
    assert predict(population, accumulate([0, 0], 1.0, 0.3)).test_error.total == population.signal
    late = predict(population, accumulate([0, 100], 1.0, 0.3)).test_error
    assert (
        late.total > population.signal
    )  # the first model is 0, so the rows that it labels carry noise alone


def test_effective_ridges_by_brent() -> None:
    population = power_law(40, 1.1)
    sigma = population.eigenvalues
    rows, penalties = np.array([1.0, 39.0, 40.0, 41.0, 1e6]), np.array([1e-8, 1e-3, 1.0, 1e5, 0.1])
    for T, lam, theta in zip(rows, penalties, effective_ridges(population, rows, penalties), strict=True):

        def excess(x: float, T: float = T, lam: float = lam) -> float:
            return float(x * ((T - 40) + (x / (sigma + x)).sum()) - lam)

        assert math.isclose(
            theta, brentq(excess, theta / 2, 2 * theta, xtol=1e-300, rtol=1e-14), rel_tol=1e-11
        )


def test_only_its_own_formula_takes_it() -> None:
    """Reused rows are not fresh samples: the engine of fresh samples would give a wrong number."""
    with pytest.raises(Unsupported):
        general_prediction(power_law(10), accumulate([20, 20], 0.1, 0.3))


@pytest.mark.parametrize(
    ("samples", "noise"), [([50.0], 0.0), ([4.0], 0.0), ([20.0, 9.0], 1e6), ([1e6], 1e6)]
)
def test_flat_range_where_the_best_penalty_is_none_or_all(samples: list[float], noise: float) -> None:
    """A best penalty of 0 or infinity lies at an end of its flat range, within which the error is within 1 %."""
    population = Population(np.array([1.0, 0.5]), np.array([6.0, 1.0]), np.array([0.04, 0.01]), noise)
    mix = accumulate(samples, 1.0, noise)
    found = predict(population, mix).regularization
    least, flat = found.recommended.total, found.flat_range
    assert flat.low <= found.recommended.penalty <= flat.high
    inside = [p for p in (flat.low * 1.001, flat.high * 0.999) if 0 < p < math.inf]
    for penalty in inside:
        total = predict(population, accumulate(samples, penalty * sum(samples), noise)).test_error.total
        assert total <= 1.0101 * least


@pytest.mark.parametrize("scale", [1.0, 1e6, 1e15])
def test_the_best_penalty_of_little_noise_lies_far_below_the_eigenvalues(scale: float) -> None:
    """One fit with equal eigenvalues: the Bayes estimate's σ² d/‖w‖², also with as many rows as modes."""
    d, noise = 50, 0.25
    population = Population(np.full(1, scale), np.full(1, float(d)), np.full(1, 1.0 / d), noise)
    mix = TrainingMix((Stage("g0", (Source(REAL, REAL, float(d), noise),), 1e-3),), keeps_data=True)
    found = predict(population, mix).regularization
    assert found.recommended.penalty * d == pytest.approx(noise * d, rel=1e-3)
    assert found.recommended.total <= predict(population, mix).test_error.total


def test_a_correction_that_is_no_number_is_not_small() -> None:
    """As many rows as modes and no ridge: T − df2 is 0, and its inverse times 0 no correction."""
    with pytest.raises(NotSmall):
        bias_and_variance(isotropic(50, 0.25), np.array([50.0]), np.array([0.0]))


@pytest.mark.parametrize("seed", range(12))
def test_fifty_digits_at_the_extremes(seed: int) -> None:
    """Spectra over thirty orders of magnitude, 1 to 10^18 rows, as many rows as modes, noise from 0 to 10^6."""
    rng = np.random.default_rng(seed)
    d = int(rng.integers(1, 6))
    sigma, power = 10.0 ** rng.uniform(-15, 15, d), 10.0 ** rng.uniform(-2, 2, d)
    noise = 0.0 if seed % 4 == 0 else 10.0 ** rng.uniform(-12, 6)
    samples = [float(rng.choice([d, rng.integers(1, 9), round(10 ** rng.uniform(0, 18))])) for _ in range(3)]
    penalty = float(sigma.max() * 10 ** rng.uniform(-10, 6) * samples[-1])
    population = Population(sigma, np.ones(d), power / sigma, noise)
    found = predict(population, accumulate(samples, penalty, noise)).test_error.total
    with mp.workdps(50):
        s, rows, expected = [mp.mpf(x) for x in sigma.tolist()], mp.mpf(0), mp.mpf(0)
        for k, added in enumerate(samples):
            rows += added
            low, high = mp.log(penalty / rows), mp.log((penalty + mp.fsum(s)) / rows)
            for _ in range(200):  # θ (T − df1) rises in θ
                theta = mp.exp((low + high) / 2)
                if theta * (rows - mp.fsum(x / (x + theta) for x in s)) > penalty:
                    high = mp.log(theta)
                else:
                    low = mp.log(theta)
            df2 = mp.fsum((x / (x + theta)) ** 2 for x in s)
            if k == 0:
                left = mp.fsum(p * (theta / (x + theta)) ** 2 for x, p in zip(s, power.tolist(), strict=True))
                expected += rows / (rows - df2) * left
            expected += noise * added / rows * df2 / (rows - df2)
    assert found == pytest.approx(float(expected), rel=1e-13)


def test_long_lists_with_many_generations_by_plain_sums() -> None:
    """20,000 modes of a rough spectrum and 200 fits: E = B(T) + σ² Σ_k T_k/C_k V(C_k), fit by fit."""
    rng = np.random.default_rng(5)
    sigma = np.sort(np.arange(1.0, 20_001) ** -1.2 * rng.uniform(0.3, 1.0, 20_000))
    power = rng.exponential(size=20_000) / 20_000
    population, T, penalty, noise = Population(sigma, np.ones(20_000), power, 0.3), 90.0, 0.2, 0.3
    found = predict(population, accumulate([T] * 200, penalty, noise))
    total = 0.0
    for k in range(1, 201):
        rows = k * T
        theta = brentq(
            lambda x, C=rows: x * (C - (sigma / (sigma + x)).sum()) - penalty, 1e-9, 1e3, xtol=1e-18
        )
        S, U = sigma / (sigma + theta), theta / (sigma + theta)
        room = rows - (S * S).sum()
        if k == 1:
            total = rows * (sigma * U * U * power).sum() / room
        total += noise * (S * S).sum() / room / k
    assert found.test_error.total == pytest.approx(total, rel=1e-10)


@pytest.mark.parametrize("penalty", [1e-20, 1e-60, 6e-116])
def test_effective_ridges_of_next_to_no_penalty(penalty: float) -> None:
    """θ (T − d) -> λ_u for T > d, beside fits whose ridge is anything: no digits are lost on the way down."""
    population = Population(np.array([0.6836976722809427]), np.array([3.0]), np.array([1.0]), 0.1)
    rows = np.array([4.0, 5.0, 515.0, 1e12])
    np.testing.assert_allclose(
        effective_ridges(population, rows, penalty), penalty / (rows - 3.0), rtol=1e-12
    )
