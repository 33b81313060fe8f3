"""From the replicates of a simulation to what is reported: means, standard errors, the spread of single runs."""

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

    ``mean``, ``standard_error``, ``skewness`` (of single runs, 0 without spread): shape (stages, len(MEASURED)); the
    error is NaN for a single replicate. ``quantiles``: of the total, shape (len(QUANTILES), stages), linearly
    interpolated. ``heavy``: of every stage, whether a single run makes up a third of the variance of the totals, so
    that the standard error itself cannot be trusted.
    """

    replicates: int
    mean: Array
    standard_error: Array
    skewness: Array
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
        skewness = _skewness(scaled)
        mean, deviation = mean * unit[..., 0], deviation * unit[..., 0]
    return Summary(
        replicates=replicates,
        mean=mean,
        standard_error=deviation / np.sqrt(replicates),
        skewness=skewness,
        quantiles=np.quantile(parts[:, 0], QUANTILES, axis=1),
        heavy=tuple(_heavy(total) for total in parts[:, 0]),
    )


def mean_and_error(values: Array) -> tuple[float | None, float | None]:
    """Of numbers of any size, shape (replicates,): their mean and its standard error.

    Neither exists where one of them is infinite, nor the mean of none, nor the error of one.
    """
    unit = float(np.abs(values).max(initial=0.0))  # squares of 1e-200 and 1e200 are no numbers
    if values.size == 0 or not np.isfinite(unit):
        return None, None
    scaled = values / (unit or 1.0)
    error = unit * float(scaled.std(ddof=1) / np.sqrt(values.size)) if values.size > 1 else None
    return unit * float(scaled.mean()), error


def _skewness(values: Array) -> Array:
    """m_3 / m_2^(3/2) along the last axis; 0 where there is no spread, or no number."""
    centred = values - values.mean(axis=-1, keepdims=True)
    second = np.mean(centred**2, axis=-1)
    known = np.isfinite(second) & (second > 0)
    third = np.mean(centred**3, axis=-1)
    return cast(Array, np.divide(third, second**1.5, out=np.zeros(second.shape), where=known))


def _heavy(totals: Array) -> bool:
    if len(totals) < _HEAVY_REPLICATES or not np.isfinite(totals).all():
        return False
    if totals.max() == 0:
        return False
    totals = totals / totals.max()
    squares = (totals - totals.mean()) ** 2
    return bool(squares.max() > _HEAVY_SHARE * squares.sum())
