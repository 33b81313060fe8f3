"""Many plain recursions at once give, one by one, what the general engine gives."""

import math

import numpy as np
import pytest

from service.theory.design import Design
from service.theory.errors import NotConverged
from service.theory.general import general_prediction
from service.theory.model import OPTIMAL, REAL, Array, Population, Source, Stage, TrainingMix
from service.theory.one_covariance import effective_ridge
from service.theory.plain_chain import outcomes
from service.theory.plain_one import regular_outcome
from service.theory.plain_prediction import plain_prediction
from service.theory.ridges import effective_ridges
from service.theory.scenarios import Outcomes, Scenarios
from tests.theory.problems import power_law, recursive
from tests.theory.test_plain_chain import numbers


def entry(values: Array, i: int) -> float:
    return float(values[i if len(values) > 1 else 0])


def row(values: Array, i: int) -> list[float]:
    return [float(value) for value in values[i if len(values) > 1 else 0]]


def mix_of(s: Scenarios, i: int) -> TrainingMix:
    stages: list[Stage] = []
    noises = row(s.generator_noise, i)
    for length, samples, penalty in zip(s.runs, row(s.run_samples, i), row(s.run_penalties, i), strict=True):
        for _ in range(length):
            label = stages[-1].name if stages else REAL
            source = Source(label, label, samples, noises[len(stages)])
            stages.append(Stage(f"g{len(stages)}", (source,), penalty))
    label = stages[-1].name if stages else REAL
    penalty = entry(s.penalty, i)
    source = Source(label, label, entry(s.samples, i), entry(s.noise, i))
    return TrainingMix((*stages, Stage("final", (source,), OPTIMAL if math.isnan(penalty) else penalty)))


def compare(population: Population, s: Scenarios, found: Outcomes, count: int, rel: float = 1e-10) -> int:
    """Each regular scenario against the general engine; returns how many were regular."""
    regular = 0
    for i in range(count):
        if not entry(found.regular, i):
            continue
        regular += 1
        mix = mix_of(s, i)
        own = Population(
            population.eigenvalues, population.multiplicities, population.target_power, entry(s.real_noise, i)
        )
        general = general_prediction(own, mix)
        for point, error in (
            (found.given, general.test_error), (found.best, general.regularization.at_recommended),
        ):  # fmt: skip
            # the optimum is flat: its total is as sharp as the rest, its place and so its parts are not
            there = rel if point is found.given and not math.isnan(entry(s.penalty, i)) else 1e-4
            assert entry(point.total, i) == pytest.approx(error.total, rel=min(there, 1e-8))
            assert entry(point.bias, i) == pytest.approx(error.bias, rel=there)
            assert entry(point.variance, i) == pytest.approx(error.variance, rel=there, abs=1e-300)
            noise = [
                a * b for a, b in zip(row(point.noise_responses, i), row(s.generator_noise, i), strict=True)
            ]
            assert noise == pytest.approx([n.label_noise for n in error.by_source], rel=there, abs=1e-18)
        assert entry(found.clean_total, i) == pytest.approx(general.clean.best.total, rel=1e-8)
        assert entry(found.effective_samples, i) == pytest.approx(
            general.regularization.effective_samples, rel=1e-7
        )
    return regular


def batch(rng: np.random.Generator, count: int, runs: tuple[int, ...], *, varied: set[str]) -> Scenarios:
    def draw(name: str, low: float, high: float, *shape: int) -> Array:
        return np.exp(rng.uniform(np.log(low), np.log(high), (count if name in varied else 1, *shape)))

    lead = "run"
    samples = np.round(draw(lead, 25, 300, len(runs)))
    penalties = draw(lead, 1e-4, 1.0, len(runs))
    penalties[:, ::2] = np.where(rng.random(penalties[:, ::2].shape) < 0.3, 0.0, penalties[:, ::2])
    return Scenarios(
        runs, samples, penalties, draw("generator_noise", 0.01, 1.0, sum(runs)),
        np.round(draw("samples", 10, 300)), draw("noise", 0.2, 2.0), draw("real_noise", 0.2, 2.0),
        draw("penalty", 1e-4, 10.0),
    )  # fmt: skip


ALL = {"run", "generator_noise", "samples", "noise", "real_noise", "penalty"}


@pytest.mark.parametrize(
    ("runs", "varied"),
    [
        ((3,), {"penalty"}),
        ((2, 1), {"run", "penalty"}),
        ((1, 1, 2), {"generator_noise"}),
        ((4,), {"samples", "noise"}),
        ((2,), {"real_noise"}),
        ((), {"samples", "penalty"}),
        ((1, 2), ALL),
    ],
    ids=str,
)
def test_each_scenario_as_by_the_general_engine(runs: tuple[int, ...], varied: set[str]) -> None:
    rng = np.random.default_rng([len(varied), *runs])
    count = 12
    population = power_law(40, target=rng.uniform(0.1, 1.0, 40))
    scenarios = batch(rng, count, runs, varied=varied)
    if not runs:  # without generations the last stage's labels are real
        scenarios = Scenarios(
            *(getattr(scenarios, n) for n in ("runs", "run_samples", "run_penalties", "generator_noise")),
            scenarios.samples, scenarios.noise, scenarios.noise, scenarios.penalty,
        )  # fmt: skip
    assert compare(population, scenarios, outcomes(population, scenarios), count) >= count // 3


@pytest.mark.parametrize("runs", [(), (1,), (5,), (2, 1), (1, 3, 2)], ids=str)
def test_one_alone_as_many_side_by_side(runs: tuple[int, ...]) -> None:
    rng = np.random.default_rng([7, *runs])
    alone = regular = 0
    for _ in range(20):
        modes = int(rng.integers(2, 60))  # one level alone knows more: test_flat_spectrum.py
        population = Population(
            np.exp(rng.uniform(-6, 1, modes)),
            rng.integers(1, 4, modes) * 1.0,
            rng.uniform(0.0, 1.0, modes),
            1.0,
        )
        scenario = batch(rng, 1, runs, varied=set())
        one, many = regular_outcome(population, scenario), outcomes(population, scenario)
        regular += bool(many.regular[0])
        if one is None:
            continue
        alone += 1
        assert many.regular[0]
        for name in ("clean_penalty", "clean_total", "total_at_clean", "effective_samples", "run_rooms"):
            # places of optima are as sharp as their errors are flat there; both take them from one interpolant
            assert getattr(one, name) == pytest.approx(getattr(many, name)[0], rel=1e-8), name
        for a, b in ((one.given, many.given), (one.best, many.best)):
            for name in ("penalty", "total", "bias", "variance", "mismatch", "noise_responses", "room"):
                assert getattr(a, name) == pytest.approx(getattr(b, name)[0], rel=1e-8, abs=1e-12), name
    assert alone >= 0.8 * regular > 5


@pytest.mark.parametrize("count", [60, 130, 300])
def test_long_runs_of_equal_generations(count: int) -> None:
    """More than one block of them, and optima beyond the grid: the error ends far above that of predicting zero."""
    population = power_law(12)
    mix = recursive(count, 60, 30, 0.01, noise0=1.0, noise=0.25, penalty0=0.02)
    short, general = plain_prediction(population, mix), general_prediction(population, mix)
    assert short is not None
    a, b = numbers(short), numbers(general)
    assert a.keys() == b.keys()
    for name, value in a.items():
        # the optimum is flat: its place is right to 1e-4, and what is split there is as sharp as its place
        rel, floor = (1e-10, 1e-12) if name.startswith("given") else (3e-4, 1e-6)
        assert value == pytest.approx(b[name], rel=rel, abs=floor * short.clean.total), name


def test_labels_that_carry_nothing_of_the_truth() -> None:
    population = power_law(12)
    mix = recursive(4000, 40, 30, 0.01, noise0=1.0, noise=0.25, penalty0=0.05)
    short, general = plain_prediction(population, mix), general_prediction(population, mix)
    assert short is not None
    assert short.regularization.recommended.penalty == math.inf == general.regularization.recommended.penalty
    assert short.regularization.recommended.total == population.signal
    assert short.regularization.effective_samples == 0.0 == general.regularization.effective_samples
    assert short.test_error.total == pytest.approx(general.test_error.total, rel=1e-9)


def test_ridges_of_many_fits_at_once() -> None:
    rng = np.random.default_rng(1)
    population = Population(np.exp(rng.uniform(-20, 5, 80)), np.ones(80), np.ones(80), 1.0)
    samples = np.concatenate([np.round(np.exp(rng.uniform(0, 9, 200))), [79.0, 81.0, 80.0, 1.0, 1e15]])
    penalties = np.exp(rng.uniform(-25, 8, samples.size))
    penalties[-5:] = 0.0
    penalties[::7] = 0.0
    with np.errstate(all="ignore"):
        found = effective_ridges(population, samples, penalties)
    for i, theta in enumerate(found):
        if penalties[i] == 0 and samples[i] == 80:
            assert math.isnan(theta)
            continue
        try:
            expected = effective_ridge(population, _design(samples[i]), penalties[i])
        except NotConverged:
            assert math.isnan(theta)
            continue
        assert theta == pytest.approx(expected, rel=1e-11)


def _design(samples: float) -> Design:
    return Design.make([samples], [1.0])
