"""The closed form of plain recursions' corrections against the general one and against simulated designs."""

import dataclasses

import numpy as np
import pytest

from service.theory.chain import Chain, label_indices
from service.theory.design import Design
from service.theory.finite_size import contributions
from service.theory.model import REAL, Population, Source, Stage, TrainingMix
from service.theory.one_covariance import effective_ridge
from service.theory.plain_batch_correction import corrected_outcomes
from service.theory.plain_chain import outcomes
from service.theory.plain_origins import PlainFits, plain_origins
from service.theory.plain_prediction import plain_prediction
from service.theory.prediction import predict
from service.theory.stages import solve, solve_all
from tests.theory.designs import average_error
from tests.theory.test_plain_batch import ALL, batch, entry, mix_of, row


def fits(population: Population, samples: float, penalties: list[float]) -> PlainFits:
    design = Design.make([samples], [1.0])
    ridges = np.array([effective_ridge(population, design, penalty) for penalty in penalties])
    return PlainFits.of(population, np.array([samples]), ridges)


def recursion(rng: np.random.Generator, population: Population, generations: int) -> tuple[Stage, ...]:
    """Penalised, interpolating and least-squares generators in turn, some of them equal."""
    stages: list[Stage] = []
    samples, penalty = 0.0, 0.0
    for k in range(generations + 1):
        if not k or rng.random() < 0.6:
            samples, penalty = float(rng.integers(5, 200)), float(rng.choice([0.0, 0.01, 0.3]))
            if abs(samples - population.rank) < 3:
                samples += 10
        labels = stages[-1].name if stages else REAL
        stages.append(Stage(f"g{k}", (Source(labels, labels, samples, float(rng.uniform(0, 1))),), penalty))
    return tuple(stages)


def random_population(rng: np.random.Generator) -> Population:
    d = int(rng.integers(2, 50))
    return Population(
        rng.uniform(0.1, 1, d) ** 3, rng.integers(1, 4, d).astype(float), rng.uniform(0, 1, d), 0.3
    )


@pytest.mark.parametrize("seed", range(40))
def test_every_origin_as_by_the_general_expansion(seed: int) -> None:
    """That one differentiates by complex steps and knows nothing of closed forms."""
    rng = np.random.default_rng(seed)
    population = random_population(rng)
    stages, penalties = recursion(rng, population, seed % 6), [0.01, 0.2, 1.0]
    last = [solve(population, stages[-1], penalty) for penalty in penalties]
    chain = Chain(population, stages, (*solve_all(population, stages[:-1]), last[0]), label_indices(stages))
    runs = [(1, fits(population, s.sources[0].samples, [float(s.penalty)])) for s in stages[:-1]]
    found = plain_origins(population, runs, fits(population, stages[-1].sources[0].samples, penalties))
    for i, general in enumerate(contributions(chain, last)):
        assert found.truth[:, i] == pytest.approx(general.truth.sum(axis=0), rel=1e-9)
        assert found.noise[:, i] == pytest.approx(general.noise[-1][:, 0], rel=1e-9)
        for k in range(len(runs)):
            assert found.past[:, i, k] == pytest.approx(general.noise[k][:, 0], rel=1e-9)


def test_a_run_of_equal_generations_is_its_generations_one_by_one() -> None:
    rng = np.random.default_rng(3)
    population = random_population(rng)
    last = fits(population, 40.0, [0.05, 0.5])
    for penalty, samples in ((0.02, 30.0), (0.0, population.rank + 9.0)):
        one = fits(population, samples, [penalty])
        together = plain_origins(population, [(4, one)], last)
        single = plain_origins(population, [(1, one)] * 4, last)
        for name in ("clean", "noise", "truth", "past"):
            assert getattr(together, name) == pytest.approx(getattr(single, name), rel=1e-13)


def test_least_squares_throughout_is_exact() -> None:
    """Every T - d becomes T - d - 1, as section 6.1 of Dohmatob, Feng, Kempe has it at every size."""
    d, noise = 12, 0.3
    population = Population(np.linspace(0.2, 2.0, d), np.ones(d), np.ones(d), noise)
    sizes = [30.0, 21.0, 50.0]
    names = [REAL, "g0", "g1"]
    stages = tuple(Stage(f"g{k}", (Source("x", names[k], T, noise),), 0.0) for k, T in enumerate(sizes))
    found = predict(population, TrainingMix(stages), order=1)
    assert found.test_error.total == pytest.approx(sum(noise * d / (T - d - 1) for T in sizes), rel=1e-12)


@pytest.mark.parametrize("generations", [1, 3])
def test_simulated_designs_show_the_correction(generations: int) -> None:
    d, noise = 14, 0.3
    population = Population(np.arange(1.0, d + 1) ** -1.0, np.ones(d), np.linspace(0.5, 1.5, d) / d, noise)
    labels = [REAL, *(f"g{k}" for k in range(generations))]
    stages = [
        Stage(f"g{k}", (Source("x", label, 24, noise),), 0.02 if k < generations else 0.05)
        for k, label in enumerate(labels)
    ]
    mix = TrainingMix(tuple(stages))
    asymptotic, corrected = (predict(population, mix, order=order) for order in (0, 1))
    assert plain_prediction(population, mix, 1) is not None
    assert corrected.order == 1
    measured, error = average_error(population, mix, 2000, 7)
    assert abs(measured - asymptotic.test_error.total) > 4 * error, "the correction would not be seen"
    moved = abs(corrected.test_error.total - asymptotic.test_error.total)
    assert abs(measured - corrected.test_error.total) < 4 * error + 0.15 * moved


@pytest.mark.parametrize(("runs", "varied"), [((3,), {"penalty"}), ((2, 1), {"run"}), ((1, 2), ALL)], ids=str)
def test_many_recursions_at_once(runs: tuple[int, ...], varied: set[str]) -> None:
    rng = np.random.default_rng([len(varied), *runs])
    count = 12
    population = Population(np.arange(1.0, 41) ** -1.5, np.ones(40), rng.uniform(0.1, 1.0, 40), 1.0)
    scenarios = batch(rng, count, runs, varied=varied)
    found = corrected_outcomes(population, scenarios, outcomes(population, scenarios))
    regular = 0
    for i in range(count):
        if not entry(found.regular, i):
            continue
        regular += 1
        own = dataclasses.replace(population, noise_variance=entry(scenarios.real_noise, i))
        one = plain_prediction(own, mix_of(scenarios, i), 1)
        assert one is not None
        assert one.order == 1
        noise = row(found.given.noise_responses, i) * np.array(row(scenarios.generator_noise, i))
        assert entry(found.given.total, i) == pytest.approx(one.test_error.total, rel=1e-10)
        assert entry(found.given.bias, i) == pytest.approx(one.test_error.bias, rel=1e-10)
        assert noise == pytest.approx([s.label_noise for s in one.test_error.by_source], rel=1e-10)
        assert entry(found.best.total, i) == pytest.approx(one.regularization.at_recommended.total, rel=1e-8)
        assert entry(found.clean_total, i) == pytest.approx(one.clean.best.total, rel=1e-8)
    assert regular >= count // 3
