"""What must not change the answer, on random mixes (hypothesis)."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.theory.model import REAL, Population, Shift, Source, Stage, TrainingMix
from service.theory.prediction import predict
from service.theory.results import Prediction

MODES = 5
sizes = st.integers(0, 300).map(float)
positive = st.floats(1e-3, 1e3)
eigenvalues = st.lists(positive, min_size=MODES, max_size=MODES).map(np.array)
powers = st.lists(st.floats(0, 10), min_size=MODES, max_size=MODES).map(np.array)
penalties = st.sampled_from([0.0]) | st.floats(1e-6, 10)
weights = st.sampled_from([0.0, 1.0]) | st.floats(0.1, 5)
widths = st.none() | st.integers(1, 12).map(float)


@st.composite
def mixes(draw: st.DrawFn) -> TrainingMix:
    stages: list[Stage] = []
    shifted = draw(st.integers(0, 7)) == 0  # sources of their own covariance take the slower path
    for k in range(draw(st.integers(1, 4))):
        sources = []
        for j in range(draw(st.integers(1, 3))):
            label = draw(st.integers(-1, k))
            labels: str | Shift = REAL if label == k else f"stage-{label}"
            if label == -1:
                labels = Shift(draw(powers))
            own = draw(st.none() | eigenvalues) if shifted else None
            sources.append(Source(f"s{j}", labels, draw(sizes), draw(st.floats(0, 5)), draw(weights), own))
        stages.append(Stage(f"stage-{k}", tuple(sources), draw(penalties), draw(widths)))
    return TrainingMix(tuple(stages))


@st.composite
def problems(draw: st.DrawFn) -> tuple[Population, TrainingMix]:
    population = Population(draw(eigenvalues), np.ones(MODES), draw(powers), draw(st.floats(0, 5)))
    return population, draw(mixes())


def mapped(mix: TrainingMix, source=lambda s: s, penalty=lambda p: p) -> TrainingMix:
    return TrainingMix(
        tuple(
            dataclasses.replace(
                stage, sources=tuple(source(s) for s in stage.sources), penalty=penalty(stage.penalty)
            )
            for stage in mix.stages
        )
    )


def numbers(prediction: Prediction) -> dict[str, float]:
    error, best = prediction.test_error, prediction.regularization
    found = {
        "total": error.total,
        "bias": error.bias,
        "variance": error.variance,
        "label_noise": error.parts.label_noise,
        "shift": error.parts.shift,
        "mismatch": error.parts.noise_mismatch,
        "best": best.recommended.total,
        "null": prediction.null_predictor,
    }
    return {name: value for name, value in found.items() if not math.isnan(value)}


def agree(a: dict[str, float], b: dict[str, float], rel: float, scale: float = 1.0) -> None:
    assert a.keys() == b.keys()
    floor = 1e-13 * max((abs(v) for v in a.values() if math.isfinite(v)), default=0.0) * scale
    for name, value in a.items():
        if math.isinf(value) or math.isinf(b[name]):
            assert value == b[name]
        else:
            tolerance = 1e-6 if name == "best" else rel
            assert math.isclose(value * scale, b[name], rel_tol=tolerance, abs_tol=floor), name


@given(problems())
@settings(max_examples=80, deadline=None)
def test_no_input_gives_a_number_that_is_none(problem: tuple[Population, TrainingMix]) -> None:
    prediction = predict(*problem)
    error = prediction.test_error
    assert error.total >= 0
    if math.isfinite(error.generation):
        parts = error.parts
        total = parts.label_noise + parts.distortion + parts.shift + parts.noise_mismatch
        assert math.isclose(total, error.generation, rel_tol=1e-9, abs_tol=1e-9 * (error.total + error.bias))
    best = prediction.regularization.recommended
    assert best.total <= min(error.total, prediction.null_predictor) * (1 + 1e-6)
    assert best.penalty >= 0


@given(problems(), st.sampled_from([1e-9, 1e-3, 1e9]))
@settings(max_examples=30, deadline=None)
def test_units_of_the_features(problem: tuple[Population, TrainingMix], c: float) -> None:
    """x -> √c x with w -> w/√c: all eigenvalues and penalties times c, powers over c, errors unchanged."""
    population, mix = problem
    scaled = Population(
        population.eigenvalues * c,
        population.multiplicities,
        population.target_power / c,
        population.noise_variance,
    )

    def source(s: Source) -> Source:
        own = None if s.eigenvalues is None else s.eigenvalues * c
        labels = Shift(s.labels.power / c) if isinstance(s.labels, Shift) else s.labels
        return dataclasses.replace(s, eigenvalues=own, labels=labels)

    agree(
        numbers(predict(population, mix)),
        numbers(predict(scaled, mapped(mix, source, lambda p: p * c))),
        1e-9,
    )


@given(problems(), st.sampled_from([1e-9, 1e-3, 1e9]))
@settings(max_examples=30, deadline=None)
def test_units_of_the_labels(problem: tuple[Population, TrainingMix], c: float) -> None:
    """y -> √c y: all powers and noises times c, so all errors times c."""
    population, mix = problem
    scaled = Population(
        population.eigenvalues,
        population.multiplicities,
        population.target_power * c,
        population.noise_variance * c,
    )

    def source(s: Source) -> Source:
        labels = Shift(s.labels.power * c) if isinstance(s.labels, Shift) else s.labels
        return dataclasses.replace(s, noise_variance=s.noise_variance * c, labels=labels)

    agree(numbers(predict(population, mix)), numbers(predict(scaled, mapped(mix, source))), 1e-9, c)


@given(problems(), st.permutations(range(MODES)))
@settings(max_examples=25, deadline=None)
def test_order_of_the_modes(problem: tuple[Population, TrainingMix], order: list[int]) -> None:
    population, mix = problem
    permuted = Population(
        population.eigenvalues[order],
        population.multiplicities,
        population.target_power[order],
        population.noise_variance,
    )

    def source(s: Source) -> Source:
        own = None if s.eigenvalues is None else s.eigenvalues[order]
        labels = Shift(s.labels.power[order]) if isinstance(s.labels, Shift) else s.labels
        return dataclasses.replace(s, eigenvalues=own, labels=labels)

    agree(numbers(predict(population, mix)), numbers(predict(permuted, mapped(mix, source))), 1e-9)


@given(problems())
@settings(max_examples=25, deadline=None)
def test_a_level_is_as_many_modes(problem: tuple[Population, TrainingMix]) -> None:
    population, mix = problem
    copies = np.array([3, 1, 2, 1, 4])
    levels = dataclasses.replace(population, multiplicities=copies.astype(float))
    listed = Population(
        np.repeat(population.eigenvalues, copies), np.ones(copies.sum()),
        np.repeat(population.target_power, copies), population.noise_variance,
    )  # fmt: skip

    def source(s: Source) -> Source:
        own = None if s.eigenvalues is None else np.repeat(s.eigenvalues, copies)
        labels = Shift(np.repeat(s.labels.power, copies)) if isinstance(s.labels, Shift) else s.labels
        return dataclasses.replace(s, eigenvalues=own, labels=labels)

    agree(numbers(predict(levels, mix)), numbers(predict(listed, mapped(mix, source))), 1e-9)


@given(problems(), st.integers(2, 5))
@settings(max_examples=25, deadline=None)
def test_a_source_may_be_split(problem: tuple[Population, TrainingMix], pieces: int) -> None:
    population, mix = problem

    def split(stage: Stage) -> Stage:
        head, *rest = stage.sources
        if isinstance(head.labels, Shift):
            return stage  # one shift is drawn per source: two sources have two shifts
        parts = tuple(
            dataclasses.replace(head, name=f"part-{i}", samples=head.samples / pieces) for i in range(pieces)
        )
        return dataclasses.replace(stage, sources=(*parts, *rest))

    split_mix = TrainingMix(tuple(split(stage) for stage in mix.stages))
    agree(numbers(predict(population, mix)), numbers(predict(population, split_mix)), 1e-8)


@given(problems())
@settings(max_examples=25, deadline=None)
def test_a_source_without_weight_only_rescales_the_penalty(problem: tuple[Population, TrainingMix]) -> None:
    population, mix = problem
    final = mix.stages[-1]
    total = sum(s.samples for s in final.sources)
    idle = Source("idle", REAL, total, 0.7, 0.0)
    halved = 0.0 if final.penalty == 0 else float(final.penalty) / 2
    longer = dataclasses.replace(final, sources=(*final.sources, idle), penalty=halved)
    a = predict(population, mix).test_error.total
    b = predict(population, TrainingMix((*mix.stages[:-1], longer))).test_error.total
    # what is learned exactly leaves rounding of the signal alone
    assert a == b or math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-15 * population.signal)


@given(eigenvalues, powers, st.floats(0, 5), st.integers(1, 300), st.integers(1, 300), penalties)
@settings(max_examples=25, deadline=None)
def test_perfect_synthetic_data_are_real_data(  # noqa: PLR0917
    sigma: np.ndarray, power: np.ndarray, noise: float, T1: int, T2: int, penalty: float
) -> None:
    population = Population(sigma, np.ones(MODES), power, noise)
    perfect = Source("synthetic", Shift(np.zeros(MODES)), T2, noise)
    mixed = predict(population, TrainingMix((Stage("f", (Source(REAL, REAL, T1, noise), perfect), penalty),)))
    real = predict(population, TrainingMix((Stage("f", (Source(REAL, REAL, T1 + T2, noise),), penalty),)))
    assert mixed.test_error.total == real.test_error.total or math.isclose(
        mixed.test_error.total, real.test_error.total, rel_tol=1e-10
    )
    if math.isfinite(mixed.test_error.generation):
        assert abs(mixed.test_error.generation) <= 1e-10 * mixed.test_error.total


@given(problems(), st.floats(-1, 1))
@settings(max_examples=30, deadline=None)
def test_the_recommended_penalty_is_the_best(problem: tuple[Population, TrainingMix], x: float) -> None:
    population, mix = problem
    best = predict(population, mix).regularization.recommended
    if not 0 < best.penalty < math.inf:
        return
    other = dataclasses.replace(mix.stages[-1], penalty=best.penalty * 10**x)
    elsewhere = predict(population, TrainingMix((*mix.stages[:-1], other))).test_error.total
    # at the threshold without noise the error falls to 0 with the penalty: no penalty is the best
    assert best.total <= elsewhere * (1 + 1e-6) + 1e-12 * population.signal


def test_no_cause_is_read_into_numbers_that_have_lost_their_digits() -> None:
    power = np.array([9.58487353e-315, 7.16395186e-315, 6.22522714e-315, 5.33590898e-315])
    population = Population(np.array([187.0, 56.0, 163.0, 134.0]), np.ones(4), power, 0.0)
    alone = TrainingMix((Stage("last", (Source("real", REAL, 1.0, 0.0),), 0.1),))
    assert predict(population, alone).test_error.generation == 0


@settings(deadline=None)
@given(problems(), st.sampled_from([0, 1]))
def test_real_data_alone_have_no_generation_term(problem: tuple[Population, TrainingMix], order: int) -> None:
    """Not even a rounding error of one: nobody shall read a cause into it."""
    population, mix = problem
    last = mix.stages[-1]
    real = tuple(
        dataclasses.replace(
            s, labels=REAL, noise_variance=population.noise_variance, weight=1.0, eigenvalues=None
        )
        for s in last.sources
    )
    alone = TrainingMix((dataclasses.replace(last, sources=real),))
    error = predict(population, alone, order=order).test_error
    if not error.diverged:
        assert error.generation == 0
        assert dataclasses.astuple(error.parts) == (0, 0, 0, 0)


@pytest.mark.parametrize("width", [None, 2.0, 3.0])
@pytest.mark.parametrize("penalty", [1e-4, 1e-14, 1e-20])
@pytest.mark.parametrize("samples", [2.0, 3.0])
def test_modes_without_variance_change_nothing(samples: float, penalty: float, width: float | None) -> None:
    """Nor do they hide how little is left of the others: with as many samples, or random features, as those."""

    def error(nothing: int) -> list[float]:
        sigma = np.append([1.0, 0.5], np.zeros(nothing))
        population = Population(sigma, np.ones(sigma.size), np.ones(sigma.size), 0.01)
        stage = Stage("f", (Source(REAL, REAL, samples, 0.01),), penalty, width)
        found = predict(population, TrainingMix((stage,)))
        return [found.test_error.total, found.test_error.bias, found.regularization.recommended.total]

    for nothing in (1, 5):
        np.testing.assert_allclose(error(nothing), error(0), rtol=1e-11)
