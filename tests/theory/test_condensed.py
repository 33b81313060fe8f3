"""A condensed spectrum has the sums of the one it stands for, and so all predictions."""

from dataclasses import replace
from math import fsum
from typing import Literal

import numpy as np
import pytest

from service.theory.general import general_prediction
from service.theory.model import REAL, Array, Population, Shift, Source, Stage, TrainingMix
from service.theory.plain_prediction import plain_prediction
from service.theory.prediction import predict
from service.theory.slots import Slot
from service.theory.variations import predictions
from tests.theory.problems import recursive

RNG = np.random.default_rng(11)
RANKS = np.arange(1.0, 601.0)


def population(kind: str) -> Population:
    """600 modes: a power law; scattered over six decades, their target on few of them; close to two values."""
    sigma, power = RANKS**-1.5, np.full(600, 1 / 600)
    if kind == "scattered":
        sigma, power = 10 ** RNG.uniform(-6, 0, 600), RNG.random(600) * (RNG.random(600) < 0.05)
    if kind == "clustered":
        sigma, power = np.repeat([1.0, 0.3], 300) + 1e-3 * RNG.random(600), RNG.random(600)
    return Population(sigma, RNG.integers(1, 4, 600).astype(float), power, 0.3)


@pytest.mark.parametrize("kind", ["law", "scattered", "clustered"])
def test_sums_of_products(kind: str) -> None:
    full = population(kind)
    few, shift = full.condensed, RNG.random(600)
    assert few.eigenvalues.size < 300
    condensation = full.condensation
    assert condensation is not None
    measures: list[tuple[Array, Array]] = [
        (np.ones(600), np.ones(few.eigenvalues.size)),
        (full.target_power, few.target_power),
        (shift, condensation.power(shift)),
    ]
    for theta, other, s, u, generations in (
        (1e-3, 0.1, 0, 1, 0), (1e-5, 10.0, 1, 1, 1), (0.1, 1e-4, 2, 2, 12), (3e-2, 1e-2, 4, 3, 0), (1e-7, 0.2, 0, 4, 3),
    ):  # fmt: skip

        def product(sigma: Array) -> Array:
            S, T = sigma / (sigma + theta), sigma / (sigma + other)  # noqa: B023
            return np.asarray(S**s * (1 - S) ** u * T**generations * sigma)  # noqa: B023

        for whole, part in measures:
            exact = fsum(full.multiplicities * whole * product(full.eigenvalues))
            assert fsum(few.multiplicities * part * product(few.eigenvalues)) == pytest.approx(
                exact, rel=2e-12
            )


def test_more_modes_than_are_taken_at_a_time() -> None:
    sigma = np.arange(1.0, 100_001.0) ** -1.2
    full = Population(sigma, np.ones(sigma.size), RNG.random(sigma.size), 0.3)
    few = full.condensed
    assert few.eigenvalues.size < 300
    for theta in (1e-5, 1e-2):
        exact = fsum(full.target_power * sigma * (theta / (sigma + theta)) ** 2)
        U = theta / (few.eigenvalues + theta)
        assert fsum(few.weight * few.target_power * U * U) == pytest.approx(exact, rel=1e-12)


def mixed() -> TrainingMix:
    """Three stages: real data, an earlier model, a shift."""
    shift = Shift(0.2 * RNG.random(600) / 600)
    first = Stage("a", (Source(REAL, REAL, 200.0, 0.3), Source("s", shift, 150.0, 0.2, 0.6)), 0.01)
    second = Stage("b", (Source(REAL, REAL, 250.0, 0.3, 0.8), Source("a", "a", 300.0, 0.1)), 0.02)
    last = (
        Source(REAL, REAL, 100.0, 0.3),
        Source("a", "a", 100.0, 0.1, 0.5),
        Source("b", "b", 90.0, 0.1, 0.7),
    )
    return TrainingMix((first, second, Stage("c", last, 0.03)))


@pytest.mark.parametrize("kind", ["law", "scattered", "clustered"])
def test_predictions_of_the_general_engine(kind: str) -> None:
    full = population(kind)
    for mix in (recursive(4, 500, 400, 0.02, noise0=0.3, noise=0.2, penalty0=0.01), mixed()):
        found, expected = predict(full, mix), general_prediction(full, mix)
        error, other = found.test_error, expected.test_error
        assert error.total == pytest.approx(other.total, rel=1e-12)
        assert error.bias == pytest.approx(other.bias, rel=1e-12)
        assert error.parts.distortion == pytest.approx(other.parts.distortion, abs=1e-12 * other.total)
        assert [s.label_noise for s in error.by_source] == pytest.approx(
            [s.label_noise for s in other.by_source], rel=1e-11
        )
        own, best = found.regularization, expected.regularization
        assert own.recommended.total == pytest.approx(best.recommended.total, rel=1e-11)
        assert own.recommended.penalty == pytest.approx(best.recommended.penalty, rel=1e-5)
        assert own.flat_range.low == pytest.approx(best.flat_range.low, rel=1e-4)
        assert own.effective_samples == pytest.approx(best.effective_samples, rel=1e-7)


def uncondensed(full: Population) -> Population:
    own = replace(full)
    own.__dict__["condensation"] = None
    return own


@pytest.mark.parametrize("order", [0, 1])
def test_side_by_side_and_alone(order: Literal[0, 1]) -> None:
    full = population("law")
    whole = uncondensed(full)
    penalties = np.geomspace(1e-3, 1.0, 3)
    for mix in (recursive(3, 500, 400, 0.02, noise0=0.3, noise=0.2), mixed()):
        last = len(mix.stages) - 1
        found = predictions(full, mix, {Slot("penalty", last): penalties}, 3, order=order)
        for penalty, total in zip(penalties.tolist(), found.values["total"].tolist(), strict=True):
            final = mix.stages[-1]
            own = TrainingMix((*mix.stages[:-1], Stage(final.name, final.sources, penalty)))
            assert total == pytest.approx(predict(whole, own, order=order).test_error.total, rel=1e-11)


def test_labels_that_carry_nothing_of_the_truth() -> None:
    """Predicting zero is best, and said so: no finite penalty is, however large."""
    full = population("law")
    mix = recursive(100, 500, 400, 0.02, noise0=0.3, noise=0.2, penalty0=3.0)
    found = predictions(full, mix, {Slot("penalty", 100): np.array([0.01, 0.1])}, 2)
    assert found.values["recommended_penalty"].tolist() == [np.inf, np.inf]
    assert predict(full, mix).regularization.recommended.penalty == np.inf


def test_order_one_is_that_of_all_modes() -> None:
    full = population("scattered")
    mix = recursive(3, 2500, 2000, 0.02, noise0=0.3, noise=0.2)
    found, expected = (plain_prediction(own, mix, 1) for own in (full, uncondensed(full)))
    assert found is not None
    assert expected is not None
    assert found.order == expected.order == 1
    assert found.test_error.total == pytest.approx(expected.test_error.total, rel=1e-12)
    assert found.moved == pytest.approx(expected.moved, rel=1e-10)


def test_other_noise_of_a_condensed_population() -> None:
    full = population("law")
    assert full.condensed.noise_variance == 0.3
    other = full.with_noise(0.7)
    assert other.condensed.noise_variance == 0.7
    assert other.condensed.eigenvalues is full.condensed.eigenvalues


def test_what_is_not_condensed() -> None:
    few, wide = Population(RANKS[:40], RANKS[:40], RANKS[:40], 0.1), np.geomspace(1e-200, 1.0, 600)
    assert few.condensed is few
    assert Population(wide, np.ones(600), np.ones(600), 0.1).condensation is None
    assert Population(np.ones(600), np.ones(600), np.ones(600), 0.1).condensation is None
    assert Population(np.append(RANKS, 0.0), np.ones(601), np.ones(601), 0.1).condensation is None
