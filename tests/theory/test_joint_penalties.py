"""Jointly optimal penalties against scipy's global optimizers, closed forms, and whatever anyone else may try."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brute, fmin, minimize

from service.theory.errors import Unsupported
from service.theory.joint_penalties import MOST_STAGES, optimal_stages
from service.theory.model import OPTIMAL, REAL, Array, Population, Shift, Source, Stage, TrainingMix
from service.theory.prediction import predict, test_error
from tests.theory.problems import isotropic, power_law, recursive

test_error.__test__ = False  # type: ignore[attr-defined]


def optimal(mix: TrainingMix, *, final: bool = True) -> TrainingMix:
    """Every penalty to be found."""
    last = mix.stages[-1]
    earlier = tuple(dataclasses.replace(stage, penalty=OPTIMAL) for stage in mix.stages[:-1])
    return dataclasses.replace(
        mix, stages=(*earlier, dataclasses.replace(last, penalty=OPTIMAL) if final else last)
    )


def error(population: Population, mix: TrainingMix, logs: Array) -> float:
    """At penalties e^logs of the stages that are asked for."""
    stages = list(mix.stages)
    for i, x in zip(optimal_stages(mix), np.clip(logs, -60, 60), strict=True):
        stages[i] = dataclasses.replace(stages[i], penalty=math.exp(x))
    return test_error(population, dataclasses.replace(mix, stages=tuple(stages)))


def mixed(penalty: float) -> TrainingMix:
    """A tree: two generators of different kind feed a last stage, one of them feeds the other too."""
    first = Stage("a", (Source(REAL, REAL, 90, 0.5),), penalty)
    second = Stage("b", (Source(REAL, REAL, 30, 0.2), Source("a", "a", 200, 0.1, 0.5)), penalty)
    sources = (Source(REAL, REAL, 25, 0.2), Source("a", "a", 150, 0.1), Source("b", "b", 80, 0.1, 2.0))
    return TrainingMix((first, second, Stage("final", sources, 0.02)))


CASES = {
    "one generator": recursive(1, 150, 100, 0.01, noise0=0.3, noise=0.2),
    "fewer samples than modes": recursive(1, 30, 100, 0.01, noise0=0.05, noise=0.2),
    "two generators": recursive(2, 60, 100, 0.01, noise0=0.3, noise=0.2),
    "a tree": mixed(0.1),
}


@pytest.mark.parametrize("final", [True, False])
@pytest.mark.parametrize("name", CASES)
def test_brute_force_finds_nothing_better(name: str, final: bool) -> None:
    population, mix = power_law(60, 1.2), optimal(CASES[name], final=final)
    found = predict(population, mix)
    least = found.test_error.total
    count = len(optimal_stages(mix))

    def value(x: Array) -> float:
        return math.log(error(population, mix, np.atleast_1d(x)))

    start = brute(value, [(-16.0, 4.0)] * count, Ns=40 if count == 1 else 12, finish=None)
    logs = fmin(value, np.atleast_1d(start), xtol=1e-6, ftol=1e-12, disp=False)
    referee = error(population, mix, logs)
    assert least <= referee * (1 + 1e-9)
    penalties = np.array([found.mix.stages[i].penalty for i in optimal_stages(mix)])
    if np.all(penalties > 0) and np.all(np.isfinite(penalties)) and referee < least * (1 + 1e-10):
        assert np.allclose(np.log(penalties), logs, atol=2e-3)
    else:  # penalty 0 is best: brute force can only come near it
        assert referee < least * (1 + 1e-3)


def test_many_starts_find_nothing_better() -> None:
    """Four penalties at once: Nelder and Mead from thirty random starts."""
    population, mix = power_law(50, 1.2), optimal(recursive(4, 70, 60, 0.01, noise0=0.2, noise=0.3))
    least = predict(population, mix).test_error.total
    rng = np.random.default_rng(5)
    starts = sorted(rng.uniform(-14, 3, (30, 4)).tolist(), key=lambda x: error(population, mix, np.array(x)))
    for start in starts[:3]:
        found = minimize(
            lambda x: error(population, mix, x), start, method="Nelder-Mead",
            options={"maxfev": 300, "fatol": 1e-12, "xatol": 1e-4},
        )  # fmt: skip
        assert least <= found.fun * (1 + 1e-8)


def test_isotropic_features_and_much_data() -> None:
    """E = (1 − S_0 S)² + S_0² S² v_0 + S² v_1 with S <= 1: least at S_0 = 1 (penalty 0): v/(1 + v), v = v_0 + v_1."""
    d, T0, T, noise0, noise = 10, 10**9, 2 * 10**9, 3e7, 1e8
    mix = optimal(recursive(1, T0, T, 0.0, noise0=noise0, noise=noise))
    found = predict(isotropic(d, noise), mix)
    v = noise0 * d / T0 + noise * d / T
    assert found.mix.stages[0].penalty == 0
    assert math.isclose(found.test_error.total, v / (1 + v), rel_tol=1e-6)
    assert math.isclose(found.regularization.penalty, v, rel_tol=1e-5)


def test_a_generator_of_pure_noise_is_silenced() -> None:
    """Labels without signal: the best generator predicts zero, and the rest is what it would be on real data."""
    population = power_law(40, 1.2)
    sources = (Source(REAL, REAL, 50, 0.25), Source("g", "g", 50, 0.0))
    noisy = Stage("g", (Source(REAL, REAL, 20, 1e12),), OPTIMAL)
    found = predict(population, TrainingMix((noisy, Stage("final", sources, 0.3))))
    silent = dataclasses.replace(noisy, penalty=math.inf)
    referee = test_error(population, TrainingMix((silent, Stage("final", sources, 0.3))))
    assert math.isclose(found.test_error.total, referee, rel_tol=1e-6)


def test_a_minimum_between_others_is_seen() -> None:
    """One at penalty 0, a deeper one less than a decade wide: one fit shrinks for both."""
    sigma = np.arange(1.0, 22.0) ** -2.0
    population = Population(sigma, np.ones(21), np.full(21, 1 / 21), 0.2)
    generator = Stage("g", (Source("s", Shift(np.full(21, 0.05)), 21, 0.0),), OPTIMAL)
    sources = (Source("g", "g", 58, 1.7e-6), Source(REAL, REAL, 1, 1.1e-4, 0.3))
    mix = TrainingMix((generator, Stage("f", sources, OPTIMAL, 20.0)))
    found = predict(population, mix)
    tried = [error(population, mix, np.array([x])) for x in np.arange(-12.0, 6.0, 0.05)]
    assert found.test_error.total <= min(tried) * (1 + 1e-9)
    assert found.test_error.total < 0.99 * error(population, mix, np.array([-30.0]))


def test_only_what_is_asked_for_is_found() -> None:
    population, mix = power_law(40, 1.2), recursive(3, 60, 50, 0.07, noise0=0.3, noise=0.2, penalty0=0.03)
    stages = (mix.stages[0], dataclasses.replace(mix.stages[1], penalty=OPTIMAL), *mix.stages[2:])
    found = predict(population, dataclasses.replace(mix, stages=stages)).mix.stages
    assert [stage.penalty for stage in (found[0], found[2], found[3])] == [0.03, 0.03, 0.07]


def test_at_most_so_many() -> None:
    with pytest.raises(Unsupported, match="at most"):
        predict(power_law(10), optimal(recursive(MOST_STAGES + 1, 20, 20, 0.1, noise0=0.1, noise=0.1)))


@st.composite
def problems(draw: st.DrawFn) -> tuple[Population, TrainingMix]:
    population = power_law(draw(st.integers(3, 30)), draw(st.floats(0.5, 2.0)), 0.2)
    stages: list[Stage] = []
    for k in range(draw(st.integers(2, 3))):
        sources = []
        for j in range(draw(st.integers(1, 2))):
            label = draw(st.sampled_from([REAL, *(stage.name for stage in stages)]))
            labels = (
                Shift(np.full(population.eigenvalues.size, 0.05)) if draw(st.integers(0, 4)) == 0 else label
            )
            sources.append(
                Source(f"{j}", labels, float(draw(st.integers(1, 90))), draw(st.floats(0.0, 1.0)),
                       draw(st.sampled_from([0.3, 1.0])))
            )  # fmt: skip
        width = draw(st.sampled_from([None, None, 20.0]))
        stages.append(Stage(f"s{k}", tuple(sources), OPTIMAL, width))
    return population, TrainingMix(tuple(stages))


@given(problems(), st.lists(st.floats(-25, 8), min_size=6, max_size=6))
@settings(max_examples=25, deadline=None)
def test_no_other_penalties_are_better(problem: tuple[Population, TrainingMix], logs: list[float]) -> None:
    population, mix = problem
    found = predict(population, mix)
    least = found.test_error.total
    count = len(optimal_stages(mix))
    numbers = [found.mix.stages[i].penalty for i in optimal_stages(mix)]
    nearby = np.log(np.clip(np.array(numbers, float), 1e-25, 1e25))
    for others in (np.array(logs[:count]), nearby + 0.1, nearby - 0.1):
        assert least <= error(population, mix, others) * (1 + 1e-7)
