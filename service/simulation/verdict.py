"""Whether theory and simulation agree, many comparisons accounted for, and why they may not."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import isfinite
from typing import Final

import numpy as np
from scipy.stats import t as student_t

from service.theory.model import Array

LEVEL: Final = 0.01
"""Chance of at least one false alarm among all comparisons of a simulation, where theory is exact."""

LEAST_REPLICATES: Final = 8
"""With fewer replicates no verdict is given."""

_ROUNDING: Final = 1e-9
# The stated relative error is a typical one: differences of up to so many of it are of its kind.
_TYPICAL: Final = 4.0
_LARGE: Final = 32.0  # of everything: below it an asymptotic theory may be off by much
_NEARLY_NORMAL: Final = 12.0  # degrees of freedom from which Student's t has an excess kurtosis below 3/4


class Cause(StrEnum):
    """What a disagreement is likely due to; the values are stable."""

    SMALL_N = "small_n"
    HEAVY_TAILS = "heavy_tails"
    FINITE_POPULATION = "finite_population"
    NOT_GAUSSIAN = "not_gaussian"
    UNEXPLAINED = "unexplained"

    @property
    def sentence(self) -> str:
        """For people."""
        return _SENTENCES[self]


_SENTENCES: Final = {
    Cause.SMALL_N: (
        "The theory is asymptotic in samples, features and random features: for so few of them it is expected to be "
        "off by this much. Trust the simulation; the difference falls as 1/N."
    ),
    Cause.HEAVY_TAILS: (
        "Heavy tails: the features' or the errors' distribution has rare large values, which the theory for "
        "Gaussian features leaves out, and which make the standard error of the mean unreliable."
    ),
    Cause.FINITE_POPULATION: (
        "Samples are drawn from a finite number of rows, some of them repeatedly, and rows are not Gaussian: the "
        "theory assumes fresh Gaussian features with the same covariance."
    ),
    Cause.NOT_GAUSSIAN: (
        "The rows are not Gaussian: what a row weighs in a fit and what the fit leaves of its label vary together "
        "otherwise than the theory assumes, which matters for few samples beside the modes that they resolve. Trust "
        "the simulation; the difference falls as samples grow."
    ),
    Cause.UNEXPLAINED: (
        "The difference is larger than sampling and the stated error of the theory explain. Please report it."
    ),
}


@dataclass(frozen=True)
class Comparison:
    """A measured mean beside its prediction.

    ``scale``: the total that it is a part of, for what is rounding; ``skewness``: of the single runs; ``understated``:
    how many times larger than its estimate the standard error is where the prediction is right, see ``understated``.
    """

    mean: float
    standard_error: float
    predicted: float
    scale: float
    skewness: float = 0.0
    understated: float = 1.0

    @property
    def difference(self) -> float:
        """Measured minus predicted; 0 where that is rounding."""
        difference = self.mean - self.predicted
        return 0.0 if abs(difference) <= _ROUNDING * self.scale else difference

    @property
    def z_score(self) -> float:
        """The difference in standard errors; infinite where there is a difference and no spread at all."""
        if self.difference == 0:
            return 0.0
        if self.standard_error <= 0:
            return float(np.copysign(np.inf, self.difference))
        return self.difference / self.standard_error


@dataclass(frozen=True)
class Conditions:
    """What is known about why a prediction might be off.

    ``expected_relative_error``: the theory's own statement; ``degrees_of_freedom``: of Student-t features;
    ``finite_population``: samples are rows of a data set; ``leverage``, ``repeats``: the relative errors expected of
    that, see ``leverage.RowsError``; ``heavy``: single runs dominate the spread of the totals;
    ``size``: the least number of samples, features or random features that any fit so far has.
    """

    expected_relative_error: float
    degrees_of_freedom: float | None = None
    finite_population: bool = False
    leverage: float = 0.0
    repeats: float = 0.0
    heavy: bool = False
    size: float = float("inf")


def p_values(z_scores: Array, skewness: Array, replicates: int) -> Array:
    """Two-sided, by Student's t of replicates − 1 degrees of freedom: of z, or of what ``unskewed`` makes of it.

    The larger of both: the skewness is estimated from few replicates itself and must not make a disagreement.
    """
    least = np.minimum(np.abs(z_scores), np.abs(unskewed(z_scores, skewness, replicates)))
    return 2.0 * np.asarray(student_t.sf(least, replicates - 1), dtype=float)


def understated(mean: float, predicted: float) -> float:
    """How many times its estimate the standard error of a mean of non-negative numbers is, if the prediction is right.

    Test errors of few samples are skewed to the right: where luck makes their mean small it makes their spread small
    too. Their spread is taken to go with their mean: predicted/mean, where that is above 1. Without this p-values below
    1e-4 came 18 times too often for 8 exponential runs, 230 times for those of a gamma law of shape 1/4; with it they
    come less often than that for either, for log-normal runs of σ = 1, and from 8 to 64 of them.
    """
    ratio = predicted / mean if mean > 0 else 1.0
    return max(ratio, 1.0) if isfinite(ratio) else 1.0


def unskewed(z_scores: Array, skewness: Array, replicates: int) -> Array:
    """Hall's transformation of the t statistic z = √n S: √n (S + g S²/3 + g² S³/27 + g/(6 n)), g the skewness.

    Its distribution is symmetric to order 1/√n; increasing in z (P. Hall, J. R. Statist. Soc. B 54, 221, 1992).
    """
    root = np.sqrt(replicates)
    S = z_scores / root
    with np.errstate(invalid="ignore", over="ignore"):  # infinite z: no spread, hence no skewness
        found = root * (S + skewness * S**2 / 3 + skewness**2 * S**3 / 27) + skewness / (6 * root)
    return np.where(np.isfinite(found), found, z_scores)


def holm(p: Array) -> Array:
    """Adjusted p-values (Holm 1979): max over the smaller ones of (m − k) p_(k), k = 0, 1, …, at most 1.

    Rejecting those up to a level keeps the chance of any false rejection below it, however the comparisons depend on
    each other.
    """
    order = np.argsort(p)
    stepped = np.maximum.accumulate(p[order] * (len(p) - np.arange(len(p))))
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(stepped, 1.0)
    return adjusted


def adjusted_p_values(comparisons: Sequence[Comparison], replicates: int) -> Array:
    """Of all comparisons of a simulation together; equal ones (a fit that grid points share) count once."""
    distinct = {c: index for index, c in enumerate(dict.fromkeys(comparisons))}
    if not distinct:
        return np.empty(0)
    adjusted = holm(alone(list(distinct), replicates))
    return np.array([adjusted[distinct[c]] for c in comparisons])


def alone(comparisons: Sequence[Comparison], replicates: int) -> Array:
    """The p-value of every comparison as if it were the only one."""
    scores = np.array([c.z_score / c.understated for c in comparisons])
    return p_values(scores, np.array([c.skewness for c in comparisons]), replicates)


def detectable_difference(standard_error: float, comparisons: int, replicates: int) -> float:
    """The least difference that could have been seen at all: critical value at LEVEL/m, times the standard error."""
    return float(student_t.isf(LEVEL / (2 * comparisons), replicates - 1)) * standard_error


def causes(comparison: Comparison, conditions: Conditions) -> tuple[Cause, ...]:
    """Likely causes of a disagreement, the likeliest first; never empty."""
    found = []
    if conditions.finite_population:
        of_rows = {Cause.NOT_GAUSSIAN: conditions.leverage, Cause.FINITE_POPULATION: conditions.repeats}
        # both are named where they are alike: neither is known better than to a factor of a few
        largest = max(of_rows.values())
        found += [
            c
            for c in sorted(of_rows, key=of_rows.__getitem__, reverse=True)
            if _TYPICAL * of_rows[c] >= largest
        ]
    heavy_features = (
        conditions.degrees_of_freedom is not None and conditions.degrees_of_freedom < _NEARLY_NORMAL
    )
    if heavy_features or conditions.heavy:
        found.append(Cause.HEAVY_TAILS)
    reach = _TYPICAL * conditions.expected_relative_error * max(comparison.scale, abs(comparison.predicted))
    typical = isfinite(comparison.difference) and abs(comparison.difference) <= reach
    if typical or conditions.size < _LARGE:
        found.append(Cause.SMALL_N)
    return tuple(found) or (Cause.UNEXPLAINED,)
