"""Spectra and targets, explicit or summed by quadrature where there are too many modes to list."""

from functools import lru_cache

import numpy as np
from scipy.linalg import eigh_tridiagonal
from scipy.special import zeta

from service.theory.model import Array

EXPLICIT_MODES = 2048
_HEAD = 64
_NODES = 12
_RATIO = 3.0
_BEYOND = 1e26  # far more modes than any number of samples that is accepted


def block_rule(first: float, last: float, nodes: int = _NODES) -> tuple[Array, Array]:
    """Nodes and weights with Σ_{i=first..last} f(i) = Σ_j weight_j f(node_j) for polynomials f of degree < 2 nodes.

    The Gauss rule of the uniform measure on the integers (discrete Chebyshev polynomials), by Golub and Welsch (1969).
    """
    count = last - first + 1
    x, weights = _about_zero(count, int(min(nodes, count)))
    return (first + last) / 2.0 + x, weights


@lru_cache(maxsize=1024)
def _about_zero(count: float, nodes: int) -> tuple[Array, Array]:
    """The rule for so many integers around zero; the arrays are shared, and cannot be written to."""
    k = np.arange(1.0, nodes)
    off = np.sqrt(k**2 * (1.0 - (k / count) ** 2) / (4.0 * (4.0 * k**2 - 1.0))) * count
    x, vectors = eigh_tridiagonal(np.zeros(nodes), off)
    weights: Array = count * vectors[0] ** 2
    weights.setflags(write=False)
    return x, weights


def ranks(dimension: int | None) -> tuple[Array, Array]:
    """Ranks i and multiplicities that stand for i = 1 … dimension (None: all, to 1e26) in sums of power laws of i.

    Every rank up to EXPLICIT_MODES modes; else the first 64 and then, on blocks three times as long as the last, 12
    Gauss nodes. Sums of f(i^-β), f rational, are then exact to about 1e-10.
    """
    if dimension is not None and dimension <= EXPLICIT_MODES:
        return np.arange(1.0, dimension + 1), np.ones(dimension)
    end = _BEYOND if dimension is None else float(dimension)
    x, w = [np.arange(1.0, _HEAD + 1)], [np.ones(_HEAD)]
    last = float(_HEAD)
    while last < end:
        first = last + 1.0
        last = min(np.floor(first * _RATIO), end)
        node, weight = block_rule(first, last)
        x.append(node)
        w.append(weight)
    return np.concatenate(x), np.concatenate(w)


def power_law(dimension: int | None, exponent: float, scale: float) -> tuple[Array, Array, Array]:
    """Ranks, eigenvalues scale × i^-exponent, multiplicities; beyond 1e26 is one last level of equal trace."""
    x, w = ranks(dimension)
    if dimension is None:
        # Σ_{i >= q} (q/i)^β = q/(β - 1) + 1/2 + …, and q is 1e26
        x, w = np.append(x, _BEYOND), np.append(w, _BEYOND / (exponent - 1.0))
    return x, scale * x**-exponent, w


def source_target(
    rank: Array, multiplicities: Array, capacity: float, source: float, scale: float, *, endless: bool
) -> Array:
    """E w_i² with w_i² i^-β = scale × i^(-1-2βr); the last level of an endless spectrum holds the whole tail."""
    power = scale * rank ** (capacity - 1.0 - 2.0 * capacity * source)
    if endless:
        tail = float(zeta(1.0 + 2.0 * capacity * source, rank[-1]))
        power[-1] = scale * tail / (multiplicities[-1] * rank[-1] ** -capacity)
    return np.asarray(power)
