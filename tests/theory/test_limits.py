"""Limits over generations and over data against the engine evaluated far out."""

import dataclasses
import math

import numpy as np
import pytest

from service.theory import limits as module
from service.theory.limits import limits
from service.theory.model import PREVIOUS, REAL, Population, Shift, Source, Stage, TrainingMix
from service.theory.prediction import predict
from tests.theory.problems import isotropic, power_law, recursive, two_sources


def with_next(mix: TrainingMix) -> TrainingMix:
    last = mix.stages[-2]
    synthetic = dataclasses.replace(last.sources[-1], name=PREVIOUS, labels=PREVIOUS)
    sources = (*last.sources[:-1], synthetic)
    return TrainingMix(mix.stages, dataclasses.replace(last, name=PREVIOUS, sources=sources))


def chain(population: Population, n: int, penalty0: float, T0: float) -> TrainingMix:
    return with_next(recursive(n, T0, 150, 0.05, noise0=0.3, noise=0.2, penalty0=penalty0))


def fresh(n: int, real: float, synthetic: float, penalty: float) -> TrainingMix:
    stages = [Stage("g0", (Source(REAL, REAL, real + synthetic, 0.2),), penalty)]
    for k in range(1, n + 1):
        before = stages[-1].name
        sources = (Source(REAL, REAL, real, 0.2), Source(before, before, synthetic, 0.2))
        stages.append(Stage(f"g{k}", sources, penalty))
    return with_next(TrainingMix((*stages, dataclasses.replace(stages[-1], name="final"))))


@pytest.mark.parametrize("penalty0", [1e-3, 0.1, 2.0])
@pytest.mark.parametrize("T0", [80, 400])
def test_bounded_chain(penalty0: float, T0: int) -> None:
    population = power_law(120, 1.2, 0.2)
    found = limits(population, chain(population, 3, penalty0, T0))
    if found.regime == module.EXPONENTIAL:
        a, b = (predict(population, chain(population, n, penalty0, T0)).test_error.total for n in (300, 310))
        assert b > 1.01 * a
        return
    assert found.regime == module.BOUNDED
    far = predict(
        population, chain(population, 20_000 if penalty0 < 0.01 else 4_000, penalty0, T0)
    ).test_error.total
    assert found.generations_limit is not None
    assert math.isclose(found.generations_limit, far, rel_tol=1e-6)


@pytest.mark.parametrize("share", [0.01, 0.2, 0.9])
@pytest.mark.parametrize("penalty", [0.0, 0.05])
def test_fresh_real_data_bound_the_error(share: float, penalty: float) -> None:
    population = power_law(60, 1.2, 0.2)
    real = round(400 * share)
    found = limits(population, fresh(3, real, 400 - real, penalty))
    far = predict(population, fresh(2_000, real, 400 - real, penalty)).test_error.total
    assert found.regime == module.BOUNDED
    assert found.generations_limit is not None
    assert math.isclose(found.generations_limit, far, rel_tol=1e-8)


def test_least_squares_grow_linearly() -> None:
    population = power_law(60, 1.2, 0.2)
    found = limits(population, chain(population, 3, 0.0, 200))
    a, b = (predict(population, chain(population, n, 0.0, 200)).test_error.total for n in (7, 8))
    assert found.regime == module.LINEAR
    assert found.growth_per_generation is not None
    assert math.isclose(found.growth_per_generation, b - a, rel_tol=1e-10)


def test_unstable_generators_grow_exponentially() -> None:
    """Hardly more samples than modes and a vanishing penalty: each fit amplifies the error of the one before."""
    population = isotropic(100, 0.1)
    found = limits(population, chain(population, 3, 1e-7, 50))
    a, b, c = (predict(population, chain(population, n, 1e-7, 50)).test_error.total for n in (40, 41, 42))
    assert (found.regime == module.EXPONENTIAL) == (c - b > 1.0001 * (b - a))


@pytest.mark.parametrize("penalty", [0.0, 0.03])
def test_unlimited_data(penalty: float) -> None:
    population = power_law(60, 1.2, 0.2)
    shift = np.full(60, 0.01)
    mix = two_sources(300, 100, shift, penalty, 0.2)
    found = limits(population, mix)
    huge = predict(population, two_sources(3e15, 1e15, shift, penalty, 0.2)).test_error.total
    assert found.data_limit is not None
    assert math.isclose(found.data_limit, huge, rel_tol=1e-9)
    assert found.strong is True
    if penalty == 0:  # p_2² tr ΔΣ
        assert math.isclose(
            found.data_limit, 0.25**2 * float((shift * population.eigenvalues).sum()), rel_tol=1e-12
        )


def test_enough_data_heal_when_generators_are_unbiased() -> None:
    population = power_law(60, 1.2, 0.2)
    found = limits(population, chain(population, 5, 0.0, 200))
    assert found.strong is False
    assert limits(population, chain(population, 5, 0.1, 200)).strong is True


def test_weights_choose_the_floor() -> None:
    population = power_law(40, 1.2, 0.2)
    sources = (Source(REAL, REAL, 100, 0.2, 1.0), Source("s", Shift(np.full(40, 0.1)), 100, 0.2, 0.0))
    assert limits(population, TrainingMix((Stage("f", sources, 0.0),))).strong is False
