"""The finite-size correction against exact averages, the expansion by parts, and Monte Carlo."""

import dataclasses
import itertools
from collections.abc import Callable
from typing import Literal

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import chi2

from service.theory.chain import Chain, label_indices
from service.theory.corrected import corrected, with_expected_error
from service.theory.finite_size import Contributions, Expansion, contributions
from service.theory.model import OPTIMAL, REAL, Array, Population, Shift, Source, Stage, TrainingMix
from service.theory.plain_prediction import plain_prediction
from service.theory.prediction import predict
from service.theory.stages import solve_all
from tests.theory.designs import average_error
from tests.theory.problems import isotropic, power_law


def found(population: Population, mix: TrainingMix) -> Contributions:
    responses = solve_all(population, mix.stages)
    chain = Chain(population, mix.stages, responses, label_indices(mix.stages))
    return contributions(chain, responses[-1:])[0]


def total(mix: TrainingMix, parts: Contributions) -> Array:
    """The error to order 0, and its correction."""
    value = parts.truth.sum(axis=0)
    for stage, noise, shift in zip(mix.stages, parts.noise, parts.shift, strict=True):
        value += noise @ [source.noise_variance for source in stage.sources] + shift.sum(axis=1)
    return value


def one(samples: float, penalty: float, noise: float = 1.0, width: float | None = None) -> TrainingMix:
    return TrainingMix((Stage("fit", (Source("real", REAL, samples, noise),), penalty, width),))


def generations(n: int, samples: float, penalty: float, final: float = 0.02) -> TrainingMix:
    labels = [REAL, *(f"g{k}" for k in range(n - 1))]
    stages = [Stage(f"g{k}", (Source("x", labels[k], samples, 0.3),), penalty) for k in range(n)]
    return TrainingMix((*stages, Stage("final", (Source("x", f"g{n - 1}", samples, 0.2),), final)))


D = 14
SIGMA = np.arange(1.0, D + 1) ** -1.0
POPULATION = Population(SIGMA, np.ones(D), np.linspace(0.5, 1.5, D) / D, 0.3)
DAG = TrainingMix((
    Stage("a", (Source("r", REAL, 20, 0.3),), 0.03),
    Stage("b", (Source("r", REAL, 14, 0.3), Source("a", "a", 20, 0.1, 0.5)), 0.05),
    Stage("final", (Source("r", REAL, 12, 0.3), Source("a", "a", 10, 0.2, 2.0), Source("b", "b", 16, 0.2)), 0.04),
))  # fmt: skip
MIXES = {
    "ridge": one(20, 0.05, 0.0),
    "too few samples": one(8, 0.0),
    "random features": one(24, 0.05, 0.1, width=18),
    "unpenalized random features": one(26, 0.0, width=8),
    "ridge chain": generations(3, 24, 0.02),
    "interpolating chain": generations(3, 7, 0.0),
    "several sources, chained": DAG,
    "shifted labels": TrainingMix((
        Stage("final", (Source("r", REAL, 10, 0.2), Source("s", Shift(np.full(D, 0.05)), 14, 0.2, 0.5)), 0.02),
    )),
    "covariate shift and random features": TrainingMix((
        Stage("a", (Source("r", REAL, 24, 0.3, 1.0, SIGMA[::-1].copy()),), 0.03),
        Stage("final", (Source("r", REAL, 14, 0.2), Source("a", "a", 14, 0.2, 1.0, SIGMA[::-1].copy())), 0.03, 20),
    )),
}  # fmt: skip


@pytest.mark.parametrize("name", MIXES)
def test_monte_carlo_shows_the_correction(name: str) -> None:
    mix = MIXES[name]
    value, correction = total(mix, found(POPULATION, mix))
    mean, standard_error = average_error(POPULATION, mix, 1500, 5)
    assert abs(mean - value) > 4 * standard_error, "the correction would not be seen"
    # what is left is of the order of the correction's square
    assert abs(mean - value - correction) <= 3.5 * standard_error + 1.5 * correction**2 / value


@pytest.mark.parametrize("name", MIXES)
def test_the_value_is_the_engines(name: str) -> None:
    mix = MIXES[name]
    value, _ = total(mix, found(POPULATION, mix))
    assert value == pytest.approx(predict(POPULATION, mix).test_error.total, rel=1e-12)


# --- exact averages --------------------------------------------------------------------------------


@pytest.mark.parametrize(("d", "samples"), [(20, 22), (20, 40), (100, 1000), (3, 50)])
def test_without_penalty_one_less_sample(d: int, samples: int) -> None:
    """σ² d/(T−d−1) in every generation, exact at every size."""
    n = 3
    mix = generations(n, samples, 0.0, final=0.0)
    population = power_law(d, beta=1.2)
    prediction = corrected(population, predict(population, mix))
    unit = d / (samples - d - 1)
    assert prediction.order == 1
    assert prediction.test_error.total == pytest.approx((0.2 + 0.3 * n) * unit, rel=1e-12)
    assert prediction.test_error.parts.label_noise == pytest.approx(0.3 * n * unit, rel=1e-12)
    assert prediction.test_error.parts.distortion == 0
    assert prediction.test_error.bias == pytest.approx(0, abs=1e-15)


@pytest.mark.parametrize(("d", "samples"), [(40, 20), (30, 3)])
def test_interpolation_of_isotropic_features(d: int, samples: int) -> None:
    """Bias (1 − T/d) ‖w‖² and variance σ² T/(d−T−1), exact at every size."""
    population = isotropic(d, noise=0.7)
    prediction = corrected(population, predict(population, one(samples, 0.0, 0.7)))
    assert prediction.test_error.bias == pytest.approx(1 - samples / d, rel=1e-12)
    assert prediction.test_error.variance == pytest.approx(0.7 * samples / (d - samples - 1), rel=1e-12)


def scalar_ridge(samples: int, penalty: float) -> tuple[float, float]:
    """E (λ/(S+λ))² and E S/(S+λ)²/T for S = χ²_T/T, by quadrature."""

    def mean(f: Callable[[float], float]) -> float:
        low, high = chi2.ppf(1e-18, samples), chi2.isf(1e-18, samples)
        value, _ = quad(
            lambda z: f(z / samples) * chi2.pdf(z, samples), low, high, epsabs=0, epsrel=1e-11, limit=500
        )
        return float(value)

    return mean(lambda s: (penalty / (s + penalty)) ** 2), mean(lambda s: s / (s + penalty) ** 2) / samples


@pytest.mark.parametrize("penalty", [0.01, 0.3, 3.0])
def test_one_mode_to_second_order(penalty: float) -> None:
    """What is left after the correction falls like 1/N²: four times with every doubling."""
    population = Population(np.ones(1), np.ones(1), np.ones(1), 1.0)
    left = []
    for samples in (200, 400, 800):
        parts = found(population, one(samples, penalty))
        exact = np.array(scalar_ridge(samples, penalty))
        value = np.array([parts.truth[0], parts.noise[0][:, 0]])
        assert np.all(np.abs(value.sum(axis=1) / exact - 1) < 0.2 * np.abs(value[:, 0] / exact - 1))
        left.append(value.sum(axis=1) / exact - 1)
    for first, second in itertools.pairwise(left):
        assert first / second == pytest.approx(4.0, rel=0.1)


@pytest.mark.parametrize("samples", [30, 200])
def test_the_mean_model_is_that_of_the_expansion_by_parts(samples: int) -> None:
    """E[S R] = Σ E[R] (1 − E tr(SR)/T) − (1/T) Σ E[R S R], with S R = 1 − λ R; linear in the correction of E[R]."""
    population, penalty = power_law(10, beta=0.7), 0.05
    sigma, T, d = population.eigenvalues, samples, 10
    response = solve_all(population, one(samples, penalty).stages)[0]
    Q = response.unlearned / penalty
    a = 1 - (d - penalty * Q.sum()) / T
    # E[R²] = −dQ/dλ at leading order, from 1/Q = σ a(λ) + λ
    slope = (sigma * Q**2).sum() / (T / a**2 - (sigma**2 * Q**2).sum())
    squared = Q**2 * (1 + sigma * slope)
    # λ δQ = −σ δQ a − σ Q (λ Σ δQ)/T + σ (Q − λ E[R²])/T, solved as a dense linear system
    matrix = np.diag(penalty + sigma * a) + np.outer(sigma * Q, np.full(d, penalty)) / T
    right = sigma * (Q - penalty * squared) / T
    change = np.linalg.solve(matrix, right)
    mix = one(samples, penalty)
    chain = Chain(population, mix.stages, (response,), label_indices(mix.stages))
    correction = Expansion.of(chain, mix.stages[0], response).mean_correction
    assert correction[0] == pytest.approx(-penalty * change, rel=1e-10)  # of L = 1 − λ R
    assert correction[1] == pytest.approx(-penalty * change, rel=1e-10)  # of −U = −λ R


# --- predictions to order 1 -----------------------------------------------------------------------


@pytest.mark.parametrize("penalty", [0.003, 0.3, OPTIMAL])
@pytest.mark.parametrize("n", [0, 1, 4])
@pytest.mark.parametrize("samples", [90.0, 140.0])
def test_the_closed_form_is_the_general_one(
    n: int, samples: float, penalty: float | Literal["optimal"]
) -> None:
    population = power_law(60, beta=1.1, target=np.linspace(0.3, 0.1, 60))
    stages = list(generations(n, 1000, 0.0).stages[:-1]) if n else []
    label = stages[-1].name if n else REAL
    mix = TrainingMix((*stages, Stage("final", (Source("x", label, samples, 0.4),), penalty)))
    plain = plain_prediction(population, mix, order=1)
    assert plain is not None
    general = corrected(population, predict(population, mix))
    assert plain.order == general.order == 1
    for name in ("test_error", "clean", "real_only", "regularization"):
        assert flat(getattr(plain, name)) == pytest.approx(
            flat(getattr(general, name)), rel=1e-10, abs=1e-13
        ), name


def flat(value: object) -> list[float]:
    """All numbers of nested dataclasses and tuples, in order."""
    if dataclasses.is_dataclass(value):
        return [x for field in dataclasses.fields(value) for x in flat(getattr(value, field.name))]
    if isinstance(value, tuple):
        return [x for part in value for x in flat(part)]
    return [value] if isinstance(value, float) else []


def test_parts_add_up() -> None:
    error = predict(POPULATION, DAG, order=1).test_error
    parts = error.parts
    assert error.total == pytest.approx(error.bias + error.variance + error.generation, rel=1e-14)
    assert error.generation == pytest.approx(
        parts.label_noise + parts.distortion + parts.shift + parts.noise_mismatch, rel=1e-12
    )


@pytest.mark.parametrize("scale", [1e-9, 1e9])
def test_scaled_features_noise_and_penalty(scale: float) -> None:
    """Eigenvalues, penalties and noises scaled together scale the error, to every order."""

    def scaled(stage: Stage) -> Stage:
        sources = tuple(
            dataclasses.replace(source, noise_variance=scale * source.noise_variance)
            for source in stage.sources
        )
        return dataclasses.replace(stage, sources=sources, penalty=scale * float(stage.penalty))

    population = Population(scale * SIGMA, np.ones(D), POPULATION.target_power, scale * 0.3)
    once = total(DAG, found(POPULATION, DAG))
    mix = TrainingMix(tuple(scaled(stage) for stage in DAG.stages))
    assert total(mix, found(population, mix)) == pytest.approx(scale * once, rel=1e-11)


def test_a_level_is_as_many_modes() -> None:
    levels = Population(np.array([1.0, 0.2]), np.array([6.0, 8.0]), np.array([0.5, 1.0]), 0.3)
    modes = Population(np.repeat([1.0, 0.2], [6, 8]), np.ones(14), np.repeat([0.5, 1.0], [6, 8]), 0.3)
    assert total(DAG, found(levels, DAG)) == pytest.approx(total(DAG, found(modes, DAG)), rel=1e-12)


@pytest.mark.parametrize("width", [None, 20.0])
def test_a_source_in_two_and_one_that_is_not_used(width: float | None) -> None:
    whole = TrainingMix(
        (*DAG.stages[:-1], Stage("f", (Source("a", "a", 20, 0.2), Source("b", "b", 9, 0.1)), 0.1, width))
    )
    halves = (Source("a1", "a", 12, 0.2), Source("a2", "a", 8, 0.2), Source("b", "b", 9, 0.1))
    split = TrainingMix((*DAG.stages[:-1], Stage("f", halves, 0.1, width)))
    idle = TrainingMix((*DAG.stages[:-1], Stage("f", (*halves, Source("r", REAL, 0, 0.3)), 0.1, width)))
    expected = total(whole, found(POPULATION, whole))
    assert total(split, found(POPULATION, split)) == pytest.approx(expected, rel=1e-11)
    assert total(idle, found(POPULATION, idle)) == pytest.approx(expected, rel=1e-11)


@pytest.mark.parametrize("mix", [one(D, 1e-6), one(D + 1, 0.0), one(D - 1, 0.0, width=D - 2)])
def test_no_correction_that_is_not_small(mix: TrainingMix) -> None:
    """Near the threshold the asymptotic value stands, and says that it is one."""
    prediction = predict(POPULATION, mix)
    after = corrected(POPULATION, prediction)
    assert after.order == 0
    assert after.test_error == prediction.test_error


@pytest.mark.parametrize(
    ("d", "samples", "penalty"), [(14, 14, 1e-3), (14, 14, 4e-3), (30, 31, 1e-4), (30, 31, 1e-3)]
)
def test_the_expected_error_covers_what_is_left_near_the_threshold(
    d: int, samples: float, penalty: float
) -> None:
    """There corrections may cancel, and what they leave is of the order of (samples to spare)^-2."""
    population = power_law(d, beta=1.0)
    mix = one(samples, penalty)
    mean, standard_error = average_error(population, mix, 1500, 1)
    for order in (0, 1):
        prediction = with_expected_error(population, predict(population, mix)) if order == 0 else None
        prediction = prediction or predict(population, mix, order=1)
        error = abs(prediction.test_error.total / mean - 1)
        assert error <= prediction.expected_relative_error + 3 * standard_error / mean
        assert prediction.expected_relative_error < 0.5


def bottleneck(d: int, width: float, penalty: float) -> tuple[Population, TrainingMix]:
    """A generator with hardly more random features than modes: what it does not learn of the target is little, and
    its correction is as large."""
    generator = Stage("g", (Source("r", REAL, 4 * d, 0.25),), penalty, width)
    final = Stage("f", (Source("g", "g", 3 * d, 0.25),), 0.05)
    return Population(np.ones(d), np.ones(d), np.full(d, 1 / d), 0.25), TrainingMix((generator, final))


@pytest.mark.parametrize(("d", "width", "penalty"), [(10, 11, 0.004), (12, 13, 0.002)])
def test_a_small_part_may_have_a_large_correction(d: int, width: float, penalty: float) -> None:
    population, mix = bottleneck(d, width, penalty)
    value, correction = found(population, mix).truth[0]
    assert abs(correction) > 0.6 * value
    one, zero = predict(population, mix, order=1), predict(population, mix)
    assert one.order == 1
    mean, standard_error = average_error(population, mix, 1500, 3)
    errors = [abs(prediction.test_error.total - mean) for prediction in (one, zero)]
    assert errors[1] > 4 * standard_error
    assert errors[0] < errors[1] - 3 * standard_error
    assert errors[0] <= one.expected_relative_error * mean + 3 * standard_error
    assert one.expected_relative_error < with_expected_error(population, zero).expected_relative_error


def test_a_baseline_next_to_its_threshold_costs_the_others_nothing() -> None:
    """Real samples hardly more than modes, beside many others: only the error of the real ones alone is asymptotic."""
    shift = Shift(np.full(D, 0.05))
    mix = TrainingMix((
        Stage("final", (Source("r", REAL, D + 1, 0.4), Source("s", shift, 3 * D, 0.4, 0.5)), 1e-5),
    ))  # fmt: skip
    one, zero = predict(POPULATION, mix, order=1), predict(POPULATION, mix)
    assert (one.order, one.asymptotic_real_only) == (1, True)
    assert one.real_only == zero.real_only
    mean, standard_error = average_error(POPULATION, mix, 1500, 2)
    assert abs(zero.test_error.total - mean) > 6 * standard_error
    allowed = one.expected_relative_error * mean + 3 * standard_error
    assert abs(one.test_error.total - mean) <= allowed
    roomy = dataclasses.replace(mix.stages[0], penalty=0.1)
    assert not predict(POPULATION, TrainingMix((roomy,)), order=1).asymptotic_real_only


@pytest.mark.parametrize("penalty", [1e-5, 1e-3])
def test_as_many_random_features_as_modes_next_to_no_penalty(penalty: float) -> None:
    """What is lost with single modes has no expansion: the asymptotic error stands, and says how far off it may be."""
    population, (generator, _) = bottleneck(10, 10, penalty)[0], bottleneck(10, 10, penalty)[1].stages
    mix = TrainingMix((generator,))
    one, zero = predict(population, mix, order=1), with_expected_error(population, predict(population, mix))
    assert one.order == 0
    assert one.test_error == zero.test_error
    mean, standard_error = average_error(population, mix, 1500, 4)
    error = abs(one.test_error.total / mean - 1)
    assert error > 0.04
    for prediction in (one, zero):
        assert error <= prediction.expected_relative_error + 3 * standard_error / mean
        assert prediction.expected_relative_error < 0.5


@pytest.mark.parametrize("d", [10, 15, 30])
@pytest.mark.parametrize("penalty", [1e-12, 1e-14])
def test_features_as_many_as_modes_say_what_they_do_not_correct(d: int, penalty: float) -> None:
    """They span all modes, so the error tends to σ² d/(T − d − 1); order 1 is off there, by what it expects."""
    population = power_law(d, 1.0, 3.0)
    stage = Stage("f", (Source(REAL, REAL, 2.0 * d, 3.0),), penalty, float(d))
    found = predict(population, TrainingMix((stage,)), order=1)
    exact = 3.0 * d / (2 * d - d - 1)
    error = abs(found.test_error.total / exact - 1)
    assert error < found.expected_relative_error < max(4 * error, 0.02)
