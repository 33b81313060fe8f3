"""How features are drawn: independent in the eigenbasis, of mean 0 and variance 1 before they are scaled."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from service.theory.model import Array

LEAST_DEGREES_OF_FREEDOM: Final = 2.0
"""Student's t has a variance only above this."""


@dataclass(frozen=True)
class Gaussian:
    """Normal features: what the theory assumes."""

    kind: Literal["gaussian"] = "gaussian"


@dataclass(frozen=True)
class Rademacher:
    """Features +1 or −1, each with probability 1/2."""

    kind: Literal["rademacher"] = "rademacher"


@dataclass(frozen=True)
class Uniform:
    """Features uniform on [−√3, √3]."""

    kind: Literal["uniform"] = "uniform"


@dataclass(frozen=True)
class StudentT:
    """Student's t of ν > 2 degrees of freedom, divided by its standard deviation √(ν/(ν−2)).

    Its fourth moment is infinite for ν ≤ 4: what single large samples do to a fit is then not averaged out.
    """

    degrees_of_freedom: float
    kind: Literal["student_t"] = "student_t"

    def __post_init__(self) -> None:
        if not LEAST_DEGREES_OF_FREEDOM < self.degrees_of_freedom < float("inf"):
            raise ValueError("Student's t has a variance for more than 2 degrees of freedom only")


@dataclass(frozen=True)
class Bartlett:
    """Normal features by their Gram matrix alone: exact in distribution, at a cost that does not grow with samples.

    See ``bartlett_rows``.
    """

    kind: Literal["bartlett"] = "bartlett"


Features = Gaussian | Rademacher | Uniform | StudentT | Bartlett


def draw_rows(features: Features, generator: Generator, out: Array) -> None:
    """Fill ``out``, shape (rows, features), with independent numbers of mean 0 and variance 1."""
    match features:
        case Gaussian():
            generator.standard_normal(out=out)
        case Rademacher():
            bits = np.frombuffer(generator.bytes(-(-out.size // 8)), np.uint8)
            signs = np.unpackbits(bits, count=out.size).reshape(out.shape)
            np.multiply(signs, 2.0, out=out)
            out -= 1.0
        case Uniform():
            generator.random(out=out)
            out -= 0.5
            out *= np.sqrt(12.0)
        case StudentT(degrees_of_freedom=nu):
            out[...] = generator.standard_t(nu, out.shape)
            out *= np.sqrt((nu - 2.0) / nu)


@lru_cache(maxsize=8)
def _below(rows: int, dimension: int) -> NDArray[np.bool_]:
    return np.tri(rows, dimension, dimension - rows - 1, dtype=bool)


def bartlett_rows(generator: Generator, samples: int, dimension: int) -> Array:
    """min(T, d) rows R, shape (min(T, d), d), with RᵀR distributed as ZᵀZ for Z (T, d) of normal numbers.

    Bartlett's decomposition (Proc. R. Soc. Edinburgh 53, 1933), for T < d too: the triangular factor of Z = QR has
    independent entries, normal off its diagonal, R_kk² ~ χ²(T − k + 1). For labels y = Z w + ε with ε ~ N(0, σ²) the
    rows R with labels R w + σ z, z normal, give a fit the same Gram matrix and the same Zᵀy: Qᵀε is normal and
    independent of R. Only the order is turned round (rows and features backwards) so that R is lower triangular: entry
    (i, j) is zero for j > d − min(T, d) + i, and the last one of row i that is not zero has T − min(T, d) + i + 1
    degrees of freedom.
    """
    rows = min(samples, dimension)
    R = np.zeros((rows, dimension))
    below = _below(rows, dimension)
    R[below] = generator.standard_normal(int(np.count_nonzero(below)))
    i = np.arange(rows)
    R[i, dimension - rows + i] = np.sqrt(generator.chisquare(float(samples - rows) + i + 1.0))
    return R
