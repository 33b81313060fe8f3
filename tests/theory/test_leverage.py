"""How far real rows are off, against closed forms of independent features and a literal simulation."""

from collections.abc import Callable
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from service.simulation.engine import last_totals, simulate
from service.simulation.process import Process, accumulated
from service.simulation.rows import EmpiricalProblem
from service.theory.empirical import empirical_population, modes
from service.theory.kernels import Linear
from service.theory.leverage import leverages, rows_error, with_rows_error
from service.theory.model import REAL, Array, Source, Stage, TrainingMix
from service.theory.prediction import predict

SCALES = np.array([2.0, 1.0, 0.5])
WEIGHTS = np.array([0.7, -0.4, 1.1])


def independent(values: list[float]) -> Array:
    """All rows of three independent features, each of these values with equal probability, times ``SCALES``."""
    z = np.array(list(product(values, repeat=3)))
    return (z - np.mean(values)) / np.std(values) * SCALES


@pytest.mark.parametrize("values", [[-1.0, 1.0], [-3.0, -1.0, 0.0, 0.0, 0.0, 1.0, 3.0], [0.0, 1.0, 5.0]])
@pytest.mark.parametrize("unit", [1.0, 1e-30])
def test_excess_of_independent_features_is_their_excess_kurtosis(values: list[float], unit: float) -> None:
    """Of independent features Cov(h, r²) is that of Gaussian ones plus κ_4 Σ q_i s_i b_i²."""
    X = unit * independent(values)
    z = (np.array(values) - np.mean(values)) / np.std(values)
    s = (unit * SCALES) ** 2
    found = leverages(modes(Linear(), X, X @ WEIGHTS), SCALES * WEIGHTS)
    assert found.rows == len(X)
    for k in (3, 12, 20):
        ridge = s[0] * np.geomspace(100.0, (SCALES**2)[-1] / SCALES[0] ** 2, 25)[k]
        q, power = s / (s + ridge), (ridge / (s + ridge) * SCALES * WEIGHTS) ** 2
        assert found.degrees_of_freedom[k] == pytest.approx(q.sum(), rel=1e-9)
        expected = (np.mean(z**4) - 3) * (q @ power) / (q.sum() * power.sum())
        assert found.excess[k] == pytest.approx(expected, rel=1e-7, abs=1e-12)


def test_no_target_has_no_residual() -> None:
    X = independent([-1.0, 1.0])
    np.testing.assert_array_equal(leverages(modes(Linear(), X, 0 * X[:, 0]), np.zeros(3)).excess, 0.0)


def constant(rng: np.random.Generator) -> Array:
    """A leading feature that is constant, as a kernel's nearly is."""
    return np.hstack([3.0 * np.ones((4_000, 1)), rng.standard_normal((4_000, 4))])


def norms(rng: np.random.Generator) -> Array:
    """Rows of which some are much longer than others."""
    return rng.choice([0.5, 2.0], (4_000, 1), p=[0.8, 0.2]) * rng.standard_normal((4_000, 5))


@pytest.mark.parametrize(
    ("rows", "samples", "penalty"), [(constant, 6, 0.3), (norms, 20, 0.3), (norms, 60, 0.1)]
)
def test_a_literal_simulation_is_off_by_about_what_is_said(
    rows: Callable[[np.random.Generator], Array], samples: int, penalty: float, tmp_path: Path
) -> None:
    X = rows(np.random.default_rng(4))
    described = empirical_population(Linear(), X, X @ np.array([0.5, 0.4, 0.3, 0.2, 0.1]), 0.05)
    mix = TrainingMix((Stage("final", (Source(REAL, REAL, samples, 0.05),), penalty),))
    found = rows_error(described.population, mix)
    assert found is not None
    predicted = predict(described.population, mix, order=1)
    np.save(tmp_path / "X.npy", X)
    np.save(tmp_path / "truth.npy", described.truth)
    run = Process.fresh(described.population, mix)
    problem = EmpiricalProblem(tmp_path / "X.npy", tmp_path / "truth.npy", Linear())
    errors = last_totals([run], simulate(problem, [run], 0, 0, 1_500, average_noise=True))[0]
    difference = errors.mean() / predicted.test_error.total - 1
    standard_error = errors.std() / np.sqrt(len(errors)) / predicted.test_error.total
    print(difference, standard_error, predicted.expected_relative_error, found)
    assert abs(difference) > 5 * standard_error
    assert found.total / 3 < abs(difference) < 3 * found.total
    assert with_rows_error(described.population, predicted).expected_relative_error == pytest.approx(
        predicted.expected_relative_error + found.total
    )


def test_accumulated_rows_are_off_by_about_what_is_said(tmp_path: Path) -> None:
    """The bias of the first fit is never repaired, and so is what its few rows are off."""
    X = norms(np.random.default_rng(4))
    described = empirical_population(Linear(), X, X @ np.array([0.5, 0.4, 0.3, 0.2, 0.1]), 0.05)
    sizes, penalty_sum = (12, 20, 40), 6.0
    stages = tuple(
        Stage(f"s{k}", (Source("b", f"s{k - 1}" if k else REAL, T, 0.05),), penalty_sum / sum(sizes[: k + 1]))
        for k, T in enumerate(sizes)
    )
    mix = TrainingMix(stages, keeps_data=True)
    predicted = predict(described.population, mix, order=1)
    found = rows_error(described.population, predicted.mix)
    first = rows_error(described.population, TrainingMix(predicted.mix.stages[:1]))
    assert found is not None
    assert found.leverage == pytest.approx(getattr(first, "leverage", None), rel=1e-12)
    np.save(tmp_path / "X.npy", X)
    np.save(tmp_path / "truth.npy", described.truth)
    run = accumulated(described.population, TrainingMix(stages))
    problem = EmpiricalProblem(tmp_path / "X.npy", tmp_path / "truth.npy", Linear())
    errors = last_totals([run], simulate(problem, [run], 0, 0, 1_500, average_noise=True))[0]
    difference = errors.mean() / predicted.test_error.total - 1
    standard_error = errors.std() / np.sqrt(len(errors)) / predicted.test_error.total
    print(difference, standard_error, predicted.expected_relative_error, found)
    assert abs(difference) > 5 * standard_error
    assert found.total / 3 < abs(difference) < 3 * found.total
    assert with_rows_error(described.population, predicted).expected_relative_error == pytest.approx(
        predicted.expected_relative_error + found.total
    )


def test_it_falls_with_samples_and_rows_drawn_twice_add_to_it() -> None:
    X = independent([-3.0, -1.0, 0.0, 0.0, 0.0, 1.0, 3.0])
    population = empirical_population(Linear(), X, X @ WEIGHTS, 0.1).population

    def error(samples: float, penalty: float = 0.1) -> tuple[float, float]:
        found = rows_error(
            population, TrainingMix((Stage("final", (Source(REAL, REAL, samples, 0.1),), penalty),))
        )
        assert found is not None
        return found.leverage, found.repeats

    assert error(10.0)[0] > 3 * error(100.0)[0]
    assert error(100.0, 1e-9)[1] == pytest.approx((3 / 100) ** 2 * 100 / len(X), rel=1e-6)
