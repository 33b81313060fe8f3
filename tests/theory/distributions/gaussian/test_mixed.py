"""Real samples in every fit: reference values, fixed points in closed form, binomial brute force, simulation."""

import math

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from service.theory.distributions.gaussian.mixed import (
    Moments,
    fresh_moments,
    fresh_stationary,
    retained_moments,
    retained_stationary,
)
from service.theory.distributions.gaussian.model import Gaussian
from service.theory.distributions.gaussian.predict import predict_fresh, predict_limit, predict_retained
from service.theory.distributions.gaussian.replace import predict_replace
from service.theory.distributions.schedule import Mix, Schedule, reported_models
from service.theory.model import Array
from tests.theory.distributions.gaussian.referee import mixed

LINE = Gaussian(np.ones(1), np.ones(1))
NONE = np.empty(0)


def constant(samples: int, real: float, *, independent: bool = False) -> Mix:
    return Mix(Schedule.constant(samples, 1), np.array([real]), independent)


def after(mix: Mix, fits: int, *, unbiased: bool = False) -> Moments:
    return fresh_moments(mix, np.array([fits]), unbiased=unbiased)


@pytest.mark.parametrize("unbiased", [False, True])
def test_the_drift_of_one_retained_sample_among_very_many(unbiased: bool) -> None:
    """e is about n fits' errors of variance 1/M: n/M, not what rounding leaves of 1/m."""
    mix = Mix(Schedule.constant(10**15, 4), np.array([1.0]))
    found = retained_moments(mix, np.array([1, 2, 4]), unbiased=unbiased)
    assert found.drift == pytest.approx([1e-15, 2e-15, 4e-15], rel=1e-9)


def test_reference_values() -> None:
    assert 1 + after(constant(20, 4), 12).x[0] == pytest.approx(0.875272097792, rel=1e-12)
    assert second(after(constant(20, 4), 12))[0] == pytest.approx(1.0168588691891685, rel=1e-12)
    assert after(constant(20, 4), 12, unbiased=True).drift[0] == pytest.approx(0.14774936375370015, rel=1e-12)
    iid = constant(20, 4, independent=True)
    assert 1 + after(iid, 12).x[0] == pytest.approx(0.8727744615263595, rel=1e-12)
    assert 1 + after(iid, 12, unbiased=True).x[0] == pytest.approx(1.1003646364933641, rel=1e-12)
    assert 1 + after(constant(50, 1), 30).x[0] == pytest.approx(0.7163157893625096, rel=1e-12)
    assert second(after(constant(50, 1), 30))[0] == pytest.approx(1.0138297903179336, rel=1e-12)
    listed = Mix(Schedule.of([30, 10, 100, 40, 25]), np.array([3.0, 5, 2, 0, 8]))
    assert after(listed, 5).drift[0] == pytest.approx(0.09814811648, rel=1e-12)


def second(moments: Moments) -> Array:
    return 1 + 2 * moments.x + moments.x_squared


@pytest.mark.parametrize("samples", [3, 20, 1000, 10**12])
@pytest.mark.parametrize("fraction", [1 / 3, 0.9])
@pytest.mark.parametrize("unbiased", [False, True])
def test_fixed_points_have_their_closed_forms(samples: int, fraction: float, unbiased: bool) -> None:
    M, m = samples, round(fraction * samples)
    a = m / M
    b, r = 1 - a, 1.0 if unbiased else (M - 1) / M
    found = fresh_stationary(constant(M, m), unbiased=unbiased)
    drift = 1 / (M * (1 - b**2 * M / (M - 1))) if unbiased else 1 / (M * (1 - b**2) + b)
    assert found.drift == pytest.approx(drift, rel=1e-12)
    assert found.x == pytest.approx(M * b * drift / (M - 1) if unbiased else -drift, rel=1e-11)
    q = 1 - b * r - b / (M * (1 + b))
    iid = fresh_stationary(constant(M, m, independent=True), unbiased=unbiased)
    assert iid.drift == pytest.approx(a / q / (M * a * (1 + b)), rel=1e-11)
    assert 1 + iid.x == pytest.approx(r * a / q, rel=1e-12)
    kept = retained_stationary(constant(M, m), unbiased=unbiased)
    D = M - 1 if unbiased else M
    s = (m - 1) / (D - (M - 1) * b - b**2 / (1 + b))
    assert 1 + kept.x == pytest.approx(s, rel=1e-11)
    assert kept.drift == pytest.approx((1 + b + b * s) / (M * (1 - b**2)), rel=1e-11)


@pytest.mark.parametrize("kind", ["stratified", "iid", "retained"])
@pytest.mark.parametrize("unbiased", [False, True])
@pytest.mark.parametrize(
    ("samples", "real"), [(12, 3.0), (49_115_556, 1.0), (10**12, 5.0), (49_115_556, 0.7)]
)
def test_fixed_points_to_forty_digits(kind: str, unbiased: bool, samples: int, real: float) -> None:
    """Solved from the recursions of the means as they are written; next to nothing is real, where digits are lost."""
    if kind != "iid" and real < 1:
        return
    with mpmath.workdps(40):
        M, m = mpmath.mpf(samples), mpmath.mpf(real)
        a, D = m / M, M - unbiased
        b = 1 - a
        if kind == "stratified":  # s = [(M − 1)(a + b s) + M a b δ]/D, δ = b² δ + (a + b s)/M
            matrix = [[1 - (M - 1) * b / D, -M * a * b / D], [-b / M, 1 - b * b]]
            shift = [(M - 1) * a / D, a / M]
        elif kind == "iid":  # c = a + b s + a b δ, s = (M − 1) c/D, δ = b² δ + c/M
            matrix = [[1 - (M - 1) * b / D, -(M - 1) * a * b / D], [-b / M, 1 - b * b - a * b / M]]
            shift = [(M - 1) * a / D, a / M]
        else:  # s = [m − 1 + (k − 1) s + h (1/m − 2/m + δ + s/k)]/D, δ = a²/m + 2ab/m + b² δ + b s/M
            k = M - m
            h = m * k / M
            matrix = [[1 - (k - 1 + h / k) / D, -h / D], [-b / M, 1 - b * b]]
            shift = [(m - 1 - h / m) / D, a * a / m + 2 * a * b / m]
        s, drift = mpmath.lu_solve(mpmath.matrix(matrix), mpmath.matrix(shift))
        expected = float(s - 1), float(drift)
    mix = Mix(Schedule.constant(samples, 2), np.array([real]), independent=kind == "iid")
    point = (retained_stationary if kind == "retained" else fresh_stationary)(mix, unbiased=unbiased)
    assert (point.x, point.drift) == pytest.approx(expected, rel=1e-13)


@pytest.mark.parametrize("unbiased", [False, True])
def test_second_moments_arrive_at_their_fixed_points(unbiased: bool) -> None:
    for moments, stationary in ((fresh_moments, fresh_stationary), (retained_moments, retained_stationary)):
        mix = constant(15, 6)
        end, point = moments(mix, np.array([400]), unbiased=unbiased), stationary(mix, unbiased=unbiased)
        assert (end.x[0], end.drift[0], end.x_squared[0]) == pytest.approx(
            (point.x, point.drift, point.x_squared), rel=1e-12
        )


def test_unbiased_independent_mixes_have_no_fixed_point_below_half_a_real_sample() -> None:
    """Stable where a > b/(M(1 + b)), about 1/(2M)."""
    M = 200
    for share, stable in ((0.6, True), (0.4, False)):
        found = fresh_stationary(constant(M, share, independent=True), unbiased=True)
        assert math.isfinite(found.x) is stable


@pytest.mark.parametrize("samples", [1, 2, 3, 9])
def test_the_gauss_rule_averages_over_the_binomial_law(samples: int) -> None:
    """Against the average of stratified fits over every number of real samples."""
    state = np.array([1.0, -0.2, 0.3, 0.4, -0.1, 0.5])
    from service.theory.distributions.gaussian.mixed import _fresh_step

    exact = sum(
        stats.binom(samples, 0.3).pmf(m) * _fresh_step(constant(samples, m), 0, unbiased=False) @ state
        for m in range(samples + 1)
    )
    found = _fresh_step(constant(samples, 0.3 * samples, independent=True), 0, unbiased=False) @ state
    assert found == pytest.approx(exact, rel=1e-12, abs=1e-14)


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 10**15), st.integers(1, 200), st.booleans())
def test_without_real_samples_the_moments_are_those_of_replacing(
    samples: int, fits: int, unbiased: bool
) -> None:
    found = after(constant(samples, 0), fits, unbiased=unbiased)
    expected = predict_replace(
        LINE, Schedule.constant(samples, fits), np.array([fits]), unbiased=unbiased, thresholds=NONE
    ).curve
    assert found.x[0] == pytest.approx(expected.variance[0] - 1, rel=1e-9, abs=1e-15)
    assert found.drift[0] == pytest.approx(expected.drift[0], rel=1e-11)
    assert second(found)[0] == pytest.approx(expected.second_moment[0], rel=1e-9)


def test_a_generation_of_real_samples_alone_is_exact() -> None:
    mix = Mix(Schedule.of([50, 40, 30]), np.array([50.0, 4.0, 30.0]))
    found = predict_fresh(LINE, mix, np.array([1, 2, 3]), unbiased=False, thresholds=np.array([0.9])).curve
    for column, samples in ((0, 50), (2, 30)):
        single = predict_replace(
            LINE, Schedule.constant(samples, 1), np.array([1]), unbiased=False, thresholds=np.array([0.9])
        ).curve
        for name in (
            "variance",
            "drift",
            "second_moment",
            "log_mean",
            "kl_fit_true",
            "kl_true_fit",
            "w2",
            "below",
        ):
            assert getattr(found, name)[..., column] == pytest.approx(
                getattr(single, name)[..., 0], rel=1e-12
            )


def z(sample: Array, mean: float) -> float:
    return float((sample.mean() - mean) / (sample.std() / len(sample) ** 0.5))


@pytest.mark.parametrize("unbiased", [False, True])
@pytest.mark.parametrize("kind", ["stratified", "iid", "retained"])
def test_simulation_agrees(kind: str, unbiased: bool) -> None:
    """Exact moments within 4 standard errors; what the lognormal match gives, within its stated error."""
    sizes, replicates = [9, 12, 12, 7, 12], 100_000
    m = 4
    mix = Mix(Schedule.of(sizes), np.full(4, float(m)))
    if kind == "iid":
        mix = Mix(mix.schedule, 0.3 * mix.schedule.array, independent=True)
        e, v = mixed(sizes, 0.3, unbiased=unbiased, replicates=replicates, seed=11)
    elif kind == "stratified":
        e, v = mixed(sizes, [m] * 5, unbiased=unbiased, replicates=replicates, seed=12)
    else:
        e, v = mixed(sizes, [], kept=m, unbiased=unbiased, replicates=replicates, seed=13)
    predict = predict_retained if kind == "retained" else predict_fresh
    found = predict(LINE, mix, np.array([5]), unbiased=unbiased, thresholds=np.array([0.5]))
    curve = found.curve
    for sample, value in ((v, curve.variance), (v**2, curve.second_moment), (e**2, curve.drift)):
        assert abs(z(sample, float(value[0]))) < 4
    errors = {one.quantity: one.expected_relative_error for one in found.accuracies}
    kl = 0.5 * (v + e**2 - 1 - np.log(v))
    measured = {"kl_fit_true": kl, "w2": e**2 + (np.sqrt(v) - 1) ** 2, "deviation": np.sqrt(v)}
    for name, sample in measured.items():
        noise = 4 * sample.std() / len(sample) ** 0.5 / sample.mean()
        assert getattr(curve, name)[0] == pytest.approx(sample.mean(), rel=errors[name] + noise), name
    assert curve.log_variance[0] == pytest.approx(np.log(v).var(), rel=errors["log_variance"] + 0.02)
    assert curve.below[0, 0] == pytest.approx((v < 0.5).mean(), abs=errors["below"] + 0.007)


@pytest.mark.parametrize(("samples", "real"), [(100, 2), (50, 1), (100, 10)])
def test_long_chains_stay_within_the_stated_errors(samples: int, real: int) -> None:
    """Where the match is at its worst: many fits that remember little of the truth."""
    fits = 60
    e, v = mixed([samples] * fits, [real] * fits, replicates=40_000, seed=samples + real)
    found = predict_fresh(
        LINE, constant(samples, real), np.array([fits]), unbiased=False, thresholds=np.array([0.5])
    )
    errors = {one.quantity: one.expected_relative_error for one in found.accuracies}
    kl = 0.5 * (v + e**2 - 1 - np.log(v))
    assert found.curve.kl_fit_true[0] == pytest.approx(kl.mean(), rel=errors["kl_fit_true"] + 0.02)
    assert found.curve.below[0, 0] == pytest.approx((v < 0.5).mean(), abs=errors["below"] + 0.01)


def test_beyond_the_measured_range_nothing_is_extrapolated() -> None:
    found = predict_fresh(LINE, constant(4, 1), np.array([20]), unbiased=False, thresholds=np.array([0.5]))
    assert np.isnan(found.curve.kl_fit_true[0])
    assert np.isnan(found.curve.below[0, 0])
    assert {one.quantity for one in found.cautions} >= {"kl_fit_true", "below", "w2", "kl_true_fit"}
    assert np.isfinite(found.curve.variance[0])


def test_a_million_fits_are_the_fixed_point() -> None:
    models = reported_models(10**6)
    mix = Mix(Schedule.constant(1000, 10**6), np.array([10.0]))
    found = predict_fresh(LINE, mix, models, unbiased=False, thresholds=NONE)
    assert found.curve.variance[-1] == pytest.approx(found.fixed_point.variance, rel=1e-11)
    assert found.fixed_point.relaxation == pytest.approx(100, rel=0.02)


@pytest.mark.parametrize("samples", [3, 20, 37, 1000])
def test_one_retained_sample_has_no_spread_for_ever(samples: int) -> None:
    mix = Mix(Schedule((1, samples), (1, 5)), np.ones(2))
    point = predict_retained(LINE, mix, np.array([6]), unbiased=False, thresholds=NONE).fixed_point
    assert 0.0 <= point.variance < 1e-13
    assert point.drift == pytest.approx(1.0, rel=1e-12)


@pytest.mark.parametrize("samples", [2, 10, 1000])
@pytest.mark.parametrize("fraction", [1e-12, 1e-9, 1e-6])
@pytest.mark.parametrize("fits", [5, 1000, 100_000])
def test_what_next_to_nothing_real_leaves_to_forty_digits(samples: int, fraction: float, fits: int) -> None:
    """v + drift = 1: as 1 + x it lost up to four digits where v is 1e-12."""
    mix = Mix(Schedule.constant(samples, 1), np.array([fraction * samples]), True)
    found = predict_fresh(LINE, mix, np.array([fits]), unbiased=False, thresholds=np.empty(0))
    with mpmath.workdps(40):
        M, a = mpmath.mpf(samples), mpmath.mpf(fraction * samples) / samples
        b = 1 - a
        step = mpmath.matrix([
            [1, 0, 0], [(M - 1) * a / M, (M - 1) * b / M, (M - 1) * a * b / M],
            [a / M, b / M, b * b + a * b / M],
        ])  # fmt: skip
        expected = (step ** (fits - 1) * mpmath.matrix([1, 1 - 1 / M, 1 / M]))[1]
        limit = a * (1 + b) * (M - 1) / (M * a * (1 + b) + b * b)
    assert found.curve.variance[0] == pytest.approx(float(expected), rel=1e-10, abs=0.0)
    assert found.fixed_point.variance == pytest.approx(float(limit), rel=1e-13, abs=0.0)
    for_ever = predict_limit(LINE, mix, retained=False, unbiased=False).curve
    assert for_ever.variance[0] == pytest.approx(float(limit), rel=1e-13, abs=0.0)


def test_moments_beyond_double_precision_are_infinite() -> None:
    """An unbiased variance with too little real data grows without bound, faster than doubles go."""
    mix = Mix(Schedule.constant(10, 1), np.array([0.01]), True)
    curve = predict_fresh(LINE, mix, np.array([10**6]), unbiased=True, thresholds=np.empty(0)).curve
    assert math.isinf(curve.variance[0])
    assert math.isinf(curve.drift[0])
    assert math.isinf(curve.second_moment[0])
