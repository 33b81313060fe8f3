"""The best penalty and what follows from it, in closed form or by looking at very many penalties."""

import math

import numpy as np
import pytest

from service.theory.effective_samples import effective_samples, effective_samples_at
from service.theory.limits import limits
from service.theory.model import OPTIMAL, PREVIOUS, REAL, Array, Population, Shift, Source, Stage, TrainingMix
from service.theory.penalty_general import minimize_penalty
from service.theory.prediction import predict
from service.theory.results import Best
from tests.theory.problems import isotropic, power_law, recursive


def least_error(sigma: Array, power: Array, noise: float, samples: float) -> float:
    """Of plain ridge regression, by θ: E = (Σ σ U² w² + σ² df2/N)/(1 − df2/N), over 400,000 of them."""
    least = math.inf
    for theta in np.array_split(np.geomspace(1e-9, 1e6, 400_000), 40):
        S = sigma / (sigma + theta[:, None])
        df1, df2 = S.sum(axis=1), (S * S).sum(axis=1)
        bias = ((1.0 - S) ** 2) @ (sigma * power)
        error = (bias + noise * df2 / samples) / (1.0 - df2 / samples)
        least = min(least, float(error[df1 < samples].min()))
    return least


@pytest.mark.parametrize("modes", [1, 2, 3, 10])
@pytest.mark.parametrize("exponent", [0.0, 0.5, 1.3])
@pytest.mark.parametrize("noise", [1e-3, 0.1, 10.0])
def test_no_penalty_is_better_than_the_recommended_one(modes: int, exponent: float, noise: float) -> None:
    """Also next to the ends of the grid on which it is looked for."""
    population = power_law(modes, exponent, noise)
    for samples in (modes + 1.0, 3.0 * modes, 10.0 * modes):
        mix = recursive(0, 1, samples, 0.1, noise0=noise, noise=noise)
        found = predict(population, mix).regularization.recommended.total
        assert found == pytest.approx(
            least_error(population.eigenvalues, population.target_power, noise, samples), rel=1e-8
        )


@pytest.mark.parametrize("learnt", [1e-9, 1e-4, 0.1, 0.7, 0.99])
@pytest.mark.parametrize("noise", [0.0, 1e-3, 0.3, 100.0])
def test_effective_samples_of_a_flat_spectrum(learnt: float, noise: float) -> None:
    """The best penalty is Bayes' λ = σ² d/(N‖w‖²), and E = ‖w‖² U: N = d S (1 + σ²/(‖w‖² U)), S = 1 − E/‖w‖²."""
    population = isotropic(5, noise)
    w2 = population.signal
    error = w2 * (1.0 - learnt)
    expected = 5 * learnt * (1.0 + noise / error)
    found = effective_samples(population, noise, None, error)
    assert found == pytest.approx(expected, rel=max(1e-7, 1e-14 / learnt))
    with np.errstate(all="ignore"):
        together, regular = effective_samples_at(population, np.full(2, noise), np.full(2, error))
    for value in together[regular]:
        assert value == pytest.approx(expected, rel=max(1e-5, 1e-14 / learnt))


@pytest.mark.parametrize("width", [None, 7.0, 40.0])
@pytest.mark.parametrize("noise", [1e-4, 0.1, 10.0])
@pytest.mark.parametrize("modes", [2, 20, 300])
def test_real_samples_are_worth_their_number(modes: int, noise: float, width: float | None) -> None:
    population = power_law(modes, 1.3, noise)
    for samples in (1.0, 3.0, 30.0, 1000.0):
        stage = Stage("f", (Source(REAL, REAL, samples, noise),), OPTIMAL, width)
        found = predict(population, TrainingMix((stage,))).regularization.effective_samples
        assert found == pytest.approx(samples, rel=1e-5)


@pytest.mark.parametrize("share", [0.5, 1e-3, 1e-6])
@pytest.mark.parametrize("squared_norm", [1e-4, 1.0, 1e4])
def test_the_floor_of_a_flat_spectrum(share: float, squared_norm: float) -> None:
    """Unlimited data: the least of S² p² q + (1 − S)² w² over S, q w²/(q + w²), however small the share."""
    population = isotropic(4, 0.3)
    real = Source(REAL, REAL, 1e6 * (1.0 - share), 0.3)
    other = Source("s", Shift(np.array([squared_norm / 4])), 1e6 * share, 0.3)
    q, w2 = share**2 * squared_norm, population.signal
    found = limits(population, TrainingMix((Stage("f", (real, other), 0.1),)))
    assert found.best_data_limit == pytest.approx(q * w2 / (q + w2), rel=1e-9)
    assert found.strong or q < 1e-13  # which is rounding


def test_the_limit_over_generations_does_not_depend_on_how_many_there_are() -> None:
    """A recursion that has not begun is going on all the same."""
    population = power_law(30, 1.2, 0.3)
    again = Stage(PREVIOUS, (Source(PREVIOUS, PREVIOUS, 50, 0.4),), 0.01)
    values = []
    for n in (0, 3):
        mix = recursive(n, 50, 40, 0.02, noise0=0.4, noise=0.3, penalty0=0.01)
        values.append(limits(population, TrainingMix(mix.stages, again)))
    assert values[0].generations_limit is not None
    assert values[0].generations_limit == pytest.approx(values[1].generations_limit, rel=1e-12)
    assert values[0].worse_than_null_from == values[1].worse_than_null_from
    far = recursive(4000, 50, 40, 0.02, noise0=0.4, noise=0.3, penalty0=0.01)
    assert predict(population, far).test_error.total == pytest.approx(values[0].generations_limit, rel=1e-9)


def test_models_that_fade_away_are_not_worse_than_nothing() -> None:
    """Without noise every fit shrinks what it is given: the error tends to that of predicting zero from below."""
    population = isotropic(12, 0.0)
    first = Stage("g", (Source(REAL, REAL, 42, 0.0),), 0.7)
    again = Stage(PREVIOUS, (Source(REAL, REAL, 0, 0.0), Source(PREVIOUS, PREVIOUS, 42, 0.0)), 0.7)
    found = limits(population, TrainingMix((first,), again))
    assert found.worse_than_null_from is None
    assert found.generations_limit == pytest.approx(population.signal, rel=1e-12)


def test_as_many_features_as_modes_without_noise_need_no_penalty() -> None:
    """They span everything: the error falls to 0 with the penalty, which is 0 at best and not 1e-75."""
    population = isotropic(4, 0.0)
    real = Source(REAL, REAL, 30, 0.0)
    other = Source("s", Shift(np.array([0.2])), 30, 0.1, 0.5, np.array([0.4]))
    clean = predict(population, TrainingMix((Stage("f", (real,), 0.1, 4.0),))).regularization.recommended
    assert (clean.penalty, clean.total) == (0.0, 0.0)
    mixed = predict(population, TrainingMix((Stage("f", (real, other), 0.1, 4.0),)))  # once "not converged"
    assert mixed.regularization.clean_optimal_penalty == 0
    assert mixed.clean.best.total == 0
    assert 0 < mixed.regularization.recommended.total < mixed.test_error.total


@pytest.mark.parametrize("noise", [1e-9, 4.0, 400.0])
def test_kept_data_of_one_mode(noise: float) -> None:
    """Two equal batches: E = w² U² (1 + u_1) + noise (u_1 + u_2/2), over many penalties of the sum."""
    population = Population(np.array([1.0]), np.ones(1), np.array([0.0145]), noise)
    first, second = Source(REAL, REAL, 3.0, noise), Source("a", "a", 3.0, noise)
    mix = TrainingMix((Stage("a", (first,), OPTIMAL), Stage("b", (second,), OPTIMAL)), keeps_data=True)
    least = population.signal
    for theta in np.array_split(np.geomspace(1e-14, 1e12, 400_000), 40):
        # λ_u of the first fit; θ of the second at the same one: θ_2 (6 − 1/(1 + θ_2)) = λ_u
        penalty = theta * (3.0 - 1.0 / (1.0 + theta))
        b = 5.0 - penalty
        later = (np.sqrt(b * b + 24.0 * penalty) - b) / 12.0
        u1, u2 = (1.0 / ((1.0 + x) ** 2 * T - 1.0) for x, T in ((theta, 3.0), (later, 6.0)))
        bias = population.signal * (theta / (1.0 + theta)) ** 2 * (1.0 + u1)
        least = min(least, float((bias + noise * (u1 + 0.5 * u2)).min()))
    assert predict(population, mix).regularization.recommended.total == pytest.approx(least, rel=1e-7)


def test_labels_that_agree_cost_nothing_at_the_threshold() -> None:
    """No noise, as many samples as modes, a real source of no samples: penalty 0 repeats the generator."""
    population = power_law(20, 1.2, 0.0)
    generator = Stage("g", (Source(REAL, REAL, 20, 0.0),), 3.0)
    for real in (0.0, 3.0):
        labels = REAL if real == 0 else "g"
        sources = (Source("r", labels, real, 0.0), Source("g", "g", 20.0 - real, 0.0))
        found = predict(population, TrainingMix((generator, Stage("f", sources, OPTIMAL)))).regularization
        handed = predict(population, TrainingMix((generator,))).test_error.total
        assert found.recommended.penalty == 0
        assert found.recommended.total == pytest.approx(handed, rel=1e-13)


def test_predicting_zero_is_best_where_every_fit_is_worse() -> None:
    """Also where the error at the largest penalties that are usually tried is above that without any."""

    def error(penalty: float) -> float:
        return 2.0 if penalty < 1e-6 else 1.0 + 5.0 / (1.0 + penalty * 1e-12)

    assert minimize_penalty(error, 1.0, 1.0) == Best(math.inf, 1.0)
