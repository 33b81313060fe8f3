"""Gaussians fitted to their own samples: reference values, single-fit laws in closed form, 50 digits, simulation."""

import math
import time
from typing import Any

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.integrate import quad

from service.theory.distributions.gaussian import threshold
from service.theory.distributions.gaussian.model import Curve, Gaussian
from service.theory.distributions.gaussian.replace import (
    determinant_below,
    lyapunov_exponents,
    predict_replace,
)
from service.theory.distributions.gaussian.threshold import centred_log_gamma, probability_below
from service.theory.distributions.schedule import Schedule, reported_models
from service.theory.distributions.special import digamma_minus_log, log_half_step, polygamma_of
from tests.theory.distributions.gaussian.referee import replaced

LINE = Gaussian(np.ones(1), np.ones(1))


def isotropic(d: int) -> Gaussian:
    return Gaussian(np.ones(1), np.array([float(d)]))


def last(
    sizes: list[int], truth: Gaussian = LINE, *, unbiased: bool = False, t: tuple[float, ...] = ()
) -> Curve:
    """Of the last model."""
    return predict_replace(
        truth, Schedule.of(sizes), np.array([len(sizes)]), unbiased=unbiased, thresholds=np.array(t)
    ).curve


# sizes, unbiased: E v, E ln v, E √v, E KL(fit ‖ truth); d = 1
REFERENCE = [
    ([10] * 10, False, 0.3486784401, -2.2056698607457146, 0.44752764478677004, 1.1028349303728573),
    ([10] * 10, True, 1.0, -1.1520647041674517, 0.7578919961163949, 1.0760323520837258),
    ([5, 50, 20, 8, 100], False, 0.645183, -0.942426367058099, 0.7136406644801286, 0.4712131835290495),
    ([1000] * 5, True, 1.0, -0.0050066750093423415, 0.9987495314458964, 0.00500333750467117),
    ([2] * 3, False, 0.125, -5.890530078064271, 0.17958712212516656, 2.9452650390321353),
    (
        [10**9] * 50,
        False,
        0.9999999500000012,
        -1.0000000009166667e-07,
        0.9999999625000007,
        5.0000000045833334e-08,
    ),
]


@pytest.mark.parametrize(("sizes", "unbiased", "variance", "log_mean", "deviation", "kl"), REFERENCE)
def test_reference_values(  # noqa: PLR0917
    sizes: list[int], unbiased: bool, variance: float, log_mean: float, deviation: float, kl: float
) -> None:
    curve = last(sizes, unbiased=unbiased)
    assert curve.variance[0] == pytest.approx(variance, rel=1e-12)
    assert curve.log_mean[0] == pytest.approx(log_mean, rel=1e-12)
    assert curve.deviation[0] == pytest.approx(deviation, rel=1e-12)
    assert curve.kl_fit_true[0] == pytest.approx(kl, rel=1e-12)


@pytest.mark.parametrize(
    ("sizes", "d", "log_det", "kl_true_fit"),
    [
        ([20] * 6, 3, -2.9357106422649446, 6.845724925781108),
        ([40] * 10, 4, -3.6764519038482173, 7.680328425321362),
        ([200] * 5, 3, -0.22676898470014292, 0.1295264122953663),
    ],
)
def test_reference_values_in_several_dimensions(
    sizes: list[int], d: int, log_det: float, kl_true_fit: float
) -> None:
    curve = last(sizes, isotropic(d))
    assert curve.log_det_mean[0] == pytest.approx(log_det, rel=1e-12)
    assert curve.kl_true_fit[0] == pytest.approx(kl_true_fit, rel=1e-12)


@pytest.mark.parametrize(
    ("sizes", "t", "probability"),
    [
        ([10] * 10, 0.5, 0.8311995815256479),
        ([5, 50, 20, 8, 100], 0.5, 0.5683056684261842),
        ([100] * 100, 0.137, 0.5076407691124696),
    ],
)
def test_reference_probabilities(sizes: list[int], t: float, probability: float) -> None:
    assert last(sizes, t=(t,)).below[0, 0] == pytest.approx(probability, abs=1e-11)


@pytest.mark.parametrize("samples", [2, 3, 10, 99, 10**6, 10**13])
@pytest.mark.parametrize("z", [-9.0, -2.0, -0.1, 0.5, 3.0, 9.0])
def test_a_single_fit_is_a_chi_square(samples: int, z: float) -> None:
    nu = samples - 1
    t = math.exp(z * math.sqrt(2 / nu))
    expected = stats.chi2(nu).cdf(t * samples) if samples < 10**10 else stats.norm().cdf(z)
    tolerance = 1e-11 if samples < 10**10 else 1e-6
    assert last([samples], t=(t,)).below[0, 0] == pytest.approx(expected, abs=tolerance)


def test_probabilities_far_out_are_zero_or_one_and_quick() -> None:
    assert last([10**12] * 3, t=(1e-60, 0.9, 1.1, 1e60)).below[:, 0] == pytest.approx([0, 0, 1, 1], abs=1e-12)


@pytest.mark.parametrize("x", [0.5, 1.0, 3.5, 10.0, 29.99, 30.01, 1e3, 5e8, 5e17])
def test_special_functions_against_fifty_digits(x: float) -> None:
    with mpmath.workdps(60):
        exact = mpmath.mpf(x)
        assert float(digamma_minus_log(np.array(x))) == pytest.approx(
            float(mpmath.digamma(exact) - mpmath.log(exact)), rel=1e-13
        )
        step = mpmath.loggamma(exact + 0.5) - mpmath.loggamma(exact) - mpmath.log(exact) / 2
        assert float(log_half_step(np.array(x))) == pytest.approx(float(step), rel=5e-12)
        shift = mpmath.mpc(0, 0.3 * x**0.5)
        centred = mpmath.loggamma(exact + shift) - mpmath.loggamma(exact) - shift * mpmath.digamma(exact)
        found = complex(centred_log_gamma(x, np.array(0.3j * x**0.5)))
        assert found == pytest.approx(complex(centred), rel=1e-10)


def test_at_a_huge_sample_size_nothing_cancels() -> None:
    """To first order V = n/M: KL V d(d + 3)/4, W_2² 3/2 V, Var ln v 2 V."""
    curve = last([10**15] * 7)
    V = 7e-15
    assert curve.kl_fit_true[0] == pytest.approx(V, rel=1e-13)
    assert curve.kl_true_fit[0] == pytest.approx(V, rel=1e-12)
    assert curve.w2[0] == pytest.approx(1.5 * V, rel=1e-13)
    assert curve.log_variance[0] == pytest.approx(2 * V, rel=1e-13)
    several = last([10**15] * 7, Gaussian(np.array([1.0, 3.0]), np.array([2.0, 1.0])))
    assert several.kl_fit_true[0] == pytest.approx(V * 3 * 6 / 4, rel=1e-12)
    assert several.w2[0] == pytest.approx(V * (7.5 + 0.5 + 2 * 0.75), rel=1e-12)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(6, 10**12), min_size=1, max_size=12),
    st.permutations(range(12)),
    st.booleans(),
    st.sampled_from([1, 3]),
)
def test_the_order_of_the_sizes_matters_only_to_the_means(
    sizes: list[int], order: list[int], unbiased: bool, d: int
) -> None:
    shuffled = [sizes[i] for i in order if i < len(sizes)]
    first, other = (last(each, isotropic(d), unbiased=unbiased, t=(0.7,)) for each in (sizes, shuffled))
    for name in (
        "variance",
        "drift",
        "second_moment",
        "log_mean",
        "log_variance",
        "log_det_mean",
        "kl_fit_true",
        "w2_lower",
    ):
        assert getattr(first, name)[0] == pytest.approx(getattr(other, name)[0], rel=1e-9), name
    assert first.below[0, 0] == pytest.approx(other.below[0, 0], abs=1e-10)


def test_variance_and_drift_of_maximum_likelihood_add_up_to_the_truth() -> None:
    curve = predict_replace(
        isotropic(4),
        Schedule((7, 30), (5, 10**6)),
        reported_models(10**6),
        unbiased=False,
        thresholds=np.empty(0),
    ).curve
    assert curve.variance + curve.drift == pytest.approx(np.ones(len(curve.models)), rel=1e-13)


def test_half_lives_bracket_the_half() -> None:
    for schedule in (Schedule.constant(50, 3), Schedule((1000, 20, 60), (100, 3, 7))):
        found = predict_replace(
            LINE, schedule, np.array([1]), unbiased=False, thresholds=np.empty(0)
        ).half_life
        assert found.mean is not None
        assert found.typical is not None
        models = np.array([found.typical - 1, found.typical, found.mean - 1, found.mean])
        curve = predict_replace(
            LINE, schedule, np.unique(models), unbiased=False, thresholds=np.empty(0)
        ).curve
        by_model = dict(zip(curve.models, zip(curve.variance, curve.log_mean, strict=True), strict=True))
        assert by_model[found.mean - 1][0] > 0.5 >= by_model[found.mean][0]
        assert by_model[found.typical - 1][1] > -math.log(2) >= by_model[found.typical][1]
    unbiased = predict_replace(
        LINE, Schedule.constant(50, 3), np.array([1]), unbiased=True, thresholds=np.empty(0)
    )
    assert unbiased.half_life.mean is None
    assert unbiased.half_life.typical_fits == pytest.approx(math.log(2) * 49, rel=0.01)


def test_one_sample_has_no_variance_and_few_have_no_determinant() -> None:
    curve = last([1, 5])
    assert (curve.variance[0], curve.drift[0], curve.log_mean[0]) == (0.0, 1.0, -np.inf)
    assert curve.w2[0] == 2.0
    assert curve.kl_fit_true[0] == np.inf
    assert last([3, 30], isotropic(3)).log_det_mean[0] == -np.inf
    assert last([30, 5], isotropic(3)).kl_true_fit[0] == np.inf
    assert last([30, 6], isotropic(3)).kl_true_fit[0] < np.inf
    with pytest.raises(ValueError, match="2 samples"):
        last([1], unbiased=True)


@pytest.mark.parametrize(("samples", "fits"), [(9, 1), (4, 2)])
def test_the_determinant_in_two_dimensions_is_a_gamma_law(samples: int, fits: int) -> None:
    """√(χ²_a χ²_(a−1)) of d = 2 is a χ²_(2a−2)/2, so that after one fit P(det < t) is its law; of two, an integral."""
    schedule, t, a = Schedule.constant(samples, fits), 0.3, samples - 1
    (below,) = determinant_below(isotropic(2), schedule, np.array([fits]), np.array([t]), unbiased=False)[0]
    one = stats.chi2(2 * a - 2)
    if fits == 1:
        expected = one.cdf(2 * samples * t**0.5)
    else:  # det = (x y)² (2 M)^-4 with x, y of that law
        expected = quad(
            lambda x: one.pdf(x) * one.cdf((2 * samples) ** 2 * t**0.5 / x), 0, 200, epsabs=1e-12
        )[0]
    assert below == pytest.approx(expected, abs=1e-9)


def test_the_determinant_is_the_variance_in_one_dimension_and_zero_without_full_rank() -> None:
    schedule, models, t = Schedule.of([5, 9, 9, 2]), np.array([1, 3]), np.array([0.4])
    below = determinant_below(isotropic(1), schedule, models, t, unbiased=True)
    assert below == pytest.approx(
        predict_replace(isotropic(1), schedule, models, unbiased=True, thresholds=t).curve.below, abs=1e-11
    )
    lost = determinant_below(isotropic(2), schedule, np.array([3, 4]), t, unbiased=True)[0]
    assert lost[0] < 1
    assert lost[1] == 1


@pytest.mark.parametrize("unbiased", [False, True])
def test_simulation_agrees(unbiased: bool) -> None:
    """Along every quantity with a mean; eigenvalues 1, 2, 5; z-scores of 11 means, 4 standard errors at most."""
    values = np.array([1.0, 2.0, 5.0])
    truth, sizes = Gaussian(values, np.ones(3)), [12, 30, 20]
    curve = last(sizes, truth, unbiased=unbiased, t=(0.6,))
    drawn = replaced(values, sizes, unbiased=unbiased, replicates=20_000, seed=5)
    predicted = {
        "variance": curve.variance, "drift": curve.drift, "second_moment": curve.second_moment,
        "log_mean": curve.log_mean, "deviation": curve.deviation, "log_det_mean": curve.log_det_mean,
        "kl_fit_true": curve.kl_fit_true, "kl_true_fit": curve.kl_true_fit, "below": curve.below[0],
    }  # fmt: skip
    for name, value in predicted.items():
        sample = drawn[name]
        z = (sample.mean() - value[0]) / (sample.std() / len(sample) ** 0.5)
        assert abs(z) < 4, (name, z)
    schedule = Schedule.of(sizes)
    thresholds = np.array([0.05, 0.3, 1.2])
    below = determinant_below(truth, schedule, np.array([3]), thresholds, unbiased=unbiased)[:, 0]
    seen = np.exp(drawn["log_det_mean"])[:, None] < thresholds
    assert np.abs(seen.mean(0) - below).max() < 4 * 0.5 / len(seen) ** 0.5
    w2 = drawn["w2"].mean()
    assert curve.w2_lower[0] < w2
    assert curve.w2[0] == pytest.approx(w2, rel=0.016 + 4 * drawn["w2"].std() / w2 / len(drawn["w2"]) ** 0.5)


@pytest.mark.parametrize(
    "values",
    [
        np.geomspace(1.0, 1000.0, 4),
        np.geomspace(1.0, 5.0, 8),
        [1000.0, 100.0, 10.0, *[1.0] * 5],
        [5.0, 5.0, 1.0, 1.0],
    ],
    ids=["wide", "many", "one rules", "two and two"],
)
def test_the_transport_distance_stays_within_its_stated_error(values: Any) -> None:
    """Where the closure is at its worst: V = 1, far from isotropic or in many dimensions."""
    d, samples = len(values), 20
    found = predict_replace(
        Gaussian(np.array(values), np.ones(d)), Schedule.constant(samples, samples), np.array([samples]),
        unbiased=False, thresholds=np.empty(0),
    )  # fmt: skip
    drawn = replaced(np.array(values), [samples] * samples, unbiased=False, replicates=4000, seed=1)["w2"]
    [error] = [one.expected_relative_error for one in found.accuracies if one.quantity == "w2"]
    assert error <= 0.016 + 0.012 * d
    noise = 3 * drawn.std() / drawn.mean() / len(drawn) ** 0.5
    assert found.curve.w2[0] == pytest.approx(drawn.mean(), rel=error + noise)
    assert found.curve.w2_lower[0] < drawn.mean()


def test_the_transport_distance_is_refused_beyond_what_was_measured() -> None:
    for d, sizes in ((3, [20] * 21), (16, [100] * 2), (8, [15]), (3, [5])):
        found = last(sizes, isotropic(d))
        assert np.isnan(found.w2[0])
        assert np.isfinite(found.w2_lower[0])


@pytest.mark.parametrize("unbiased", [False, True])
@pytest.mark.parametrize("samples", [10**12, 10**15, 10**17, 10**18])
def test_both_divergences_are_their_first_order_at_any_size(samples: int, unbiased: bool) -> None:
    curve = last([samples] * 4, isotropic(3), unbiased=unbiased)
    first = 3 * (3 + 3) / 4 * 4 / samples
    assert curve.kl_true_fit[0] == pytest.approx(first, rel=1e-10)
    assert curve.kl_fit_true[0] == pytest.approx(first, rel=1e-10)


@pytest.mark.parametrize("unbiased", [False, True])
def test_eigenvalue_rates_are_those_of_a_long_product(unbiased: bool) -> None:
    """QR of 20,000 factors W^{1/2}, W drawn from its own normal samples; d = 2, so both rates are the spectrum."""
    samples, steps, generator = 6, 20_000, np.random.default_rng(3)
    basis, gains = np.eye(2), np.empty((steps, 2))
    for step in range(steps):
        drawn = generator.standard_normal((samples, 2))
        drawn -= drawn.mean(axis=0)
        values, vectors = np.linalg.eigh(drawn.T @ drawn / (samples - unbiased))
        basis, triangle = np.linalg.qr((vectors * np.sqrt(values)) @ vectors.T @ basis)
        gains[step] = 2 * np.log(np.abs(np.diag(triangle)))
    found = np.array(lyapunov_exponents(isotropic(2), samples, unbiased=unbiased))
    blocks = gains.reshape(100, -1, 2).mean(axis=1)
    assert np.all(np.abs(found - gains.mean(axis=0)) < 4 * blocks.std(axis=0) / 10)
    assert found.sum() == pytest.approx(
        last([samples], isotropic(2), unbiased=unbiased).log_det_mean[0], rel=1e-12
    )


@pytest.mark.parametrize(("samples", "dimension"), [(2, 1), (40, 7), (10**12, 3)])
def test_eigenvalue_rates_to_fifty_digits(samples: int, dimension: int) -> None:
    with mpmath.workdps(50):
        expected = [
            float(mpmath.digamma(mpmath.mpf(samples - j) / 2) - mpmath.log(mpmath.mpf(samples) / 2))
            for j in (1, dimension)
        ]
    assert lyapunov_exponents(isotropic(dimension), samples, unbiased=False) == pytest.approx(
        expected, rel=1e-12
    )
    assert lyapunov_exponents(isotropic(samples), samples, unbiased=False)[1] == -math.inf


@pytest.mark.parametrize(("smallest", "factors"), [(2.0, 60), (40.0, 40), (1e4, 300), (1e9, 30)])
def test_many_narrow_factors_at_once_are_the_factors_one_by_one(
    smallest: float, factors: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    halves, counts = smallest + np.arange(factors) / 2.0, np.full(factors, 3.0)
    deviation = math.sqrt(float(counts @ polygamma_of(1, halves)))
    places = [z * deviation for z in (-8.0, -2.0, 0.3, 3.0)]
    together = [probability_below(place, 0.0, halves, counts) for place in places]
    monkeypatch.setattr(threshold, "_FEW", factors + 1)
    one_by_one = [probability_below(place, 0.0, halves, counts) for place in places]
    assert together == pytest.approx(one_by_one, abs=1e-14)


def test_the_determinant_of_thousands_of_dimensions_is_quick() -> None:
    wide = Gaussian(np.ones(1), np.array([3000.0]))
    start = time.process_time()
    found = determinant_below(
        wide, Schedule.constant(10**9, 1), np.array([1, 11]), np.array([0.99, 1.0]), unbiased=True
    )
    assert time.process_time() - start < 1.0
    # nearly normal: mean −n d (d − 1)/(2M), variance 2 n d/M
    fits, log_t = np.array([1.0, 11.0]), np.log(np.array([[0.99], [1.0]]))
    normal = stats.norm.cdf((log_t + fits * 3000 * 2999 / 2e9) / np.sqrt(fits * 6e-6))
    assert found == pytest.approx(normal, abs=2e-4)
