"""Covariance matrices: diagonal ones are the diagonal engine, rotations change nothing, simulations agree."""

import dataclasses
import math

import numpy as np
import pytest

from service.theory.errors import Unsupported
from service.theory.limits import limits
from service.theory.matrices.prediction import diagonal, products
from service.theory.model import OPTIMAL, REAL, Array, Population, Shift, Source, Stage, TrainingMix
from service.theory.prediction import predict
from service.theory.results import Decomposition
from service.theory.stages import solve

D = 24


def population(seed: int = 0, d: int = D) -> Population:
    w = np.random.default_rng(seed).normal(size=d) / math.sqrt(d)
    return Population(np.arange(1.0, d + 1) ** -1.2, np.ones(d), w**2, 0.3, w)


def covariance(seed: int, d: int = D) -> Array:
    A = np.random.default_rng(seed).normal(size=(d, d + 5))
    return np.asarray(A @ A.T / d * np.outer(d1 := np.linspace(1.0, 0.3, d), d1))


def network(
    own: Array, w0: float | None = None, w1: float | None = None, penalty: float = 0.01
) -> TrainingMix:
    """Three stages: shifts, weights, shared parents, real data of another covariance (matrix or eigenvalues)."""
    kind = {"covariance": own} if own.ndim == 2 else {"eigenvalues": own}
    d = len(own)
    sources = (
        Source(REAL, REAL, 40, 0.3),
        Source("s", Shift(np.linspace(0.01, 0.03, d)), 50, 0.2, 0.7, **kind),
    )
    first = Stage("g", sources, 0.02, w0)
    second = Stage("h", (Source("g", "g", 30, 0.5), Source(REAL, REAL, 20, 0.3, **kind)), 0.03)
    last = (Source(REAL, REAL, 30, 0.3), Source("g", "g", 40, 0.1), Source("h", "h", 50, 0.2, 1.5, **kind))
    return TrainingMix((first, second, Stage("f", last, penalty, w1)))


def close(a: float, b: float, rel: float) -> bool:
    return math.isclose(a, b, rel_tol=rel, abs_tol=1e-15)


def equal(a: Decomposition, b: Decomposition, rel: float) -> None:
    for name in ("total", "bias", "variance"):
        assert close(getattr(a, name), getattr(b, name), rel), name
    for name in ("label_noise", "distortion", "shift", "noise_mismatch"):
        assert math.isclose(getattr(a.parts, name), getattr(b.parts, name), rel_tol=rel, abs_tol=1e-13), name
    for one, other in zip(a.by_source, b.by_source, strict=True):
        assert close(one.label_noise, other.label_noise, rel)


@pytest.mark.parametrize(("w0", "w1"), [(None, None), (15.0, None), (40.0, 12.0)])
def test_diagonal_matrices_are_the_diagonal_engine(w0: float | None, w1: float | None) -> None:
    own = np.linspace(1.0, 0.1, D)
    a, b = (predict(population(), network(c, w0, w1)) for c in (own, np.diag(own)))
    equal(a.test_error, b.test_error, 1e-11)
    equal(a.regularization.at_recommended, b.regularization.at_recommended, 1e-4)
    assert close(a.regularization.recommended.total, b.regularization.recommended.total, 1e-9)
    assert close(a.regularization.flat_range.low, b.regularization.flat_range.low, 1e-5)
    assert close(a.regularization.cost_of_clean_choice, b.regularization.cost_of_clean_choice, 1e-6)
    assert close(a.regularization.effective_samples, b.regularization.effective_samples, 1e-6)
    assert a.real_only is not None
    assert b.real_only is not None
    for name in ("total", "bias", "variance"):
        assert close(getattr(a.real_only, name), getattr(b.real_only, name), 1e-9)
    assert close(a.openness, b.openness, 1e-9)
    assert close(a.expected_relative_error, b.expected_relative_error, 1e-9)


@pytest.mark.parametrize("total", [60, 300], ids=["fewer samples than modes", "more"])
def test_diagonal_matrices_without_penalty(total: int) -> None:
    d = 80
    own = np.linspace(1.0, 0.2, d)

    def mix(**kind: Array) -> TrainingMix:
        sources = (
            Source(REAL, REAL, total / 2, 0.3),
            Source("s", Shift(np.full(d, 0.01)), total / 2, 0.2, 1.5, **kind),
        )
        return TrainingMix((Stage("f", sources, 0.0),))

    a, b = (
        predict(population(d=d), m).test_error for m in (mix(eigenvalues=own), mix(covariance=np.diag(own)))
    )
    equal(a, b, 1e-9)


def test_a_rotation_among_equal_eigenvalues_changes_nothing() -> None:
    """Isotropic real features: rotating the matrix and the target together is another name for the same problem."""
    rng = np.random.default_rng(5)
    V, _ = np.linalg.qr(rng.normal(size=(D, D)))
    w = rng.normal(size=D)
    flat = Population(np.full(D, 0.7), np.ones(D), w**2, 0.3, w)
    turned = Population(np.full(D, 0.7), np.ones(D), (V @ w) ** 2, 0.3, V @ w)
    C = covariance(6)

    def mix(own: Array) -> TrainingMix:
        stages = network(own).stages
        shift = Shift(np.full(D, 0.02))  # itself unchanged by rotations
        first = dataclasses.replace(
            stages[0], sources=(stages[0].sources[0], dataclasses.replace(stages[0].sources[1], labels=shift))
        )
        return TrainingMix((first, *stages[1:]))

    a, b = predict(flat, mix(C)), predict(turned, mix(V @ C @ V.T))
    equal(a.test_error, b.test_error, 1e-10)
    assert close(a.regularization.recommended.total, b.regularization.recommended.total, 1e-9)
    assert not close(a.test_error.total, predict(turned, mix(C)).test_error.total, 1e-3)


def test_units_of_the_features() -> None:
    c = 1e9
    one = population()
    assert one.target is not None
    other = Population(one.eigenvalues * c, np.ones(D), one.target_power / c, 0.3, one.target / math.sqrt(c))
    mix = network(covariance(1), w1=15.0)
    stages = []
    for stage in mix.stages:
        sources = tuple(
            dataclasses.replace(
                s,
                covariance=None if s.covariance is None else s.covariance * c,
                labels=Shift(s.labels.power / c) if isinstance(s.labels, Shift) else s.labels,
            )
            for s in stage.sources
        )
        stages.append(dataclasses.replace(stage, sources=sources, penalty=float(stage.penalty) * c))
    a, b = predict(one, mix).test_error, predict(other, TrainingMix(tuple(stages))).test_error
    equal(a, b, 1e-11)


def test_the_parts_by_what_each_noise_does() -> None:
    """The error is linear in every noise: without a source's noise it is less by what the source is said to add."""
    one, mix = population(), network(covariance(1), w0=20.0)
    whole = predict(one, mix).test_error
    for f, stage in enumerate(mix.stages[:-1]):
        for s, source in enumerate(stage.sources):
            silent = dataclasses.replace(source, noise_variance=0.0)
            sources = (*stage.sources[:s], silent, *stage.sources[s + 1 :])
            stages = (*mix.stages[:f], dataclasses.replace(stage, sources=sources), *mix.stages[f + 1 :])
            less = predict(one, TrainingMix(stages)).test_error.total
            named = next(n for n in whole.by_source if (n.stage, n.source) == (stage.name, source.name))
            assert math.isclose(whole.total - less, named.label_noise, rel_tol=1e-9)
    unshifted = dataclasses.replace(mix.stages[0].sources[1], labels=Shift(np.zeros(D)))
    first = dataclasses.replace(mix.stages[0], sources=(mix.stages[0].sources[0], unshifted))
    less = predict(one, TrainingMix((first, *mix.stages[1:]))).test_error.total
    assert math.isclose(whole.total - less, whole.parts.shift, rel_tol=1e-9)


def simulated(one: Population, mix: TrainingMix, runs: int, seed: int) -> tuple[float, float]:
    """Mean test error and its standard error, ridge fits by the normal equations."""
    rng = np.random.default_rng(seed)
    d, w = one.eigenvalues.size, one.target
    assert w is not None
    models = {REAL: np.broadcast_to(w, (runs, d))}
    for stage in mix.stages:
        gram, moment, total = np.zeros((runs, d, d)), np.zeros((runs, d)), 0.0
        for source in stage.sources:
            T = int(source.samples)
            C = np.diag(one.eigenvalues) if source.covariance is None else source.covariance
            X = rng.normal(size=(runs, T, d)) @ np.linalg.cholesky(C).T
            if isinstance(source.labels, Shift):
                model = w + rng.normal(size=(runs, d)) * np.sqrt(source.labels.power)
            else:
                model = models[source.labels]
            y = np.einsum("rij,rj->ri", X, model) + rng.normal(size=(runs, T)) * math.sqrt(
                source.noise_variance
            )
            gram += source.weight * np.einsum("rij,rik->rjk", X, X)
            moment += source.weight * np.einsum("rij,ri->rj", X, y)
            total += T
        lhs = gram / total + float(stage.penalty) * np.eye(d)
        models[stage.name] = np.linalg.solve(lhs, (moment / total)[..., None])[..., 0]
    errors = ((models[mix.stages[-1].name] - w) ** 2) @ one.eigenvalues
    return float(errors.mean()), float(errors.std() / math.sqrt(runs))


def scaled(mix: TrainingMix, factor: int) -> TrainingMix:
    return TrainingMix(
        tuple(
            dataclasses.replace(
                stage,
                sources=tuple(dataclasses.replace(s, samples=s.samples * factor) for s in stage.sources),
            )
            for stage in mix.stages
        )
    )


def test_a_mix_of_covariances_against_simulation() -> None:
    """Four times the samples of the network above; what is left of 1/N is below 1 %."""
    steps = np.abs(np.subtract.outer(np.arange(D), np.arange(D)))
    one, mix = population(3), scaled(network(0.3 * 0.9**steps, penalty=0.05), 4)
    mean, error = simulated(one, mix, 1500, 7)
    total = predict(one, mix).test_error.total
    assert error < 0.01 * total
    assert abs(mean - total) < 3.5 * error + 0.01 * total
    # the diagonals alone say something else: the test would notice
    assert abs(predict(one, diagonal(mix)).test_error.total - mean) > 6 * error + 0.02 * total


def test_unlimited_data_in_closed_form() -> None:
    """Σ_s p_s Σ_s learned, the shift's share remaining: E = tr Σ L_2 Δ L_2' + ‖U w‖²_Σ with L_2 = p_2 Q Σ_2."""
    one, C, penalty = population(), covariance(4), 0.1
    shift = np.linspace(0.1, 0.4, D)
    sources = (Source(REAL, REAL, 3e13, 0.2), Source("s", Shift(shift), 1e13, 0.2, 1.0, None, C))
    error = predict(one, TrainingMix((Stage("f", sources, penalty),))).test_error
    Q = np.linalg.inv(0.75 * np.diag(one.eigenvalues) + 0.25 * C + penalty * np.eye(D))
    L = 0.25 * Q @ C
    moved = float((one.eigenvalues[:, None] * L**2 @ shift).sum())
    left = penalty * Q @ one.target
    assert math.isclose(error.parts.shift, moved, rel_tol=1e-9)
    assert math.isclose(error.total, moved + float(one.eigenvalues @ left**2), rel_tol=1e-9)


def test_least_squares_do_not_ask_for_the_covariance() -> None:
    """Without penalty one source of any covariance C: σ² tr(Σ C^-1)/(T − d)."""
    one, C, T = population(), covariance(4), 90.0
    mix = TrainingMix((Stage("f", (Source("r", REAL, T, 0.4, 1.0, None, C),), 0.0),))
    expected = 0.4 * float(one.eigenvalues @ np.linalg.inv(C).diagonal()) / (T - D)
    assert math.isclose(predict(one, mix).test_error.total, expected, rel_tol=1e-9)


def test_a_large_matrix_is_searched_around_the_diagonal_guess() -> None:
    """More than 128 modes: the recommended penalty against its neighbours, the error at the ends of the flat range."""
    d = 160
    one, C = population(d=d), covariance(8, d)
    sources = (Source(REAL, REAL, 150, 0.3), Source("s", Shift(np.full(d, 0.003)), 200, 0.2, 1.0, None, C))
    found = predict(one, TrainingMix((Stage("f", sources, OPTIMAL),))).regularization
    totals = [
        predict(one, TrainingMix((Stage("f", sources, found.penalty * x),))).test_error.total
        for x in (0.8, 1.0, 1.25)
    ]
    assert totals[0] > totals[1] < totals[2]
    assert math.isclose(totals[1], found.recommended.total, rel_tol=1e-9)
    for end in (found.flat_range.low, found.flat_range.high):
        total = predict(one, TrainingMix((Stage("f", sources, end),))).test_error.total
        assert math.isclose(total, 1.01 * totals[1], rel_tol=1e-4)
    assert found.flat_range.low < found.penalty < found.flat_range.high


def test_at_the_threshold_the_error_is_infinite() -> None:
    sources = (Source(REAL, REAL, 14, 0.3), Source("x", REAL, 10, 0.3, 1.0, None, covariance(2)))
    assert predict(population(), TrainingMix((Stage("f", sources, 0.0),))).test_error.total == math.inf


def test_singular_matrices_need_a_penalty() -> None:
    singular = np.outer(w := np.arange(1.0, D + 1), w)
    sources = (Source(REAL, REAL, 100, 0.3), Source("x", REAL, 40, 0.3, 1.0, None, singular))
    with pytest.raises(Unsupported, match="positive definite"):
        predict(population(), TrainingMix((Stage("f", sources, 0.0),)))
    assert predict(population(), TrainingMix((Stage("f", sources, 1e-3),))).test_error.total < math.inf


def test_sources_that_are_not_used_do_not_matter() -> None:
    one, C = population(), covariance(1)
    plain = (Source(REAL, REAL, 100, 0.3),)
    a = predict(one, TrainingMix((Stage("f", plain, 0.1),))).test_error.total
    for idle in (Source("x", REAL, 0, 0.3, 1.0, None, C),):
        b = predict(one, TrainingMix((Stage("f", (*plain, idle), 0.1),))).test_error.total
        assert math.isclose(a, b, rel_tol=1e-11)
    nothing = TrainingMix((Stage("f", (Source("x", REAL, 0, 0.3, 1.0, None, C),), 0.1),))
    assert math.isclose(predict(one, nothing).test_error.total, one.signal, rel_tol=1e-12)


def test_a_divergent_generator() -> None:
    first = Stage("g", (Source(REAL, REAL, D, 0.3),), 0.0)
    last = Stage("f", (Source("g", "g", 100, 0.3), Source("x", REAL, 50, 0.3, 1.0, None, covariance(1))), 0.1)
    found = predict(population(), TrainingMix((first, last)))
    assert found.test_error.total == math.inf
    assert found.regularization.recommended.penalty == math.inf


@pytest.mark.parametrize(("w0", "w1"), [(None, None), (15.0, None), (40.0, 12.0)])
def test_limits_with_unlimited_data(w0: float | None, w1: float | None) -> None:
    """Diagonal ones are the diagonal engine's; others the prediction's with 1e10 times the samples."""
    one, own = population(), np.linspace(1.0, 0.1, D)
    a, b = (limits(one, network(c, w0, w1)) for c in (own, np.diag(own)))
    assert close(a.data_limit, b.data_limit, 1e-11)
    assert close(a.best_data_limit, b.best_data_limit, 1e-9)
    assert a.double_descent == b.double_descent
    assert a.strong
    for signed in (one, dataclasses.replace(one, target=None)):
        mix = network(covariance(3), w0, w1)
        far, found = predict(signed, scaled(mix, 10**10)), limits(signed, mix)
        assert close(found.data_limit, far.test_error.total, 1e-7)
        assert close(found.best_data_limit, far.regularization.recommended.total, 1e-7)


def test_true_labels_of_any_covariance_have_no_floor() -> None:
    sources = (Source(REAL, REAL, 100, 0.3), Source("x", REAL, 40, 0.3, 1.0, None, covariance(1)))
    found = limits(population(), TrainingMix((Stage("f", sources, 0.1),)))
    assert found.best_data_limit == 0
    assert found.strong is False
    assert found.data_limit > 0


def test_singular_covariances_have_limits_at_a_penalty() -> None:
    """At penalty 0 no value is given; the reason is named."""
    C = np.outer(w := np.arange(1.0, D + 1), w)
    rank_one = TrainingMix((Stage("f", (Source("x", REAL, 40, 0.3, 1.0, None, C),), 0.1),))
    found = limits(population(), rank_one)
    assert found.double_descent[0].position == 1
    assert 0 < found.best_data_limit <= found.data_limit
    empty = TrainingMix((dataclasses.replace(rank_one.stages[0], penalty=0.0),))
    assert "positive definite" in limits(population(), empty).missing["data_limit"]


def generated(own: Array, generator: float | str, penalty: float | str) -> TrainingMix:
    kind = {"covariance": own} if own.ndim == 2 else {"eigenvalues": own}
    first = Stage("g", (Source(REAL, REAL, 15, 0.5, 1.0, **kind),), generator)
    last = (Source("g", "g", 40, 0.1), Source(REAL, REAL, 10, 0.3, 1.0, **kind))
    return TrainingMix((first, Stage("f", last, penalty)))


def test_earlier_penalties_are_found_jointly() -> None:
    """As the diagonal engine finds them; for a matrix no penalty nearby is better, with the last one best for each."""
    d = 8
    one, own = population(d=d), np.linspace(1.0, 0.1, d)
    a, b = (predict(one, generated(c, OPTIMAL, 0.05)) for c in (own, np.diag(own)))
    assert close(a.test_error.total, b.test_error.total, 1e-7)
    found = predict(one, generated(covariance(2, d), OPTIMAL, OPTIMAL))
    best = float(found.mix.stages[0].penalty)
    assert 0 < best < math.inf
    for factor in (0.5, 0.8, 1.25, 2.0):
        other = predict(one, generated(covariance(2, d), best * factor, OPTIMAL))
        assert other.test_error.total > found.test_error.total


def test_no_other_engine_takes_matrices() -> None:
    """The engines of eigenmodes would leave the rotation out."""
    one, mix = population(), network(covariance(1))
    with pytest.raises(Unsupported):
        solve(one, mix.stages[0], 0.1)
    levels = dataclasses.replace(one, multiplicities=np.full(D, 2.0))
    with pytest.raises(Unsupported, match="single modes"):
        predict(levels, mix)
    assert products(one, mix) < 1
