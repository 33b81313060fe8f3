"""Designs that are drawn only as far as fits look at them: the fits of a whole design, and its distribution."""

import pickle
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from scipy.stats import ks_2samp

from service.simulation import engine, krylov, revealed
from service.simulation.features import Bartlett
from service.simulation.plan import Alone, plan
from service.simulation.problem import Streams, Wanted
from service.simulation.process import Process, shared_design
from service.simulation.revealed import Revealed, RevealedSystem, Unlabelled, by_products, steps
from service.simulation.spectrum import SpectrumProblem
from service.theory.model import REAL, Array, Population, Shift, Source, TrainingMix
from service.theory.prediction import predict
from tests.simulation.mixes import POPULATION, chain, stage, two_sample_z, z_score

D = 240
PEOPLE = Population(np.arange(1.0, D + 1) ** -1.0, np.ones(D), np.linspace(0.5, 1.5, D) / D, 0.3)


def fitted(T: int, penalty: float, models: list[Array], seed: int = 0) -> list[Array]:
    """To every model's labels without noise, to noise, and to the first one's with noise."""
    method = by_products(PEOPLE.eigenvalues, T, Alone(penalty, len(models) + 1))
    assert method is not None
    wanted = [Wanted(model, 0.0, (0, 0)) for model in models]
    wanted += [Wanted(None, 0.25, (0, 0)), Wanted(models[0], 0.25, (0, 0))]
    system = RevealedSystem(Revealed(method, Streams(seed, 0).design((0, 0))))
    return system.fit(penalty, [[Unlabelled(None, wanted=one)] for one in wanted])


@pytest.mark.parametrize("T", [3_900, 20_000, 10**12])
@pytest.mark.parametrize("penalty", [1e-3, 0.3])
def test_they_are_the_fits_of_a_design_that_has_what_was_seen(
    T: int, penalty: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Z is made up around the part that was drawn; the fits are then those of LAPACK on the whole of it."""
    monkeypatch.setattr(revealed, "_SHARE", 1)
    seen: dict[str, Any] = {}
    inner = krylov._Search._galerkin

    def remembered(search: krylov._Search, looked: krylov._Looked, step: int) -> Any:
        size, E = (step + 1) * search.m, search.H.E
        seen.update(P=looked.P[0, :size], C=looked.C[0, : search.known + size] / E, E=E)
        return inner(search, looked, step)

    monkeypatch.setattr(krylov._Search, "_galerkin", remembered)
    rng = np.random.default_rng(5)
    models = [rng.standard_normal(D), rng.standard_normal(D)]
    first, second, noise, both = fitted(T, penalty, models)
    Q, _ = np.linalg.qr((seen["P"] * seen["E"]).T)
    beside = np.linalg.qr(rng.standard_normal((T, D)) if T < 10**5 else np.sqrt(T) * np.eye(D))[1]
    beside = beside - (beside @ Q) @ Q.T
    root = np.sqrt(PEOPLE.eigenvalues)
    G = root[:, None] * (seen["C"].T @ seen["C"] + beside.T @ beside) * root
    inverse = np.linalg.inv(G + T * penalty * np.eye(D))
    for model, found in zip(models, (first, second), strict=True):
        # as seen along the directions looked at, whatever is beside them: G w is not known, but (G + ridge)^-1 G w is
        np.testing.assert_allclose(found, inverse @ (G @ model), rtol=0, atol=2e-8 * np.abs(model).max())
    np.testing.assert_allclose(both, first + noise, rtol=0, atol=1e-12 * np.abs(first).max())
    length = revealed_noise_length(T)
    np.testing.assert_allclose(
        noise, inverse @ (root * seen["C"][0]) * length * 0.5, rtol=0, atol=1e-8 * np.abs(noise).max()
    )


def revealed_noise_length(T: int) -> float:
    """‖ε‖ as drawn, after its direction's row."""
    stream = Streams(0, 0).design((0, 0))
    stream.standard_normal(D)
    return float(np.sqrt(stream.chisquare(T)))


@pytest.mark.parametrize(("T", "penalty"), [(6_000, 1e-3), (100_000, 0.02), (300, 0.0)])
def test_errors_have_the_distribution_of_whole_designs(
    T: int, penalty: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every stage's total, bias and variance of a chain, against Bartlett's whole factor."""
    monkeypatch.setattr(revealed, "_SHARE", 4)
    mix = chain(T, T, penalty, max(penalty, 1e-4), n=2)
    problem, process = SpectrumProblem(PEOPLE, Bartlett()), Process.fresh(PEOPLE, mix)
    designs = plan([process]).designs
    assert [problem._by_products(design) is not None for design in designs[:2]] == [True, True]
    found = engine.simulate(problem, [process], 1, 0, 200)
    with monkeypatch.context() as patched:
        patched.setattr(engine, "plan", lambda processes, **_: plan(processes, whole=True))
        whole = engine.simulate(problem, [process], 2, 0, 200)
    for one, other in zip(found, whole, strict=True):
        if other.max() < 1e-20:
            assert one.max() < 1e-20
            continue
        assert ks_2samp(one, other).pvalue > 1e-4
        assert abs(two_sample_z(np.log(one), np.log(other))) < 4.5


def test_few_features_that_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Directions become dependent before the fit is accurate: then the whole design is drawn around what was seen."""
    steep = Population(np.arange(1.0, D + 1) ** -5.0, np.ones(D), np.ones(D), 0.3)
    completed = []
    inner = krylov._Search._complete

    def counted(search: krylov._Search, looked: krylov._Looked, steps: int, found: Array) -> None:
        inner(search, looked, steps, found)
        completed.extend(len(looked.places) * [steps])

    monkeypatch.setattr(krylov._Search, "_complete", counted)
    process = Process.fresh(steep, chain(450, 400, 0.02, 0.03, n=2))
    found = engine.simulate(SpectrumProblem(steep, Bartlett()), [process], 1, 0, 150)
    assert len(completed) > 150
    assert min(completed) > 0
    with monkeypatch.context() as patched:
        patched.setattr(engine, "plan", lambda processes, **_: plan(processes, whole=True))
        whole = engine.simulate(SpectrumProblem(steep, Bartlett()), [process], 2, 0, 150)
    for one, other in zip(found, whole, strict=True):
        assert ks_2samp(one, other).pvalue > 1e-4
        assert abs(two_sample_z(np.log(one), np.log(other))) < 4.5


@pytest.mark.parametrize("seed", range(12))
def test_no_spectrum_defeats_it(seed: int) -> None:
    """Of every steepness, at every penalty and size that it takes: what is solved is solved."""
    rng = np.random.default_rng(seed)
    tried = 0
    while tried < 20:
        d = int(rng.integers(200, 320))
        variances = np.exp(-rng.uniform(0, 20) * np.sort(rng.uniform(0, 1, d))) * 10.0 ** rng.uniform(-6, 6)
        penalty = float(variances.max() * 10.0 ** rng.uniform(-8, 6))
        method = by_products(variances, int(10 ** rng.uniform(1, 8)), Alone(penalty, 3))
        if method is None:
            continue
        tried += 1
        models = [rng.standard_normal(d), rng.standard_normal(d)]
        drawn = Revealed(method, np.random.default_rng(1))
        missed, noise = revealed._errors([drawn], np.array([models]), noisy=True)
        # no fit takes more than the whole of a label, nor adds to it
        for model, error in zip(models, missed[0], strict=True):
            assert 0 < method.deviations**2 @ error**2 < 1.5 * method.deviations**2 @ model**2
        assert np.all(np.isfinite(noise))


def test_without_penalty_the_error_is_exact() -> None:
    """E ‖w − w_0‖²_Σ = σ² d/(T − d − 1); a degree of freedom more would show.

    So many replicates that it is expected 19 standard errors away: no draw brings that below 8.
    """
    d, T, n = 12, 30, 40_000
    mix = TrainingMix((stage("f", 0.0, Source("s", REAL, float(T), 0.3)),))
    errors = engine.simulate(
        SpectrumProblem(POPULATION, Bartlett()), [Process.fresh(POPULATION, mix)], 3, 0, n
    )
    exact = 0.3 * d / (T - d - 1)
    assert abs(z_score(errors[0], exact)) < 4
    assert abs(z_score(errors[0], 0.3 * d / (T - d))) > 8
    np.testing.assert_allclose(errors[0], errors[2], rtol=1e-12)
    assert np.all(errors[1] == 0)


def test_many_samples_agree_with_the_theory() -> None:
    """10^15 samples, a penalty: hardly any step, and the error of the theory, which is exact there."""
    T = 10**15
    mix = TrainingMix((stage("f", 0.1, Source("s", REAL, float(T), 0.3)),))
    errors = engine.simulate(SpectrumProblem(PEOPLE, Bartlett()), [Process.fresh(PEOPLE, mix)], 1, 0, 4)
    predicted = predict(PEOPLE, mix).test_error
    np.testing.assert_allclose(errors[0], predicted.total, rtol=1e-5)
    np.testing.assert_allclose(errors[1], predicted.bias, rtol=1e-5)


def test_models_that_depend_on_each_other_are_fitted_alike() -> None:
    w = np.linspace(1.0, 2.0, D)
    bent = np.cos(np.arange(D))
    near = [w + gap * bent for gap in (1e-13, 1e-9, 1e-6)]
    one, twice, nothing, aside, *nearly, _, _ = fitted(10**6, 1e-3, [w, 2 * w, 0 * w, bent, *near])
    np.testing.assert_allclose(twice, 2 * one, rtol=1e-9)
    for gap, found in zip((1e-13, 1e-9, 1e-6), nearly, strict=True):
        np.testing.assert_allclose(found, one + gap * aside, rtol=0, atol=1e-9 * np.abs(one).max())
    assert np.all(nothing == 0)


def test_features_without_variance_have_no_weight() -> None:
    people = Population(np.append(np.ones(D), 0.0), np.ones(D + 1), np.ones(D + 1), 0.3)
    mix = TrainingMix((stage("f", 0.1, Source("s", REAL, 10**6, 0.3)),))
    problem = SpectrumProblem(people, Bartlett())
    method = problem._by_products(plan([Process.fresh(people, mix)]).designs[0])
    assert method is not None
    assert np.all(np.isfinite(engine.simulate(problem, [Process.fresh(people, mix)], 1, 0, 3)))


def test_only_designs_that_nothing_else_sees_are_drawn_so() -> None:
    """Not where a grid, a later stage or covariate shift has the numbers in common: their differences stay precise."""

    def alone(*processes: Process) -> list[bool]:
        return [design.alone is not None for design in plan(processes).designs]

    fresh = Process.fresh(PEOPLE, chain(9_000, 9_000, 1e-3, 1e-2))
    assert alone(fresh) == [True] * 3
    assert alone(fresh, Process.fresh(PEOPLE, chain(9_000, 9_000, 1e-3, 1e-1))) == [True, True, False]
    assert alone(fresh, Process.fresh(PEOPLE, chain(9_000, 8_000, 1e-3, 1e-2))) == [True, True, False, False]
    assert alone(shared_design(PEOPLE, chain(9_000, 9_000, 1e-3, 1e-2, 3))) == [False, True]
    own = Source("c", REAL, 9_000, 0.3, eigenvalues=PEOPLE.eigenvalues[::-1].copy())
    assert alone(Process.fresh(PEOPLE, TrainingMix((stage("f", 0.1, own),)))) == [False, False]
    two = (Source("a", REAL, 9_000, 0.3), Source("b", Shift(np.ones(D)), 9_000, 0.3))
    assert alone(Process.fresh(PEOPLE, TrainingMix((stage("f", 0.1, *two),)))) == [False, False]
    assert alone(Process.fresh(PEOPLE, TrainingMix((stage("f", 0.1, *two[1:]),)))) == [True]
    wide = stage("f", 0.1, Source("a", REAL, 9_000, 0.3), width=30)
    assert alone(Process.fresh(PEOPLE, TrainingMix((wide,)))) == [False]


def test_nothing_is_left_of_a_shard() -> None:
    """A child keeps a problem from one shard to the next: what it knows of their designs goes with them."""
    process = Process.fresh(PEOPLE, chain(9_000, 9_000, 1e-3, 1e-2))
    problem = pickle.loads(pickle.dumps(SpectrumProblem(PEOPLE, Bartlett())))
    bits = engine.simulate(problem, [process], 1, 0, 2)
    assert len(problem._methods) == 0
    again = [engine.simulate(SpectrumProblem(PEOPLE, Bartlett()), [process], 1, r, r + 1) for r in (0, 1)]
    np.testing.assert_array_equal(np.concatenate(again, axis=1), bits)


@pytest.mark.parametrize("steep", [False, True])
def test_replicates_do_not_see_who_is_beside_them(*, steep: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bits are the same however replicates are put together; they take one step more or less, or are completed."""
    people, process = PEOPLE, Process.fresh(PEOPLE, chain(8_000, 8_000, 1e-3, 1e-3, n=1))
    if steep:
        people = Population(np.arange(1.0, D + 1) ** -5.0, np.ones(D), np.ones(D), 0.3)
        process = Process.fresh(people, chain(450, 400, 0.02, 0.03, n=2))
    problem, sizes = SpectrumProblem(people, Bartlett()), []
    inner = krylov._Search._look

    def remembered(search: krylov._Search, looked: krylov._Looked, step: int) -> Any:
        sizes.append(len(looked.places))
        return inner(search, looked, step)

    monkeypatch.setattr(krylov._Search, "_look", remembered)
    monkeypatch.setattr(engine, "AT_ONCE", 13)
    whole = engine.simulate(problem, [process], 1, 0, 13)
    assert len(set(sizes)) > 1
    for ends in ([0, 1, 6, 13], range(14)):
        parts = [engine.simulate(problem, [process], 1, a, b) for a, b in pairwise(ends)]
        np.testing.assert_array_equal(np.concatenate(parts, axis=1), whole)
    monkeypatch.setattr(engine, "AT_ONCE", 5)
    np.testing.assert_array_equal(engine.simulate(problem, [process], 1, 0, 13), whole)


def test_few_samples_are_drawn_whole() -> None:
    variances = PEOPLE.eigenvalues
    assert steps(np.ones(D), 10, Alone(100.0, 2)) is None  # of no more samples than directions
    assert steps(variances, 10**6, Alone(1e4, 2)) is None  # hardly anything is learned
    assert steps(variances, 300, Alone(1e-3, 2)) is None
    assert steps(variances[:50], 10**9, Alone(1e-3, 2)) is None
    assert steps(variances, D - 1, Alone(0.0, 2)) is None
    assert steps(variances, D, Alone(0.0, 2)) == 0
    fewer = [steps(variances, T, Alone(1e-3, 2)) for T in (10**4, 10**6, 10**12)]
    assert all(fewer)
    assert fewer == sorted(fewer, key=lambda count: -(count or 0))
