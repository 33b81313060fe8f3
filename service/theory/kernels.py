"""Feature maps of real data, given by their kernels k(x, y) = φ(x)·φ(y), every parameter a number."""

from dataclasses import asdict, dataclass
from typing import Final, Literal, cast

import numpy as np
from scipy.spatial.distance import cdist

from service.theory.model import Array

MEDIAN_ROWS: Final = 2_000
"""The median heuristic looks at all pairs of at most this many rows (a seeded sample of more)."""


class DegenerateRowsError(ValueError):
    """The rows do not determine a parameter of the feature map."""


@dataclass(frozen=True)
class Linear:
    """The rows themselves: k(x, y) = x·y."""

    kind: Literal["linear"] = "linear"


@dataclass(frozen=True)
class Rbf:
    """Gaussian kernel: k(x, y) = exp(−‖x − y‖² / (2 bandwidth²))."""

    bandwidth: float
    kind: Literal["rbf"] = "rbf"


@dataclass(frozen=True)
class Polynomial:
    """Polynomial kernel of scaled rows: k(x, y) = (x·y / scale² + offset)^degree."""

    degree: int
    offset: float
    scale: float
    kind: Literal["polynomial"] = "polynomial"


FeatureMap = Linear | Rbf | Polynomial


def median_bandwidth(X: Array) -> float:
    """Median distance between two rows drawn independently from ``X``, shape (n, d).

    A row's distance to itself counts (two independent draws may be the same row), which makes the value a
    function of the empirical distribution alone: repeating every row changes nothing. More than
    ``MEDIAN_ROWS`` rows: those of a seeded sample. Raises ``DegenerateRowsError`` where more than half of
    the pairs coincide.
    """
    if len(X) > MEDIAN_ROWS:
        chosen = np.random.default_rng(0).choice(len(X), MEDIAN_ROWS, replace=False, shuffle=False)
        X = X[np.sort(chosen)]
    bandwidth = float(np.median(cdist(X, X)))
    if not bandwidth > 0:
        raise DegenerateRowsError("the median distance between rows is zero: give a bandwidth")
    return bandwidth


def unit_scale(X: Array) -> float:
    """√d times the largest |entry| of ``X``, shape (n, d): then |x·y| ≤ scale² for all rows.

    With it the polynomial kernel is that of scikit-learn's default (gamma = 1/d) on entries scaled to [−1,
    1]. Scales that leave the norms to vary more between rows, such as the root mean squared norm, give
    features of heavier tails, which the theory for Gaussian features describes less well. Raises
    ``DegenerateRowsError`` where every entry is zero.
    """
    scale = float(np.sqrt(X.shape[1]) * np.abs(X).max())
    if not scale > 0:
        raise DegenerateRowsError("every entry of the rows is zero")
    return scale


def rbf(X: Array, bandwidth: float | None = None) -> Rbf:
    """The Gaussian kernel with the given bandwidth, by default the median heuristic's on the rows ``X``."""
    return Rbf(bandwidth=median_bandwidth(X) if bandwidth is None else bandwidth)


def polynomial(X: Array, degree: int, offset: float, scale: float | None = None) -> Polynomial:
    """The polynomial kernel of rows divided by ``scale``, by default their ``unit_scale``."""
    return Polynomial(degree, offset, unit_scale(X) if scale is None else scale)


def gram(feature_map: FeatureMap, X: Array, Y: Array) -> Array:
    """Kernel matrix k(x_i, y_j), shape (len(X), len(Y)), of rows ``X`` and ``Y`` of the same dimension."""
    match feature_map:
        case Linear():
            return X @ Y.T
        case Rbf(bandwidth=h):
            # ‖x − y‖² by one matrix product, about a common centre so that far from the origin no digits
            # cancel; rounding may leave −1e-16 where rows coincide.
            centre = Y.mean(axis=0)
            X, Y = X - centre, Y - centre
            K = X @ Y.T
            K *= -2.0
            K += np.einsum("nd,nd->n", X, X)[:, None]
            K += np.einsum("nd,nd->n", Y, Y)[None, :]
            np.maximum(K, 0.0, out=K)
            K /= -2.0 * h * h
            return cast(Array, np.exp(K, out=K))
        case Polynomial(degree=degree, offset=offset, scale=s):
            K = X @ Y.T
            K /= s * s
            K += offset
            return cast(Array, np.power(K, degree, out=K))


def to_json(feature_map: FeatureMap) -> dict[str, str | int | float]:
    """The feature map as a JSON object with its ``kind`` and resolved parameters."""
    return asdict(feature_map)


def from_json(value: dict[str, str | int | float]) -> FeatureMap:
    """The inverse of ``to_json``; raises ``ValueError`` for an unknown kind."""
    match value:
        case {"kind": "linear"}:
            return Linear()
        case {"kind": "rbf", "bandwidth": bandwidth}:
            return Rbf(bandwidth=float(bandwidth))
        case {"kind": "polynomial", "degree": degree, "offset": offset, "scale": scale}:
            return Polynomial(degree=int(degree), offset=float(offset), scale=float(scale))
        case _:
            raise ValueError(f"not a feature map: {value}")
