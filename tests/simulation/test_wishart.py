"""Bartlett's rows: exact in distribution, by two-sample tests against whole samples and by exact moments."""

import numpy as np
import pytest
from scipy.special import digamma, polygamma
from scipy.stats import ks_2samp

from service.simulation.features import Bartlett, bartlett_rows
from service.simulation.plan import PARTS
from service.simulation.process import Process
from service.theory.model import REAL, Source, TrainingMix
from service.theory.prediction import predict
from tests.simulation.mixes import POPULATION, PROCESSES, stage, totals, two_sample_z, values

REPLICATES = 700


@pytest.mark.parametrize("name", PROCESSES)
def test_errors_have_the_distribution_of_the_literal_ones(name: str) -> None:
    """Every stage's total, bias and variance: Kolmogorov-Smirnov, at a chance of a false alarm of 1 in 1,000 in all."""
    literal = values(PROCESSES[name], REPLICATES, seed=1)
    wishart = values(PROCESSES[name], REPLICATES, seed=2, features=Bartlett())
    assert not np.array_equal(literal, wishart)
    level = 1e-3 / len(literal)
    for one, other in zip(literal, wishart, strict=True):
        if one.max() < 1e-20:  # the bias of a fit that has none is rounding
            assert other.max() < 1e-20
            continue
        assert ks_2samp(one, other).pvalue > level
        assert abs(two_sample_z(np.log(one), np.log(other))) < 4.5


@pytest.mark.parametrize(("T", "d"), [(9, 5), (5, 5), (3, 5), (40, 5)])
def test_gram_matrices_have_the_distribution_of_drawn_ones(T: int, d: int) -> None:
    """Entries, trace, and the largest eigenvalue, against Gram matrices of whole samples."""
    rng = np.random.default_rng(3)
    drawn = np.array([Z.T @ Z for Z in rng.standard_normal((2000, T, d))])
    rows = np.array([bartlett_rows(rng, T, d) for _ in range(2000)])
    assert rows.shape == (2000, min(T, d), d)
    made = np.einsum("nki,nkj->nij", rows, rows)
    for statistic in (
        lambda G: G[:, 0, 0], lambda G: G[:, -1, -1], lambda G: G[:, 0, -1], lambda G: G[:, 1, 2],
        lambda G: np.trace(G, axis1=1, axis2=2), lambda G: np.linalg.eigvalsh(G)[:, -1],
        lambda G: np.linalg.eigvalsh(G)[:, -min(T, d)],
    ):  # fmt: skip
        assert ks_2samp(statistic(drawn), statistic(made)).pvalue > 1e-4


@pytest.mark.parametrize(("T", "d"), [(5, 5), (8, 5), (60, 20)])
def test_determinant_has_its_exact_moments(T: int, d: int) -> None:
    """log det G = Σ_i log χ²(T − i + 1): mean Σ ψ((T−i+1)/2) + d log 2, variance Σ ψ'. One degree too many shows."""
    rng = np.random.default_rng(4)
    halves = (T - np.arange(d)) / 2
    logs = np.array([2 * np.log(np.abs(np.diag(bartlett_rows(rng, T, d)))).sum() for _ in range(4000)])
    mean, variance = digamma(halves).sum() + d * np.log(2), polygamma(1, halves).sum()
    assert abs(logs.mean() - mean) < 4 * np.sqrt(variance / 4000)
    shifted = digamma(halves + 0.5).sum() + d * np.log(2)
    assert abs(shifted - mean) > 8 * np.sqrt(variance / 4000)
    assert logs.var(ddof=1) == pytest.approx(variance, rel=0.15)


def test_any_number_of_samples() -> None:
    """10^15 samples cost what 100 do, and the error is the theory's: σ² d/T."""
    T = 10**15
    mix = TrainingMix((stage("f", 0.0, Source("s", REAL, float(T), 0.3)),))
    errors = totals(Process.fresh(POPULATION, mix), 400, features=Bartlett())
    predicted = predict(POPULATION, mix).test_error.total
    assert predicted == pytest.approx(0.3 * 12 / T, rel=1e-9)
    assert abs(errors.mean() / predicted - 1) < 4 * np.sqrt(2 / 12 / 400)


def test_shards_give_the_same_bits() -> None:
    from service.simulation.engine import simulate
    from service.simulation.spectrum import SpectrumProblem

    processes = list(PROCESSES.values())
    problem = SpectrumProblem(POPULATION, Bartlett())
    for average in (False, True):
        whole = simulate(problem, processes, 5, 0, 5, average_noise=average)
        parts = [
            simulate(problem, processes, 5, a, b, average_noise=average) for a, b in ((0, 2), (2, 3), (3, 5))
        ]
        np.testing.assert_array_equal(np.concatenate(parts, axis=1), whole)
    assert len(whole) == len(PARTS) * sum(len(process.mix.stages) for process in processes)
