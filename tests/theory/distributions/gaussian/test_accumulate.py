"""Pools that keep everything: reference values, published measurements, limits in closed form, simulation."""

import math
from dataclasses import fields

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import digamma

from service.theory.distributions.gaussian import accumulate as module
from service.theory.distributions.gaussian.accumulate import Pool, accumulate
from service.theory.distributions.gaussian.model import Gaussian
from service.theory.distributions.gaussian.predict import predict_accumulate
from service.theory.distributions.gaussian.replace import predict_replace
from service.theory.distributions.schedule import Schedule
from tests.theory.distributions.gaussian.referee import accumulated

LINE = Gaussian(np.ones(1), np.ones(1))


def last(sizes: list[int], *, unbiased: bool = False) -> Pool:
    return accumulate(Schedule.of(sizes), np.array([len(sizes)]), unbiased=unbiased)


@pytest.mark.parametrize(
    ("sizes", "variance", "drift", "second", "log_mean", "deviation"),
    [
        ([10] * 10, 0.8515020629473719, 0.148497937053, 0.98462323107, -0.326730866192, 0.886112841928),
        (
            [5, 50, 3, 20, 100],
            0.781018312764801,
            0.218981687235,
            0.959406047934,
            -0.54140334262,
            0.825778712074,
        ),
        ([100] * 20, 0.9841114872340465, 0.015888512766, 0.999844344786, -0.0320684488489, 0.988058000428),
    ],
)
def test_reference_values(  # noqa: PLR0917
    sizes: list[int], variance: float, drift: float, second: float, log_mean: float, deviation: float
) -> None:
    pool = last(sizes)
    assert math.exp(pool.log_variance[0]) == pytest.approx(variance, rel=1e-12)
    assert pool.drift[0] == pytest.approx(drift, rel=1e-11)
    assert math.exp(pool.log_moment[0] + 2 * pool.log_variance[0]) == pytest.approx(second, rel=1e-11)
    assert pool.log_mean[0] == pytest.approx(log_mean, rel=1e-11)
    assert math.exp(pool.log_deviation[0]) == pytest.approx(deviation, rel=1e-11)


def test_spread_of_the_random_walk_law() -> None:
    assert last([5, 50, 10, 100]).spread[0] == pytest.approx(0.22256888410734565, rel=1e-12)


def test_published_measurements() -> None:
    """Kazdan et al. 2410.16713: 100 fits to accumulated batches of 10, measured 0.873 ± 0.048."""
    assert abs(math.exp(last([10] * 100).log_variance[0]) - 0.873) < 0.048


@pytest.mark.parametrize("samples", [2, 10, 10**4, 10**15])
def test_the_limit_of_equal_batches(samples: int) -> None:
    found = predict_accumulate(
        LINE, Schedule.constant(samples, 3), np.array([1, 3]), unbiased=False, thresholds=np.empty(0)
    ).fixed_point
    with mpmath.workdps(40):
        angle = mpmath.pi / mpmath.sqrt(samples)
        drift = 1 - mpmath.sin(angle) / angle
    assert found.drift == pytest.approx(float(drift), rel=1e-12)
    assert found.variance == pytest.approx(1 - float(drift), rel=1e-14)


@pytest.mark.parametrize("unbiased", [False, True])
def test_the_limit_is_where_the_pool_goes(unbiased: bool) -> None:
    schedule = Schedule.of([50, 7, 20, 9])
    found = predict_accumulate(
        LINE, schedule, np.array([4]), unbiased=unbiased, thresholds=np.empty(0)
    ).fixed_point
    far = accumulate(schedule, np.array([10**6]), unbiased=unbiased)
    # what is left after n further batches of M is 1/(n M) of the variance
    assert far.log_variance[0] == pytest.approx(math.log(found.variance), abs=1.2 / (9 * 10**6))
    assert far.drift[0] == pytest.approx(found.drift, abs=1.2 / (9 * 10**6))


def test_both_ways_to_integrate_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    """The series for narrow growth against the quadrature for any."""
    series = last([7] * 1000)
    monkeypatch.setattr(module, "_NARROW", 0.0)
    quadrature = last([7] * 1000)
    for name in ("log_mean", "log_deviation", "log_spread"):
        assert getattr(series, name)[0] == pytest.approx(getattr(quadrature, name)[0], rel=1e-9), name


@pytest.mark.parametrize(("batch", "share", "divisor"), [(1, 0.5, 1.0), (3, 0.4, 2.0), (40, 0.9, 360.0)])
def test_the_quadrature_against_thirty_digits(batch: int, share: float, divisor: float) -> None:
    log_mean, log_variance, log_root = module._wide(
        np.array([float(batch)]), np.array([share]), np.array([divisor])
    )
    with mpmath.workdps(30):

        def phi(t: mpmath.mpf) -> mpmath.mpf:
            return (1 + 2 * t / divisor) ** (-mpmath.mpf(batch - 1) / 2) / mpmath.sqrt(
                1 + 2 * t * share / divisor
            )

        pieces = [0, 1e-9, 1e-6, 1e-4, 1e-2, 0.1, 1, 10, 100, mpmath.inf]
        mean = mpmath.quad(lambda t: mpmath.exp(-t) / t * (1 - phi(t)), pieces)
        root = mpmath.quad(lambda t: (1 - mpmath.exp(-t) * phi(t)) * t**-1.5, pieces) / (
            2 * mpmath.sqrt(mpmath.pi)
        )
    assert log_mean[0] == pytest.approx(float(mean), rel=1e-9)
    assert math.exp(log_root[0]) == pytest.approx(float(root), rel=1e-6)
    assert log_variance[0] > 0


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(2, 10**9), min_size=1, max_size=8), st.booleans())
def test_generation_zero_and_conservation(sizes: list[int], unbiased: bool) -> None:
    pool = accumulate(Schedule.of(sizes), np.arange(1, len(sizes) + 1), unbiased=unbiased)
    single = predict_replace(
        LINE, Schedule.constant(sizes[0], 1), np.array([1]), unbiased=unbiased, thresholds=np.empty(0)
    ).curve
    assert pool.log_mean[0] == pytest.approx(single.log_mean[0], rel=1e-13)
    assert pool.log_spread[0] == pytest.approx(single.log_variance[0], rel=1e-13)
    if not unbiased:
        assert np.exp(pool.log_variance) + pool.drift == pytest.approx(np.ones(len(sizes)), rel=1e-13)


@pytest.mark.parametrize(("sizes", "unbiased"), [([3] * 6, False), ([4, 1, 9, 2], True), ([30] * 5, True)])
def test_simulation_agrees(sizes: list[int], unbiased: bool) -> None:
    e, v = accumulated(sizes, unbiased=unbiased, replicates=100_000, seed=8)
    found = predict_accumulate(
        LINE, Schedule.of(sizes), np.array([len(sizes)]), unbiased=unbiased, thresholds=np.array([0.5, 0.8])
    ).curve
    log = np.log(v)
    for sample, value in (
        (v, found.variance), (e**2, found.drift), (v**2, found.second_moment), (log, found.log_mean),
        ((log - log.mean()) ** 2, found.log_variance), (np.sqrt(v), found.deviation),
        (0.5 * (v + e**2 - 1 - log), found.kl_fit_true), (e**2 + (np.sqrt(v) - 1) ** 2, found.w2),
    ):  # fmt: skip
        assert abs(sample.mean() - value[0]) < 4 * sample.std() / len(sample) ** 0.5
    for row, threshold in enumerate((0.5, 0.8)):
        assert found.below[row, 0] == pytest.approx((v < threshold).mean(), abs=0.01 + 0.006)


@pytest.mark.parametrize(
    "truth", [Gaussian(np.ones(1), np.ones(1)), Gaussian(np.array([3.0, 1.0]), np.ones(2))]
)
def test_the_first_pool_is_a_plain_fit_in_everything(truth: Gaussian) -> None:
    """Its divergence of the truth from the fit was given to first order: 0.040 for 0.051 at 25 samples."""
    models, thresholds = np.array([1, 2]), np.array([0.7])
    pooled = predict_accumulate(
        truth, Schedule.of([25, 25]), models, unbiased=False, thresholds=thresholds
    ).curve
    plain = predict_replace(
        truth, Schedule.of([25]), np.array([1]), unbiased=False, thresholds=thresholds
    ).curve
    for field in fields(pooled):
        first = getattr(pooled, field.name)[..., 0]
        assert first == pytest.approx(getattr(plain, field.name)[..., 0], rel=1e-12), field.name
    d, M = truth.dimension, 25.0
    k = M / (M - d - 2)
    log_det = sum(float(digamma((M - j) / 2)) - np.log(M / 2) for j in range(1, d + 1))
    assert pooled.kl_true_fit[0] == pytest.approx(0.5 * (d * k + k * d / M - d + log_det), rel=1e-12)
