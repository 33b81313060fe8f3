"""How many real samples a test error is worth."""

import numpy as np

from service.theory.curves import SamplesCurve
from service.theory.design import Design
from service.theory.model import Population
from service.theory.one_covariance import effective_ridge
from service.theory.penalty import minimize

_INFINITE = float("inf")


def effective_samples(
    population: Population, noise_variance: float, width: float | None, error: float
) -> float:
    """Number of real samples, their labels of this noise, whose optimally regularized fit has this test error.

    0 for errors of at least the null predictor's, infinite where no number is enough (``width``: random features).
    """
    if population.is_null(error) or population.rank == 0:
        return 0.0
    if error == 0:
        return _INFINITE
    curve = SamplesCurve(population, noise_variance, width, error)
    low = 0.0
    if width is not None and width < population.rank:
        low = effective_ridge(population, Design.make([width], [1.0]), 0.0)
    grid = population.grid
    theta = np.array([minimize(grid, curve, low).theta])
    # exact there, for the interpolant of a curve that grows with θ² is right to some 1e-5 only
    rate = -float(curve(grid.sums(theta, features=curve.features))[0][0])
    return 1.0 / rate if rate > 0 else _INFINITE
