"""Flat spectra with any label noise: fifty digits, the Bayes estimate, and the general engine."""

import math

import mpmath
import numpy as np
import pytest

from service.theory.flat_spectrum import FlatStage
from service.theory.general import general_prediction
from service.theory.model import OPTIMAL, REAL, Population, Source, Stage, TrainingMix
from service.theory.prediction import predict
from tests.theory.problems import recursive


def population(noise: float, d: float = 60.0) -> Population:
    return Population(np.array([0.7]), np.array([d]), np.array([1.0 / d]), noise)


def exact_error(stage: FlatStage, v: mpmath.mpf) -> mpmath.mpf:
    d, T, e, o, w, noise = map(
        mpmath.mpf,
        (stage.modes, stage.samples, stage.error, stage.overlap, stage.signal, stage.noise),
    )
    S = min(mpmath.mpf(1), T / d) - v
    U = 1 - S
    return (
        S * S * e
        - 2 * S * U * o
        + U * U * w
        + d * S * S / (T - d * S * S) * (U * U * (e + 2 * o + w) + noise)
    )


@pytest.mark.parametrize("samples", [20.0, 59.0, 60.0, 61.0, 120.0, 6e10])
@pytest.mark.parametrize("noise", [1e-15, 1e-9, 1e-4, 0.5])
@pytest.mark.parametrize("labels", [(0.0, 0.0), (0.7, 0.0), (0.0, -0.3)], ids=["true", "noisy", "shrunk"])
def test_the_best_penalty_in_fifty_digits(samples: float, noise: float, labels: tuple[float, float]) -> None:
    """The slope of the error changes its sign within 1e-9 of where it is said to be least."""
    error, shrinkage = labels[0] * noise, labels[1] * min(1.0, noise)
    stage = FlatStage(60.0, samples, error - shrinkage, shrinkage, 1.0, noise)
    v = stage.least()
    assert v is not None
    with mpmath.workdps(50):
        below, there, above = (exact_error(stage, mpmath.mpf(v) * (1 + h)) for h in (-1e-9, 0, 1e-9))
        assert there < below
        assert there < above
        assert math.isclose(stage.total(v), float(there), rel_tol=1e-12)
        for other in (1e-12, 1e-6, 1e-3, 0.1, 0.4, 0.8):
            assert exact_error(stage, mpmath.mpf(other * stage.most)) > there


@pytest.mark.parametrize("samples", [20.0, 60.0, 6e5])
@pytest.mark.parametrize("noise", [1e-13, 1e-7, 0.3])
def test_it_is_the_bayes_estimate(samples: float, noise: float) -> None:
    """λ = σ² d noise/(T ‖w‖²_Σ) per sample; effective samples are what there are; 1 % above the least at both ends."""
    mix = TrainingMix((Stage("f", (Source(REAL, REAL, samples, noise),), OPTIMAL),))
    given = population(noise)
    found = predict(given, mix).regularization
    assert math.isclose(found.recommended.penalty, noise / samples * 60.0, rel_tol=1e-9)
    assert math.isclose(found.effective_samples, samples, rel_tol=1e-9)
    for end in (found.flat_range.low, found.flat_range.high):
        stage = Stage("f", mix.stages[0].sources, end)
        total = predict(given, TrainingMix((stage,))).test_error.total
        assert total <= 1.01 * found.recommended.total * (1 + 1e-9)
        assert end == 0 or math.isclose(total, 1.01 * found.recommended.total, rel_tol=1e-9)


@pytest.mark.parametrize("samples", [40.0, 55.0, 90.0, 4000.0])
@pytest.mark.parametrize("generations", [0, 1, 3])
def test_it_is_what_the_general_engine_says(samples: float, generations: int) -> None:
    given = population(0.2)
    mix = recursive(generations, 100, samples, 0.01, noise0=0.3, noise=0.2, penalty0=0.02)
    a, b = predict(given, mix), general_prediction(given, mix)
    assert a.test_error.total == pytest.approx(b.test_error.total, rel=1e-10)
    assert a.clean.best.total == pytest.approx(b.clean.best.total, rel=1e-8)
    mine, other = a.regularization, b.regularization
    assert mine.recommended.total == pytest.approx(other.recommended.total, rel=1e-8)
    assert mine.recommended.penalty == pytest.approx(other.recommended.penalty, rel=1e-5)
    assert mine.clean_optimal_penalty == pytest.approx(other.clean_optimal_penalty, rel=1e-5)
    assert mine.flat_range.low == pytest.approx(other.flat_range.low, rel=1e-3)
    assert mine.flat_range.high == pytest.approx(other.flat_range.high, rel=1e-3)
    assert mine.cost_of_clean_choice == pytest.approx(other.cost_of_clean_choice, rel=1e-4, abs=1e-9)


def test_what_is_beyond_the_range_is_left_to_others() -> None:
    """Hardly anything learned, next to no penalty, ends of a range thirty decades below the best penalty."""
    assert FlatStage(60.0, 80.0, 0.0, 0.0, 1e-300, 1.0).least() is None
    assert FlatStage(60.0, 80.0, 0.0, 0.0, 1.0, 0.0).least() is None
    assert FlatStage(60.0, 80.0, 0.0, 0.0, 1e-320, 1e-320).least() is None
    wide = FlatStage(8.0, 930614482924885.0, 0.0, 0.0, 1.2e19, 1500.0)
    v = wide.least()
    assert v is not None
    low, high = wide.range(v, 0.01)
    assert low < wide.penalty(v) < high
