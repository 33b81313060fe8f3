"""The contour of the integrals of shared_design.py, which says what it is."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.theory.design import Design
from service.theory.errors import NotConverged
from service.theory.model import Population
from service.theory.one_covariance import effective_ridge

Complex = NDArray[np.complex128]

_DIGITS = 26.0  # the trapezoidal rule errs by exp(−26) = 5e-12 of what it sums
_TAIL = 1e11  # the integrands fall as 1/κ² beyond the largest scale: what is left out so far beyond it is its inverse
_HALVINGS = 200
_APART = 1e150  # scales whose squares are numbers
TOO_FAR = (
    "the penalties of generators on one design and the eigenvalues lie too many orders of magnitude apart"
)
_RIGHT = 1.45  # as far as the poles, π/2, nearly


@dataclass(frozen=True, eq=False)
class Contour:
    """Nodes κ = lowest + δ and z(κ) of the upper half of the contour, and factors: shape (nodes,).

    ``lowest``: κ at z = 0. (E f(S))_ii = Re Σ_k factors_k f(−z_k)/(σ_i + κ_k); the lower half is the conjugate one.
    """

    lowest: float
    delta: Complex
    kappa: Complex
    z: Complex
    factors: Complex


@dataclass(frozen=True, eq=False)
class Path:
    """Where a contour goes: see above. ``left``: 1 − df1/T without a penalty; ``reach``: of t."""

    lowest: float
    left: float
    b: float
    tilt: float
    step: float
    reach: float

    @property
    def nodes(self) -> float:
        """How many there will be."""
        return self.reach / self.step


def path_of(population: Population, samples: float, penalties: Sequence[float]) -> Path:
    """Between the effective ridges of no penalty and of half the least of these. Raises NotConverged."""
    sigma, multiplicity = population.eigenvalues, population.multiplicities
    lowest = effective_ridge(population, Design.make([samples], [1.0]), 0.0)
    inverse = np.divide(1.0, sigma + lowest, out=np.zeros_like(sigma), where=sigma + lowest > 0)
    left = max(1.0 - float(multiplicity @ (sigma * inverse)) / samples, 0.0) if lowest == 0 else 0.0
    # any δ whose penalty is about half the least one will do
    goal = min(penalties) / 2.0
    low, high = 0.0, goal + population.trace / samples
    for _ in range(_HALVINGS):
        middle = low**0.5 * high**0.5 if low > 0 else high * 1e-3
        opened = _openness(population, samples, lowest, left, np.array([middle + 0j]))
        if (lowest + middle) * float(opened[0].real) < goal:
            low = middle
        else:
            high = middle
        if low > 0.9 * high:
            break
    b = low / 2.0
    scale = float(sigma.max()) + population.trace / samples + float(sum(penalties))
    if not 0 < scale < _APART * b:
        raise NotConverged(TOO_FAR)
    seen = sigma > 0
    near = sigma[seen] / (sigma[seen] + lowest) * (sigma[seen] / (sigma[seen] + lowest + low))
    crowded = float(multiplicity[seen] @ near)
    left_angle = np.arccos(min(crowded / samples, 1.0) ** 0.5)
    right_angle = min(2.0 / len(penalties) ** 0.5, _RIGHT)
    step = np.pi * (left_angle + right_angle) / _DIGITS
    return Path(lowest, left, b, (left_angle - right_angle) / 2.0, step, np.arcsinh(_TAIL * (scale / b)))


def _openness(population: Population, samples: float, lowest: float, left: float, delta: Complex) -> Complex:
    """1 − df1/T at κ = lowest + δ, without a difference; ``left``: see Path."""
    sigma = population.eigenvalues
    inverse = np.divide(1.0, sigma + lowest, out=np.zeros_like(sigma), where=sigma + lowest > 0)
    weights = population.multiplicities * sigma * inverse / samples
    return np.asarray(left + delta * (weights / (sigma + lowest + delta[:, None])).sum(axis=1))


def contour_along(population: Population, samples: float, path: Path) -> Contour:
    """The nodes along a path, and their factors."""
    sigma, b, step = population.eigenvalues, path.b, path.step
    t = np.arange(0.0, path.reach + step, step) + 1j * path.tilt
    delta = b + 1j * b * np.sinh(t)
    kappa = path.lowest + delta
    opened = _openness(population, samples, path.lowest, path.left, delta)
    slope = 1.0 - ((sigma / (sigma + kappa[:, None])) ** 2 @ population.multiplicities) / samples
    factors = (step * b / np.pi) * np.cosh(t) * slope / opened
    factors[0] /= 2.0
    return Contour(path.lowest, delta, kappa, kappa * opened, factors)
