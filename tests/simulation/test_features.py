"""The distributions of features: moments, prefixes, refusals; and that the theory holds beyond Gaussian ones."""

import numpy as np
import pytest

from service.simulation.features import (
    Bartlett,
    Features,
    Gaussian,
    Rademacher,
    StudentT,
    Uniform,
    bartlett_rows,
    draw_rows,
)
from service.theory.prediction import predict
from tests.simulation.mixes import POPULATION, PROCESSES, totals

DRAWN: list[tuple[Features, float]] = [
    (Gaussian(), 3.0),
    (Rademacher(), 1.0),
    (Uniform(), 9 / 5),
    (StudentT(12.0), 3 + 6 / (12 - 4)),
]
"""With their fourth moments."""


def rows(features: Features, shape: tuple[int, int], seed: int = 0) -> np.ndarray:
    out = np.empty(shape)
    draw_rows(features, np.random.default_rng(seed), out)
    return out


@pytest.mark.parametrize(("features", "fourth"), DRAWN)
def test_mean_0_variance_1_independent(features: Features, fourth: float) -> None:
    Z = rows(features, (200_000, 3))
    n = len(Z)
    assert np.all(np.abs(Z.mean(axis=0)) < 4 / np.sqrt(n))
    np.testing.assert_allclose((Z**2).mean(axis=0), 1.0, atol=4 * np.sqrt((fourth - 1) / n) + 1e-12)
    np.testing.assert_allclose((Z**4).mean(axis=0), fourth, rtol=0.12)
    assert np.all(np.abs(np.triu(Z.T @ Z / n, 1)) < 4 / np.sqrt(n))
    assert np.all(np.abs(np.triu((Z**2).T @ Z**2 / n - 1, 1)) < 4 * (fourth - 1 + 1e-3) / np.sqrt(n) * 1.5)


def test_what_the_values_are() -> None:
    assert set(np.unique(rows(Rademacher(), (50, 3)))) == {-1.0, 1.0}
    uniform = rows(Uniform(), (50_000, 2))
    assert np.sqrt(3) * 0.999 < np.abs(uniform).max() <= np.sqrt(3)
    nearly = rows(StudentT(1e6), (50_000, 2))
    assert np.abs((nearly**4).mean() - 3) < 0.15


@pytest.mark.parametrize(("features", "fourth"), DRAWN)
def test_a_larger_source_begins_with_the_samples_of_a_smaller_one(features: Features, fourth: float) -> None:
    np.testing.assert_array_equal(rows(features, (9, 4))[:5], rows(features, (5, 4)))


@pytest.mark.parametrize("degrees_of_freedom", [2.0, 1.0, float("inf"), float("nan"), -3.0])
def test_student_t_without_a_variance_is_refused(degrees_of_freedom: float) -> None:
    with pytest.raises(ValueError, match="variance"):
        StudentT(degrees_of_freedom)


def test_bartlett_rows_are_triangular() -> None:
    for T, d in ((9, 4), (4, 4), (2, 5)):
        R = bartlett_rows(np.random.default_rng(0), T, d)
        assert R.shape == (min(T, d), d)
        assert np.all(np.triu(R, d - min(T, d) + 1) == 0)
        assert np.all(R[np.tri(min(T, d), d, d - min(T, d), dtype=bool)] != 0)


@pytest.mark.parametrize("features", [Gaussian(), Rademacher(), Uniform(), StudentT(12.0), Bartlett()])
@pytest.mark.parametrize("name", ["ridge chain", "two parents and weights"])
def test_the_theory_holds_for_light_tails(name: str, features: Features) -> None:
    """Universality: to leading order the error depends on the covariance alone."""
    process = PROCESSES[name]
    predicted = predict(POPULATION, process.mix)
    errors = totals(process, 400, features=features, average_noise=True)
    allowed = 3 * predicted.expected_relative_error * predicted.test_error.total
    assert abs(errors.mean() - predicted.test_error.total) < 4 * errors.std() / 20 + allowed


def test_heavy_tails_cost_more_than_the_theory_says() -> None:
    """ν = 2.5: fourth moments are infinite, and the fit sees fewer typical samples than it has."""
    process = PROCESSES["least squares"]
    heavy = totals(process, 400, features=StudentT(2.2), average_noise=True)
    light = totals(process, 400, features=Gaussian(), average_noise=True)
    assert np.median(heavy) > 1.3 * np.median(light)
