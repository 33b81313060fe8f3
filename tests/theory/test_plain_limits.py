"""Limits of plain recursions in closed form: against the general engine, and against carrying them out."""

from dataclasses import replace

import numpy as np
import pytest

from service.theory import unlimited
from service.theory.generations import Recursion
from service.theory.limits import limits
from service.theory.model import PREVIOUS, REAL, Population, Source, Stage, TrainingMix
from service.theory.plain_limits import PlainRecursion, recursion
from service.theory.prediction import predict


def recursive(
    generations: int, generator: tuple[float, float], last: tuple[float, float], noise: float
) -> TrainingMix:
    """``generator``, ``last``: samples and penalty."""
    labels = [REAL, *(f"g{k}" for k in range(generations))]
    T, penalty = generator
    stages = [Stage(f"g{k}", (Source("x", labels[k], T, noise),), penalty) for k in range(generations)]
    again = Stage("again", (Source("x", PREVIOUS, T, noise),), penalty)
    final = Stage("final", (Source("x", labels[-1], last[0], noise),), last[1])
    return TrainingMix((*stages, final), next_generation=again)


def random_case(rng: np.random.Generator) -> tuple[Population, TrainingMix]:
    d = int(rng.integers(3, 60))
    population = Population(
        np.arange(1.0, d + 1) ** -rng.uniform(0.2, 2.0), np.ones(d), rng.uniform(0, 1, d) / d, 0.3
    )
    generator = float(rng.integers(5, 300)), float(rng.choice([0.0, 1e-6, 0.01, 0.3, 3.0]))
    last = float(rng.integers(5, 300)), float(rng.choice([0.0, 0.01, 0.3]))
    return population, recursive(int(rng.integers(1, 5)), generator, last, float(rng.uniform(0, 1)))


@pytest.mark.parametrize("seed", range(60))
def test_as_by_the_general_engine(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    population, mix = random_case(np.random.default_rng(seed))
    order = seed % 2
    found = limits(population, mix, order=order)
    monkeypatch.setattr("service.theory.limits.recursion", Recursion)
    monkeypatch.setattr(unlimited, "is_plain", lambda *_: False)
    general = limits(population, mix, order=order)
    assert (found.regime, found.worse_than_null_from, found.strong, found.missing) == (
        general.regime, general.worse_than_null_from, general.strong, general.missing,
    )  # fmt: skip
    for name in ("generations_limit", "growth_per_generation", "data_limit", "best_data_limit"):
        a, b = getattr(found, name), getattr(general, name)
        assert (a is None) == (b is None)
        assert a is None or a == pytest.approx(b, rel=1e-9, abs=1e-14)


@pytest.mark.parametrize("seed", range(20))
def test_generations_with_real_data_step_by_step(seed: int) -> None:
    """The short map against the general moments."""
    rng = np.random.default_rng(seed)
    population, _ = random_case(rng)
    sizes = rng.integers(5, 200, 2).astype(float)
    sources = (
        Source("real", REAL, sizes[0], 0.2),
        Source("old", PREVIOUS, sizes[1], 0.4, rng.uniform(0.3, 3)),
    )
    again = Stage("again", sources, float(rng.choice([0.01, 0.3])))
    first = Stage("first", (Source("real", REAL, float(sizes.sum()), 0.2),), again.penalty)
    found = Recursion(population, TrainingMix((first,), next_generation=again), again, 0)
    assert found._map is not None
    short = Recursion(population, TrainingMix((first,), next_generation=again), again, 0)
    short.__dict__["_map"] = None
    cross, second = (
        -rng.uniform(0, 1) * population.target_power,
        rng.uniform(0, 1, population.eigenvalues.size),
    )
    for _ in range(3):
        a, b = found._advanced(cross, second), short._advanced(cross, second)
        assert a[0] == pytest.approx(b[0], rel=1e-12)
        assert a[1] == pytest.approx(b[1], rel=1e-12)
        cross, second = a


POPULATION = Population(np.arange(1.0, 31) ** -1.2, np.ones(30), np.full(30, 1 / 30), 0.3)


def test_it_is_where_many_generations_lead() -> None:
    mix = recursive(2, (60.0, 0.05), (40.0, 0.02), 0.3)
    assert mix.next_generation is not None
    assert isinstance(recursion(POPULATION, mix, mix.next_generation, 0), PlainRecursion)
    long = predict(POPULATION, recursive(3000, (60.0, 0.05), (40.0, 0.02), 0.3))
    assert limits(POPULATION, mix).generations_limit == pytest.approx(long.test_error.total, rel=1e-9)


def test_growth_is_the_difference_of_two_generations() -> None:
    def total(n: int) -> float:
        mix = recursive(n, (60.0, 0.0), (40.0, 0.02), 0.3)
        return predict(POPULATION, mix, order=1).test_error.total

    growth = limits(POPULATION, recursive(2, (60.0, 0.0), (40.0, 0.02), 0.3), order=1).growth_per_generation
    # corrections of the last fit's response to its labels are of order 1, the growth's are the generators'
    assert growth == pytest.approx(total(9) - total(8), rel=0.02)
    asymptotic = limits(POPULATION, recursive(2, (60.0, 0.0), (40.0, 0.02), 0.3)).growth_per_generation
    steps = [
        predict(POPULATION, recursive(n, (60.0, 0.0), (40.0, 0.02), 0.3)).test_error.total for n in (8, 9)
    ]
    assert asymptotic == pytest.approx(steps[1] - steps[0], rel=1e-9)


def test_the_floor_is_the_error_of_very_many_samples() -> None:
    mix = recursive(3, (60.0, 0.05), (40.0, 0.02), 0.3)
    stages = tuple(
        replace(s, sources=(replace(s.sources[0], samples=1e14 * s.sources[0].samples),)) for s in mix.stages
    )
    found, large = limits(POPULATION, mix), predict(POPULATION, replace(mix, stages=stages))
    assert found.data_limit == pytest.approx(large.test_error.total, rel=1e-9)
    sigma, w2 = POPULATION.eigenvalues, POPULATION.target_power
    learned = (sigma / (sigma + 0.05)) ** 3
    scan = [
        float((sigma * w2) @ (1 - learned * sigma / (sigma + x)) ** 2) for x in np.geomspace(1e-12, 1e6, 4001)
    ]
    assert found.best_data_limit == pytest.approx(min(scan), rel=1e-6)


def test_the_first_generation_worse_than_nothing() -> None:
    generator, last = (60.0, 0.05), (200.0, 0.05)
    found = limits(POPULATION, recursive(1, generator, last, 0.3)).worse_than_null_from
    assert found is not None
    assert found > 0
    null = POPULATION.signal
    before, there = (
        predict(POPULATION, recursive(n, generator, last, 0.3)).test_error.total for n in (found - 1, found)
    )
    assert before <= null < there


@pytest.mark.parametrize("seed", range(40))
def test_no_later_error_is_above_the_bound(seed: int) -> None:
    """And the bound closes in: at little noise errors pass their limit before they come back to it."""
    rng = np.random.default_rng(seed)
    population, mix = random_case(rng)
    quiet = [replace(s, sources=(replace(s.sources[0], noise_variance=1e-6),)) for s in mix.stages]
    again = mix.next_generation
    assert again is not None
    if seed % 2:
        again = replace(again, sources=(replace(again.sources[0], noise_variance=1e-6),))
        mix = replace(mix, stages=tuple(quiet), next_generation=again)
    found = recursion(population, mix, again, 0)
    if not isinstance(found, PlainRecursion):
        return
    errors, bounds = [], []
    for _, error in zip(range(500), found._errors(), strict=False):
        errors.append(error)
        bounds.append(found.most)
    most = np.maximum.accumulate(errors[::-1])[::-1]  # of this and all later ones
    assert np.all(most[64::64] <= (1 + 1e-12) * np.array(bounds[64::64]))
    assert most[0] <= (1 + 1e-12) * bounds[0]
    limit, _ = found.limit({})
    if limit is not None and abs(errors[-1] - limit) < 1e-9 * limit:
        assert bounds[-1] == pytest.approx(limit, rel=1e-3)
