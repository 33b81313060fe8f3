"""Power laws by quadrature against the full sums, and against zeta functions where there are infinitely many modes."""

import math

import numpy as np
import pytest
from scipy.special import zeta

from service.theory import spectra
from service.theory.design import Design
from service.theory.model import Population
from service.theory.one_covariance import OneCovariance
from service.theory.prediction import predict
from tests.theory.problems import recursive


def population(dimension: int | None, beta: float, r: float) -> Population:
    rank, sigma, weight = spectra.power_law(dimension, beta, 1.0)
    power = spectra.source_target(rank, weight, beta, r, 1.0, endless=dimension is None)
    return Population(sigma, weight, power, 0.1)


def full(dimension: int, beta: float, r: float) -> Population:
    rank = np.arange(1.0, dimension + 1)
    return Population(rank**-beta, np.ones(dimension), rank ** (beta - 1 - 2 * beta * r), 0.1)


@pytest.mark.parametrize("beta", [0.5, 1.1, 1.5, 2.5, 4.0])
@pytest.mark.parametrize("dimension", [5_000, 1_000_000])
@pytest.mark.parametrize("penalty", [1e-8, 1e-3])
def test_quadrature_is_the_sum(beta: float, dimension: int, penalty: float) -> None:
    mix = recursive(2, 3000, 1000, penalty, noise0=0.2, noise=0.1, penalty0=penalty)
    nodes, modes = population(dimension, beta, 0.4), full(dimension, beta, 0.4)
    assert nodes.eigenvalues.size < 400
    a, b = predict(nodes, mix), predict(modes, mix)
    assert math.isclose(a.test_error.total, b.test_error.total, rel_tol=1e-8)
    assert math.isclose(a.test_error.bias, b.test_error.bias, rel_tol=1e-8)
    assert math.isclose(a.regularization.recommended.total, b.regularization.recommended.total, rel_tol=1e-6)


@pytest.mark.parametrize("beta", [1.05, 1.5, 3.0])
def test_infinitely_many_modes(beta: float) -> None:
    endless = population(None, beta, 0.3)
    assert math.isclose(endless.trace, float(zeta(beta)), rel_tol=1e-9)
    assert math.isclose(endless.signal, float(zeta(1 + 2 * beta * 0.3)), rel_tol=1e-9)
    mix = recursive(1, 400, 300, 1e-2, noise0=0.2, noise=0.1, penalty0=1e-2)
    ends = [predict(population(d, beta, 0.3), mix).test_error.total for d in (10**7, 10**9)]
    limit = predict(endless, mix).test_error.total
    assert abs(limit - ends[1]) < abs(limit - ends[0])


def test_block_rule_sums_polynomials_over_integers() -> None:
    nodes, weights = spectra.block_rule(65.0, 192.0, 6)
    integers = np.arange(65.0, 193.0)
    for degree in range(12):
        assert math.isclose(float(weights @ nodes**degree), float((integers**degree).sum()), rel_tol=1e-11)


def test_the_effective_ridge_of_endless_modes() -> None:
    """σ_i = i^-4, θ = x^-4, z = √2 πx: df1 = Σ x⁴/(i⁴ + x⁴) = πx/(2√2) (sinh z + sin z)/(cosh z − cos z) − 1/2,
    df2 = df1 − (x/4) d df1/dx."""

    def df1(x: complex) -> complex:
        z = math.sqrt(2) * math.pi * x
        return math.pi * x / (2 * math.sqrt(2)) * (np.sinh(z) + np.sin(z)) / (np.cosh(z) - np.cos(z)) - 0.5

    rank, sigma, weight = spectra.power_law(None, 4.0, 1.0)
    endless = Population(sigma, weight, 0.0 * rank, 0.1)
    for x in np.geomspace(2.0, 40.0, 25):
        first = df1(x).real
        second = first - x / 4 * df1(complex(x, 1e-30)).imag / 1e-30
        samples = math.ceil(1.3 * first)
        penalty = x**-4.0 * (1 - first / samples)
        found = OneCovariance.solve(endless, Design.make([samples], [1.0]), penalty)
        assert isinstance(found, OneCovariance)
        assert math.isclose(found.theta, x**-4.0, rel_tol=1e-10)
        assert math.isclose(found.df2, second, rel_tol=1e-10)
