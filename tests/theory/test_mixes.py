"""Mixes of one covariance side by side: as the general engine and its finite-size correction have it; invariances."""

import dataclasses
from dataclasses import replace
from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.theory.corrected import corrected
from service.theory.errors import NotConverged, Unsupported
from service.theory.general import general_prediction
from service.theory.mixes.outcomes import outcomes
from service.theory.mixes.prediction import mixed_prediction
from service.theory.mixes.scenarios import Mixes, is_mixed
from service.theory.model import OPTIMAL, REAL, Array, Population, Shift, Source, Stage, TrainingMix
from service.theory.slots import COLUMNS, Slot
from service.theory.variations import _at, _row, predictions
from tests.theory.designs import average_error
from tests.theory.problems import power_law

# what is found at an optimum is as sharp as its place
ROUGH = (
    "best",
    "recommended",
    "clean_optimal_penalty",
    "effective_samples",
    "flat_range",
    "cost_of",
    "at_rec",
)


def random_problem(
    rng: np.random.Generator, *, penalty: float | None = None
) -> tuple[Population, TrainingMix]:
    """Up to five stages of up to three sources: real data, shifts, and earlier models; some weights and sizes 0."""
    d = int(rng.integers(5, 60))
    sigma = (
        np.exp(rng.uniform(-6, 1, d))
        if rng.random() < 0.5
        else np.arange(1.0, d + 1) ** -rng.uniform(0.5, 2.5)
    )
    multiplicities = rng.integers(1, 4, d).astype(float) if rng.random() < 0.5 else np.ones(d)
    population = Population(
        sigma, multiplicities, rng.exponential(1, d) / d, float(np.exp(rng.uniform(-4, 1)))
    )
    stages: list[Stage] = []
    count = int(rng.integers(1, 6))
    for f in range(count):
        sources = []
        for s in range(int(rng.integers(1, 4))):
            kind = rng.random()
            label: str | Shift = REAL if kind < 0.3 else Shift(rng.exponential(0.3, d) / d)
            if kind > 0.45 and f > 0:
                label = stages[int(rng.integers(max(0, f - 3), f))].name
            weight = 1.0 if rng.random() < 0.3 else float(np.exp(rng.uniform(-2, 1)))
            samples = float(np.round(np.exp(rng.uniform(np.log(4), np.log(400)))))
            if s and rng.random() < 0.05:
                weight, samples = rng.permutation([0.0, samples]).tolist()
            sources.append(Source(f"s{s}", label, samples, float(np.exp(rng.uniform(-4, 1))), weight))
        own = 0.0 if rng.random() < 0.15 and f < count - 1 else float(np.exp(rng.uniform(-9, 1)))
        stages.append(Stage(f"m{f}", tuple(sources), own if penalty is None or f < count - 1 else penalty))
    return population, TrainingMix(tuple(stages))


def compare(short: object, general: object, scale: float, name: str = "") -> None:
    """Every number, errors as shares of ``scale``."""
    if dataclasses.is_dataclass(general) and not isinstance(general, type):
        for field in dataclasses.fields(general):
            if field.name != "mix":
                at = f"{name}.{field.name}"
                compare(getattr(short, field.name), getattr(general, field.name), scale, at)
    elif isinstance(general, tuple):
        assert isinstance(short, tuple)
        for a, b in zip(short, general, strict=True):
            compare(a, b, scale, name)
    elif isinstance(general, float):
        rel = 2e-4 if any(part in name for part in ROUGH) else 1e-10
        assert short == pytest.approx(general, rel=rel, abs=rel * scale * ("penalty" not in name)), name
    else:
        assert short == general, name


def test_equal_to_the_general_engine() -> None:
    rng, taken = np.random.default_rng(0), 0
    for i in range(160):
        population, mix = random_problem(rng)
        if i % 5 == 0:
            mix = replace(mix, stages=(*mix.stages[:-1], replace(mix.stages[-1], penalty=OPTIMAL)))
        assert is_mixed(population, mix)
        try:
            general = general_prediction(population, mix)
        except (NotConverged, Unsupported):
            continue
        short = mixed_prediction(population, mix)
        if short is None:
            continue
        compare(short, general, general.test_error.total)
        compare(
            mixed_prediction(population, mix, 1), corrected(population, general), general.test_error.total
        )
        taken += 1
    assert taken > 90


def test_the_best_penalty_for_clean_labels_is_that_of_bayes() -> None:
    """Of N real samples with noise σ² and a target of the same power c in every mode: λ = σ²/(N c)."""
    population = power_law(30, noise=0.4)
    sources = (Source("r", REAL, 60, 0.4), Source("s", Shift(np.full(30, 0.01)), 75, 0.2, 0.5))
    mix, expected = TrainingMix((Stage("final", sources, 0.05),)), 0.4 / (135 / 30)
    alone = mixed_prediction(population, mix)
    assert alone is not None
    weights = {Slot("weight", 0, 1): np.array([0.3, 0.5])}
    side_by_side = predictions(population, mix, weights, 2).values["clean_optimal_penalty"]
    assert [alone.regularization.clean_optimal_penalty, *side_by_side] == pytest.approx(
        3 * [expected], rel=1e-9
    )
    assert alone.real_only is not None
    assert alone.real_only.best.penalty == pytest.approx(0.4 / (60 / 30), rel=1e-9)


def check_side_by_side(
    population: Population, mix: TrainingMix, slots: dict[Slot, Array], order: Literal[0, 1]
) -> None:
    count = next(iter(slots.values())).size
    found = predictions(population, mix, slots, count, order=order)
    for i in range(count):
        own, alone = _at(population, mix, slots, i)
        general = general_prediction(own, alone)
        expected = _row(corrected(own, general) if order else general)
        for name, value in zip(COLUMNS, expected, strict=True):
            rel = 1e-9 if name in {"total", "bias", "variance", "shift"} else 2e-4
            floor = 1e-8 * expected[COLUMNS.index("total")]
            assert found.values[name][i] == pytest.approx(value, rel=rel, abs=floor, nan_ok=True), (name, i)


@pytest.mark.parametrize("order", [0, 1])
def test_side_by_side_as_one_by_one(order: Literal[0, 1]) -> None:
    """Any number of any stage may vary, and thresholds and stages without data among regular points do no harm."""
    rng, count = np.random.default_rng(1), 12
    population, mix = random_problem(rng)
    slots = {
        Slot("penalty", len(mix.stages) - 1): np.exp(rng.uniform(-6, 0, count)),
        Slot("noise_variance"): rng.random(count),
    }
    for f, stage in enumerate(mix.stages):
        s = int(rng.integers(len(stage.sources)))
        slots[Slot("samples", f, s)] = np.round(rng.uniform(0, 300, count))
        slots[Slot("noise_variance", f, s)] = rng.uniform(0.1, 1, count)
        slots[Slot("weight", f, s)] = np.where(rng.random(count) < 0.3, 1.0, rng.uniform(0, 2, count))
    next(values for slot, values in slots.items() if slot.field == "samples")[:2] = 0.0, population.rank
    check_side_by_side(population, mix, slots, order)
    for slot, values in slots.items():
        check_side_by_side(population, mix, {slot: values[2:5]}, order)


def test_a_threshold_is_left_to_the_general_engine() -> None:
    population = power_law(40)
    first = Stage("g", (Source("x", REAL, 25, 0.2), Source("y", Shift(np.full(40, 0.01)), 15, 0.2, 0.5)), 0.0)
    last = Stage("final", (Source("x", REAL, 50, 0.2), Source("g", "g", 50, 0.2, 0.5)), 0.1)
    assert mixed_prediction(population, TrainingMix((first, last))) is None
    assert not outcomes(population, Mixes.of(population, TrainingMix((first, last)))).regular[0]
    assert mixed_prediction(population, TrainingMix((replace(first, penalty=1e-3), last))) is not None


def test_few_samples_of_great_weight_among_many() -> None:
    """What the few learn is less than the last digit of all samples together."""
    population = power_law(40)
    shift = Shift(np.full(40, 0.01))
    sources = (
        Source("x", REAL, 1e13, 0.2, 0.1),
        Source("y", shift, 90, 0.2, 1e12),
        Source("z", REAL, 500, 0.2, 1e-4),
    )
    last = (Source("g", "g", 80, 0.2, 0.1), Source("y", shift, 90, 0.2, 0.5))
    mix = TrainingMix((Stage("g", sources, 1e-3), Stage("final", last, 2e-3)))
    short, general = mixed_prediction(population, mix), general_prediction(population, mix)
    assert short is not None
    compare(short, general, general.test_error.total)


def test_order_one_against_random_designs() -> None:
    """Three weighted sources, two of them earlier models: the error of random designs, within its standard error."""
    population = power_law(12, noise=0.3)
    sources = (Source("r", REAL, 30, 0.3), Source("d", Shift(np.full(12, 0.02)), 25, 0.1, 0.4))
    mix = TrainingMix((
        Stage("a", sources, 0.03),
        Stage("b", (Source("r", REAL, 24, 0.3), Source("a", "a", 20, 0.2, 0.6)), 0.05),
        Stage("c", (Source("r", REAL, 20, 0.3), Source("a", "a", 16, 0.2, 1.7), Source("b", "b", 22, 0.2)), 0.04),
    ))  # fmt: skip
    found = mixed_prediction(population, mix, 1)
    assert found is not None
    assert found.order == 1
    mean, error = average_error(population, mix, 4000, 5)
    asymptotic = mixed_prediction(population, mix)
    assert asymptotic is not None
    assert abs(found.test_error.total - mean) < 4 * error
    assert abs(found.test_error.total - mean) < 0.5 * abs(asymptotic.test_error.total - mean)


@given(st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_invariances(seed: int) -> None:
    """Order of sources, a source in two halves, and units change nothing."""
    rng = np.random.default_rng(seed)
    population, mix = random_problem(rng)
    base = mixed_prediction(population, mix)
    if base is None:
        return
    error = base.test_error.total
    shuffled = tuple(replace(s, sources=s.sources[::-1]) for s in mix.stages)
    split = tuple(
        replace(
            s,
            sources=tuple(
                replace(x, samples=x.samples / 2)
                for x in s.sources
                for _ in range(2 if not isinstance(x.labels, Shift) else 1)
            )
            if not any(isinstance(x.labels, Shift) for x in s.sources)
            else s.sources,
        )
        for s in mix.stages
    )
    scale = 1e6
    scaled = Population(
        population.eigenvalues * scale, population.multiplicities, population.target_power / scale,
        population.noise_variance,
    )  # fmt: skip
    units = tuple(
        replace(
            s,
            penalty=float(s.penalty) * scale,
            sources=tuple(
                replace(x, labels=Shift(x.labels.power / scale)) if isinstance(x.labels, Shift) else x
                for x in s.sources
            ),
        )
        for s in mix.stages
    )
    for own, stages in ((population, shuffled), (population, split), (scaled, units)):
        found = mixed_prediction(own, replace(mix, stages=stages))
        assert found is not None
        assert found.test_error.total == pytest.approx(error, rel=1e-10)
        assert found.regularization.recommended.total == pytest.approx(
            base.regularization.recommended.total, rel=1e-8
        )
