"""Varied predictions are those of each mix by itself."""

import math

import numpy as np
import pytest

from service.theory.general import general_prediction
from service.theory.model import OPTIMAL, REAL, Population, Shift, Source, Stage, TrainingMix
from service.theory.prediction import predict
from service.theory.slots import COLUMNS, Slot
from service.theory.variations import _at, _row, predictions
from tests.theory.problems import power_law, recursive

RNG = np.random.default_rng(3)
N = 25


def check(population, mix, variations, rel=1e-4) -> None:  # type: ignore[no-untyped-def]
    found = predictions(population, mix, variations, N)
    assert not found.problems
    for i in range(N):
        expected = _row(predict(*_at(population, mix, variations, i)))
        for name, value in zip(COLUMNS, expected, strict=True):
            # what is found at an optimum is as sharp as its place
            there = (
                1e-10 if name in {"total", "bias", "variance"} and mix.stages[-1].penalty != OPTIMAL else rel
            )
            floor = 1e-9 * expected[COLUMNS.index("total")]
            assert found.values[name][i] == pytest.approx(value, rel=there, abs=floor), (name, i)


@pytest.mark.parametrize("penalty", [0.02, OPTIMAL])
def test_a_varied_recursion(penalty: float | str) -> None:
    population = power_law(60)
    mix = recursive(3, 200, 100, 0.02, noise0=0.3, noise=0.2, penalty0=0.01)
    mix = TrainingMix((*mix.stages[:-1], Stage("final", mix.stages[-1].sources, penalty)))  # type: ignore[arg-type]
    samples = np.round(np.exp(RNG.uniform(3, 7, N)))
    variations = {
        Slot("samples", 0, 0): samples,
        Slot("samples", 1, 0): samples,
        Slot("noise_variance", 3, 0): RNG.uniform(0.1, 1, N),
        Slot("noise_variance"): RNG.uniform(0.1, 1, N),
    }
    if penalty != OPTIMAL:
        variations[Slot("penalty", 3)] = np.exp(RNG.uniform(-8, 0, N))
    check(population, mix, variations)


def test_thresholds_and_empty_stages_among_regular_points() -> None:
    population = power_law(40)
    mix = recursive(1, 100, 90, 0.0, noise0=0.3, noise=0.2)
    variations = {
        Slot("samples", 0, 0): np.arange(30.0, 30.0 + N),
        Slot("samples", 1, 0): np.resize([0.0, 40, 90], N),
    }
    found = predictions(population, mix, variations, N)
    for i in range(N):
        expected = predict(*_at(population, mix, variations, i)).test_error.total
        assert found.values["total"][i] == pytest.approx(expected, rel=1e-10)
    assert math.isinf(found.values["total"][10]), "a generator with as many samples as modes"


def test_any_other_mix() -> None:
    population = power_law(20)
    sources = (Source(REAL, REAL, 50, 0.2), Source("s", Shift(np.full(20, 0.01)), 70, 0.2, 0.5))
    variations = {
        Slot("weight", 0, 1): RNG.uniform(0, 2, N),
        Slot("samples", 0, 0): np.round(RNG.uniform(10, 90, N)),
    }
    check(population, TrainingMix((Stage("final", sources, 0.05),)), variations, rel=1e-9)


@pytest.mark.parametrize("penalty", [0.05, OPTIMAL])
def test_shifts_are_linear(penalty: float | str) -> None:
    """Labels are wrong by δ with E δ² in proportion to the factor: so is what shifts add to the error."""
    population = power_law(20)
    first = Stage(
        "a", (Source(REAL, REAL, 60, 0.2), Source("s", Shift(np.full(20, 0.02)), 50, 0.2, 0.5)), 0.1
    )
    sources = (Source("a", "a", 50, 0.2), Source("s", Shift(np.linspace(0, 0.04, 20)), 70, 0.2, 0.5))
    mix = TrainingMix((first, Stage("final", sources, penalty)))  # type: ignore[arg-type]
    factors = {Slot("shift", 0, 1): RNG.uniform(0, 2, N), Slot("shift", 1, 1): RNG.uniform(0, 2, N)}
    check(population, mix, factors, rel=1e-6 if penalty == OPTIMAL else 1e-9)
    if penalty != OPTIMAL:
        shift = predictions(population, mix, factors, N).values["shift"]
        each = [
            predictions(population, mix, {slot: np.array([0.0, 1.0])}, 2).values["shift"] for slot in factors
        ]
        slopes = [float(values[1] - values[0]) for values in each]
        expected = sum(slope * factor for slope, factor in zip(slopes, factors.values(), strict=True))
        assert np.allclose(shift, expected, rtol=1e-10)


@pytest.mark.parametrize("penalty", [0.02, OPTIMAL])
def test_order_one_side_by_side(penalty: float | str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unbiased generators: no point needs to go by itself, and none differs from what it is by itself."""
    population = power_law(60)
    mix = recursive(3, 200, 100, 0.02, noise0=0.3, noise=0.2, penalty0=0.0)
    mix = TrainingMix((*mix.stages[:-1], Stage("final", mix.stages[-1].sources, penalty)))  # type: ignore[arg-type]
    slots = {
        Slot("samples", 0, 0): np.linspace(90, 300, N).round(),
        Slot("samples", 3, 0): np.round(np.exp(RNG.uniform(3, 7, N))),
        Slot("noise_variance", 3, 0): RNG.uniform(0.1, 1, N),
        Slot("noise_variance"): RNG.uniform(0.1, 1, N),
    }
    if penalty != OPTIMAL:
        slots[Slot("penalty", 3)] = np.exp(RNG.uniform(-6, 0, N))
    expected = [_row(predict(*_at(population, mix, slots, i), order=1)) for i in range(N)]
    calls = []
    monkeypatch.setattr(
        "service.theory.variations.predict", lambda *args, **_: calls.append(args) or predict(*args, order=1)
    )
    found = predictions(population, mix, slots, N, order=1)
    assert len(calls) <= 2
    for i, row in enumerate(expected):
        for name, value in zip(COLUMNS, row, strict=True):
            assert found.values[name][i] == pytest.approx(value, rel=1e-4, abs=1e-9 * row[1]), (name, i)
        assert found.values["total"][i] == pytest.approx(row[1], rel=1e-10 if penalty != OPTIMAL else 1e-6)


@pytest.mark.parametrize("samples", [1e5, 1e7, 1e9, 1e14])
def test_very_many_samples_of_very_small_weight_side_by_side(samples: float) -> None:
    """What is left of them is no number to solve from; the general engine's own referee is in test_edges.py."""
    d = 300
    population = Population(np.arange(1.0, d + 1) ** -1.5, np.ones(d), np.full(d, 1 / d), 0.3)
    penalties = np.array([0.3, 1.0, 3.0, 30.0]) / samples

    def mix(penalty: float) -> TrainingMix:
        light = Source("light", Shift(np.full(d, 0.1 / d)), samples, 0.3, 20.0 / samples)
        return TrainingMix((Stage("final", (Source("real", REAL, 20.0, 0.3), light), penalty),))

    found = predictions(population, mix(1.0), {Slot("penalty", 0): penalties}, penalties.size)
    assert not found.problems
    alone = [general_prediction(population, mix(float(penalty))) for penalty in penalties]
    for name, expected in (
        ("total", [one.test_error.total for one in alone]),
        ("recommended_penalty", [one.regularization.recommended.penalty for one in alone]),
        ("total_at_recommended", [one.regularization.recommended.total for one in alone]),
    ):
        np.testing.assert_allclose(found.values[name], expected, rtol=1e-9)
