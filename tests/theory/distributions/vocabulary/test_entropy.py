"""Expected entropy against the exact chain of one type and against Monte Carlo, within the stated closure error."""

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from service.theory.distributions.schedule import Schedule
from service.theory.distributions.vocabulary import ancestors
from service.theory.distributions.vocabulary.diversity import kinship
from service.theory.distributions.vocabulary.entropy import Entropies
from service.theory.distributions.vocabulary.founders import Founders
from service.theory.distributions.vocabulary.levels import from_counts, zipf
from service.theory.distributions.vocabulary.training import Replace
from tests.theory.distributions.vocabulary.chains import moments_by_chain


def _predicted(counts: np.ndarray, samples: int, models: int) -> float:
    training = Replace(Schedule.constant(samples, models))
    (founders,) = ancestors.by_model(samples, [models])
    related = float(kinship(training, np.array([models]))[0])
    return Entropies(from_counts(counts)).expected(founders, related)


def _by_chain(counts: np.ndarray, samples: int, models: int) -> float:
    p = counts / counts.sum()
    return sum(moments_by_chain(float(x), samples, models)[1] for x in p)


@pytest.mark.parametrize("samples", [5, 40, 150])
def test_first_model_is_exact(samples: int) -> None:
    counts = np.array([50.0, 20, 10, 10, 5, 3, 1, 1])
    assert _predicted(counts, samples, 1) == pytest.approx(_by_chain(counts, samples, 1), rel=1e-7)


@pytest.mark.parametrize(
    ("samples", "models"), [(30, 2), (60, 10), (150, 5), (150, 30), (100, 200), (20, 60)]
)
def test_later_models_within_the_stated_error(samples: int, models: int) -> None:
    counts = np.array([50.0, 20, 10, 10, 5, 3, 1, 1])
    assert _predicted(counts, samples, models) == pytest.approx(_by_chain(counts, samples, models), rel=0.005)


def test_many_generations_are_the_coalescent() -> None:
    """Late, the few families are symmetric Dirichlet(1): exact to the order of one over the samples."""
    counts = np.array([3.0, 2, 2, 1])
    assert _predicted(counts, 150, 450) == pytest.approx(_by_chain(counts, 150, 450), rel=0.005)


def test_one_type_has_no_entropy() -> None:
    for samples in (1, 40, 5000):
        assert _predicted(np.array([7.0]), samples, 5) == pytest.approx(0, abs=1e-12)


def test_plug_in_of_a_sample_of_millions() -> None:
    """Model 1 of Zipf by direct Poisson sums over types: H = ln M − E Σ (c/M) ln c."""
    samples, types = 10**6, 3000
    p = np.arange(1.0, types + 1) ** -1.1
    p /= p.sum()
    total = 0.0
    for x in p:
        mean = samples * x
        c = np.arange(max(1.0, np.floor(mean - 12 * mean**0.5 - 12)), mean + 12 * mean**0.5 + 12)
        from scipy.stats import binom

        total += float(binom.pmf(c, samples, x) @ (-c / samples * np.log(c / samples)))
    found = Entropies(zipf(types, 1.1)).expected(Founders.certain(samples), 1 / samples)
    assert found == pytest.approx(total, rel=1e-9)


@pytest.mark.parametrize("p", [0.001, 0.03, 0.3, 0.97, 0.9999, 1.0])
def test_a_sample_of_two_types_by_the_binomial_law(p: float) -> None:
    """Model 1 with types p and 1 − p: rare, between and ruling ones, each summed in its own way."""
    from scipy.stats import binom

    samples = 6000
    x = np.arange(1, samples) / samples
    inner = binom.pmf(np.arange(1, samples), samples, p) @ (-x * np.log(x) - (1 - x) * np.log1p(-x))
    counts = np.array([p, 1 - p]) * 1e6
    found = Entropies(from_counts(counts)).expected(Founders.certain(samples), 1 / samples)
    assert found == pytest.approx(inner, rel=1e-7, abs=1e-12)


@pytest.mark.parametrize("founders", [2, 37])
@pytest.mark.parametrize("kappa", [0.02, 1.0, 40.0])
@pytest.mark.parametrize("p", [0.003, 0.4, 0.999])
def test_unequal_families_by_the_binomial_law(founders: int, kappa: float, p: float) -> None:
    """Σ p {ψ(κA + 1) − E ψ(κ(J + 1) + 1)}, J ~ Binomial(A − 1, p), of two types."""
    from scipy.special import digamma
    from scipy.stats import binom

    j = np.arange(founders)
    expected = sum(
        q
        * float(
            binom.pmf(j, founders - 1, q) @ (digamma(kappa * founders + 1) - digamma(kappa * (j + 1) + 1))
        )
        for q in (p, 1 - p)
    )
    related = (kappa + 1) / (kappa * founders + 1)
    found = Entropies(from_counts(np.array([p, 1 - p]))).expected(Founders.certain(founders), related)
    assert found == pytest.approx(expected, abs=1e-9)


def test_interpolation_is_far_below_the_closure_error() -> None:
    vocabulary = zipf(None, 1.05)
    (founders,) = ancestors.by_model(10**4, [300])
    related = float(kinship(Replace(Schedule.constant(10**4, 300)), np.array([300]))[0])
    level_by_level = SimpleNamespace(even=vocabulary)
    direct = Entropies(cast(Any, level_by_level)).expected(founders, related)
    assert Entropies(vocabulary).expected(founders, related) == pytest.approx(direct, rel=1e-9)
