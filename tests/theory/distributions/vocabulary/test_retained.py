"""Retained samples out of a larger first sample: the chain of one type, the recursion in fractions, simulation."""

from fractions import Fraction

import numpy as np
import pytest
from scipy.stats import binom

from service.theory.distributions.schedule import reported_models
from service.theory.distributions.vocabulary import retained
from service.theory.distributions.vocabulary.decoding import Decoding
from service.theory.distributions.vocabulary.diversity import kinship
from service.theory.distributions.vocabulary.levels import from_counts, zipf
from service.theory.distributions.vocabulary.prediction import Question, predict
from service.theory.distributions.vocabulary.training import Retained
from tests.theory.distributions.vocabulary.chains import statistics

PLAIN = Decoding()


def gone_by_chain(p: float, training: Retained, models: int) -> float:
    """(1 − p)^m × P(x = 0): of the samples that are not retained, x are of the type, given that no retained one is."""
    m, k, first = training.real, training.samples - training.real, training.begun
    law, parents = binom.pmf(np.arange(first - m + 1), first - m, p), first
    for _ in range(models - 1):
        law = law @ binom.pmf(np.arange(k + 1)[None, :], k, np.arange(law.size)[:, None] / parents)
        parents = training.samples
    return float((1.0 - p) ** m * law[0])


@pytest.mark.parametrize(
    ("samples", "real", "first"),
    [(30, 3, 30), (50, 1, 200), (12, 11, 40), (150, 20, 25), (60, 5, 5), (2, 1, 2)],
)
def test_gone_is_the_chain_of_one_type(samples: int, real: int, first: int) -> None:
    training, n = Retained(samples, real, 40, first), np.array([1, 2, 3, 12, 40])
    counts = np.array([70.0, 20, 9, 1])
    found = predict(Question(from_counts(counts), training, PLAIN, n, (1, 2, 3, 4))).generations
    for model, one in zip(n, found, strict=True):
        expected = [gone_by_chain(x / 100.0, training, int(model)) for x in counts]
        assert list(one.state.gone) == pytest.approx(expected, rel=1e-9, abs=1e-15)


@pytest.mark.parametrize("real", [5, 20, 60])
def test_two_moments_are_near_the_exact_law(real: int, monkeypatch: pytest.MonkeyPatch) -> None:
    p = np.geomspace(1e-5, 0.5, 60)
    training, n = Retained(150, real, 300, 150), [2, 4, 10, 30, 60, 300]
    exact = list(retained.by_model(training, n))
    monkeypatch.setattr(retained, "EXACT_SAMPLES", 0)
    for one, other in zip(exact, retained.by_model(training, n), strict=True):
        assert other.mean == pytest.approx(one.mean, rel=2e-3)
        if other.mean >= 9.0:
            assert np.abs(one.absent(p) - other.absent(p)).max() < 0.3 / other.mean**2


@pytest.mark.parametrize(
    ("samples", "real", "first"), [(30, 6, 30), (30, 6, 6), (30, 6, 1000), (7, 1, 3), (5, 4, 9)]
)
def test_kinship_by_fractions(samples: int, real: int, first: int) -> None:
    """F' = a²F_R + 2abG + b²[F + (1 − F)/k], G' = aF_R + bG, of the probability that two tokens are of one type."""
    simpson = Fraction(1, 5)
    m, k, a = real, samples - real, Fraction(real, samples)
    of_retained = Fraction(1, m) + (1 - Fraction(1, m)) * simpson
    f = g = Fraction(1, first) + (1 - Fraction(1, first)) * simpson
    n = reported_models(25)
    for found in kinship(Retained(samples, real, 25, first), n):
        assert 1 - (1 - float(found)) * (1 - 0.2) == pytest.approx(float(f), rel=1e-12)
        f, g = (
            a * a * of_retained + 2 * a * (1 - a) * g + (1 - a) ** 2 * (f + (1 - f) / k),
            a * of_retained + (1 - a) * g,
        )


def test_kinship_of_a_first_sample_that_is_very_much_larger() -> None:
    """Soon after it, Φ is next to nothing, and all its digits are there: Φ_2 = a²/m + 2ab/M_1 + b²[1/M_1 + 1/k]."""
    m, samples, first = 10**6, 10**12, 10**15
    a, k = Fraction(m, samples), samples - m
    second = (
        a * a / m
        + 2 * a * (1 - a) / first
        + (1 - a) ** 2 * (Fraction(1, first) + (1 - Fraction(1, first)) / k)
    )
    assert kinship(Retained(samples, m, 2, first), np.array([1, 2])) == pytest.approx(
        [1e-15, float(second)], rel=1e-14
    )


def test_simulation_agrees() -> None:
    """Of 3,000 tokens 300 stay; entropy by its closure, within its stated error."""
    samples, real, first, models = 1000, 300, 3000, 6
    p = np.arange(1.0, 401) ** -1.1
    p /= p.sum()
    draw = np.random.default_rng(4).multinomial
    drawn = []
    for _ in range(600):
        kept = draw(real, p)
        counts = kept + draw(first - real, p)
        for _ in range(models - 1):
            counts = kept + draw(samples - real, counts / counts.sum())
        drawn.append(statistics(counts, p))
    found = predict(
        Question(zipf(400, 1.1), Retained(samples, real, models, first), PLAIN, np.array([models]))
    )
    state, mean = found.generations[0].state, np.mean(drawn, axis=0)
    error = np.std(drawn, axis=0) / len(drawn) ** 0.5
    names = ("diversity", "surviving_types", "missing_mass", "entropy")
    stated = {one.quantity: one.expected_relative_error for one in found.accuracy}
    for name, measured, noise in zip(names, mean, error, strict=True):
        assert getattr(state, name) == pytest.approx(measured, rel=stated[name], abs=4 * noise)


@pytest.mark.parametrize(
    ("samples", "real", "first"),
    [
        (10**12, 1, 10**12), (10**18, 1, 10**18), (10**15, 10**3, 10**15), (10**18, 10**18 - 1, 10**18 - 1),
        (10**18, 10**18 - 2, 10**18), (2, 1, 50), (10, 9, 100),
    ],
)  # fmt: skip
def test_kinship_where_next_to_none_or_all_but_a_few_are_retained(
    samples: int, real: int, first: int
) -> None:
    """Φ' = a²/m + 2ab Γ + b² [Φ + (1 − Φ)/k] in fractions: 5e-5 was lost of one retained token of 10^12."""
    m, k, M = Fraction(real), Fraction(samples - real), Fraction(samples)
    a, b, related, own = m / M, k / M, Fraction(1, first), Fraction(1, first)
    for model in range(1, 12):
        found = kinship(Retained(samples, real, 11, first), np.array([model]))[0]
        assert found == pytest.approx(float(related), rel=1e-13, abs=0.0)
        related, own = (
            a * a / m + 2 * a * b * own + b * b * (related + (1 - related) / k),
            a / m + b * own,
        )


def test_all_tokens_but_one_of_very_many_are_retained() -> None:
    """A share that is 1 to double precision has a chance of not being retained all the same."""
    training = Retained(10**18, 10**18 - 1, 3, 10**18)
    last = predict(Question(zipf(5, 1.0), training, PLAIN, np.array([1, 2, 3]))).generations[-1].state
    assert last.founders == pytest.approx(1e18, rel=1e-12)
