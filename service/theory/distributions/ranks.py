"""Sums over ranks 1 … V or 1 … ∞ of functions that are smooth in ln i: a few hundred nodes instead of every rank."""

from functools import lru_cache
from typing import Final

import numpy as np

from service.theory.model import Array
from service.theory.spectra import block_rule

_HEAD: Final = 128  # ranks that are listed one by one
_SINGLE: Final = 32  # the same beyond a break and before the end
_RATIO: Final = 1.7  # of the last rank of a block to its first, at most
_FALL: Final = 3.0  # of the steepest i^-exponent within a block, at most
_RESOLVED: Final = 1e-14  # of the last rank, which are the shortest blocks
_NODES: Final = 12
_UNIFORM: Final = 10**9  # ranks in a block from which the sum is an integral to rounding


@lru_cache(maxsize=256)
def rank_rule(
    end: float, breaks: tuple[float, ...] = (), steepness: float = 1.0, *, closed: bool = True
) -> tuple[Array, Array]:
    """Ranks x and weights w with Σ_{i=1..end} f(i) = Σ_j w_j f(x_j), relative error about 1e-12.

    f is smooth in ln i but after the ``breaks``, where no block reaches across, and depends on i through powers
    down to i^-``steepness``: functions like e^(-T i^-β) change over a block as i^-β does. The first 128 ranks one
    by one, then Gauss rules of 12 nodes on blocks of ranks (``block_rule``) over which i^-steepness falls by 3 or i
    rises by 1.7. ``closed``: f may be concentrated at the end (a law of finitely many items, all but the last ones
    seen), so blocks shorten towards it; an endless law has no such end. The arrays are shared: do not write to
    them.
    """
    ratio = min(_RATIO, _FALL ** (1.0 / max(steepness, 1.0)))
    edges = sorted({b for b in breaks if 0 < b < end} | {end})
    parts, first = [], 1.0
    for edge in edges:
        parts += _blocks(first, edge, ratio, closed=closed and edge == end)
        first = edge + 1.0
    return np.concatenate([x for x, _ in parts]), np.concatenate([w for _, w in parts])


def _blocks(first: float, end: float, ratio: float, *, closed: bool) -> list[tuple[Array, Array]]:
    stop = min(end, max(float(_HEAD), first + _SINGLE))
    parts = [_listed(first, stop)]
    while stop < end:
        start = stop + 1.0
        stop = min(np.floor(start * ratio), end)
        if closed and stop == end:
            return parts + _shortening(start, end)
        parts.append(_rule(start, stop))
    return parts


def _shortening(first: float, end: float) -> list[tuple[Array, Array]]:
    """Blocks of half of what is left, then the last ranks one by one."""
    parts = []
    # beyond 1e16 single ranks are no numbers any more
    while end - first > max(_SINGLE, _RESOLVED * end):
        middle = np.floor((first + end) / 2.0)
        parts.append(_rule(first, middle))
        first = middle + 1.0
    return [*parts, _listed(first, end) if end - first <= _SINGLE else _rule(first, end)]


def _listed(first: float, last: float) -> tuple[Array, Array]:
    ranks = np.arange(first, last + 1.0)
    return ranks, np.ones_like(ranks)


def _rule(first: float, last: float) -> tuple[Array, Array]:
    count = last - first + 1.0
    if count < _UNIFORM:
        return block_rule(first, last, _NODES)
    x, w = _legendre()
    # the integers first … last as unit cells around them
    return (first + last) / 2.0 + x * count / 2.0, w * count / 2.0


@lru_cache(maxsize=1)
def _legendre() -> tuple[Array, Array]:
    x, w = np.polynomial.legendre.leggauss(_NODES)
    return x, w
