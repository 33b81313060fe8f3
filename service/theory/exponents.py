"""Capacity and source exponents, fitted on a measured spectrum: s_i ~ i^-β and s_i (w_0)_i² ~ i^(-1-2βr).

Both are straight lines in log-log, fitted by least squares over blocks of ranks whose edges grow by a factor
(√2 and 2), so that every octave of ranks counts the same. The fit begins at rank ``FIRST_RANK`` (the leading
modes follow no law) and ends at a quarter of the rank (the last modes of n rows are an artefact of n).
"""

import itertools
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from service.theory.model import Array

FIRST_RANK: Final = 10
MIN_BLOCKS: Final = 4


@dataclass(frozen=True)
class PowerLawFit:
    """An exponent, its standard error (scatter about the line), R², and the ranks that were used."""

    value: float
    standard_error: float
    r_squared: float
    first_rank: int
    last_rank: int


def capacity_exponent(eigenvalues: Array) -> PowerLawFit | str:
    """β of falling ``eigenvalues`` s_i ~ i^-β: block means of log s_i against log i; or why there is none."""
    edges = _block_edges(len(eigenvalues), np.sqrt(2.0))
    if edges is None:
        return _too_few(len(eigenvalues))
    rank = np.arange(1, edges[-1])
    log_rank, log_s = np.log(rank), np.log(eigenvalues[: len(rank)])
    blocks = [slice(a - 1, b - 1) for a, b in itertools.pairwise(edges)]
    x = np.array([log_rank[block].mean() for block in blocks])
    z = np.array([log_s[block].mean() for block in blocks])
    slope, error, r_squared = _line(x, z)
    return PowerLawFit(-slope, error, r_squared, int(edges[0]), int(edges[-1] - 1))


def source_exponent(power: Array, capacity: float, resolved: int | None = None) -> PowerLawFit | str:
    """r of the tail Σ_{j >= i} s_j (w_0)_j² ~ i^(-2βr), given β.

    ``power``: s_i (w_0)_i² in the order of falling eigenvalues; only the first ``resolved`` are used. What
    is fitted is the tail's loss per unit of log rank, (tail(a) − tail(b)) / log((b − ½)/(a − ½)) over
    octaves [a, b) of ranks: it falls with the same exponent, and does not depend on the modes that a finite
    number of rows cuts off. Octaves without positive power are left out. The standard error is that of the
    line, β taken as known.
    """
    if not capacity > 0:
        return "the eigenvalues do not fall with rank"
    edges = _block_edges(len(power), 2.0, resolved)
    if edges is None:
        return _too_few(len(power), resolved)
    start, stop = edges[:-1] - 0.5, edges[1:] - 0.5
    loss = np.add.reduceat(power[: edges[-1] - 1], edges[:-1] - 1) / np.log(stop / start)
    positive = loss > 0
    if positive.sum() < MIN_BLOCKS:
        return "the target has no power above the noise in the range of the fit"
    slope, error, r_squared = _line(0.5 * np.log(start * stop)[positive], np.log(loss[positive]))
    scale = 2.0 * capacity
    return PowerLawFit(-slope / scale, error / scale, r_squared, int(edges[0]), int(edges[-1] - 1))


def _block_edges(rank: int, growth: float, limit: int | None = None) -> NDArray[np.int64] | None:
    """Integer edges a_0 < a_1 < …, block k of ranks a_k ≤ i < a_{k+1}; None for fewer than ``MIN_BLOCKS``."""
    last = rank // 4 if limit is None else min(rank // 4, limit)
    count = int(np.floor(np.log((last + 1) / FIRST_RANK) / np.log(growth))) if last >= FIRST_RANK else 0
    if count < MIN_BLOCKS:
        return None
    edges: NDArray[np.int64] = np.rint(FIRST_RANK * growth ** np.arange(count + 1)).astype(np.int64)
    return edges


def _too_few(rank: int, limit: int | None = None) -> str:
    last = rank // 4 if limit is None else min(rank // 4, limit)
    return f"too few modes for a power law: the fit would run from rank {FIRST_RANK} to {last} of {rank}"


def _line(x: Array, z: Array) -> tuple[float, float, float]:
    """Slope of the least-squares line z(x), its standard error, and R² (1 for a horizontal line)."""
    dx, dz = x - x.mean(), z - z.mean()
    slope = float(dx @ dz / (dx @ dx))
    residual = float(np.sum((dz - slope * dx) ** 2))
    total = float(dz @ dz)
    error = np.sqrt(residual / (len(x) - 2) / (dx @ dx))
    return slope, float(error), 1.0 if total == 0 else 1.0 - residual / total
