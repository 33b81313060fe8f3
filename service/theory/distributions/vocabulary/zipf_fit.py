"""The exponent of a Zipf law, fitted to the counts of a text."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.optimize import brentq

from service.theory.model import Array

_FEWEST: Final = 10
"""Occurrences that a type needs for its rank to be told from its neighbours'."""
_RANKS: Final = 10
_STEEPEST: Final = 50.0


@dataclass(frozen=True)
class ZipfFit:
    """β of p_r ∝ r^-β on the ranks ``first`` … ``last``; ``standard_error`` if they follow it.

    ``r_squared``: of ln count against ln rank there, each decade alike: how straight the line is.
    """

    exponent: float
    standard_error: float
    r_squared: float
    first: int
    last: int


def fit_zipf(counts: Array, types: Array) -> ZipfFit | str:
    """Maximum likelihood: Σ c_r ln r / N = Σ r^-β ln r / Σ r^-β on the ranks whose types occur at least ten times.

    ``counts``: distinct counts, decreasing, shape (n,); ``types``: how many types have each. The standard error is
    1/√(N Var ln r), Var under the fitted law: that of independent tokens of a Zipf law whose ranks are known.
    Returns why there is none: fewer than ten such types, or all of equal count.
    """
    ranked = np.repeat(np.asarray(counts, dtype=float), np.asarray(types, dtype=np.int64))
    last = int(np.searchsorted(-ranked, -_FEWEST, side="right"))
    if last < _RANKS:
        return f"only {last} types occur at least {_FEWEST} times; a fit needs {_RANKS} of them"
    c, log_rank = ranked[:last], np.log(np.arange(1.0, last + 1))
    if c[0] == c[-1]:
        return "all types that occur often enough occur equally often"
    total = float(c.sum())
    observed = float(c @ log_rank) / total

    def mean(exponent: float) -> float:
        weights = np.exp(-exponent * log_rank)
        return float(weights @ log_rank / weights.sum())

    if mean(_STEEPEST) >= observed:
        return "the first type is all but everything; there is no slope to fit"
    exponent = float(brentq(lambda b: mean(b) - observed, -1.0, _STEEPEST, xtol=1e-12))
    weights = np.exp(-exponent * log_rank)
    weights /= weights.sum()
    variance = float(weights @ log_rank**2) - float(weights @ log_rank) ** 2
    return ZipfFit(exponent, float(1.0 / np.sqrt(total * variance)), _straightness(c, log_rank), 1, last)


def _straightness(counts: Array, log_rank: Array) -> float:
    """R² of ln count on ln rank, every decade of ranks weighing the same."""
    weights = np.exp(-log_rank)
    y = np.log(counts)
    mean_x, mean_y = weights @ log_rank / weights.sum(), weights @ y / weights.sum()
    dx, dy = log_rank - mean_x, y - mean_y
    return float((weights @ (dx * dy)) ** 2 / ((weights @ dx**2) * (weights @ dy**2)))
