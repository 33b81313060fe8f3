"""From test errors of replicates to what is reported."""

from dataclasses import dataclass
from typing import Final, cast

import numpy as np

from service.theory.model import Array

QUANTILES: Final = (0.05, 0.25, 0.5, 0.75, 0.95)


@dataclass(frozen=True, eq=False)
class Summary:
    """Of every point of a grid, shape (points,): mean test error, its standard error, spread of single runs.

    ``standard_error`` is NaN for a single replicate. ``quantiles``: shape (len(QUANTILES), points), linearly
    interpolated.
    """

    replicates: int
    mean: Array
    standard_error: Array
    quantiles: Array


def reduce(errors: Array) -> Summary:
    """Summarise ``errors``, shape (points, replicates); raises ``ValueError`` without any replicate."""
    points, replicates = errors.shape
    if replicates == 0:
        raise ValueError("no replicates to summarise")
    deviation = errors.std(axis=1, ddof=1) if replicates > 1 else np.full(points, np.nan)
    return Summary(
        replicates=replicates,
        mean=cast(Array, errors.mean(axis=1)),
        standard_error=deviation / np.sqrt(replicates),
        quantiles=np.quantile(errors, QUANTILES, axis=1),
    )
