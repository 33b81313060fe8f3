"""Founders of a model when every generation brings fresh real samples: where a lineage is a real sample, it ends."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import log
from typing import Any, Final

import numpy as np
from numpy.polynomial import chebyshev

from service.theory.distributions.schedule import Schedule
from service.theory.distributions.vocabulary.founders import Founders
from service.theory.distributions.vocabulary.killed import KilledLineages, Step
from service.theory.distributions.vocabulary.moments import Fresh, Lineages, across, back
from service.theory.model import Array

EXACT_SAMPLES: Final = 300
"""Sample size up to which the founders' law is computed without approximation."""

MOST_WAYS: Final = 1000
"""Models that are asked about × changes of the sizes up to which that is done where sizes change."""

_NODES: Final = 128
_MOSTLY: Final = 0.999
_SMALL_Z: Final = 0.01  # below it, powers z^-EXACT_SAMPLES would overflow


class _Range:
    """ln u from ``low`` to ``high``, u = −ln(1 − p), with Chebyshev's polynomials on it."""

    def __init__(self, low: float, high: float) -> None:
        self._low, self._high = log(low), log(high)
        self._last: tuple[Array, Array, Array] | None = None

    def nodes(self) -> Array:
        """The u of Chebyshev's nodes."""
        place = np.cos(np.pi * (np.arange(_NODES) + 0.5) / _NODES)
        return np.asarray(np.exp(0.5 * (self._low + self._high) + 0.5 * (self._high - self._low) * place))

    def at(self, p: Array) -> tuple[Array, Array]:
        """u, and the polynomials, shape (*p.shape, nodes); those of the last array are remembered."""
        if self._last is not None and self._last[0] is p:
            return self._last[1:]
        with np.errstate(divide="ignore"):
            u = -np.log1p(-np.asarray(p, dtype=float))
            inside = np.clip(np.log(u), self._low, self._high)
        place = (2.0 * inside - self._low - self._high) / (self._high - self._low)
        found = u, np.asarray(chebyshev.chebvander(place, _NODES - 1))
        if np.size(p) > _NODES:
            self._last = p, *found
        return found


@dataclass(frozen=True, eq=False)
class TransformedFounders(Founders):
    """Founders known by E (1 − p)^R itself, as Chebyshev series over a range of p.

    ``log_absent``: of ln(−ln E(1 − p)^R / u), u = −ln(1 − p); ``log_present``: of ln((1 − E (1 − p)^R) / p).
    """

    range: _Range | None = None
    log_absent: Array | None = None
    log_present: Array | None = None

    def absent(self, p: Array) -> Array:
        """E (1 − p)^R."""
        assert self.range is not None
        assert self.log_absent is not None
        u, polynomials = self.range.at(p)
        with np.errstate(invalid="ignore"):
            value: Array = np.exp(-u * np.exp(polynomials @ self.log_absent))
        return np.where(np.isinf(u), 0.0, value)

    def present(self, p: Array) -> Array:
        """1 − E (1 − p)^R."""
        return self.fates(p)[1]

    def fates(self, p: Array) -> tuple[Array, Array]:
        """``absent`` and ``present``."""
        assert self.range is not None
        assert self.log_present is not None
        _, polynomials = self.range.at(p)
        rare: Array = np.asarray(p) * np.exp(polynomials @ self.log_present)
        absent = self.absent(p)
        # Each series where it has no digits to lose.
        return absent, np.where(absent > _MOSTLY, rare, 1.0 - absent)


def by_model(samples: int, fresh: Fresh, models: Iterable[int]) -> Iterator[Founders]:
    """Founders of the models n (increasing, from 1): model 1 all real, every later one with fresh real samples.

    Exact up to EXACT_SAMPLES samples; beyond, R is taken as normal with its two moments. The error of P(gone) was
    measured against the exact law at 150 samples: at most 0.3 / (E R)², that is 3e-3 at 10 founders, 6e-5 at 30.
    """
    if samples <= EXACT_SAMPLES:
        yield from _exact(samples, fresh, models)
        return
    state, at = Lineages(float(samples)), 1
    for model in models:
        state, _ = back(state, samples, model - at, fresh)
        at = model
        yield Founders(state.founders_mean, state.founders_variance)


def of_schedule(
    schedule: Schedule, shares: tuple[float, ...], models: Iterable[int], *, stratified: bool, largest: int
) -> Iterator[Founders]:
    """Founders of the models n where sizes differ; ``shares``: fresh ones of each run. Exact up to ``largest`` samples.

    Every model has its own way back.
    """
    chains = _Ways(EXACT_SAMPLES) if max(schedule.sizes) <= largest else None
    for model in models:
        counts = schedule.counts(model)
        runs = [
            (size, Fresh(share, stratified), int(count))
            for size, share, count in zip(schedule.sizes, shares, counts, strict=True)
            if count > 0
        ]
        yield _by_moments(runs) if chains is None else chains.back(runs)


def largest_exact(models: int, runs: int) -> int:
    """Sample size up to which the law is exact where sizes change and so many models are asked about."""
    return EXACT_SAMPLES if models * (runs + 10) <= MOST_WAYS else 0


def _by_moments(runs: Sequence[tuple[int, Fresh, int]]) -> Founders:
    state = Lineages(float(runs[-1][0]))
    for i, (size, fresh, count) in reversed(list(enumerate(runs))):
        state, _ = back(state, size, count - 1, fresh)
        if i > 0:  # the oldest of this size, whose parents are a sample of another size
            state = across(state, float(size), float(runs[i - 1][0]), fresh)
    return Founders(state.founders_mean, state.founders_variance)


class _Ways:
    """Exact ways back through changing sizes up to ``samples``, whose generations are prepared once."""

    def __init__(self, samples: int) -> None:
        self._range = _Range(1e-5 / samples, -log(_SMALL_Z))
        self._steps = dict[tuple[int, Fresh, int], Step]()

    def back(self, runs: Sequence[tuple[int, Fresh, int]]) -> Founders:
        """By E [z^R; k lineages left] for many z at once; R: those that ended in a fresh sample."""
        chain = KilledLineages(runs[-1][0], self._range.nodes())
        for i, (size, fresh, count) in reversed(list(enumerate(runs))):
            chain.back(self._step(size, fresh, size), count - 1)
            if i > 0:
                chain.back(self._step(size, fresh, runs[i - 1][0]), 1)
        return _transformed(chain, self._range)

    def _step(self, *of: Any) -> Step:
        if of not in self._steps:
            self._steps[of] = Step(*of)
        return self._steps[of]


def _exact(samples: int, fresh: Fresh, models: Iterable[int]) -> Iterator[Founders]:
    """Where sizes are equal one way back has them all."""
    over = _Range(1e-5 / samples, -log(_SMALL_Z))
    chain, step, at = KilledLineages(samples, over.nodes()), Step(samples, fresh, samples), 1
    for model in models:
        chain.back(step, model - at)
        at = model
        yield _transformed(chain, over)


def _transformed(chain: KilledLineages, over: _Range) -> TransformedFounders:
    mean, variance, log_absent, present = chain.ended()
    u = over.nodes()
    return TransformedFounders(
        mean,
        variance,
        range=over,
        log_absent=_series(np.log(-log_absent / u)),
        log_present=_series(np.log(present / -np.expm1(-u))),
    )


def _series(values: Array) -> Array:
    """The Chebyshev coefficients of the polynomial through the values at Chebyshev's nodes."""
    return np.asarray(_transform(values.size) @ values)


@lru_cache(maxsize=1)
def _transform(count: int) -> Array:
    """From values at Chebyshev's nodes to coefficients."""
    angles = np.pi * (np.arange(count) + 0.5) / count
    matrix: Array = 2.0 / count * np.cos(np.outer(np.arange(count), angles))
    matrix[0] /= 2.0
    return matrix
