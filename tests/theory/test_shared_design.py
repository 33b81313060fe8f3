"""Several fits on one design: against single fits, Marchenko and Pastur's law, limits, and simulation."""

import math
import tracemalloc
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from scipy.integrate import quad

from service.theory.design import Design
from service.theory.errors import NotConverged, Unsupported
from service.theory.limits import limits
from service.theory.model import REAL, Array, Pass, Population, Source, Stage, TrainingMix
from service.theory.one_covariance import OneCovariance, effective_ridge
from service.theory.passes import passes_error
from service.theory.prediction import predict
from service.theory.shared_design import SharedDesign, expected_seconds, shared_design
from tests.theory.problems import isotropic

D = 80
SIGMA = np.arange(1.0, D + 1) ** -0.9
POPULATION = Population(SIGMA, np.ones(D), np.linspace(0.5, 1.5, D) / D, 0.2)


def passes(penalties: Sequence[float], noises: Sequence[float]) -> tuple[Pass, ...]:
    return tuple(Pass(p, n / sum(noises)) for p, n in zip(penalties, noises, strict=True))


def solved(
    population: Population, T: float, penalties: Sequence[float], noises: Sequence[float]
) -> SharedDesign:
    found = shared_design(population, Source("r", REAL, T, sum(noises)), passes(penalties, noises))
    assert isinstance(found, SharedDesign)
    return found


def error(population: Population, found: SharedDesign) -> float:
    moments = found.unlearned**2 * population.target_power + found.fluctuation(np.empty(0), 0.0)
    return float(population.weight @ moments)


def mix(T: float, penalties: Sequence[float], noises: Sequence[float], *, final: float = 0.02) -> TrainingMix:
    row = passes(penalties, noises)
    generator = Stage(
        "g", (Source("r", REAL, T, sum(noises)),), min(p for p in penalties if p > 0), None, row
    )
    return TrainingMix((generator, Stage("final", (Source("g", "g", 120.0, 0.2),), final)))


@pytest.mark.parametrize("penalty", [1e-9, 1e-4, 0.03, 1.0, 1e5])
@pytest.mark.parametrize("T", [30.0, 79.0, 81.0, 500.0, 1e12])
def test_one_pass_is_one_fit(T: float, penalty: float) -> None:
    """The closed formulas of a single fit: z = z' of the two-point equivalents."""
    found = solved(POPULATION, T, [penalty], [0.3])
    single = OneCovariance.solve(POPULATION, Design.make([T], [1.0]), penalty)
    bias = float(POPULATION.weight @ (single.unlearned**2 * POPULATION.target_power))
    np.testing.assert_allclose(found.unlearned, single.unlearned, rtol=1e-8)
    np.testing.assert_allclose(found.learned, single.learned, rtol=1e-8)
    np.testing.assert_allclose(found.noise_gain, single.fluctuation(np.ones(1), 0.0), rtol=1e-7)
    np.testing.assert_allclose(found.residual, single.fluctuation(np.array([bias]), 0.0), rtol=2e-5)
    assert found.openness == pytest.approx(single.openness, rel=1e-9)


@pytest.mark.parametrize(("T", "n", "penalty"), [(30.0, 400, 1e-3), (79.0, 50, 1e-6), (500.0, 3000, 1e-9)])
def test_equal_fits_are_added_up_as_a_series(T: float, n: int, penalty: float) -> None:
    """As the same fits one by one: penalties that differ in their last digit are in no series."""
    scattered = penalty * (1.0 + 4.0 * np.finfo(float).eps * (np.arange(n) % 2))
    one, other = (solved(POPULATION, T, p, [0.3] * n) for p in ([penalty] * n, scattered.tolist()))
    for name in ("learned", "unlearned", "residual", "noise_gain"):
        np.testing.assert_allclose(getattr(one, name), getattr(other, name), rtol=1e-11, err_msg=name)


def test_pairs_of_nodes_are_not_all_kept() -> None:
    """As many samples as modes and hardly a penalty: 1,450 nodes, whose pairs took 300 MB."""
    small = Population(np.arange(1.0, 11.0) ** -1.2, np.ones(10), np.full(10, 0.1), 0.2)
    tracemalloc.start()
    solved(small, 10.0, [1e-8] * 100, [0.3] * 100)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 50e6


def test_what_would_take_minutes_is_refused_at_once() -> None:
    row = passes([1e-13] * 9999, [0.1] * 9999)
    small = Population(np.arange(1.0, 11.0) ** -1.2, np.ones(10), np.full(10, 0.1), 0.2)
    assert expected_seconds(small, 10.0, row) > 10
    with pytest.raises(Unsupported, match="too long"):
        shared_design(small, Source("r", REAL, 10.0, 1.0), row)
    assert expected_seconds(small, 30.0, row) < 0.1
    assert expected_seconds(small, 10.0, passes([0.1], [1.0])) < 0.1
    assert expected_seconds(small, 0.0, row) == 0


def marchenko_pastur(phi: float, function: "np.ufunc | object") -> float:
    """∫ f over the positive part of the spectrum of XᵀX/T, d/T = φ, entries of variance 1."""
    low, high = (1 - math.sqrt(phi)) ** 2, (1 + math.sqrt(phi)) ** 2

    def density(angle: float) -> float:
        s = (low + high) / 2 + (high - low) / 2 * math.cos(angle)
        edge = math.sqrt(max((high - s) * (s - low), 0.0)) * (high - low) / 2 * math.sin(angle)
        return float(function(s) * edge / (2 * math.pi * phi * s))  # type: ignore[operator]

    return float(quad(density, 0, math.pi, epsabs=1e-13, epsrel=1e-11, limit=400)[0])


@pytest.mark.parametrize("phi", [0.3, 0.9, 2.5])
@pytest.mark.parametrize(
    ("penalties", "noises"),
    [
        ([0.1, 0.1, 0.1], [0.2, 0.1, 0.4]),
        ([0.5, 0.01, 0.0, 2.0], [0.0, 0.3, 0.3, 0.1]),
        ([0.0, 0.2, 0.0, 0.0], [0.5, 0.1, 0.2, 0.3]),
        ([0.03] * 40, [0.1] * 40),
    ],
)
def test_isotropic_features_follow_marchenko_and_pastur(
    phi: float, penalties: list[float], noises: list[float]
) -> None:
    """For Σ = I all is an integral over one density: E‖F(S)w‖² = ∫F², noise by ∫g; no resolvent in it."""
    d = 200.0
    population = Population(np.ones(1), np.array([d]), np.array([1 / d]), 0.1)
    T = d / phi

    def forgotten(s: float) -> float:
        return (1 - math.prod(s / (s + p) for p in penalties if p > 0)) ** 2

    def noise(s: float) -> float:
        total, after = 0.0, 1.0
        for p, n in zip(reversed(penalties), reversed(noises), strict=True):
            after *= (s / (s + p)) ** 2
            total += n * after / s
        return total

    unseen = max(1 - 1 / phi, 0.0)
    expected = unseen + marchenko_pastur(phi, forgotten) + d / T * marchenko_pastur(phi, noise)
    assert error(population, solved(population, T, penalties, noises)) == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize("T", [30.0, 200.0])
def test_without_penalties_it_is_one_fit_of_summed_noise(T: float) -> None:
    found = solved(POPULATION, T, [1e-10, 1e-10, 1e-10], [0.1, 0.4, 0.2])
    bare = OneCovariance.solve(POPULATION, Design.make([T], [1.0]), 0.0)
    bias = float(POPULATION.weight @ (bare.unlearned**2 * POPULATION.target_power))
    expected = bare.unlearned**2 * POPULATION.target_power + bare.fluctuation(np.array([bias + 0.7]), 0.0)
    assert error(POPULATION, found) == pytest.approx(float(POPULATION.weight @ expected), rel=1e-6)


def test_unlimited_samples_shrink_by_the_product_of_the_filters() -> None:
    penalties = [0.1, 0.0, 0.3]
    kept = SIGMA / (SIGMA + 0.1) * SIGMA / (SIGMA + 0.3)
    found = solved(POPULATION, 1e15, penalties, [0.1, 0.1, 0.1])
    np.testing.assert_allclose(found.unlearned, 1 - kept, rtol=1e-9)
    assert error(POPULATION, found) == pytest.approx(
        float(POPULATION.weight @ ((1 - kept) ** 2 * POPULATION.target_power)), rel=1e-9
    )
    many = replace(mix(1e15, penalties, [0.1, 0.1, 0.1], final=0.0), next_generation=None)
    floor = limits(POPULATION, many).data_limit
    assert floor == pytest.approx(error(POPULATION, found), rel=1e-9)


@pytest.mark.parametrize("T", [40.0, 300.0])
def test_very_many_passes_forget_all_and_keep_a_bounded_noise(T: float) -> None:
    """Σ_k s/(s+λ)² (s/(s+λ))^2k = s/(λ (2s + λ)): half of one resolvent at λ/2; nothing of the target is left."""
    penalty, n = 0.05, 6000
    found = solved(POPULATION, T, [penalty] * n, [0.1] * n)
    seen = SIGMA > 0.02  # slow to forget: the smallest eigenvalues of a sample do at last
    theta = effective_ridge(POPULATION, Design.make([T], [1.0]), penalty / 2)
    expected = SIGMA / (SIGMA + theta) / (2 * penalty * T)
    np.testing.assert_allclose(found.noise_gain[seen] * n, expected[seen], rtol=1e-3)
    np.testing.assert_allclose(found.unlearned, 1.0, rtol=1e-3)


def simulated(T: int, penalties: Sequence[float], noises: Sequence[float], replicates: int) -> Array:
    """Errors of the last pass: every fit by its normal equations."""
    rng, w = np.random.default_rng(5), np.sqrt(POPULATION.target_power)
    errors = np.empty(replicates)
    for r in range(replicates):
        X = rng.standard_normal((T, D)) * np.sqrt(SIGMA)
        model = w * rng.choice([-1.0, 1.0], D)
        truth = model
        for penalty, noise in zip(penalties, noises, strict=True):
            y = X @ model + math.sqrt(noise) * rng.standard_normal(T)
            A = X.T @ X + T * penalty * np.eye(D)
            model = np.linalg.lstsq(A, X.T @ y, rcond=1e-12)[0]
        errors[r] = SIGMA @ (model - truth) ** 2
    return errors


@pytest.mark.parametrize(
    ("T", "penalties", "noises"),
    [
        (200, [0.02, 0.1, 0.05], [0.2, 0.1, 0.3]),
        (50, [0.02, 0.1, 0.05], [0.2, 0.1, 0.3]),
        (50, [0.0, 0.05, 0.0], [0.2, 0.1, 0.3]),
        (80, [0.05] * 8, [0.1] * 8),
    ],
)
def test_it_is_what_simulation_gives(T: int, penalties: list[float], noises: list[float]) -> None:
    errors = simulated(T, penalties, noises, 400)
    found = solved(POPULATION, T, penalties, noises)
    expected = error(POPULATION, found)
    standard_error = float(errors.std(ddof=1)) / 20
    assert standard_error < 0.03 * expected
    # equivalents are off by O(1/N)
    assert abs(errors.mean() - expected) < 4 * standard_error + expected / (found.openness * min(T, D))


def test_units_and_levels_do_not_matter() -> None:
    base = solved(POPULATION, 60.0, [0.02, 0.1], [0.2, 0.1])
    scaled = Population(SIGMA * 1e9, np.ones(D), POPULATION.target_power / 1e9, 0.2)
    other = solved(scaled, 60.0, [0.02e9, 0.1e9], [0.2, 0.1])
    assert error(scaled, other) == pytest.approx(error(POPULATION, base), rel=1e-10)
    levels = Population(np.array([1.0, 0.3]), np.array([40.0, 60.0]), np.array([0.01, 0.02]), 0.1)
    modes = Population(
        np.repeat(levels.eigenvalues, [40, 60]), np.ones(100), np.repeat([0.01, 0.02], [40, 60]), 0.1
    )
    each = [error(one, solved(one, 70.0, [0.1, 0.3], [0.2, 0.1])) for one in (levels, modes)]
    assert each[0] == pytest.approx(each[1], rel=1e-11)


@pytest.mark.parametrize("penalty", [1e-300, 1e-60, 1e-20, 1e-6, 1.0, 1e20, 1e60, 1e300])
@pytest.mark.parametrize("T", [1.0, 3.0, 6.0, 7.0, 1e3, 1e18])
def test_extremes_are_right_or_refused(T: float, penalty: float) -> None:
    """Eigenvalues over 30 orders of magnitude: one pass is one fit, or no value is returned; never a NaN."""
    sigma = np.array([1e15, 1.0, 1.0, 1e-3, 1e-9, 1e-15, 0.0])
    population = Population(sigma, np.ones(7), np.array([1e-15, 1.0, 2.0, 1.0, 1e3, 1.0, 1.0]), 0.2)
    single = OneCovariance.solve(population, Design.make([T], [1.0]), penalty)
    bias = float(population.weight @ (single.unlearned**2 * population.target_power))
    expected = single.unlearned**2 * population.target_power + single.fluctuation(np.array([bias + 0.3]), 0.0)
    try:
        found = solved(population, T, [penalty], [0.3])
    except NotConverged:
        assert not 1e-20 <= penalty <= 1e20
        return
    assert error(population, found) == pytest.approx(float(population.weight @ expected), rel=1e-5)


@pytest.mark.parametrize("penalty", [1.0, 10.0, 1e2, 1e4, 1e8])
def test_noise_that_heavy_penalties_filter_is_right_or_refused(penalty: float) -> None:
    """The first pass's noise, so huge that it counts after three filters: Σ = I, T → ∞, each is 1/(1 + λ)."""
    population = Population(np.ones(1), np.array([10.0]), np.array([0.1]), 0.2)
    kept = 1 / (1 + penalty)
    try:
        found = solved(population, 1e12, [penalty] * 3, [1e11 / kept**6, 1.0, 1.0])
    except NotConverged:
        assert penalty > 10
        return
    assert error(population, found) == pytest.approx((1 - kept**3) ** 2 + 1, rel=1e-4)


def test_modes_without_variance_are_never_learned() -> None:
    sigma = np.append(SIGMA, 0.0)
    population = Population(sigma, np.ones(D + 1), np.append(POPULATION.target_power, 3.0), 0.2)
    found = solved(population, 60.0, [0.02, 0.1], [0.2, 0.1])
    base = solved(POPULATION, 60.0, [0.02, 0.1], [0.2, 0.1])
    assert found.unlearned[-1] == pytest.approx(1.0, abs=1e-9)
    assert found.fluctuation(np.empty(0), 0.0)[-1] == pytest.approx(0.0, abs=1e-12)
    assert error(population, found) == pytest.approx(error(POPULATION, base), rel=1e-10)


def test_the_final_fit_decomposes() -> None:
    """Parts add up; label noise is linear in the noises; with unlimited final data the passes' error is left."""
    given = mix(60.0, [0.02, 0.1], [0.2, 0.1])
    found = predict(POPULATION, given, order=1)
    error_ = found.test_error
    parts = error_.parts
    assert found.order == 0
    assert error_.total == pytest.approx(error_.bias + error_.variance + error_.generation, rel=1e-12)
    assert error_.generation == pytest.approx(parts.label_noise + parts.distortion, rel=1e-9)
    silent = predict(POPULATION, mix(60.0, [0.02, 0.1], [2e-13, 1e-13])).test_error
    assert error_.total - silent.total == pytest.approx(parts.label_noise, rel=1e-8)
    final = Stage("final", (Source("g", "g", 1e15, 0.0),), 0.0)
    unlimited = replace(given, stages=(given.stages[0], final))
    last = error(POPULATION, solved(POPULATION, 60.0, [0.02, 0.1], [0.2, 0.1]))
    assert predict(POPULATION, unlimited).test_error.total == pytest.approx(last, rel=1e-9)


def test_the_best_penalty_is_a_minimum() -> None:
    given = mix(60.0, [0.02, 0.1], [0.2, 0.1])
    best = predict(POPULATION, given).regularization.recommended
    for factor in (0.8, 1.25):
        stages = (given.stages[0], replace(given.stages[1], penalty=best.penalty * factor))
        assert predict(POPULATION, replace(given, stages=stages)).test_error.total > best.total


def test_the_last_pass_as_a_stage_of_its_own() -> None:
    """Its own noise is the variance of a plain fit, what is left of the total the passes before."""
    generator = mix(60.0, [0.02, 0.1], [0.3, 0.2]).stages[0]
    found = passes_error(POPULATION, generator)
    plain = Stage("clean", (Source("r", REAL, 60.0, 0.2),), 0.1)
    clean = predict(POPULATION, TrainingMix((plain,)), order=1).test_error
    assert (found.bias, found.variance) == (clean.bias, clean.variance)
    parts = found.parts
    assert found.generation == pytest.approx(
        parts.label_noise + parts.distortion + parts.noise_mismatch, rel=1e-9
    )
    assert parts.noise_mismatch == pytest.approx(0.0, abs=1e-12)
    assert parts.label_noise > 0
    assert parts.distortion > 0
    total = error(POPULATION, solved(POPULATION, 60.0, [0.02, 0.1], [0.3, 0.2]))
    assert found.total == pytest.approx(total, rel=0.02)


def endless(T: float, penalty: float, noise: float, n: int) -> TrainingMix:
    """n generators on one design, continued for ever."""
    again = Stage("previous", (Source("g", "previous", T, noise),), penalty, None, (Pass(penalty, 1.0),))
    if penalty:
        return replace(mix(T, [penalty] * n, [noise] * n), next_generation=again)
    generator = Stage("g", (Source("r", REAL, T, n * noise),), 0.0)
    return TrainingMix((generator, Stage("final", (Source("g", "g", 120.0, 0.01),), 0.02)), again)


@pytest.mark.parametrize("penalty", [0.5, 5.0])
@pytest.mark.parametrize("T", [30.0, 500.0])
def test_the_limit_is_what_long_chains_come_to(T: float, penalty: float) -> None:
    """By the contour integrals of a chain; the largest eigenvalue of S, 6.9, has forgotten the truth by then."""
    population = isotropic(80.0, 0.2)
    found = limits(population, endless(T, penalty, 0.3, 2))
    far = predict(population, endless(T, penalty, 0.3, 200)).test_error.total
    assert found.regime == "bounded"
    assert found.generations_limit == pytest.approx(far, rel=1e-8)


@pytest.mark.parametrize("T", [30.0, 500.0])
def test_without_penalty_the_error_grows_by_the_same_amount(T: float) -> None:
    noise = 0.002 if T < D else 0.02
    found = limits(POPULATION, endless(T, 0.0, noise, 2))

    def total(n: int) -> float:
        return predict(POPULATION, endless(T, 0.0, noise, n)).test_error.total

    assert found.regime == "linear growth"
    assert found.generations_limit is None
    assert found.growth_per_generation == pytest.approx(total(2) - total(1), rel=1e-9)
    assert found.growth_per_generation == pytest.approx((total(9) - total(1)) / 8, rel=1e-9)
    n = found.worse_than_null_from
    assert n is not None
    assert n > 1
    assert total(n - 1) <= POPULATION.signal < total(n)


def test_without_noise_one_design_loses_nothing_more() -> None:
    found = limits(POPULATION, endless(30.0, 0.0, 0.0, 2))
    assert found.regime == "bounded"
    total = predict(POPULATION, endless(30.0, 0.0, 0.0, 7)).test_error.total
    assert found.generations_limit == pytest.approx(total, rel=1e-12)


@pytest.mark.parametrize(
    ("T", "penalty", "noise"),
    [(500.0, 1e-3, 0.02), (500.0, 0.03, 0.1), (120.0, 1e-4, 0.005), (120.0, 0.1, 1e-3), (900.0, 1e-3, 1e-3)],
)
def test_the_generation_worse_than_nothing_on_one_design(T: float, penalty: float, noise: float) -> None:
    """On both sides of it, and by going through the first thirty one by one."""

    def given(n: int) -> TrainingMix:
        long = endless(T, penalty, noise, n)
        return replace(long, stages=(long.stages[0], Stage("final", (Source("g", "g", 160.0, 1e-3),), 0.02)))

    def total(n: int) -> float:
        return predict(POPULATION, given(n)).test_error.total

    found = limits(POPULATION, given(2))
    n = found.worse_than_null_from
    if found.generations_limit is not None and found.generations_limit <= POPULATION.signal:
        assert n is None
        assert found.missing["worse_than_null_from"] == "No generation is worse than predicting nothing."
        return
    assert n is not None
    assert n > 1
    assert total(n - 1) <= POPULATION.signal < total(n)
    assert all(total(k) <= POPULATION.signal for k in range(1, min(n, 30)))
