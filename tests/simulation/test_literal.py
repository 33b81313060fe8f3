"""The literal simulation against closed forms, and its promises about random numbers."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import Ridge

from service.simulation import engine
from service.simulation.engine import last_totals
from service.simulation.plan import plan
from service.simulation.problem import Problem, Streams, UnsupportedError
from service.simulation.process import Process
from service.simulation.rows import EmpiricalProblem
from service.simulation.spectrum import SpectrumProblem
from service.theory import empirical, kernels
from service.theory.model import OPTIMAL, REAL, Array, Population, Shift, Source, Stage, TrainingMix


def processes(mixes: list[TrainingMix]) -> list[Process]:
    return [Process(mix, noise_variance=0.2) for mix in mixes]


def simulate(
    problem: Problem[Any], mixes: list[TrainingMix], seed: int, first: int, last: int, *told: Any
) -> Array:
    """Test errors of the last stages, shape (mixes, replicates)."""
    made = processes(mixes)
    return last_totals(made, engine.simulate(problem, made, seed, first, last, *told))


def check(problem: Problem[Any], mixes: list[TrainingMix]) -> None:
    engine.check(problem, processes(mixes))


def replicate_flops(problem: Problem[Any], mixes: list[TrainingMix]) -> float:
    return engine.replicate_flops(problem, processes(mixes))


def gaussian(eigenvalues: Array, power: Array, noise_variance: float = 0.0) -> SpectrumProblem:
    return SpectrumProblem(Population(eigenvalues, np.ones(len(eigenvalues)), power, noise_variance))


def chain(  # noqa: PLR0917
    generations: int, T_0: int, T: int, noise: float, generator_penalty: float, penalty: float
) -> TrainingMix:
    stages = []
    labels = REAL
    for k in range(generations):
        stages.append(Stage(f"generation {k}", (Source("s", labels, T_0, noise),), generator_penalty))
        labels = f"generation {k}"
    return TrainingMix((*stages, Stage("final", (Source("s", labels, T, noise),), penalty)))


def one(
    samples: int, noise: float, penalty: float, *, width: float | None = None, **source: object
) -> TrainingMix:
    return TrainingMix((Stage("final", (Source("s", REAL, samples, noise, **source),), penalty, width),))  # type: ignore[arg-type]


def z_scores(errors: Array, expected: Array) -> Array:
    mean, standard_error = errors.mean(axis=1), errors.std(axis=1, ddof=1) / np.sqrt(errors.shape[1])
    return (mean - expected) / standard_error


DIMENSION = 20
POWER_LAW = np.arange(1, DIMENSION + 1.0) ** -1.5


def test_least_squares_and_its_chain_have_the_exact_error() -> None:
    """σ² d/(T−d−1) + Σ_k σ_k² d/(T_0−d−1): exact for Gaussian features, any covariance."""
    problem = gaussian(POWER_LAW, np.ones(DIMENSION))
    mixes = [chain(n, 60, 80, 0.5, 0.0, 0.0) for n in range(4)]
    final, generator = 0.5 * DIMENSION / (80 - DIMENSION - 1), 0.5 * DIMENSION / (60 - DIMENSION - 1)
    expected = np.array([final + n * generator for n in range(4)])
    z = z_scores(simulate(problem, mixes, 1, 0, 1000), expected)
    assert np.all(np.abs(z) < 3.5), z


def test_underdetermined_least_squares_projects() -> None:
    """T < d, no noise, isotropic: the fit of least norm keeps a random projection, error (1 − T/d) ‖w‖²."""
    problem = gaussian(np.ones(DIMENSION), np.full(DIMENSION, 2.0))
    z = z_scores(simulate(problem, [one(8, 0.0, 0.0)], 2, 0, 800), np.array([(1 - 8 / 20) * 40.0]))
    assert np.all(np.abs(z) < 3.5), z


def test_ridgeless_projection_onto_fewer_features_than_samples() -> None:
    """Isotropic, m random features, no noise: what they miss, 1 − m/d of ‖w‖², is noise to the fit.

    E = missed × (1 + m / (T − m − 1)), exact: given P, features and remainder are independent Gaussians.
    """
    d, m, T = 20, 6, 40
    problem = gaussian(np.ones(d), np.ones(d))
    expected = (1 - m / d) * d * (1 + m / (T - m - 1))
    z = z_scores(simulate(problem, [one(T, 0.0, 0.0, width=m)], 3, 0, 1500), np.array([expected]))
    assert np.all(np.abs(z) < 3.5), z


def test_covariate_shift_of_least_squares() -> None:
    """Training features of covariance S, test covariance Σ: σ² tr(Σ S⁻¹)/(T−d−1), exact."""
    shifted = np.linspace(0.2, 3.0, DIMENSION)
    problem = gaussian(POWER_LAW, np.ones(DIMENSION))
    expected = 0.7 * np.sum(POWER_LAW / shifted) / (70 - DIMENSION - 1)
    z = z_scores(
        simulate(problem, [one(70, 0.7, 0.0, eigenvalues=shifted)], 4, 0, 1000), np.array([expected])
    )
    assert np.all(np.abs(z) < 3.5), z


def test_labels_of_a_shifted_model() -> None:
    """All labels from w_0 + δ: E = tr(ΔΣ) + σ² d/(T−d−1), exact, with one δ per replicate."""
    delta = np.linspace(0.0, 1.0, DIMENSION)
    problem = gaussian(POWER_LAW, np.ones(DIMENSION))
    mix = TrainingMix((Stage("final", (Source("s", Shift(delta), 70, 0.2),), 0.0),))
    expected = delta @ POWER_LAW + 0.2 * DIMENSION / (70 - DIMENSION - 1)
    z = z_scores(simulate(problem, [mix], 5, 0, 1500), np.array([expected]))
    assert np.all(np.abs(z) < 3.5), z


def test_loss_weights_of_two_noise_levels() -> None:
    """Weight 0 on the second source is the first alone; its samples still count in N, hence the penalty."""
    problem = gaussian(POWER_LAW, np.ones(DIMENSION))
    sources = (Source("real", REAL, 60, 0.3), Source("other", Shift(np.ones(DIMENSION)), 30, 5.0, weight=0.0))
    with_zero = TrainingMix((Stage("final", sources, 0.02),))
    np.testing.assert_allclose(
        simulate(problem, [with_zero], 6, 0, 5), simulate(problem, [one(60, 0.3, 0.03)], 6, 0, 5), rtol=1e-10
    )


def test_multiplicities_are_repeated_features() -> None:
    levels = SpectrumProblem(Population(np.array([2.0, 0.5]), np.array([3, 4]), np.array([1.0, 3.0]), 0.1))
    spread = gaussian(np.repeat([2.0, 0.5], [3, 4]), np.repeat([1.0, 3.0], [3, 4]), 0.1)
    mix = [chain(2, 10, 12, 0.1, 0.01, 0.1)]
    np.testing.assert_array_equal(simulate(levels, mix, 7, 0, 4), simulate(spread, mix, 7, 0, 4))


def test_one_replicate_by_hand_with_sklearn() -> None:
    """The same stream, fitted by scikit-learn: two generations of ridge."""
    problem = gaussian(POWER_LAW, np.full(DIMENSION, 0.5))
    w = np.full(DIMENSION, np.sqrt(0.5))
    for position, T in enumerate((60, 60, 40)):
        streams, place = Streams(8, 3), (position, 0)
        X = streams.design(place).standard_normal((T, DIMENSION)) * np.sqrt(POWER_LAW)
        y = X @ w + np.sqrt(0.3) * streams.noise(place).standard_normal(T)
        w = Ridge(alpha=T * 0.01, fit_intercept=False).fit(X, y).coef_
    expected = np.sum(POWER_LAW * (w - np.sqrt(0.5)) ** 2)
    errors = simulate(problem, [chain(2, 60, 40, 0.3, 0.01, 0.01)], 8, 3, 4)
    assert errors[0, 0] == pytest.approx(expected, rel=1e-9)


# --- random numbers and sharing -------------------------------------------------------------------


GRID = [chain(n, 30, 25, 0.2, 0.05, penalty) for n in range(4) for penalty in (0.01, 0.1)]


def test_shards_give_the_same_bits() -> None:
    problem = gaussian(POWER_LAW, np.ones(DIMENSION))
    whole = simulate(problem, GRID, 9, 0, 7)
    parts = [simulate(problem, GRID, 9, a, b) for a, b in ((0, 1), (1, 4), (4, 7))]
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), whole)


def test_a_grid_gives_the_numbers_of_its_mixes_alone() -> None:
    """Up to the rounding of matrix products that are made together."""
    problem = gaussian(POWER_LAW, np.ones(DIMENSION))
    together = simulate(problem, GRID, 9, 0, 3)
    alone = np.concatenate([simulate(problem, [mix], 9, 0, 3) for mix in GRID])
    np.testing.assert_allclose(together, alone, rtol=1e-10)


def test_shared_fits_are_computed_once() -> None:
    """Generations 0 to 3 at two penalties: 3 generators and 8 final fits, not the 20 that the mixes list."""
    planned = plan(processes(GRID))
    assert len({outcome.total for outcome in planned.outcomes}) == 11
    assert len(planned.outcomes) == 20
    assert len(planned.designs) == 7  # four places, with 25 samples where a fit is the last of a mix, else 30
    problem = gaussian(POWER_LAW, np.ones(DIMENSION))
    assert replicate_flops(problem, GRID) < sum(replicate_flops(problem, [mix]) for mix in GRID)


@pytest.mark.parametrize(
    "change", [{"samples": 31}, {"noise_variance": 0.3}, {"weight": 0.5}, {"eigenvalues": 2 * POWER_LAW}]
)
def test_fits_that_differ_are_not_shared(change: dict[str, object]) -> None:
    def mix(**source: object) -> TrainingMix:
        settings = {"samples": 30, "noise_variance": 0.2, "weight": 1.0, "eigenvalues": None} | source
        generator = Stage("g", (Source("s", REAL, **settings),), 0.05)  # type: ignore[arg-type]
        return TrainingMix((generator, Stage("final", (Source("s", "g", 30, 0.1),), 0.05)))

    problem = gaussian(POWER_LAW, np.ones(DIMENSION))
    errors = simulate(problem, [mix(), mix(**change)], 10, 0, 1)
    assert errors[0, 0] != errors[1, 0]
    np.testing.assert_allclose(errors[1:], simulate(problem, [mix(**change)], 10, 0, 1), rtol=1e-12)


def test_names_do_not_matter() -> None:
    problem = gaussian(POWER_LAW, np.ones(DIMENSION))
    renamed = TrainingMix(
        (
            Stage("a", (Source("x", REAL, 30, 0.2),), 0.05),
            Stage("b", (Source("y", "a", 25, 0.2),), 0.01),
        )
    )
    errors = simulate(problem, [GRID[2], renamed], 9, 0, 2)
    np.testing.assert_array_equal(errors[0], errors[1])


def test_a_larger_source_begins_with_the_samples_of_a_smaller_one() -> None:
    small, large = (Streams(1, 2).design((3, 0)).standard_normal((T, 4)) for T in (5, 9))
    np.testing.assert_array_equal(small, large[:5])


def test_progress_is_reported() -> None:
    seen: list[int] = []
    simulate(gaussian(np.ones(2), np.ones(2)), [one(5, 0.1, 0.1)], 0, 4, 8, seen.append)
    assert seen == [4, 5, 6, 7]


# --- refusals -------------------------------------------------------------------------------------


def test_what_cannot_be_simulated_is_said() -> None:
    problem = gaussian(POWER_LAW, np.ones(DIMENSION))
    with pytest.raises(UnsupportedError, match="at most 2000"):
        SpectrumProblem(Population(np.ones(1), np.array([2001.0]), np.ones(1), 0.0))
    with pytest.raises(UnsupportedError, match="needs a number"):
        check(problem, [TrainingMix((Stage("f", (Source("s", REAL, 5, 0.1),), OPTIMAL),))])
    with pytest.raises(UnsupportedError, match=r"at most 2\.5e"):
        check(problem, [one(1_000_000_000, 0.1, 0.1)])
    with pytest.raises(UnsupportedError, match="whole number"):
        check(problem, [TrainingMix((Stage("f", (Source("s", REAL, 5.5, 0.1),), 0.1),))])


# --- real rows ------------------------------------------------------------------------------------


RNG = np.random.default_rng(4)
ROWS = RNG.standard_normal((150, 4))
TRUTH = np.sin(ROWS[:, 0]) + 0.5 * ROWS[:, 1]


def stored(tmp_path: Path, feature_map: kernels.FeatureMap, truth: Array = TRUTH) -> EmpiricalProblem:
    np.save(tmp_path / "rows.npy", ROWS)
    np.save(tmp_path / "truth.npy", truth)
    return EmpiricalProblem(tmp_path / "rows.npy", tmp_path / "truth.npy", feature_map)


@pytest.mark.parametrize("feature_map", [kernels.Linear(), kernels.Rbf(1.5), kernels.Polynomial(3, 1.0, 2.0)])
def test_one_replicate_on_rows_by_hand_with_sklearn(tmp_path: Path, feature_map: kernels.FeatureMap) -> None:
    """The same draws with scikit-learn's kernel ridge fitted on the rows themselves, twice relabelled."""
    problem = stored(tmp_path, feature_map)
    values = TRUTH
    for position, T in enumerate((60, 60, 40)):
        streams, place = Streams(8, 3), (position, 0)
        chosen = streams.design(place).integers(len(ROWS), size=T)
        y = values[chosen] + np.sqrt(0.3) * streams.noise(place).standard_normal(T)
        K = kernels.gram(feature_map, ROWS[chosen], ROWS[chosen])
        model = KernelRidge(alpha=T * 0.01, kernel="precomputed").fit(K, y)
        values = model.predict(kernels.gram(feature_map, ROWS, ROWS[chosen]))
    errors = simulate(problem, [chain(2, 60, 40, 0.3, 0.01, 0.01)], 8, 3, 4)
    assert errors[0, 0] == pytest.approx(np.mean((values - TRUTH) ** 2), rel=1e-9)


def test_linear_kernel_is_the_linear_features(tmp_path: Path) -> None:
    """Polynomial of degree 1, offset 0 and scale 1 is the linear map through the other solver."""
    mixes = [chain(n, 30, 20, 0.1, 0.01, 0.1) for n in range(3)]
    linear = simulate(stored(tmp_path, kernels.Linear()), mixes, 1, 0, 3)
    kernel = simulate(stored(tmp_path, kernels.Polynomial(1, 0.0, 1.0)), mixes, 1, 0, 3)
    np.testing.assert_allclose(linear, kernel, rtol=1e-9)


def test_shards_on_rows_give_the_same_bits_after_pickling(tmp_path: Path) -> None:
    problem = stored(tmp_path, kernels.Rbf(1.5))
    mixes = [chain(n, 30, 20, 0.1, 0.01, 0.1) for n in range(3)]
    whole = simulate(problem, mixes, 1, 0, 4)
    copy = pickle.loads(pickle.dumps(problem))
    assert len(pickle.dumps(problem)) < 2_000
    np.testing.assert_array_equal(
        np.concatenate([simulate(copy, mixes, 1, a, a + 2) for a in (0, 2)], 1), whole
    )


def test_shift_on_rows_has_the_stated_test_error(tmp_path: Path) -> None:
    """Many samples of w_0 + δ without noise, not regularised: the fit is w_0 + δ, at Σ s_i Δ_i from w_0."""
    modes = empirical.modes(kernels.Linear(), ROWS, TRUTH)
    delta = np.array([0.5, 0.1, 2.0, 1.0])
    truth = modes.functions @ modes.coefficients
    mix = TrainingMix((Stage("f", (Source("s", Shift(delta), 2000, 0.0),), 0.0),))
    z = z_scores(
        simulate(stored(tmp_path, kernels.Linear(), truth), [mix], 1, 0, 400),
        np.array([delta @ modes.eigenvalues]),
    )
    assert np.all(np.abs(z) < 3.5), z


@pytest.mark.parametrize("feature_map", [kernels.Linear(), kernels.Rbf(1.5)])
def test_many_random_features_approach_the_feature_map(
    tmp_path: Path, feature_map: kernels.FeatureMap
) -> None:
    """Random features have the kernel as their mean; 20,000 of them reproduce the fit on the same draws."""
    problem = stored(tmp_path, feature_map)
    errors = simulate(problem, [one(40, 0.1, 0.05, width=20_000), one(40, 0.1, 0.05)], 2, 0, 3)
    np.testing.assert_allclose(errors[0], errors[1], rtol=0.03)


def test_what_rows_cannot_do_is_said(tmp_path: Path) -> None:
    problem = stored(tmp_path, kernels.Rbf(1.5))
    with pytest.raises(UnsupportedError, match="only one"):
        check(problem, [one(10, 0.1, 0.1, eigenvalues=np.ones(150))])
    with pytest.raises(UnsupportedError, match="5000"):
        check(problem, [one(5_001, 0.1, 0.1)])
