"""Summaries, and whether theory and simulation agree."""

from collections.abc import Callable

import numpy as np
import pytest
from scipy.stats import skew, ttest_1samp

from service.simulation import verdict
from service.simulation.reduce import (
    MEASURED,
    QUANTILES,
    reduce,
)
from service.simulation.verdict import Cause, Comparison, Conditions
from service.theory.model import Array

RNG = np.random.default_rng(5)


# --- summaries ------------------------------------------------------------------------------------


def test_reduce_is_numpys_statistics() -> None:
    values = 5 + RNG.standard_normal((6, 50))
    summary = reduce(values)
    for stage in range(2):
        total, bias, variance = values[3 * stage : 3 * stage + 3]
        for k, one in enumerate((total, bias, variance, total - bias - variance)):
            assert summary.mean[stage, k] == pytest.approx(one.mean(), rel=1e-12)
            assert summary.standard_error[stage, k] == pytest.approx(np.sqrt(np.var(one) / 49), rel=1e-12)
        for row, q in zip(summary.quantiles, QUANTILES, strict=True):
            assert row[stage] == pytest.approx(np.percentile(total, 100 * q), rel=1e-12)
    assert MEASURED == ("total", "bias", "variance", "generation")
    assert summary.heavy == (False, False)


def test_reduce_of_one_replicate_has_no_standard_error() -> None:
    assert np.isnan(reduce(np.ones((3, 1))).standard_error).all()
    with pytest.raises(ValueError, match="no replicates"):
        reduce(np.ones((3, 0)))


@pytest.mark.parametrize("unit", [1e-250, 1e-160, 1e160, 1e250])
def test_errors_of_any_magnitude_have_a_spread(unit: float) -> None:
    values = 5 + RNG.standard_normal((3, 60))
    plain, scaled = reduce(values), reduce(unit * values)
    np.testing.assert_allclose(scaled.mean, unit * plain.mean, rtol=1e-12)
    np.testing.assert_allclose(scaled.standard_error, unit * plain.standard_error, rtol=1e-12)
    assert scaled.heavy == plain.heavy
    np.testing.assert_array_equal(reduce(0 * values).standard_error, 0.0)


def test_a_single_run_that_makes_the_spread_is_seen() -> None:
    values = 5 + RNG.standard_normal((3, 60))
    values[0, 17] = 100.0
    assert reduce(values).heavy == (True,)
    values[0, 17] = np.inf
    assert reduce(values).heavy == (False,)


# --- comparisons ----------------------------------------------------------------------------------


def test_p_values_are_those_of_a_t_test() -> None:
    sample = RNG.standard_normal(12) + 0.4
    one = Comparison(sample.mean(), sample.std(ddof=1) / np.sqrt(12), 0.1, 1.0)
    expected = ttest_1samp(sample, 0.1)
    assert one.z_score == pytest.approx(expected.statistic, rel=1e-12)
    assert verdict.alone([one], 12)[0] == pytest.approx(expected.pvalue, rel=1e-10)


LAWS: dict[str, tuple[Callable[[tuple[int, int]], Array], float]] = {
    "normal": (lambda size: 1.0 + 0.3 * RNG.standard_normal(size), 1.0),
    "exponential": (lambda size: RNG.exponential(size=size), 1.0),
    "chi-square of one": (lambda size: RNG.standard_normal(size) ** 2, 1.0),
    "log-normal": (lambda size: np.exp(RNG.standard_normal(size)), np.exp(0.5)),
    "gamma of shape 1/4": (lambda size: RNG.gamma(0.25, size=size), 0.25),
}


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("replicates", [8, 16, 40])
def test_a_verdict_alarms_no_more_often_than_it_says(law: str, replicates: int) -> None:
    """2,000 simulations of 20 right predictions: an alarm in 1 % at most, however skewed and few the runs are."""
    draw, mean = LAWS[law]
    summary = reduce(np.repeat(draw((2_000 * 20, replicates)), 3, axis=0))
    comparisons = [
        Comparison(m, e, mean, m, g, verdict.understated(m, mean))
        for m, e, g in zip(
            summary.mean[:, 0], summary.standard_error[:, 0], summary.skewness[:, 0], strict=True
        )
    ]
    smallest = verdict.alone(comparisons, replicates).reshape(-1, 20).min(axis=1)
    alarms = np.count_nonzero(20 * smallest <= verdict.LEVEL)
    assert alarms <= 20 + 3 * np.sqrt(20)


def test_what_is_understated_does_not_hide_a_difference() -> None:
    """Runs of a spread of a third: 16 show a mean half or twice the prediction, 64 one that is 20 % off."""
    for replicates, factors in ((16, (0.5, 2.0)), (64, (0.8, 1.2))):
        for factor in factors:
            summary = reduce(np.repeat(factor * RNG.gamma(10, 0.1, size=(200, replicates)), 3, axis=0))
            found = [
                verdict.alone([Comparison(m, e, 1.0, m, g, verdict.understated(m, 1.0))], replicates)[0]
                for m, e, g in zip(
                    summary.mean[:, 0], summary.standard_error[:, 0], summary.skewness[:, 0], strict=True
                )
            ]
            assert np.mean(np.array(found) < 0.01) > 0.8


def test_a_skewed_mean_is_not_taken_for_a_difference() -> None:
    """Exponential runs, 40 of them: Student's t calls 0.8 % of the means wrong at 0.1 %; of these none is."""
    values = RNG.exponential(size=(20_000, 3, 40))
    summary = reduce(values.reshape(-1, 40))
    z = (summary.mean[:, 0] - 1.0) / summary.standard_error[:, 0]
    corrected = verdict.p_values(z, summary.skewness[:, 0], 40) < 1e-3
    plain = verdict.p_values(z, np.zeros_like(z), 40) < 1e-3
    assert plain.sum() > 100
    assert corrected.sum() < 20 + 4 * np.sqrt(20)
    assert not np.any(corrected & ~plain)


def test_skewness_is_scipys_and_its_transformation_a_cube() -> None:
    values = RNG.exponential(size=(3, 30))
    assert reduce(values).skewness[0, 0] == pytest.approx(skew(values[0]), rel=1e-10)
    np.testing.assert_array_equal(reduce(np.ones((3, 30))).skewness, 0.0)
    z, g, n = np.linspace(-8, 8, 41), 1.7, 30
    # ((1 + g S/3)³ − 1)/g, and its shift by the mean of the t statistic
    cube = np.sqrt(n) * ((1 + g * z / np.sqrt(n) / 3) ** 3 - 1) / g + g / (6 * np.sqrt(n))
    np.testing.assert_allclose(verdict.unskewed(z, np.full(41, g), n), cube, rtol=1e-12, atol=1e-12)
    assert verdict.unskewed(np.array([np.inf]), np.zeros(1), n)[0] == np.inf


def test_holm_by_hand() -> None:
    """Sorted .005 .01 .03 .04 times 4, 3, 2, 1, then never falling."""
    np.testing.assert_allclose(verdict.holm(np.array([0.01, 0.04, 0.03, 0.005])), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(verdict.holm(np.array([0.6, 0.5])), [1.0, 1.0])


def test_false_alarms_of_a_whole_simulation_are_rare() -> None:
    """1,000 simulations of 40 true comparisons, normal data of 10 replicates: at most 1 % with any alarm."""
    alarms = 0
    for _ in range(1000):
        samples = RNG.standard_normal((40, 10))
        comparisons = [Comparison(s.mean(), s.std(ddof=1) / np.sqrt(10), 0.0, 1.0) for s in samples]
        alarms += verdict.adjusted_p_values(comparisons, 10).min() <= verdict.LEVEL
    assert alarms <= 0.01 * 1000 + 3 * np.sqrt(0.01 * 0.99 * 1000)
    assert alarms >= 0.01 * 1000 - 4 * np.sqrt(0.01 * 0.99 * 1000)  # nor is it blind


def test_a_true_difference_is_found_among_many() -> None:
    right = [Comparison(1.0 + 1e-3 * k, 0.01, 1.0, 1.0) for k in range(20)]
    wrong = Comparison(1.1, 0.01, 1.0, 1.0)
    adjusted = verdict.adjusted_p_values([*right, wrong, wrong], 100)
    assert adjusted[-1] == adjusted[-2] < 1e-9
    assert adjusted[:-2].min() > verdict.LEVEL
    # equal comparisons count once
    np.testing.assert_allclose(verdict.adjusted_p_values([wrong] * 50, 100), adjusted[-1] / 21, rtol=1e-9)
    assert verdict.adjusted_p_values([], 100).size == 0


def test_rounding_is_no_difference_and_no_spread_no_excuse() -> None:
    assert Comparison(1e-17, 1e-18, 0.0, 1.0).z_score == 0
    assert Comparison(0.5, 0.0, 0.4, 0.5).z_score == np.inf
    assert Comparison(0.3, 0.0, 0.4, 0.5).z_score == -np.inf
    assert verdict.adjusted_p_values([Comparison(0.5, 0.0, 0.4, 0.5)], 10)[0] == 0


def test_the_detectable_difference_is_just_detected() -> None:
    least = verdict.detectable_difference(0.01, 5, 30)
    others = [Comparison(1.0, 0.01 * (k + 1), 1.0, 1.0) for k in range(4)]
    for factor, found in ((1.001, True), (0.999, False)):
        one = Comparison(1.0 + factor * least, 0.01, 1.0, 1.0)
        assert bool(verdict.adjusted_p_values([*others, one], 30)[-1] <= verdict.LEVEL) is found


def test_likely_causes() -> None:
    near, far = Comparison(1.02, 0.001, 1.0, 1.02), Comparison(2.0, 0.001, 1.0, 2.0)
    small = Conditions(expected_relative_error=0.01)
    assert verdict.causes(near, small) == (Cause.SMALL_N,)
    assert verdict.causes(far, small) == (Cause.UNEXPLAINED,)
    heavy = Conditions(0.01, degrees_of_freedom=4.5)
    assert verdict.causes(far, heavy) == (Cause.HEAVY_TAILS,)
    assert verdict.causes(near, heavy) == (Cause.HEAVY_TAILS, Cause.SMALL_N)
    assert verdict.causes(far, Conditions(0.01, degrees_of_freedom=200.0)) == (Cause.UNEXPLAINED,)
    assert verdict.causes(far, Conditions(0.01, heavy=True)) == (Cause.HEAVY_TAILS,)
    assert verdict.causes(far, Conditions(0.01, size=31)) == (Cause.SMALL_N,)
    assert verdict.causes(far, Conditions(0.01, size=32)) == (Cause.UNEXPLAINED,)
    rows = Conditions(0.01, finite_population=True)
    assert verdict.causes(far, rows)[1] == Cause.FINITE_POPULATION
    rows = Conditions(0.01, finite_population=True, leverage=0.05, repeats=0.001)
    assert verdict.causes(far, rows) == (Cause.NOT_GAUSSIAN,)
    rows = Conditions(0.01, finite_population=True, leverage=0.02, repeats=0.05)
    assert verdict.causes(far, rows) == (Cause.FINITE_POPULATION, Cause.NOT_GAUSSIAN)
    assert all(cause.sentence.endswith(".") for cause in Cause)
