"""Processes that use data again, against closed forms and by hand; the clean parts of every stage."""

import tracemalloc

import numpy as np
import pytest

from service.simulation import drawn as drawn_rows
from service.simulation import spectrum
from service.simulation.engine import check, simulate
from service.simulation.features import Bartlett, Gaussian, Rademacher, StudentT, Uniform
from service.simulation.problem import Streams, UnsupportedError
from service.simulation.process import Process, shared_design
from service.simulation.spectrum import SpectrumProblem
from service.theory.model import REAL, Array, Population, Shift, Source, Stage, TrainingMix
from service.theory.prediction import predict
from tests.simulation.mixes import (
    POPULATION,
    PROCESSES,
    SIGMA,
    D,
    accumulating,
    chain,
    fresh,
    stage,
    totals,
    two_sample_z,
    values,
    z_score,
)

TRUTH = np.sqrt(POPULATION.target_power)


def drawn(streams: Streams, place: tuple[int, int], T: int, scale: Array | None = None) -> Array:
    return streams.design(place).standard_normal((T, D)) * np.sqrt(SIGMA if scale is None else scale)


def noise(streams: Streams, place: tuple[int, int], T: int, variance: float) -> Array:
    return np.sqrt(variance) * streams.noise(place).standard_normal(T)


def error(w: Array) -> float:
    return float(SIGMA @ (w - TRUTH) ** 2)


def ridge(X: Array, y: Array, ridge: float) -> Array:
    return np.linalg.solve(X.T @ X + ridge * np.eye(D), X.T @ y)


# --- accumulating and shared designs --------------------------------------------------------------


def test_accumulating_by_hand() -> None:
    """All data so far, sum of squares, fixed ridge, as one would write it; and ŵ_k = ŵ_{k-1} + (G_k+λ)^-1 X_kᵀε_k."""
    batches, penalty_sum = (15, 6, 20), 0.4
    found = values(accumulating(batches, penalty_sum), 3, seed=8)[::3, 2]
    streams = Streams(8, 2)
    X, y, w, step = np.empty((0, D)), np.empty(0), TRUTH, TRUTH
    for k, T in enumerate(batches):
        new, eps = drawn(streams, (k, 0 if k == 0 else k), T), noise(streams, (k, k), T, 0.3)
        X, y = np.concatenate([X, new]), np.concatenate([y, new @ w + eps])
        w = ridge(X, y, penalty_sum)
        step = w if k == 0 else step + np.linalg.solve(X.T @ X + penalty_sum * np.eye(D), new.T @ eps)
        np.testing.assert_allclose(w, step, rtol=1e-9)
        assert found[k] == pytest.approx(error(w), rel=1e-9)


def test_accumulating_without_penalty_has_the_exact_error() -> None:
    """Σ_k (1/k) σ² d/(kT−d−1), any covariance; noise averaged, so that 2 % would show."""
    T = 40
    found = values(accumulating((T,) * 4, 0.0), 300, average_noise=True)[::3]
    expected = np.cumsum([0.3 * D / (k * T - D - 1) / k for k in (1, 2, 3, 4)])
    for errors, exact in zip(found, expected, strict=True):
        assert abs(z_score(errors, exact)) < 4
        assert errors.std() / np.sqrt(300) < 0.02 * exact


def test_accumulating_on_the_same_features_is_published() -> None:
    """d = 10, T = 60, σ = 1, the same X again: 0.204, 0.255, 0.299, 0.316 (Gerstgrasser et al., figures)."""
    people = Population(np.ones(10), np.ones(10), np.ones(10), 1.0)
    from service.simulation.process import Again, accumulated

    stages = [stage("s0", 0.0, Source("b", REAL, 60, 1.0))]
    stages += [stage(f"s{k}", 0.0, Source("b", f"s{k - 1}", 60, 1.0)) for k in range(1, 10)]
    made = accumulated(people, TrainingMix(tuple(stages)))
    again = dict(made.again) | {(k, k): Again((0, 0), labels=False) for k in range(1, 10)}
    process = Process(made.mix, 1.0, again)
    found = simulate(SpectrumProblem(people), [process], 1, 0, 200, average_noise=True)[::3].mean(axis=1)
    np.testing.assert_allclose(found[[0, 1, 4, 9]], [0.204, 0.255, 0.299, 0.316], rtol=0.02)
    np.testing.assert_allclose(found / found[0], np.cumsum(1 / np.arange(1, 11.0) ** 2), rtol=1e-9)


def test_a_shared_design_by_hand() -> None:
    """With fewer samples than features every generation projects on the same rows: w = X⁺(X w_0 + Σ ε)."""
    process = PROCESSES["shared design with few samples"]
    found = values(process, 2, seed=8)[::3, 1]
    streams = Streams(8, 1)
    X = drawn(streams, (0, 0), 7)
    eps = np.cumsum([noise(streams, (k, 0), 7, 0.4) for k in range(3)], axis=0)
    for k in range(3):
        assert found[k] == pytest.approx(error(np.linalg.pinv(X) @ (X @ TRUTH + eps[k])), rel=1e-9)


def test_a_shared_design_is_one_fit_of_all_the_noise() -> None:
    together = chain(7, 25, 0.0, 0.0, 1)
    source = Source("s", REAL, 7, 1.2)
    together = TrainingMix((stage("g1", 0.0, source), together.stages[-1]))
    shared = totals(PROCESSES["shared design with few samples"], 600, average_noise=True)
    assert abs(two_sample_z(shared, totals(fresh(together), 600, seed=2, average_noise=True))) < 4


def test_designs_of_their_own_lose_what_a_shared_one_keeps() -> None:
    """Fewer samples than features, no noise: projecting twice on the same rows is projecting once."""
    sources = [Source("s", label, 7, 0.0) for label in (REAL, "g1", "g2")]
    mix = TrainingMix(tuple(stage(f"g{k + 1}", 0.0, source) for k, source in enumerate(sources)))
    mix = TrainingMix((*mix.stages, stage("final", 0.0, Source("s", "g3", 30, 0.0))))
    shared = values(shared_design(POPULATION, mix), 200)[::3]
    np.testing.assert_allclose(shared[1:], np.broadcast_to(shared[0], (3, 200)), rtol=1e-9)
    assert two_sample_z(values(fresh(mix), 200, seed=2)[-3], shared[-1]) > 8


def test_generators_must_fit_on_one_design() -> None:
    first = chain(7, 25, 0.0, 0.0, 1).stages[0]
    second = stage("g2", 0.0, Source("s", "g1", 8, 0.4))
    mix = TrainingMix((first, second, stage("f", 0.0, Source("s", "g2", 9, 0.1))))
    with pytest.raises(ValueError, match="'g2'"):
        shared_design(POPULATION, mix)


# --- the clean parts ------------------------------------------------------------------------------


def test_clean_parts_by_hand() -> None:
    """All samples real and of weight 1, in the population's covariance: without noise, and noise alone."""
    sources = (
        Source("a", Shift(np.full(D, 0.3)), 20, 0.5, 0.7),
        Source("b", REAL, 9, 0.2, 2.0, SIGMA[::-1].copy()),
    )
    process = fresh(TrainingMix((stage("f", 0.05, *sources),)))
    total, bias, variance = values(process, 3, seed=8)[:, 2]
    streams = Streams(8, 2)
    X = np.concatenate([drawn(streams, (0, 0), 20), drawn(streams, (0, 1), 9)])
    eps = np.concatenate([noise(streams, (0, 0), 20, 0.2), noise(streams, (0, 1), 9, 0.2)])
    assert bias == pytest.approx(error(ridge(X, X @ TRUTH, 29 * 0.05)), rel=1e-9)
    assert variance == pytest.approx(float(SIGMA @ ridge(X, eps, 29 * 0.05) ** 2), rel=1e-9)
    delta = np.sqrt(0.3) * streams.shift((0, 0)).standard_normal(D)
    A = np.concatenate([drawn(streams, (0, 0), 20), drawn(streams, (0, 1), 9, SIGMA[::-1])])
    y = np.concatenate([A[:20] @ (TRUTH + delta), A[20:] @ TRUTH])
    y += np.concatenate([noise(streams, (0, 0), 20, 0.5), noise(streams, (0, 1), 9, 0.2)])
    root = np.sqrt(np.repeat([0.7, 2.0], [20, 9]))
    assert total == pytest.approx(error(ridge(root[:, None] * A, root * y, 29 * 0.05)), rel=1e-9)


@pytest.mark.parametrize("name", ["ridge chain", "two parents and weights", "shift and covariate shift"])
def test_clean_parts_agree_with_the_theory(name: str) -> None:
    """Of the last stage: bias and variance within the O(1/N) that the theory leaves out."""
    process = PROCESSES[name]
    found = values(process, 600, average_noise=True)[-3:]
    predicted = predict(POPULATION, process.mix)
    parts = predicted.test_error
    for errors, expected in zip(found, (parts.total, parts.bias, parts.variance), strict=True):
        standard_error = errors.std(ddof=1) / np.sqrt(600)
        left_out = 2 * predicted.expected_relative_error * expected
        assert abs(errors.mean() - expected) < 4 * standard_error + left_out


def test_with_real_data_alone_the_generation_term_is_nothing_on_average() -> None:
    found = values(fresh(chain(0, 25, 0.0, 0.05, 0)), 2000)
    assert abs(z_score(found[0] - found[1] - found[2], 0.0)) < 4
    averaged = values(fresh(chain(0, 25, 0.0, 0.05, 0)), 5, average_noise=True)
    np.testing.assert_allclose(averaged[0], averaged[1] + averaged[2], rtol=1e-12)


# --- blocks ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("features", [Gaussian(), Uniform(), StudentT(5.0), Rademacher()])
def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch, features: Gaussian) -> None:
    """Rows that are drawn again, a few at a time, give what rows give that are kept."""
    processes = [
        PROCESSES[name] for name in ("ridge chain", "two parents and weights", "shift and covariate shift")
    ]
    processes += [shared_design(POPULATION, chain(90, 80, 0.02, 0.0, 3)), accumulating((64, 48, 80), 0.4)]
    problem = SpectrumProblem(POPULATION, features)
    whole = simulate(problem, processes, 3, 0, 2)
    averaged = simulate(problem, processes, 3, 0, 2, average_noise=True)
    monkeypatch.setattr(spectrum, "KEPT", 16 * D)
    monkeypatch.setattr(drawn_rows, "BLOCK", 16 * D)
    monkeypatch.setattr(drawn_rows, "ROWS", 1)
    for expected, average in ((whole, False), (averaged, True)):
        found = simulate(problem, processes, 3, 0, 2, average_noise=average)
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-20)  # a bias that is none is rounding


def test_memory_does_not_grow_with_the_samples() -> None:
    """300,000 samples of 200 features are 480 MB; a block, a Gram matrix and its factor are 16 MB."""
    tracemalloc.start()
    try:
        people = Population(np.ones(1), np.array([200.0]), np.ones(1), 0.1)
        mix = TrainingMix((stage("f", 0.01, Source("s", REAL, 300_000, 0.1)),))
        simulate(SpectrumProblem(people), [Process.fresh(people, mix)], 1, 0, 1)
        assert tracemalloc.get_traced_memory()[1] < 32e6
    finally:
        tracemalloc.stop()


def test_many_penalties_from_one_decomposition_are_the_fits_one_by_one() -> None:
    """A grid of penalties shares draws, Gram matrix and decomposition; common random numbers make it smooth."""
    penalties = np.geomspace(1e-3, 10, 24)
    grid = [fresh(chain(30, 25, 0.02, float(penalty))) for penalty in penalties]
    problem = SpectrumProblem(POPULATION)
    together = simulate(problem, grid, 4, 0, 3).reshape(24, 3, 3, 3)[:, 2, 0]
    alone = np.array([simulate(problem, [process], 4, 0, 3)[6] for process in grid])
    np.testing.assert_allclose(together, alone, rtol=1e-9)
    # one minimum and no jitter: neighbouring penalties see the same draws
    assert np.all(np.count_nonzero(np.diff(np.sign(np.diff(together, axis=0)), axis=0), axis=0) <= 1)


# --- refusals -------------------------------------------------------------------------------------


def test_what_double_precision_does_not_resolve_is_refused() -> None:
    """Interpolation needs the modes it learns: 20 of them, falling as i^-30, are lost in rounding."""
    steep = Population(np.arange(1.0, 41) ** -30, np.ones(40), np.ones(40), 0.1)
    few = TrainingMix((stage("f", 0.0, Source("s", REAL, 20, 0.1)),))
    with pytest.raises(UnsupportedError, match="does not resolve"):
        check(SpectrumProblem(steep), [Process.fresh(steep, few)])
    enough = TrainingMix((stage("f", 0.0, Source("s", REAL, 200, 0.1)),))
    process = Process.fresh(steep, enough)
    errors = simulate(SpectrumProblem(steep), [process], 1, 0, 800)[0]
    assert abs(z_score(errors, 0.1 * 40 / (200 - 40 - 1))) < 4  # any covariance, however steep


def test_too_much_memory_is_refused() -> None:
    wide = Population(np.ones(1), np.array([2000.0]), np.ones(1), 0.1)
    stages = [stage("s0", 0.0, Source("b", REAL, 5000, 0.1))]
    stages += [stage(f"s{k}", 0.0, Source("b", f"s{k - 1}", 5000, 0.1)) for k in range(1, 30)]
    from service.simulation.process import accumulated

    process = accumulated(wide, TrainingMix(tuple(stages)))
    with pytest.raises(UnsupportedError, match="at one time"):
        check(SpectrumProblem(wide), [process])
    check(SpectrumProblem(wide), [Process.fresh(wide, TrainingMix(tuple(stages[:3])))])
    check(SpectrumProblem(POPULATION, Bartlett()), list(PROCESSES.values()), average_noise=True)


@pytest.mark.parametrize(("samples", "width"), [(20_000, 20_000), (3_000, 20_000), (20_000, 7_000)])
def test_random_features_whose_matrices_are_too_large_are_refused(samples: int, width: int) -> None:
    """They took up to four GiB of a worker."""
    wide = Population(np.ones(1), np.array([2000.0]), np.ones(1), 0.1)
    source = Source("b", REAL, samples, 0.1)
    with pytest.raises(UnsupportedError, match="and their fits"):
        check(SpectrumProblem(wide), [Process.fresh(wide, TrainingMix((Stage("s", (source,), 0.1, width),)))])
    few = Stage("s", (source,), 0.1, 3_000)
    check(SpectrumProblem(wide), [Process.fresh(wide, TrainingMix((few,)))])
