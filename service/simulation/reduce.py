"""From the replicates of a simulation to what is reported: means, standard errors, the spread of single runs."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, cast

import numpy as np

from service.simulation.plan import PARTS
from service.theory.model import Array

QUANTILES: Final = (0.05, 0.25, 0.5, 0.75, 0.95)
MEASURED: Final = (*PARTS, "generation")
"""What is reported of a stage: total = bias + variance + generation, replicate by replicate."""

_HEAVY_SHARE: Final = 1 / 3
_HEAVY_REPLICATES: Final = 50


@dataclass(frozen=True, eq=False)
class Summary:
    """Of every stage: means and standard errors of ``MEASURED``, spread of single runs.

    ``mean``, ``standard_error``: shape (stages, len(MEASURED)); the error is NaN for a single replicate. ``quantiles``:
    of the total, shape (len(QUANTILES), stages), linearly interpolated. ``heavy``: of every stage, whether a single run
    makes up a third of the variance of the totals, so that the standard error itself cannot be trusted.
    """

    replicates: int
    mean: Array
    standard_error: Array
    quantiles: Array
    heavy: tuple[bool, ...]


def reduce(values: Array) -> Summary:
    """Summarise ``engine.simulate``'s values, shape (stages × len(PARTS), replicates).

    Raises ``ValueError`` without any replicate.
    """
    replicates = values.shape[1]
    if replicates == 0:
        raise ValueError("no replicates to summarise")
    parts = values.reshape(-1, len(PARTS), replicates)
    with np.errstate(invalid="ignore"):  # an infinite error has no generation term
        generation = parts[:, 0] - parts[:, 1] - parts[:, 2]
        measured = np.concatenate([parts, generation[:, None]], axis=1)
        # in units of their largest: squares of errors of 1e-200 and 1e200 are no numbers
        unit = np.abs(measured).max(axis=2, keepdims=True)
        scaled = np.divide(measured, unit, out=np.zeros_like(measured), where=unit != 0)
        mean = cast(Array, scaled.mean(axis=2))
        deviation = scaled.std(axis=2, ddof=1) if replicates > 1 else np.full(mean.shape, np.nan)
        mean, deviation = mean * unit[..., 0], deviation * unit[..., 0]
    return Summary(
        replicates=replicates,
        mean=mean,
        standard_error=deviation / np.sqrt(replicates),
        quantiles=np.quantile(parts[:, 0], QUANTILES, axis=1),
        heavy=tuple(_heavy(total) for total in parts[:, 0]),
    )


def _heavy(totals: Array) -> bool:
    if len(totals) < _HEAVY_REPLICATES or not np.isfinite(totals).all():
        return False
    if totals.max() == 0:
        return False
    totals = totals / totals.max()
    squares = (totals - totals.mean()) ** 2
    return bool(squares.max() > _HEAVY_SHARE * squares.sum())


# --- precision on demand --------------------------------------------------------------------------

LEAST_REPLICATES: Final = 8
"""Fewer do not tell their own standard error."""


def checkpoints(most: int) -> Iterator[int]:
    """Numbers of replicates at which precision is looked at: from ``LEAST_REPLICATES`` by a quarter up to ``most``.

    Few looks, since every look is a chance to stop at an error that is small by luck.
    """
    count = min(LEAST_REPLICATES, most)
    while count < most:
        yield count
        count = min(count + max(count // 4, 1), most)
    yield most


def relative_standard_errors(totals: Array) -> Array:
    """Standard error of each mean by the mean itself, shape (points,), for ``totals`` (points, replicates ≥ 2).

    0 for a total that is always 0; infinite where the mean is not a positive number.
    """
    replicates = totals.shape[1]
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = totals.mean(axis=1)
        relative = totals.std(axis=1, ddof=1) / np.sqrt(replicates) / mean
    return np.where((totals == 0).all(axis=1), 0.0, np.where((mean > 0) & (relative >= 0), relative, np.inf))


def stopping_point(totals: Array, target: float, most: int) -> int | None:
    """The first checkpoint at which every total is known to a relative standard error of ``target``; None: not yet.

    ``totals``: shape (points, replicates), replicates 0, 1, 2, … without a gap. Only the first n of them decide about
    stopping at n, so the answer does not depend on who computed what when; at ``most`` it always stops.
    """
    for count in checkpoints(most):
        if count > totals.shape[1]:
            return None
        if count == most:
            return most
        if count > 1 and np.all(relative_standard_errors(totals[:, :count]) <= target):
            return count
    return None
