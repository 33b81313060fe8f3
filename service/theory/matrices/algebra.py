"""Second moments and covariances as they come: zero (None), diagonal (a vector) or full (a matrix)."""

import numpy as np

from service.theory.model import Array

Moment = Array | None


def dense(moment: Moment, size: int) -> Array:
    """As a matrix, shape (size, size)."""
    if moment is None:
        return np.zeros((size, size))
    return np.diag(moment) if moment.ndim == 1 else moment


def times(left: Array, moment: Moment) -> Moment:
    """left @ moment for a full ``left``; None where the moment is zero."""
    if moment is None:
        return None
    return left * moment if moment.ndim == 1 else left @ moment


def between(left: Array, moment: Moment, right: Array | None) -> Moment:
    """left @ moment @ right, each diagonal or full; no ``right``: left @ moment."""
    found = moment
    if found is not None:
        found = _product(left, found)
        if right is not None:
            found = _product(found, right)
    return found


def _product(left: Array, right: Array) -> Array:
    if left.ndim == 1:
        return left * right if right.ndim == 1 else left[:, None] * right
    return left * right if right.ndim == 1 else left @ right


def added(total: Moment, moment: Moment, factor: float = 1.0) -> Moment:
    """total + factor × moment."""
    if moment is None:
        return total
    moment = factor * moment
    if total is None:
        return moment
    if total.ndim != moment.ndim:
        size = total.shape[0]
        return dense(total, size) + dense(moment, size)
    return total + moment


def traced(first: Array, second: Moment) -> float:
    """tr(first @ second) for a symmetric ``first``, diagonal or full."""
    if second is None:
        return 0.0
    if first.ndim == 1:
        return float(first @ (second if second.ndim == 1 else second.diagonal()))
    return float(first.diagonal() @ second) if second.ndim == 1 else float(np.vdot(first, second))
