"""The finite-size correction with covariance matrices: the diagonal one, 50 digits, exact laws, simulation."""

import dataclasses
import math
from collections.abc import Sequence
from itertools import product

import mpmath
import numpy as np
import pytest

from service.theory.chain import Chain, label_indices
from service.theory.finite_size import Contributions
from service.theory.finite_size import contributions as of_modes
from service.theory.matrices.finite_size import contributions
from service.theory.matrices.response import StageSolver
from service.theory.model import REAL, Array, Population, Shift, Source, Stage, TrainingMix
from service.theory.prediction import predict
from service.theory.stages import solve_all
from tests.theory.test_matrices import D, covariance, network, population, simulated


def found(one: Population, mix: TrainingMix) -> Contributions:
    responses = [StageSolver(one, stage).at(float(stage.penalty)) for stage in mix.stages]
    return contributions(one, mix.stages, responses)


def same(a: Sequence[Array], b: Sequence[Array]) -> None:
    for one, other in zip(a, b, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-16)


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize(("w0", "w1"), [(None, None), (15.0, None), (40.0, 12.0)])
def test_diagonal_matrices_are_the_diagonal_correction(
    w0: float | None, w1: float | None, signed: bool
) -> None:
    one = population() if signed else dataclasses.replace(population(), target=None)
    own = np.linspace(1.0, 0.1, D)
    modes, matrices = network(own, w0, w1), network(np.diag(own), w0, w1)
    responses = solve_all(one, modes.stages)
    [expected] = of_modes(Chain(one, modes.stages, responses, label_indices(modes.stages)), [responses[-1]])
    given = found(one, matrices)
    same([expected.truth, *expected.noise, *expected.shift], [given.truth, *given.noise, *given.shift])


def half_log_determinant(
    covariances: Sequence[mpmath.matrix],
    samples: Sequence[int],
    weights: Sequence[float],
    ridge: mpmath.matrix,
) -> mpmath.mpf:
    """½ ln det M at the saddle point of E ln det(Σ_s ω_s X_s'X_s/N + ridge), the fixed point by plain iteration."""
    N, size = sum(samples), ridge.rows
    g = [mpmath.mpf(1)] * len(samples)

    def trace(A: mpmath.matrix) -> mpmath.mpf:
        return sum(A[i, i] for i in range(size))

    while True:
        a = [mpmath.mpf(T) / N * w / (1 + w * x) for T, w, x in zip(samples, weights, g, strict=True)]
        Q = (ridge + sum((x * C for x, C in zip(a, covariances, strict=True)), mpmath.zeros(size))) ** -1
        products = [Q * C for C in covariances]
        before, g = g, [trace(product) / N for product in products]
        if max(abs(x - y) for x, y in zip(g, before, strict=True)) < mpmath.mpf(10) ** -58:
            break
    M = mpmath.matrix(len(samples))
    for s, T in enumerate(samples):
        for t in range(len(samples)):
            M[s, t] = (T if s == t else 0) - a[s] * a[t] * trace(products[s] * products[t])
    return mpmath.log(mpmath.det(M)) / 2


def test_fifty_digits_with_the_labels_as_a_coordinate() -> None:
    """The definition itself: labels as one more coordinate with ridge ν, differentiated by 1/ν and by the probe."""
    d, samples, weights, penalty = 3, [7, 5], [1.0, 0.6], 0.05
    rng = np.random.default_rng(3)
    root = rng.normal(size=(d, d + 1))
    probe = np.array([1.0, 0.5, 0.2])
    C, w, noise = [np.diag(probe), root @ root.T / d], rng.normal(size=d), [0.3, 0.2]
    power = np.array([0.3, 0.6, 0.1])

    def value(step: mpmath.mpf, shift: Array, *, moved: bool, labelled: bool) -> mpmath.mpf:
        """Errors of the labels: 0 and the shift for the sources, −w for the ridge (the model is w plus its error)."""
        size, covariances = d + labelled, []
        for one, error, variance in zip(C, [np.zeros(d), shift], noise, strict=True):
            full = mpmath.zeros(size)
            full[:d, :d] = mpmath.matrix(one.tolist())
            if labelled:
                for i in range(d):
                    full[i, d] = full[d, i] = mpmath.fdot(one[i].tolist(), error.tolist())
                full[d, d] = mpmath.fdot(error.tolist(), [full[i, d] for i in range(d)]) + variance
            covariances.append(full)
        ridge = mpmath.zeros(size)
        for i in range(d):
            ridge[i, i] = penalty + (step * probe[i] if moved else 0)
            if labelled:
                ridge[i, d] = ridge[d, i] = -mpmath.mpf(penalty) * w[i]
        if labelled:
            ridge[d, d] = penalty * mpmath.fdot(w.tolist(), w.tolist()) + 1 / step
        return half_log_determinant(covariances, samples, weights, ridge)

    with mpmath.workdps(70):
        step, total = mpmath.mpf(10) ** -18, mpmath.mpf(0)
        plain = value(step, w, moved=False, labelled=False) - value(step, w, moved=True, labelled=False)
        shifts = [np.sqrt(power) * signs for signs in product([-1.0, 1.0], repeat=d)]
        for shift in shifts:
            both = value(step, shift, moved=True, labelled=True)
            total += both - value(step, shift, moved=False, labelled=True) + plain
        expected = float(total / step**2 / len(shifts))
    one = Population(probe, np.ones(d), w**2, 0.3, w)
    sources = (
        Source(REAL, REAL, samples[0], noise[0]),
        Source("s", Shift(power), samples[1], noise[1], weights[1], None, C[1]),
    )
    given = found(one, TrainingMix((Stage("f", sources, penalty),)))
    correction = given.truth[0, 1] + given.shift[0][1].sum() + given.noise[0][1] @ noise
    assert math.isclose(correction, expected, rel_tol=1e-11)


def test_least_squares_are_exact() -> None:
    """Without penalty one source of any covariance C: σ² tr(Σ C^-1)/(T − d − 1), at every size."""
    one, C, T = population(), covariance(4), 40.0
    mix = TrainingMix((Stage("f", (Source("r", REAL, T, 0.4, 1.0, None, C),), 0.0),))
    answer = predict(one, mix, order=1)
    expected = 0.4 * float(one.eigenvalues @ np.linalg.inv(C).diagonal()) / (T - D - 1)
    assert answer.order == 1
    assert math.isclose(answer.test_error.total, expected, rel_tol=1e-9)


def test_against_simulation() -> None:
    """Three stages of few samples, matrices that do not commute; order 0 is many standard errors off for some."""
    z = []
    for seed in range(4):
        one, mix = population(seed), network(covariance(seed + 10), penalty=0.02)
        mean, error = simulated(one, mix, 4000, seed)
        asymptotic, corrected = predict(one, mix), predict(one, mix, order=1)
        assert corrected.order == 1
        left = corrected.expected_relative_error * corrected.test_error.total
        assert left < 0.2 * error
        z.append([(p.test_error.total - mean) / error for p in (asymptotic, corrected)])
    far, near = np.abs(z).T
    assert near.max() < 3.0
    assert (near**2).sum() < 14.9  # chi-squared of 4 degrees of freedom: one in 200
    assert (far**2).sum() > 18.5  # one in a thousand


def test_the_parts_add_up() -> None:
    """To order 1 as well; the clean baseline is that of a mix without matrices."""
    one, mix = population(), network(covariance(1), w0=20.0)
    whole = predict(one, mix, order=1)
    assert whole.order == 1
    error = whole.test_error
    assert math.isclose(error.total, error.bias + error.variance + error.generation, rel_tol=1e-12)
    parts = error.parts
    together = parts.label_noise + parts.distortion + parts.shift + parts.noise_mismatch
    assert math.isclose(error.generation, together, rel_tol=1e-9)
    clean = TrainingMix((Stage("c", (Source(REAL, REAL, 120, 0.3),), 0.01),))
    alone = predict(one, clean, order=1).test_error
    assert math.isclose(whole.clean.bias, alone.bias, rel_tol=1e-12)
    assert math.isclose(whole.clean.variance, alone.variance, rel_tol=1e-12)
