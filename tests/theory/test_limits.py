"""Limits over generations and over data against the engine evaluated far out."""

import dataclasses
import math

import numpy as np
import pytest

from service.theory import generations as module
from service.theory.limits import limits
from service.theory.model import PREVIOUS, REAL, Population, Shift, Source, Stage, TrainingMix
from service.theory.prediction import predict
from tests.theory.problems import isotropic, power_law, recursive, two_sources
from tests.theory.test_accumulate import accumulate


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


def wide(n: int, width: float) -> TrainingMix:
    """Random features, two covariances and two weights in every generation."""
    own = np.linspace(0.2, 1.0, 40)
    stages = [Stage("g0", (Source(REAL, REAL, 90, 0.2),), 0.05, width)]
    for k in range(1, n + 1):
        before = stages[-1].name
        sources = (
            Source(REAL, REAL, 20, 0.2, 1.5),
            Source(before, before, 70, 0.3),
            Source("shift", Shift(np.full(40, 0.02)), 15, 0.1, 1.0, own),
        )
        stages.append(Stage(f"g{k}", sources, 0.05, width))
    return with_next(TrainingMix(tuple(stages)))


def with_source(mix: TrainingMix) -> TrainingMix:
    """The recursion's stage with the labels of the model before as its second source."""
    assert mix.next_generation is not None
    last = mix.stages[-1]
    renamed = tuple(
        dataclasses.replace(s, name=PREVIOUS, labels=PREVIOUS)
        if s.labels not in (REAL,) and not isinstance(s.labels, Shift)
        else s
        for s in last.sources
    )
    return dataclasses.replace(mix, next_generation=dataclasses.replace(last, name=PREVIOUS, sources=renamed))


@pytest.mark.parametrize("width", [25.0, 70.0])
def test_any_recursion_has_its_limit(width: float) -> None:
    """Random features, covariate shift and weights in each generation: the fixed point against generation 150."""
    population = power_law(40, 1.2, 0.2)
    found = limits(population, with_source(wide(2, width)))
    far = predict(population, wide(150, width)).test_error.total
    assert found.regime == module.BOUNDED
    assert found.generations_limit is not None
    assert math.isclose(found.generations_limit, far, rel_tol=1e-9)


@pytest.mark.parametrize("generations", [0, 1, 5])
def test_the_limit_does_not_depend_on_where_the_recursion_stands(generations: int) -> None:
    population = power_law(60, 1.2, 0.2)
    mix = fresh(max(generations, 1), 80, 320, 0.05)
    mix = dataclasses.replace(mix, stages=mix.stages[: generations + 1] if generations == 0 else mix.stages)
    far = predict(population, fresh(500, 80, 320, 0.05)).test_error.total
    assert math.isclose(limits(population, mix).generations_limit or 0, far, rel_tol=1e-9)


@pytest.mark.parametrize(
    ("penalty0", "T0", "noise0"),
    [(0.0, 200.0, 0.3), (1e-3, 200.0, 0.6), (0.05, 100.0, 2.0), (1e-3, 70.0, 0.05)],
)
def test_the_generation_that_is_worse_than_nothing(penalty0: float, T0: float, noise0: float) -> None:
    """The prediction on both sides of it."""
    population = power_law(60, 1.2, 0.2)

    def mix(n: int) -> TrainingMix:
        return recursive(n, T0, 150, 0.05, noise0=noise0, noise=0.2, penalty0=penalty0)

    first = limits(population, with_next(mix(2))).worse_than_null_from
    assert first is not None
    assert first > 0
    before, after = (predict(population, mix(n)).test_error.total for n in (first - 1, first))
    assert before <= population.signal < after


def test_the_generation_that_is_worse_than_nothing_with_fresh_data() -> None:
    population = power_law(20, 1.2, 0.2)
    first = limits(population, fresh(2, 2, 150, 1e-3)).worse_than_null_from
    assert first is not None
    assert first > 1
    before, after = (predict(population, fresh(n, 2, 150, 1e-3)).test_error.total for n in (first - 1, first))
    assert before <= population.signal < after


def test_never_worse_than_nothing() -> None:
    found = limits(power_law(60, 1.2, 0.2), fresh(3, 200, 200, 0.05))
    assert found.worse_than_null_from is None
    assert "No generation" in found.missing["worse_than_null_from"]


def test_worse_than_nothing_from_the_start() -> None:
    population = power_law(60, 1.2, 50.0)
    mix = with_next(recursive(2, 200, 70, 0.0, noise0=50.0, noise=50.0))
    assert limits(population, mix).worse_than_null_from == 0


def test_a_divergent_generator_is_worse_than_nothing_from_its_first_generation() -> None:
    population = power_law(60, 1.2, 0.01)
    found = limits(population, with_next(recursive(2, 60, 300, 0.05, noise0=0.1, noise=0.01)))
    assert found.regime == module.DIVERGENT
    assert found.worse_than_null_from == 1
    assert found.generations_limit is None


def test_growth_of_finite_samples() -> None:
    """Order 1: each generation adds σ_0² d/(T_0 − d − 1)."""
    population = power_law(60, 1.2, 0.2)
    found = limits(population, with_next(recursive(2, 100, 150, 0.0, noise0=0.3, noise=0.2)), order=1)
    assert math.isclose(found.growth_per_generation or 0, 0.3 * 60 / 39, rel_tol=1e-12)


@pytest.mark.parametrize("penalty", [0.0, 0.02])
@pytest.mark.parametrize("width", [None, 25.0, 80.0])
@pytest.mark.parametrize("shifted", [False, True])
def test_unlimited_data_of_any_stage(penalty: float, width: float | None, shifted: bool) -> None:
    """Against the engine with 1e13 times the samples: weights, two stages, random features, two covariances."""
    population = power_law(40, 1.2, 0.2)
    own = np.linspace(1.0, 0.3, 40) if shifted else None

    def mix(factor: float) -> TrainingMix:
        first = Stage("a", (Source(REAL, REAL, 30 * factor, 0.4),), 0.1, width)
        sources = (
            Source(REAL, REAL, 60 * factor, 0.2, 1.5),
            Source("a", "a", 20 * factor, 0.1),
            Source("s", Shift(np.linspace(0.01, 0.05, 40)), 50 * factor, 0.1, 0.5, own),
        )
        return TrainingMix((first, Stage("b", sources, penalty, width)))

    found = limits(population, mix(1.0))
    huge = predict(population, mix(1e13))
    assert math.isclose(found.data_limit or 0, huge.test_error.total, rel_tol=1e-8)
    assert math.isclose(found.best_data_limit or 0, huge.regularization.recommended.total, rel_tol=1e-6)
    assert found.strong is True


def test_the_best_penalty_lowers_the_floor() -> None:
    """All labels from one unknown model w_0 + δ, isotropic: min over S of S² c² + (1 − S)² ‖w‖² = c²/(1 + c²)."""
    population, c2 = isotropic(40, 0.2), 0.7
    mix = TrainingMix((Stage("f", (Source("s", Shift(np.array([c2 / 40])), 100, 0.2),), 0.0),))
    found = limits(population, mix)
    assert math.isclose(found.data_limit or 0, c2, rel_tol=1e-12)
    assert math.isclose(found.best_data_limit or 0, c2 / (1 + c2), rel_tol=1e-7)


def test_where_the_error_peaks() -> None:
    population = power_law(60, 1.2, 0.2)
    sources = (Source(REAL, REAL, 50, 0.2), Source("x", REAL, 20, 0.2, 0.0))
    peaks = limits(population, TrainingMix((Stage("f", sources, 0.1, 40.0),))).double_descent
    assert [(p.quantity, p.position, p.value) for p in peaks] == [("samples", 40, 50), ("width", 50, 40)]
    for width in (40.0, 50.0):  # as many samples as features; as many features as samples

        def total(samples: float, width: float = width) -> float:
            stage = Stage("f", (Source(REAL, REAL, samples, 0.2),), 1e-9, width)
            return predict(population, TrainingMix((stage,))).test_error.total

        assert total(width) > 10 * max(total(width - 8), total(width + 8))
    recursion = limits(population, recursive(3, 200, 50, 0.1, noise0=0.3, noise=0.2)).double_descent
    assert [(p.stage, p.position, p.value) for p in recursion] == [("final", 60, 50), ("g3", 60, 200)]
    kept = limits(population, accumulate([30, 20, 40], 1.0, 0.2)).double_descent
    assert [(p.stage, p.value) for p in kept] == [("g2", 90), ("g1", 50), ("g0", 30)]


# --- accumulated data -----------------------------------------------------------------------------


@pytest.mark.parametrize("order", [0, 1])
@pytest.mark.parametrize("samples", [[60.0], [60.0, 300.0, 17.0], [70.0, 1e-5 * 2**20]])
def test_accumulated_least_squares_for_ever(order: int, samples: list[float]) -> None:
    """The digamma function against the sum of 10^6 terms and the integral of the rest."""
    population, d, noise = isotropic(10), 10, 1.0
    found = limits(population, accumulate(samples, 0.0, noise), order=order).generations_limit
    start = predict(population, accumulate(samples, 0.0, noise), order=order).test_error.total
    T, C = samples[-1], sum(samples)
    rows = C + T * np.arange(1, 10**6 + 1)
    used = d + 1 if order else d
    rest = math.log((C + T * (10**6 + 0.5)) / (C + T * (10**6 + 0.5) - used)) * d / used
    expected = start + float((T / rows * d / (rows - used)).sum()) + rest
    assert found is not None
    assert math.isclose(found, expected, rel_tol=1e-10)
    if samples == [60.0]:
        assert found < math.pi**2 / 6 * noise * d / (60 - used)


@pytest.mark.parametrize(("T", "penalty_sum"), [(30.0, 2.0), (30.0, 0.1), (200.0, 10.0), (3.0, 5.0)])
def test_penalized_accumulated_data_for_ever(T: float, penalty_sum: float) -> None:
    """Against 4,000 generations, and what is then left to come: about σ² d/T × T/C."""
    population = power_law(40, 1.2, 0.3)
    found = limits(population, accumulate([T] * 2, penalty_sum, 0.3)).generations_limit
    n = 4000
    far = predict(population, accumulate([T] * n, penalty_sum, 0.3)).test_error.total
    rest = 0.3 * 40 / (T * (n + 0.5))
    assert found is not None
    assert math.isclose(found, far + rest, rel_tol=0.02 * rest / far)


def test_accumulated_data_that_pass_their_threshold() -> None:
    population = power_law(40, 1.2, 0.3)
    found = limits(population, accumulate([7.0], 0.0, 0.3), order=0)
    far = predict(population, accumulate([7.0] * 3000, 0.0, 0.3)).test_error.total
    assert math.isclose(found.generations_limit or 0, far + 0.3 * 40 / (7 * 3000.5), rel_tol=1e-5)
    through = limits(population, accumulate([8.0], 0.0, 0.3))
    assert through.generations_limit is None
    assert "as many rows" in through.missing["generations_limit"]


def test_accumulated_data_that_are_worse_than_nothing() -> None:
    population = power_law(40, 1.2, 3.0)
    found = limits(population, accumulate([70.0], 0.0, 3.0)).worse_than_null_from
    totals = [predict(population, accumulate([70.0] * n, 0.0, 3.0)).test_error.total for n in range(1, 30)]
    expected = next((n for n, total in enumerate(totals) if total > population.signal), None)
    assert found == expected
    mild = limits(population, accumulate([400.0], 0.0, 0.1))
    assert mild.worse_than_null_from is None
    assert mild.generations_limit is not None
    assert mild.generations_limit < population.signal
    assert (mild.data_limit, mild.strong) == (0.0, False)
