"""The edges: thresholds, huge and tiny numbers, duplicates, nothing at all."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.theory.design import Design
from service.theory.limits import limits
from service.theory.model import REAL, Array, Population, Shift, Source, Stage, TrainingMix
from service.theory.one_covariance import effective_ridge
from service.theory.prediction import predict
from service.theory.results import Decomposition
from tests.theory.problems import isotropic, power_law, recursive
from tests.theory.referee import RefereeSource, RefereeStage, total_error
from tests.theory.test_accumulate import accumulate

SAMPLES = st.one_of(st.integers(1, 20), st.floats(0, 18).map(lambda x: float(round(10**x))))
ORDERS = pytest.mark.parametrize("order", [0, 1])


def scaled(population: Population, mix: TrainingMix, x: float, y: float) -> tuple[Population, TrainingMix]:
    """Features times √x and labels times √y: errors are multiplied by y."""
    other = Population(
        population.eigenvalues * x,
        population.multiplicities,
        population.target_power * (y / x),
        population.noise_variance * y,
    )

    def source(s: Source) -> Source:
        return dataclasses.replace(
            s,
            noise_variance=s.noise_variance * y,
            eigenvalues=None if s.eigenvalues is None else s.eigenvalues * x,
            labels=Shift(s.labels.power * (y / x)) if isinstance(s.labels, Shift) else s.labels,
        )

    stages = tuple(
        dataclasses.replace(s, sources=tuple(source(one) for one in s.sources), penalty=float(s.penalty) * x)
        for s in mix.stages
    )
    return other, dataclasses.replace(mix, stages=stages)


def mixes() -> dict[str, TrainingMix]:
    own, shift = np.linspace(1.0, 0.2, 30), np.linspace(0.01, 0.1, 30)
    real, other = Source(REAL, REAL, 40, 0.3), Source("s", Shift(shift), 25, 0.2, 0.6)
    return {
        "chain": recursive(3, 50, 40, 0.02, noise0=0.4, noise=0.3, penalty0=1e-3),
        "least squares": recursive(3, 50, 40, 0.0, noise0=0.4, noise=0.3),
        "interpolation": recursive(2, 20, 12, 0.0, noise0=0.4, noise=0.3),
        "mixture": TrainingMix((Stage("f", (real, other), 0.03),)),
        "features": TrainingMix((Stage("f", (real, other), 0.03, 20.0),)),
        "bottleneck": TrainingMix((Stage("f", (real,), 0.0, 20.0),)),
        "covariances": TrainingMix(
            (Stage("f", (real, dataclasses.replace(other, eigenvalues=own)), 0.03, 20.0),)
        ),
        "accumulated": accumulate([40, 20, 30], 0.7, 0.3),
    }


@ORDERS
@pytest.mark.parametrize("name", mixes())
@pytest.mark.parametrize(("x", "y"), [(1e9, 1e9), (1e-9, 1e-9), (1e9, 1e-9), (1.0, 1e9), (1e-9, 1.0)])
def test_all_quantities_scaled_together(name: str, order: int, x: float, y: float) -> None:
    population, mix = power_law(30, 1.2, 0.3), mixes()[name]
    a = predict(population, mix, order=order)  # type: ignore[arg-type]
    b = predict(*scaled(population, mix, x, y), order=order)  # type: ignore[arg-type]
    for one, other in (
        (a.test_error, b.test_error),
        (a.regularization.at_recommended, b.regularization.at_recommended),
    ):
        given = one is a.test_error
        for field in ("total", "bias", "variance"):
            # the recommended penalty is known to 1e-6 at worst, the error there to its square
            rel = 1e-12 if given else 1e-9 if field == "total" else 1e-6
            assert math.isclose(getattr(one, field) * y, getattr(other, field), rel_tol=rel)
    least = 1e-12 * a.test_error.total * y
    for field in ("label_noise", "distortion", "shift", "noise_mismatch"):
        part, moved = getattr(a.test_error.parts, field) * y, getattr(b.test_error.parts, field)
        assert math.isclose(part, moved, rel_tol=1e-12, abs_tol=least)
    assert math.isclose(a.regularization.effective_samples, b.regularization.effective_samples, rel_tol=1e-6)
    assert a.regularization.penalty * x == pytest.approx(b.regularization.penalty, rel=1e-12)


@ORDERS
@given(
    st.lists(st.floats(-15, 15).map(lambda x: 10.0**x), min_size=1, max_size=5),
    st.lists(SAMPLES, min_size=1, max_size=3),
    st.sampled_from([0.0]) | st.floats(-20, 6).map(lambda x: 10.0**x),
    st.sampled_from([0.0, 1e-9, 0.3]),
)
@settings(max_examples=60, deadline=None)
def test_any_size_and_scale_gives_a_number_or_says_that_there_is_none(
    order: int, sigma: list[float], samples: list[float], penalty: float, noise: float
) -> None:
    """Eigenvalues over 30 orders of magnitude, 1 to 10^18 samples, duplicates: never NaN."""
    sigma = [*sigma, sigma[0]]
    population = Population(np.array(sigma), np.ones(len(sigma)), np.ones(len(sigma)), noise)
    stages = []
    for k, T in enumerate(samples):
        label = REAL if k == 0 else f"g{k - 1}"
        stages.append(Stage(f"g{k}", (Source(label, label, T, noise),), penalty))
    found = predict(population, TrainingMix(tuple(stages)), order=order)  # type: ignore[arg-type]
    assert found.test_error.total >= 0
    assert found.regularization.recommended.total <= population.signal * (1 + 1e-9)
    if found.test_error.total == math.inf:
        assert noise > 0 or min(samples) <= len(sigma) + 1
    known = limits(population, found.mix, order=order)
    assert known.data_limit is None or known.data_limit >= 0


@given(
    st.lists(st.floats(-15, 15).map(lambda x: 10.0**x), min_size=1, max_size=4),
    st.lists(SAMPLES, min_size=1, max_size=3),
    st.floats(-6, 4).map(lambda x: 10.0**x),
    st.booleans(),
)
@settings(max_examples=15, deadline=None)
def test_fifty_digits_agree(
    sigma: list[float], samples: list[float], penalty: float, duplicated: bool
) -> None:
    sigma = [*sigma, sigma[0]] if duplicated else sigma
    power = [1.0 / len(sigma)] * len(sigma)
    scale = max(sigma)
    population = Population(np.array(sigma), np.ones(len(sigma)), np.array(power), 0.1)
    stages, referees = [], []
    for k, T in enumerate(samples):
        label = REAL if k == 0 else f"g{k - 1}"
        stages.append(Stage(f"g{k}", (Source(label, label, T, 0.1),), penalty * scale))
        referees.append(RefereeStage([RefereeSource(k, T, 0.1)], penalty * scale))
    total = predict(population, TrainingMix(tuple(stages))).test_error.total
    assert math.isclose(total, float(total_error(sigma, power, referees)), rel_tol=1e-10)


@ORDERS
@pytest.mark.parametrize(
    ("T", "width"), [(30.0, None), (20.0, 20.0), (20.0, 25.0)], ids=["N = d", "N = m", "m beyond N"]
)
def test_thresholds_are_said_to_diverge(T: float, width: float | None, order: int) -> None:
    population = power_law(30, 1.2, 0.3)
    mix = TrainingMix((Stage("f", (Source(REAL, REAL, T, 0.3),), 0.0, width),))
    found = predict(population, mix, order=order)  # type: ignore[arg-type]
    assert (found.test_error.total == math.inf) == (width is None or width == T)
    assert found.regularization.recommended.total < population.signal
    peak = limits(population, mix).double_descent[0]
    assert (peak.position, peak.value) == (min(30.0, width or 30.0), T)


@ORDERS
def test_one_mode(order: int) -> None:
    """d = 1 in closed form: T − 2 exactly, T − 1 asymptotically."""
    population = Population(np.array([2.0]), np.ones(1), np.ones(1), 0.3)
    total = predict(population, recursive(1, 9, 7, 0.0, noise0=0.5, noise=0.3), order=order).test_error.total  # type: ignore[arg-type]
    lost = 1 + order
    assert math.isclose(total, 0.3 / (7 - lost) + 0.5 / (9 - lost), rel_tol=1e-13)


@ORDERS
def test_no_noise_and_enough_samples_is_no_error(order: int) -> None:
    for n in (0, 4):
        mix = recursive(n, 50, 40, 0.0, noise0=0.0, noise=0.0)
        assert predict(power_law(30, noise=0.0), mix, order=order).test_error.total == 0  # type: ignore[arg-type]


@ORDERS
@pytest.mark.parametrize("penalty", [0.0, 0.1])
def test_sources_of_weight_zero(penalty: float, order: int) -> None:
    """They count in N, by which the penalty is multiplied, and in nothing else; alone they teach nothing."""
    population = power_law(30, 1.2, 0.3)
    used, idle = Source(REAL, REAL, 50, 0.3), Source("x", Shift(np.ones(30)), 50, 5.0, 0.0)
    both = TrainingMix((Stage("f", (used, idle), penalty),))
    alone = TrainingMix((Stage("f", (used,), 2 * penalty),))
    a, b = (predict(population, mix, order=order).test_error.total for mix in (both, alone))  # type: ignore[arg-type]
    assert math.isclose(a, b, rel_tol=1e-12)
    nothing = predict(population, TrainingMix((Stage("f", (idle,), penalty),)), order=order)  # type: ignore[arg-type]
    assert math.isclose(nothing.test_error.total, population.signal, rel_tol=1e-14)


@ORDERS
@pytest.mark.parametrize("own", [None, np.linspace(5.0, 0.01, 30)])
def test_labels_of_a_model_that_learnt_nothing(own: Array | None, order: int) -> None:
    """They are noise: predicting zero is best, which no real sample would be needed for."""
    population = power_law(30, 1.2, 0.3)
    blank = Stage("blank", (Source("x", REAL, 50, 0.3, 0.0),), 0.1)
    final = Stage("final", (Source("blank", "blank", 40, 0.3, eigenvalues=own),), 0.1)
    found = predict(population, TrainingMix((blank, final)), order=order).regularization  # type: ignore[arg-type]
    assert found.recommended.penalty == math.inf
    assert math.isclose(found.recommended.total, population.signal, rel_tol=1e-14)
    assert found.effective_samples == 0


@pytest.mark.parametrize("T", [10.0**k for k in range(3, 19, 3)])
def test_errors_of_very_many_samples_keep_their_digits(T: float) -> None:
    population = isotropic(10, 0.3)
    total = predict(population, recursive(1, T, T, 0.0, noise0=0.3, noise=0.3), order=1).test_error.total
    assert math.isclose(total, 2 * 0.3 * 10 / (T - 11), rel_tol=1e-14)


def test_duplicate_eigenvalues_are_levels() -> None:
    values: Array = np.repeat([1.0, 0.3, 0.1], [4, 5, 6])
    listed = Population(values, np.ones(15), np.full(15, 0.1), 0.3)
    levels = Population(np.array([1.0, 0.3, 0.1]), np.array([4.0, 5.0, 6.0]), np.full(3, 0.1), 0.3)
    for mix in (recursive(2, 20, 30, 0.05, noise0=0.3, noise=0.3), accumulate([20, 10], 0.4, 0.3)):
        a, b = predict(listed, mix), predict(levels, mix)
        assert math.isclose(a.test_error.total, b.test_error.total, rel_tol=1e-13)
        assert math.isclose(
            limits(listed, mix).data_limit or 0, limits(levels, mix).data_limit or 0, abs_tol=1e-15
        )


@pytest.mark.parametrize("least", [1e-100, 1e-200, 1e-307])
def test_a_mode_without_variance_to_double_precision_changes_nothing(least: float) -> None:
    """One mode that matters: the best penalty is σ²/(T w²), whatever lies a hundred and more decades below."""
    mix = TrainingMix((Stage("final", (Source(REAL, REAL, 20.0, 0.5),), 0.1),))
    ones = np.ones(2)
    found, without = (
        predict(Population(np.array([3.0, x]), ones, 0.5 * ones, 0.5), mix, order=0) for x in (least, 0.0)
    )
    assert found.test_error.total == pytest.approx(without.test_error.total, rel=1e-12)
    assert found.regularization.recommended.penalty == pytest.approx(0.05, rel=1e-6)
    assert found.regularization.effective_samples == pytest.approx(20.0, rel=1e-9)


@pytest.mark.parametrize("weights", [(0.0, 1.0), (1.0, 0.0), (0.0, 0.0)])
def test_samples_of_weight_zero_put_only_the_clean_stage_at_its_threshold(
    weights: tuple[float, float],
) -> None:
    """What the fit does not use does not matter to it: all that is not a difference to clean data is as beside it."""
    population, kinds = power_law(50, 1.0), ("label_noise", "shift", "noise_mismatch")

    def at(unused: int) -> Decomposition:
        samples = [25 if weight else unused for weight in weights]
        if not any(weights):
            samples[0] = 25
        labels = (REAL, "g") if weights[0] else (Shift(np.full(50, 0.02)), "g")
        sources = tuple(
            Source(f"s{k}", label, float(T), 0.1 + k, weight)
            for k, (label, T, weight) in enumerate(zip(labels, samples, weights, strict=True))
        )
        generator = Stage("g", (Source(REAL, REAL, 600.0, 0.2),), 0.01)
        return predict(population, TrainingMix((generator, Stage("f", sources, 0.0)))).test_error

    below, there, above = at(24), at(25), at(26)
    assert math.isinf(there.variance)
    assert there.total == pytest.approx(below.total, rel=1e-12)
    assert there.generation == there.parts.distortion == -math.inf
    for name in kinds:
        value = getattr(there.parts, name)
        assert value == pytest.approx(getattr(below.parts, name), rel=1e-9)
        assert value == pytest.approx(getattr(above.parts, name), rel=1e-9)
        assert any(weights) or value == 0


@pytest.mark.parametrize("samples", [10**6, 10**9, 10**15])
@pytest.mark.parametrize("width", [None, 3.0])
def test_very_many_samples_of_very_small_weight(samples: int, width: float | None) -> None:
    """As much by weight as a few real samples: what the degrees of freedom are among all is below rounding."""
    sigma, power = np.array([1.0, 0.7, 0.3, 0.1]), np.array([1.0, 2.0, 0.5, 0.3])
    shift, weight, penalty = np.full(4, 0.1), 3.0 / samples, 0.05 * 20 / samples
    sources = (Source(REAL, REAL, 20.0, 0.3), Source("shift", Shift(shift), float(samples), 0.3, weight))
    mix = TrainingMix((Stage("final", sources, penalty, width),))
    found = predict(Population(sigma, np.ones(4), power, 0.3), mix)
    referees = [RefereeSource(0, 20, 0.3), RefereeSource(shift.tolist(), samples, 0.3, weight)]
    expected = total_error(sigma.tolist(), power.tolist(), [RefereeStage(referees, penalty, width)])
    assert math.isclose(found.test_error.total, float(expected), rel_tol=1e-11)


@pytest.mark.parametrize("samples", [(30.0, 40.0), (30.0, 1e9)])
@pytest.mark.parametrize("ratio", [1e12, 1e30])
@pytest.mark.parametrize("penalty", [1e-3, 1e6])
def test_weights_far_apart_by_fifty_digits(
    samples: tuple[float, float], ratio: float, penalty: float
) -> None:
    """Where the first source is used up and the second not yet begun, degrees of freedom say nothing of the shares."""
    d, shift = 60, 0.02
    population = power_law(d, 1.2, 0.3)
    heavy, light = samples
    synthetic = Source("synthetic", Shift(np.full(d, shift)), light, 0.7)
    stage = Stage("final", (Source(REAL, REAL, heavy, 0.3, ratio), synthetic), penalty)
    found = predict(population, TrainingMix((stage,)))
    sources = [RefereeSource(0, heavy, 0.3, ratio), RefereeSource([shift] * d, light, 0.7)]
    expected = total_error(
        population.eigenvalues.tolist(), population.target_power.tolist(), [RefereeStage(sources, penalty)]
    )
    assert found.test_error.total == pytest.approx(float(expected), rel=1e-9)


@pytest.mark.parametrize("width", [None, 6.0])
@pytest.mark.parametrize("penalty", [1e-40, 1e-120, 1e-200, 1e-300])
def test_effective_ridges_far_below_the_spectrum(penalty: float, width: float | None) -> None:
    """As many samples (and random features) as modes: λ -> θ² Σ 1/σ/T, or θ³ (Σ 1/σ)²/(T m)."""
    sigma = np.array([7.0, 1.0, 1.0, 1e-1, 1e-2, 1e-3])
    population = Population(sigma, np.ones(6), np.ones(6), 0.2)
    found = effective_ridge(population, Design.make([6.0], [1.0], width), penalty)
    inverses = float((1 / sigma).sum()) / 6
    expected = (penalty / inverses) ** 0.5 if width is None else (penalty / inverses**2) ** (1 / 3)
    assert found == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize("width", [None, 1.0, 7.0, 12.0])
@pytest.mark.parametrize("penalty", [0.0, 1e-300, 1e-60, 1e-14, 1e-5])
def test_weights_and_few_random_features_by_one_weight(penalty: float, width: float | None) -> None:
    """Sources of almost equal weights are one source, however small the penalty is."""
    population, sizes = isotropic(12.0, 0.3), (3.0, 2.0, 3321.0)

    def total(spread: float) -> float:
        weights = 1.0, 1.0 + spread, 1.0
        sources = tuple(
            Source(f"s{k}", REAL, T, 0.3, w) for k, (T, w) in enumerate(zip(sizes, weights, strict=True))
        )
        return predict(population, TrainingMix((Stage("f", sources, penalty, width),))).test_error.total

    assert total(1e-9) == pytest.approx(total(0.0), rel=1e-7)
    assert math.isfinite(total(40.0))
