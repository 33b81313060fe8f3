"""Power laws by quadrature against the full sums, and against zeta functions where there are infinitely many modes."""

import math

import numpy as np
import pytest
from scipy.special import zeta

from service.theory import spectra
from service.theory.model import Population
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
