"""Kernel density estimates and mixtures of their own samples: reference values, simulation, limits."""

import math

import mpmath
import numpy as np
import pytest
from numpy.random import default_rng

from service.theory.distributions import kde, mixture
from service.theory.distributions.kde import Bandwidth, integrated_squared_error, limit, spread
from service.theory.distributions.schedule import Mix, Schedule
from service.theory.distributions.vocabulary import ancestors


def constant(samples: int, real: float = 0.0, *, independent: bool = False) -> Mix:
    return Mix(Schedule.constant(samples, 1), np.array([real]), independent)


@pytest.mark.parametrize(
    ("samples", "fits", "h", "variance"),
    [(50, 10, 0.3, 1.5502451758935862), (20, 40, 0.5, 4.235951373739588), (200, 5, 0.2, 1.1332587281468758)],
)
def test_reference_variances(samples: int, fits: int, h: float, variance: float) -> None:
    found = spread(constant(samples), np.array([fits]), Bandwidth(fixed=h))
    assert found.sample_variance[0] == pytest.approx(variance, rel=1e-12)
    assert found.model_variance[0] == pytest.approx(variance + h**2, rel=1e-12)
    assert limit(constant(samples), Bandwidth(fixed=h))[0] == pytest.approx((samples - 1) * h**2, rel=1e-11)


@pytest.mark.parametrize("independent", [False, True])
@pytest.mark.parametrize(
    ("samples", "real", "bandwidth"),
    [(10**12, 1, Bandwidth(fixed=1e-6)), (10**12, 10**6, Bandwidth(fixed=0.1)), (10**9, 3, Bandwidth(relative=1e-5)),
     (5, 5, Bandwidth(fixed=1.0)), (20, 7, Bandwidth(relative=0.3))],
)  # fmt: skip
def test_limits_to_all_digits(samples: int, real: int, bandwidth: Bandwidth, independent: bool) -> None:
    """The recursion's fixed point by 60 digits: next to nothing may be real."""
    with mpmath.workdps(60):
        M, a = mpmath.mpf(samples), mpmath.mpf(real) / samples
        b, h2, c2 = 1 - a, mpmath.mpf(bandwidth.fixed) ** 2, mpmath.mpf(bandwidth.relative) ** 2
        pulled = a * b

        def step(v: mpmath.mpf, d: mpmath.mpf) -> tuple[mpmath.mpf, mpmath.mpf]:
            own = a + b * (v * (1 + c2) + h2)
            if independent:
                own += pulled * d
                return (1 - 1 / M) * own, b * b * d + own / M
            return (1 - 1 / M) * own + pulled * d, b * b * d + own / M

        shift = mpmath.matrix(step(mpmath.mpf(0), mpmath.mpf(0)))
        columns = [mpmath.matrix(step(mpmath.mpf(x), mpmath.mpf(1 - x))) - shift for x in (1, 0)]
        gap = mpmath.eye(2) - mpmath.matrix([[columns[j][i] for j in range(2)] for i in range(2)])
        variance, drift = (float(x) for x in mpmath.lu_solve(gap, shift))
    found = limit(constant(samples, real, independent=independent), bandwidth)
    assert found == (pytest.approx(variance, rel=1e-12), pytest.approx(drift, rel=1e-12))


@pytest.mark.parametrize(("h", "samples"), [(1e-6, 10**9), (1e-3, 10**15)])
def test_without_real_data_the_variance_goes_to_samples_less_one_times_the_kernel(
    h: float, samples: int
) -> None:
    assert limit(constant(samples), Bandwidth(fixed=h))[0] == pytest.approx((samples - 1) * h**2, rel=1e-14)


@pytest.mark.parametrize("real", [0, 8])
@pytest.mark.parametrize(
    "bandwidth", [Bandwidth(fixed=0.4), Bandwidth(relative=0.5), Bandwidth(relative=0.5, corrected=True)]
)
@pytest.mark.parametrize("independent", [False, True])
def test_simulation_agrees(real: int, bandwidth: Bandwidth, independent: bool) -> None:
    rng, replicates, samples, fits = default_rng(3), 40_000, 20, 4
    x = rng.standard_normal((replicates, samples))
    for _ in range(fits - 1):
        sd = x.std(1, keepdims=True)
        centre = x.mean(1, keepdims=True)
        h = bandwidth.fixed + bandwidth.relative * sd
        drawn = np.take_along_axis(x, rng.integers(0, samples, x.shape), 1) + h * rng.standard_normal(x.shape)
        if bandwidth.corrected:
            drawn = centre + (drawn - centre) / math.sqrt(1 + bandwidth.relative**2)
        fresh = rng.standard_normal(x.shape)
        chosen = rng.random(x.shape) < real / samples if independent else np.arange(samples) < real
        x = np.where(chosen, fresh, drawn)
    found = spread(constant(samples, real, independent=independent), np.array([fits]), bandwidth)
    for sample, value in ((x.var(1), found.sample_variance[0]), (x.mean(1) ** 2, found.drift[0])):
        assert abs(sample.mean() - value) < 4 * sample.std() / replicates**0.5


def test_integrated_squared_error_by_simulation_and_for_one_fit() -> None:
    rng, samples, h, fits = default_rng(8), 30, 0.3, 3
    grid = np.linspace(-7, 7, 281)
    truth = np.exp(-(grid**2) / 2) / math.sqrt(2 * math.pi)
    errors = []
    for _ in range(1500):
        x = rng.standard_normal(samples)
        for _ in range(fits - 1):
            x = rng.choice(x, samples) + h * rng.standard_normal(samples)
        estimate = np.exp(-((grid[:, None] - x) ** 2) / (2 * h**2)).mean(1) / (h * math.sqrt(2 * math.pi))
        errors.append(((estimate - truth) ** 2).sum() * (grid[1] - grid[0]))
    found = integrated_squared_error(samples, h, np.array([1, fits]))
    assert abs(np.mean(errors) - found[1]) < 4 * np.std(errors) / len(errors) ** 0.5
    # one fit: the textbook's mean integrated squared error of a normal density with a normal kernel
    textbook = (
        1 / (samples * h) + (1 - 1 / samples) / math.sqrt(1 + h**2) - 2 / math.sqrt(1 + h**2 / 2) + 1
    ) / (2 * math.sqrt(math.pi))
    assert found[0] == pytest.approx(textbook, rel=1e-12)


def test_silverman_grows_for_ever_and_the_correction_shrinks_it_as_a_gaussian_fit() -> None:
    growing = Bandwidth(relative=kde.silverman(100))
    assert limit(constant(100), growing) == (math.inf, math.inf)
    corrected = spread(constant(100), np.array([50]), Bandwidth(relative=0.4, corrected=True))
    assert corrected.sample_variance[0] == pytest.approx(0.99**50, rel=1e-12)
    fresh = limit(constant(100, 10), Bandwidth(fixed=0.2))
    far = spread(constant(100, 10), np.array([5000]), Bandwidth(fixed=0.2))
    assert (far.sample_variance[0], far.drift[0]) == pytest.approx(fresh, rel=1e-12)


@pytest.mark.parametrize(
    ("weight", "fits", "variance"), [(0.3, 30, 0.28639957016451256), (0.5, 5, 0.9009408180805081)]
)
def test_reference_component_variances(weight: float, fits: int, variance: float) -> None:
    assert mixture.component(weight, 100, np.array([fits])).variance[0] == pytest.approx(variance, rel=1e-10)


def test_components_by_simulation() -> None:
    rng, samples, weight, fits, replicates = default_rng(6), 15, 0.2, 6, 100_000
    count, variance, share = np.full(replicates, 0), np.ones(replicates), np.full(replicates, weight)
    for _ in range(fits):
        count = rng.binomial(samples, share)
        variance = np.where(
            count > 1, variance * rng.chisquare(np.maximum(count - 1, 1)) / np.maximum(count, 1), 0.0
        )
        share = count / samples
    found = mixture.component(weight, samples, np.array([1, fits]))
    for sample, value in (
        ((count == 0).astype(float), found.lost[1]), (variance, found.variance[1]),
        ((share - weight) ** 2, found.weight_variance[1]),
    ):  # fmt: skip
        assert abs(sample.mean() - value) < 4 * sample.std() / replicates**0.5
    assert found.lost[0] == pytest.approx(0.8**15, rel=1e-10)


def test_a_component_that_is_hardly_ever_lost() -> None:
    """P(lost) keeps its digits: (1 − w)^M at first, the founders' E (1 − w)^A later."""
    found = mixture.component(0.4, 200, np.array([1, 3]))
    (founders,) = ancestors.by_model(200, [3])
    expected = [0.6**200, float(founders.absent(np.array(0.4)))]
    assert found.lost == pytest.approx(expected, rel=1e-11, abs=0.0)


def test_beyond_the_chain_the_closed_form_stays_within_its_error(monkeypatch: pytest.MonkeyPatch) -> None:
    models = np.array([1, 10, 60])
    exact = mixture.component(0.1, 600, models)
    monkeypatch.setattr(mixture, "LARGEST_CHAIN", 10)
    closed = mixture.component(0.1, 600, models)
    assert closed.variance == pytest.approx(exact.variance, rel=mixture.closure_error(0.1, 600))
    assert closed.lost == pytest.approx(exact.lost, abs=1e-5)


def test_the_closed_form_of_a_components_variance_keeps_its_digits() -> None:
    """1 − y + (1 + y) e^(−2/y) at 50 digits, from y = 0.01 to 1e8."""
    models = np.array([1, 10, 31, 32, 33, 100, 1000, 10**6, 10**8])
    with mpmath.workdps(50):
        for weight, samples in ((0.05, 2000), (0.9, 1001)):
            y = [mpmath.mpf(int(n)) / (mpmath.mpf(samples) * mpmath.mpf(weight)) for n in models]
            expected = [float(1 - one + (1 + one) * mpmath.exp(-2 / one)) for one in y]
            assert mixture.component(weight, samples, models).variance == pytest.approx(expected, rel=1e-12)


def test_a_component_of_few_expected_samples_has_no_closed_form() -> None:
    assert np.isnan(mixture.component(5.9e-4, 10_000, np.array([1, 50])).variance).all()
    assert np.isfinite(mixture.component(6.1e-4, 10_000, np.array([1, 50])).variance).all()
