"""The random walk of estimators: reference values, brute-force covariances, exact families, asymptotics."""

import math
from time import process_time

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.random import default_rng

from service.theory.distributions.estimator.families import exponential_scale, poisson_extinction
from service.theory.distributions.estimator.law import (
    Weight,
    accumulated,
    fixed_budget,
    fresh,
    optimal_weight,
    per_sample,
    replaced,
    retained,
)
from service.theory.distributions.schedule import Mix, Schedule
from service.theory.model import Array


def constant(real: float, synthetic: float) -> Mix:
    return Mix(Schedule.constant(int(real + synthetic), 1), np.array([float(real)]))


def walk(sizes: list[int], real: list[int], rows: list[tuple[float, float]]) -> float:
    """Variance of the last estimate of a mean, as a linear form in independent samples' means: brute force.

    ``rows``: weights of the real and of the synthetic estimate in each fit.
    """
    noise: list[Array] = []
    estimate = np.zeros(0)
    for size, m, (w, u) in zip(sizes, real, rows, strict=True):
        # fresh errors: one coefficient for the real mean, one for the synthetic mean about the last estimate
        estimate = np.concatenate([u * estimate, [w, u]])
        noise.append(np.array([1 / m if m else 0.0, 1 / (size - m) if size > m else 0.0]))
    return float(estimate**2 @ np.concatenate(noise))


def test_reference_values() -> None:
    far = np.array([100_000])
    best = fresh(constant(5, 45), far, "optimal")
    assert best.limit == pytest.approx(0.05647513922553578, rel=1e-13)
    assert best.spread[0] == pytest.approx(best.limit, rel=1e-12)
    assert best.limit == pytest.approx(best.weight[0] / 5, rel=1e-13)
    kept = Mix(Schedule((10, 50), (1, 10)), np.array([10.0, 10.0]))
    assert retained(kept, np.array([11]), 0.2).spread[0] == pytest.approx(0.14393203488684142, rel=1e-13)
    assert retained(kept, np.array([11]), "pooled").spread[0] == pytest.approx(0.14393203488684142, rel=1e-13)
    assert fixed_budget(15, np.array([10])).spread[0] == pytest.approx(0.2066356974888721, rel=1e-13)
    batches = accumulated(Schedule.of([5, 50, 10, 100]), np.array([4]))
    assert batches.spread[0] == pytest.approx(0.22256888410734565, rel=1e-13)


def test_the_golden_ratio_and_its_limits() -> None:
    assert optimal_weight(7, 7) == pytest.approx((math.sqrt(5) - 1) / 2, rel=1e-15)
    assert 1 - optimal_weight(10**15, 1) == pytest.approx(1e-15, rel=0.2)
    assert optimal_weight(1, 10**16) == pytest.approx(1e-8, rel=1e-7)
    assert (optimal_weight(0, 5), optimal_weight(5, 0)) == (0.0, 1.0)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 10**9), st.integers(1, 10**9), st.floats(0.01, 0.99))
def test_no_constant_weight_beats_the_optimal_one(real: int, synthetic: int, other: float) -> None:
    mix = constant(real, synthetic)
    best = fresh(mix, np.array([1]), "optimal").limit
    assert best == pytest.approx(optimal_weight(real, synthetic) / real, rel=1e-10)
    for weight in (other, "pooled"):
        assert best <= fresh(mix, np.array([1]), weight).limit * (1 + 1e-9)  # type: ignore[arg-type]
    assert best < 1 / real


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 50), st.integers(1, 50)), min_size=2, max_size=6),
    st.sampled_from(["pooled", "optimal", 0.3, "kalman"]),
)
def test_mixes_of_any_sizes_against_brute_force(sizes: list[tuple[int, int]], weight: Weight) -> None:
    totals, real = [m + k for m, k in sizes], [m for m, _ in sizes]
    schedule = Schedule(tuple(totals), (1,) * len(totals))
    models = np.arange(1, len(totals) + 1)
    found = fresh(Mix(schedule, np.array(real, dtype=float)), models, weight)
    rows = [(float(w), 1 - float(w)) for w in found.weight[1:]]
    expected = walk(totals, [totals[0], *real[1:]], [(1.0, 0.0), *rows])
    assert found.spread[-1] == pytest.approx(expected, rel=1e-12)
    if weight == "kalman":
        for other in ("pooled", "optimal", 0.3):
            rival = fresh(Mix(schedule, np.array(real, dtype=float)), models, other)  # type: ignore[arg-type]
            assert found.spread[-1] <= rival.spread[-1] * (1 + 1e-12)


def test_kalman_weights_converge_to_the_optimal_one_and_stop_there() -> None:
    models = np.array([1, 2, 10, 100, 10**9])
    found = fresh(constant(5, 45), models, "kalman")
    assert found.weight[-1] == pytest.approx(optimal_weight(5, 45), rel=1e-12)
    assert found.spread[-1] == pytest.approx(found.limit, rel=1e-12)


@pytest.mark.parametrize(("share", "constant_"), [(0.1, 1.98471), (0.3, 3.39789)])
def test_a_small_share_of_real_data_slows_learning_to_a_power(share: float, constant_: float) -> None:
    t, M = 50_000, 10
    found = accumulated(Schedule.constant(M, t), np.array([t]), share).spread[0]
    law = constant_ * t ** (-2 * share) / M - 1 / ((1 - 2 * share) * M * t)
    assert found == pytest.approx(law, rel=1e-5)


def test_above_one_half_learning_is_as_fast_as_with_real_data() -> None:
    t, M = 100_000, 10
    mostly_real = accumulated(Schedule.constant(M, t), np.array([t]), 0.9).spread[0]
    assert mostly_real * 0.8 * M * t == pytest.approx(1, rel=1e-3)
    assert accumulated(Schedule.constant(M, t), np.array([t]), 1.0).spread[0] * M * t == pytest.approx(
        1, rel=1e-12
    )


def test_closed_forms_of_pools_agree_with_their_sums() -> None:
    models = np.array([1, 2, 7, 300])
    closed = accumulated(Schedule.constant(9, 300), models)
    summed = accumulated(Schedule((9, 9), (299, 1)), models)
    assert closed.spread == pytest.approx(summed.spread, rel=1e-12)
    assert closed.limit == pytest.approx(math.pi**2 / 54, rel=1e-14)
    assert summed.limit == pytest.approx(closed.limit, rel=1e-12)
    assert replaced(Schedule.constant(9, 300), models).spread == pytest.approx(models / 9, rel=1e-14)


def test_exponential_scale_against_simulation_and_its_single_fit() -> None:
    rng, sizes = default_rng(4), [5, 30, 8]
    scale = np.ones(200_000)
    for size in sizes:
        scale = scale * rng.gamma(size, 1 / size, len(scale))
    found = exponential_scale(Schedule.of(sizes), np.array([3]))
    for sample, value in (
        ((scale - 1) ** 2, found.squared_error), (scale - 1 - np.log(scale), found.kl),
        ((np.log(scale) - np.log(scale).mean()) ** 2, found.log_variance),
    ):  # fmt: skip
        assert abs(sample.mean() - value[0]) < 4 * sample.std() / len(sample) ** 0.5


def test_poisson_extinction_against_simulation() -> None:
    rng, sizes, mean = default_rng(9), [10, 4, 30, 10], 0.3
    rate = np.full(200_000, mean)
    for size in sizes:
        rate = rng.poisson(size * rate) / size
    found = poisson_extinction(mean, Schedule.of(sizes), np.array([1, 4]))
    share = (rate == 0).mean()
    assert found[0] == pytest.approx(math.exp(-3), rel=1e-14)
    assert abs(share - found[1]) < 4 * math.sqrt(share * (1 - share) / len(rate))
    constant_ = poisson_extinction(mean, Schedule.constant(10, 5), np.array([1, 3, 5]))
    split = poisson_extinction(mean, Schedule((10, 10), (2, 3)), np.array([1, 3, 5]))
    assert constant_ == pytest.approx(split, rel=1e-13)


def test_poisson_extinction_keeps_its_digits() -> None:
    """Of 1e12 samples and then few: one line in 1e12 lives on, at 40 digits."""
    sizes, survives = [10**12, 1, 1, 5, 1], mpmath.mpf(1)
    with mpmath.workdps(40):
        for before, size in zip(sizes[-2::-1], sizes[:0:-1], strict=True):
            survives = 1 - mpmath.exp(-mpmath.mpf(size) / before * survives)
        expected = float(mpmath.exp(-sizes[0] * survives))
    (found,) = poisson_extinction(1.0, Schedule.of(sizes), np.array([5]))
    assert found == pytest.approx(expected, rel=1e-12)


def test_least_squares_costs_are_exact() -> None:
    """E |w_n − w|² = Σ d/(M − d − 1) by simulation of actual regressions."""
    rng, d, M, fits = default_rng(2), 3, 12, 3
    errors = np.zeros((20_000, d))
    for _ in range(fits):
        X = rng.standard_normal((len(errors), M, d))
        y = np.einsum("rmd,rd->rm", X, errors) + rng.standard_normal((len(errors), M))
        gram, moment = X.transpose(0, 2, 1) @ X, np.einsum("rmd,rm->rd", X, y)
        errors = np.linalg.solve(gram, moment[..., None])[..., 0]
    squared = (errors**2).sum(1)
    predicted = (
        d * replaced(Schedule.constant(M, fits), np.array([fits]), lambda n: 1 / (n - d - 1)).spread[0]
    )
    assert abs(squared.mean() - predicted) < 4 * squared.std() / len(squared) ** 0.5


@pytest.mark.parametrize("d", [5, 8, 30, 95, 10**6])
@pytest.mark.parametrize("weight", ["optimal", 0.3, 1.0])
@pytest.mark.parametrize("real", [0, 10, 40, 100])
def test_fits_of_too_few_samples_are_infinite(d: int, weight: float, real: int) -> None:
    """Least squares on d features or fewer, step by step: what has no weight does not count, though it be infinite."""

    def cost(samples: float) -> float:
        return per_sample(samples - d - 1)

    sizes = [100, 100, 100, 104, 104, 160, 160, 160, 160]
    mix = Mix(Schedule.of(sizes), np.full(3, float(real)))
    w = [1.0 if real == n else (0.0 if real == 0 else weight) for n in sizes]
    V = [cost(100.0)]
    for n, one in zip(sizes[1:], w[1:], strict=True):
        own, other = cost(float(real)), cost(float(n - real))
        share = optimal_weight(float(real), float(n - real), cost) if one == "optimal" else float(one)
        V.append(
            (share**2 * own if share else 0.0) + ((1 - share) ** 2 * (other + V[-1]) if share < 1 else 0.0)
        )
    found = fresh(mix, np.arange(1, len(sizes) + 1), weight, cost).spread  # type: ignore[arg-type]
    assert found == pytest.approx(V, rel=1e-12)


def test_retained_fits_of_too_few_samples_are_infinite() -> None:
    kept = Mix(Schedule((50, 60, 90), (1, 3, 4)), np.full(3, 50.0))
    found = retained(kept, np.arange(1, 9), 0.5, lambda samples: per_sample(samples - 20)).spread
    assert found == pytest.approx([1 / 30] + [math.inf] * 7)  # 10 synthetic samples of 20 features


@pytest.mark.parametrize("dimension", [0, 3])
def test_kalman_weights_are_the_best_of_each_generation_to_forty_digits(dimension: int) -> None:
    """1/V ← 1/cost(n_r) + 1/(V + cost(n_s)) one by one, sizes from 4 to 10^18, costs infinite in some of them."""
    sizes, real, times = (10**18, 4, 30, 5, 10**9, 200), (1, 2, 30, 0, 10**5, 100), (20, 3, 2, 4, 30, 10)

    def cost(samples: float) -> float:
        return 1.0 / (samples - dimension - 1) if samples > dimension + 1 else math.inf

    own = per_sample if dimension == 0 else cost
    fits = [fit for M, m, count in zip(sizes, real, times, strict=True) for fit in [(M, m)] * count]
    with mpmath.workdps(40):
        V, w = mpmath.mpf(own(sizes[0])), mpmath.mpf(1)
        expected = [(V, w)]
        for M, m in fits[1:]:
            carried, alone = V + own(M - m), mpmath.mpf(own(m))
            if alone == mpmath.inf:
                V, w = carried, mpmath.mpf(0)
            else:
                w = mpmath.mpf(1) if carried == mpmath.inf else carried / (alone + carried)
                V = alone * w
            expected.append((V, w))
    mix = Mix(Schedule(sizes, times), np.array(real, dtype=float))
    found = fresh(mix, np.arange(1, sum(times) + 1), "kalman", own)
    assert found.spread == pytest.approx([float(v) for v, _ in expected], rel=1e-13)
    assert found.weight == pytest.approx([float(w) for _, w in expected], rel=1e-13)


def test_a_million_kalman_generations_are_quick() -> None:
    """One real sample of 10^18: V' = V + 10^-18 − V² to first order, so that V_n = 10^-9 tanh(10^-9 n)."""
    mix = Mix(Schedule((10**18,), (10**6,)), np.array([1.0]))
    start = process_time()
    found = fresh(mix, np.array([10**6]), "kalman")
    assert process_time() - start < 0.1
    assert found.spread[0] == pytest.approx(1e-9 * math.tanh(1e-9 * 1e6), rel=1e-5)
