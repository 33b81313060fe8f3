"""When a simulation that is to reach a precision has reached it.

Looked at after 32 replicates at least, then at the number that the standard error so far asks for. Only replicates
0 <= r < n count, all of them, so that the answer does not depend on who computed what first.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np

from service.theory.model import Array

LEAST: Final = 32
"""Replicates before the first look: a standard error from fewer is too often too small by chance."""
LOOKS: Final = 64
"""Shards, at least, into which a precision's cap is cut: it is looked at after whole shards."""

_GROWTH: Final = (1.25, 4.0)  # from one look to the next, at least and at most
_MARGIN: Final = 1.05


def relative_errors(outcomes: Array, rows: Sequence[int]) -> Array:
    """Standard error by |mean| of the outcomes ``rows`` (all of them, if empty); NaN where it does not exist.

    ``outcomes``: shape (outcomes, replicates). A row that does not vary has none, even if its mean is 0.
    """
    values = outcomes[list(rows)] if rows else outcomes
    count = values.shape[1]
    if count < 2:
        return np.full(len(values), np.nan)
    with np.errstate(all="ignore"):
        errors = values.std(axis=1, ddof=1) / np.sqrt(count)
        relative = np.where(errors == 0, 0.0, errors / np.abs(values.mean(axis=1)))
    return np.asarray(relative)


def first_look(ends: Sequence[int]) -> int:
    """How many shards to compute before the first look; ``ends``: of their replicates, ascending."""
    return _shards(ends, LEAST)


def next_look(ends: Sequence[int], done: int, worst: float, target: float) -> int | None:
    """How many shards to compute before the next look; None where the first ``done`` are enough, or are all.

    ``worst``: the largest relative standard error so far; it falls as one by the root of the replicates.
    """
    if worst <= target or done == len(ends):
        return None
    count = ends[done - 1]
    least, most = (growth * count for growth in _GROWTH)
    needed = _MARGIN * count * (worst / target) ** 2 if np.isfinite(worst) else most
    return max(_shards(ends, min(max(needed, least), most)), done + 1)


def _shards(ends: Sequence[int], replicates: float) -> int:
    """The fewest shards with so many replicates; all where there are not so many."""
    return min(int(np.searchsorted(ends, replicates)) + 1, len(ends))
