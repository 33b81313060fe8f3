"""Sources with covariance matrices: literal draws against the theory, Bartlett's rows, rotations, unknown signs."""

import dataclasses

import numpy as np
import pytest
from scipy.stats import ks_2samp, ortho_group

from service.simulation import drawn, spectrum
from service.simulation.engine import last_totals, simulate
from service.simulation.features import Bartlett, Features, Gaussian, Rademacher
from service.simulation.process import Process
from service.simulation.rows import EmpiricalProblem
from service.simulation.spectrum import SpectrumProblem
from service.theory.model import REAL, Array, Population, Shift, Source, Stage, TrainingMix
from service.theory.prediction import predict
from tests.simulation.mixes import two_sample_z, z_score

D = 20
W = np.random.default_rng(1).normal(size=D) / np.sqrt(D)
KNOWN = Population(np.arange(1.0, D + 1) ** -1.2, np.ones(D), W**2, 0.3, W)


def turned(seed: int, exponent: float) -> Array:
    """A power law in a basis of its own."""
    V = ortho_group.rvs(D, random_state=seed)
    return np.asarray((V * np.arange(1.0, D + 1) ** -exponent) @ V.T)


FIRST, SECOND = turned(2, 1.5), turned(3, 1.0)


def mix(one: Array, other: Array, samples: int = 40, width: float | None = None) -> TrainingMix:
    """Three stages of sources of three covariances: shifts, weights, shared parents."""

    def own(c: Array) -> dict[str, Array]:
        return {"covariance": c} if c.ndim == 2 else {"eigenvalues": c}

    shift = Shift(np.full(D, 0.02))
    first = (Source(REAL, REAL, samples, 0.3), Source("s", shift, samples, 0.2, 0.7, **own(one)))
    second = (
        Source("g", "g", samples, 0.5, 1.0, **own(other)),
        Source(REAL, REAL, samples, 0.3, 1.0, **own(one)),
    )
    last = (
        Source(REAL, REAL, samples, 0.3),
        Source("g", "g", samples, 0.1, 1.0, **own(one)),
        Source("h", "h", samples, 0.2, 1.5, **own(other)),
    )
    stages = (Stage("g", first, 0.02), Stage("h", second, 0.03), Stage("f", last, 0.02, width))
    return TrainingMix(stages)


def totals(
    population: Population, one: TrainingMix, replicates: int, seed: int = 1, features: Features | None = None,
    *, average_noise: bool = False,
) -> Array:  # fmt: skip
    process = Process.fresh(population, one)
    problem = SpectrumProblem(population, features or Gaussian())
    values = simulate(problem, [process], seed, 0, replicates, average_noise=average_noise)
    return np.asarray(last_totals([process], values)[0])


@pytest.mark.parametrize("width", [None, 12.0])
@pytest.mark.parametrize("features", [Gaussian(), Bartlett()])
def test_diagonal_matrices_are_eigenvalues(features: Features, width: float | None) -> None:
    """Replicate by replicate the same numbers."""
    one, other = np.linspace(1.0, 0.1, D), np.linspace(0.2, 2.0, D)[::-1].copy()
    matrices, eigenvalues = mix(np.diag(one), np.diag(other), 40, width), mix(one, other, 40, width)
    a, b = (totals(KNOWN, m, 5, features=features) for m in (matrices, eigenvalues))
    np.testing.assert_allclose(a, b, rtol=1e-9)


@pytest.mark.parametrize("samples", [9, 40], ids=["few samples", "many"])
def test_gram_matrices_give_the_literal_distribution(samples: int) -> None:
    one = mix(FIRST, SECOND, samples)
    literal = totals(KNOWN, one, 700)
    wishart = totals(KNOWN, one, 700, 2, Bartlett())
    assert ks_2samp(literal, wishart).pvalue > 1e-3
    assert abs(two_sample_z(np.log(literal), np.log(wishart))) < 4
    averaged = totals(KNOWN, one, 200, 3, Bartlett(), average_noise=True)
    assert abs(two_sample_z(literal, averaged)) < 4
    assert averaged.std() < 0.8 * literal.std()


@pytest.mark.parametrize("width", [None, 16.0])
def test_against_the_theory(width: float | None) -> None:
    """What is left of 1/N at these sizes is below the standard error; the diagonals alone say something else."""
    one = mix(FIRST, SECOND, 120, width)
    found = totals(KNOWN, one, 800, 4, Bartlett(), average_noise=True)
    assert abs(z_score(found, predict(KNOWN, one, order=1).test_error.total)) < 3.5
    diagonals = predict(KNOWN, mix(FIRST.diagonal().copy(), SECOND.diagonal().copy(), 120, width), order=1)
    assert abs(z_score(found, diagonals.test_error.total)) > 10


def test_a_rotation_of_everything_changes_nothing() -> None:
    """Isotropic real features: the matrices and the target turned together. The same problem, other random numbers."""
    V = ortho_group.rvs(D, random_state=7)
    w = np.linalg.eigh(FIRST)[1][:, 0]  # where the first source sees least
    flat = Population(np.full(D, 0.5), np.ones(D), w**2, 0.3, w)
    other = Population(np.full(D, 0.5), np.ones(D), (V @ w) ** 2, 0.3, V @ w)

    def two(C: Array) -> TrainingMix:
        sources = (Source("c", REAL, 40, 0.3, 1.0, None, C), Source("s", Shift(np.full(D, 0.02)), 10, 0.3))
        return TrainingMix((Stage("f", sources, 0.1),))

    a, b = totals(flat, two(FIRST), 500), totals(other, two(V @ FIRST @ V.T), 500, 2)
    assert ks_2samp(a, b).pvalue > 1e-3
    assert abs(two_sample_z(np.log(a), np.log(b))) < 4
    assert abs(two_sample_z(np.log(a), np.log(totals(other, two(FIRST), 500, 2)))) > 5


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows drawn a few at a time give what kept ones give, unknown signs too."""
    unknown = dataclasses.replace(KNOWN, target=None)
    several = mix(FIRST, SECOND, 90)
    kept = [totals(people, several, 3) for people in (KNOWN, unknown)]
    for module, name, value in ((spectrum, "KEPT", 0), (drawn, "BLOCK", 8 * D), (drawn, "ROWS", 1)):
        monkeypatch.setattr(module, name, value)
    for people, expected in zip((KNOWN, unknown), kept, strict=True):
        np.testing.assert_allclose(totals(people, several, 3), expected, rtol=1e-9)


def test_signs_that_are_not_known_are_drawn() -> None:
    """A target known by its power alone: the mean over its signs, each drawn and simulated as a known one."""
    unknown = dataclasses.replace(KNOWN, target=None, target_power=np.full(D, 2.0 / D))
    positive = dataclasses.replace(unknown, target=np.sqrt(unknown.target_power))
    shared = 0.9 ** np.abs(
        np.subtract.outer(np.arange(D), np.arange(D))
    )  # all features positively correlated
    only = TrainingMix((Stage("f", (Source("s", REAL, 15, 0.01, 1.0, None, shared),), 0.05),))
    found = totals(unknown, only, 1000)
    rng = np.random.default_rng(5)
    one_by_one = np.array([
        totals(dataclasses.replace(positive, target=positive.target * rng.choice([-1, 1], D)), only, 1, k)[0]
        for k in range(1000)
    ])  # fmt: skip
    assert abs(two_sample_z(found, one_by_one)) < 4
    assert abs(two_sample_z(found, totals(positive, only, 1000))) > 10
    # a third of d samples: not yet asymptotic, but nearer to the right one of both
    equivalent, wrong = (predict(p, only).test_error.total for p in (unknown, positive))
    assert abs(found.mean() - equivalent) < 0.2 * abs(found.mean() - wrong)


def test_other_features_have_the_covariance() -> None:
    """Many samples without noise or penalty fit the truth whatever the features; their Gram matrix is T Σ."""
    problem = SpectrumProblem(KNOWN, Rademacher())
    assert problem.target is not None
    only = TrainingMix((Stage("f", (Source("s", REAL, 400, 1.0, 1.0, None, FIRST),), 0.0),))
    found = totals(KNOWN, only, 400, features=Rademacher())
    expected = float(KNOWN.eigenvalues @ np.linalg.inv(FIRST).diagonal()) / (400 - D)
    assert abs(found.mean() / expected - 1) < 0.03


def test_singular_covariances_are_drawn() -> None:
    """Rank 3: all that is seen is three directions."""
    root = np.random.default_rng(0).normal(size=(D, 3))
    only = TrainingMix((Stage("f", (Source("s", REAL, 20, 0.0, 1.0, None, root @ root.T),), 1e-9),))
    P = root @ np.linalg.pinv(root)
    left = W - P @ W
    np.testing.assert_allclose(totals(KNOWN, only, 4), KNOWN.eigenvalues @ left**2, rtol=1e-5)


def test_rows_of_a_data_set_have_no_other_covariance() -> None:
    stage = mix(FIRST, SECOND).stages[0]
    with pytest.raises(ValueError, match="covariance of its own"):
        EmpiricalProblem.check(EmpiricalProblem.__new__(EmpiricalProblem), stage)
