"""The flat optimum range: its ends are where the error reaches 1.01 times the least, evaluated anew."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from scipy.optimize import brentq

from service.theory.flatness import EXCESS
from service.theory.general import general_prediction
from service.theory.model import REAL, Population, Shift, Source, Stage, TrainingMix
from service.theory.prediction import predict
from tests.theory.problems import isotropic, power_law, recursive, two_sources
from tests.theory.test_plain_chain import chains


def at(population: Population, mix: TrainingMix, penalty: float) -> float:
    last = dataclasses.replace(mix.stages[-1], penalty=penalty)
    return predict(population, dataclasses.replace(mix, stages=(*mix.stages[:-1], last))).test_error.total


def check(population: Population, mix: TrainingMix, rel: float = 1.1e-5) -> tuple[float, float]:
    """Both ends by evaluation on both sides of them; returns the range."""
    found = predict(population, mix).regularization
    low, high = found.flat_range.low, found.flat_range.high
    limit = (1 + EXCESS) * found.recommended.total
    assert low <= found.recommended.penalty <= high
    for end, outward in ((low, 0.99), (high, 1.01)):
        if end in (0.0, math.inf):
            assert at(population, mix, end) <= limit * (1 + rel)
        else:
            assert math.isclose(at(population, mix, end), limit, rel_tol=rel)
            assert at(population, mix, end * outward) > limit
    for inside in np.geomspace(max(low, 1e-9), min(high, 1e9), 9)[1:-1]:
        if low < inside < high:
            assert at(population, mix, float(inside)) <= limit * (1 + rel)
    return low, high


MIXES = {
    "chain": (power_law(300), recursive(5, 600, 300, 0.01, noise0=0.25, noise=0.25, penalty0=0.01)),
    "clean": (power_law(80, 1.2), recursive(0, 1, 90, 0.01, noise0=1.0, noise=0.25)),
    "few": (power_law(80, 1.2), recursive(1, 100, 30, 0.01, noise0=0.3, noise=0.02)),
    "mixture": (power_law(80, 1.2), two_sources(60, 90, np.full(80, 0.02), 0.1, 0.3)),
    "features": (power_law(80, 1.2), two_sources(60, 90, np.full(80, 0.02), 0.1, 0.3, width=50)),
    "isotropic": (isotropic(50, 0.2), recursive(2, 200, 100, 0.1, noise0=0.1, noise=0.2)),
    "hopeless": (isotropic(50, 4e3), recursive(2, 200, 100, 0.1, noise0=3e3, noise=4e3)),
}


@pytest.mark.parametrize("name", MIXES)
def test_ends_are_where_the_error_is_one_per_cent_above(name: str) -> None:
    low, high = check(*MIXES[name])
    assert low > 0
    assert (high == math.inf) == (name == "hopeless")


def test_weights_and_covariate_shift() -> None:
    population = power_law(40, 1.2)
    shift, real = Shift(np.full(40, 0.05)), Source(REAL, REAL, 50, 0.25)
    weighted = Source("s", shift, 80, 0.4, 0.3)
    check(population, TrainingMix((Stage("f", (real, weighted), 0.1),)))
    moved = dataclasses.replace(weighted, eigenvalues=population.eigenvalues[::-1].copy())
    check(population, TrainingMix((Stage("f", (real, moved), 0.1),)))


def test_isotropic_ends_in_closed_form() -> None:
    """One level, much data: E = (λ² ‖w‖² + σ²φ)/(1+λ)² to first order in φ; with S = 1/(1+λ) a parabola in S."""
    d, T, noise = 50, 5 * 10**8, 10**6
    found = predict(isotropic(d, noise), recursive(0, 1, T, 0.1, noise0=1.0, noise=noise)).regularization
    v = noise * d / T
    best, least = v, v / (1 + v)
    assert math.isclose(found.recommended.penalty, best, rel_tol=1e-6)
    assert math.isclose(found.recommended.total, least, rel_tol=2e-7)

    def excess(penalty: float) -> float:
        return (penalty**2 + v) / (1 + penalty) ** 2 - (1 + EXCESS) * least

    ends = [brentq(excess, a, b, xtol=1e-15) for a, b in ((0.0, best), (best, 1.0))]
    # the error at the ends is right to 1e-5 of it, and rises by 0.02 of it per unit of ln λ
    assert math.isclose(found.flat_range.low, ends[0], rel_tol=1e-3)
    assert math.isclose(found.flat_range.high, ends[1], rel_tol=1e-3)


def test_no_penalty_may_be_within() -> None:
    """So much data that the variance is all there is: shrinking changes nothing until the penalty biases."""
    population = power_law(20, 0.5)
    low, high = check(population, recursive(0, 1, 10**6, 0.1, noise0=1.0, noise=0.25))
    assert low == 0
    assert 0 < high < math.inf


def test_without_any_error_the_range_is_a_point() -> None:
    population = isotropic(5, 0.0)
    found = predict(population, recursive(0, 10, 50, 0.0, noise0=0.0, noise=0.0)).regularization
    assert (found.flat_range.low, found.flat_range.high) == (0.0, 0.0)


def test_nothing_to_fit_and_infinite_labels() -> None:
    population = isotropic(100)
    nothing = predict(population, recursive(0, 0, 0, 0.1, noise0=1.0, noise=1.0)).regularization.flat_range
    assert (nothing.low, nothing.high) == (0.0, math.inf)
    spoilt = predict(population, recursive(2, 100, 300, 0.1, noise0=1.0, noise=1.0)).regularization.flat_range
    assert (spoilt.low, spoilt.high) == (math.inf, math.inf)


@given(chains())
@settings(max_examples=60, deadline=None)
def test_the_short_way_and_the_general_engine_agree(problem: tuple[Population, TrainingMix]) -> None:
    population, mix = problem
    short, general = (
        predict(population, mix).regularization,
        general_prediction(population, mix).regularization,
    )
    assume(short.recommended.total > 1e-9 * population.signal)
    for a, b in (
        (short.flat_range.low, general.flat_range.low),
        (short.flat_range.high, general.flat_range.high),
    ):
        assert math.isclose(a, b, rel_tol=1e-2, abs_tol=1e-9)
