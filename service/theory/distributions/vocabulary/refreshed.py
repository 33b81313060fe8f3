"""Founders of a model when every generation brings fresh real samples: where a lineage is a real sample, it ends."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.polynomial import chebyshev
from scipy.special import gammaln

from service.theory.distributions.schedule import Schedule
from service.theory.distributions.vocabulary.ancestors import occupancy
from service.theory.distributions.vocabulary.founders import Founders
from service.theory.distributions.vocabulary.moments import Fresh, Lineages, across, back
from service.theory.model import Array

EXACT_SAMPLES: Final = 150
"""Sample size up to which the founders' law is computed without approximation, for equal sizes."""

_NODES: Final = 128
_NEGLIGIBLE: Final = 1e-16
_LONGEST: Final = 8000
_FOR_EVER: Final = 10**18
_MOSTLY: Final = 0.999
_SMALL_Z: Final = 0.01  # below it, powers z^-150 would overflow


@dataclass(frozen=True, eq=False)
class TransformedFounders(Founders):
    """Founders known by E (1 − p)^R itself, as a Chebyshev series in ln u, u = −ln(1 − p), between ``low``, ``high``.

    ``log_absent``: of ln(−ln E(1 − p)^R / u); ``log_present``: of ln((1 − E (1 − p)^R) / p).
    """

    low: float = 0.0
    high: float = 0.0
    log_absent: Array | None = None
    log_present: Array | None = None

    def absent(self, p: Array) -> Array:
        """E (1 − p)^R."""
        assert self.log_absent is not None
        u, place = self._placed(p)
        with np.errstate(invalid="ignore"):
            value: Array = np.exp(-u * np.exp(chebyshev.chebval(place, self.log_absent)))
        return np.where(np.isinf(u), 0.0, value)

    def present(self, p: Array) -> Array:
        """1 − E (1 − p)^R."""
        assert self.log_present is not None
        _, place = self._placed(p)
        rare: Array = np.asarray(p) * np.exp(chebyshev.chebval(place, self.log_present))
        absent = self.absent(p)
        # Each series where it has no digits to lose.
        return np.where(absent > _MOSTLY, rare, 1.0 - absent)

    def _placed(self, p: Array) -> tuple[Array, Array]:
        with np.errstate(divide="ignore"):
            u = -np.log1p(-np.asarray(p, dtype=float))
        inside = np.clip(np.where(u > 0.0, u, self.low), self.low, self.high)
        place = (2.0 * np.log(inside) - np.log(self.low) - np.log(self.high)) / np.log(self.high / self.low)
        return u, place


def by_model(samples: int, fresh: Fresh, models: Iterable[int]) -> Iterator[Founders]:
    """Founders of the models n (increasing, from 1): model 1 all real, every later one with fresh real samples.

    Exact up to EXACT_SAMPLES samples; beyond, R is taken as normal with its two moments. The error of P(gone) was
    measured against the exact law at 150 samples: at most 0.3 / (E R)², that is 3e-3 at 10 founders, 6e-5 at 30.
    """
    wanted = list(models)
    if samples <= EXACT_SAMPLES:
        # The last lineage ends after some 37/share generations: where that is long, only the first ones are followed.
        last = _FOR_EVER if fresh.share * _LONGEST >= 37.0 else _LONGEST // 4
        followed = [n for n in wanted if n <= last]
        yield from _exact(samples, fresh, followed)
        wanted = wanted[len(followed) :]
    state, at = Lineages(float(samples)), 1
    for model in wanted:
        state, _ = back(state, samples, model - at, fresh)
        at = model
        yield Founders(state.founders_mean, state.founders_variance)


def of_schedule(schedule: Schedule, shares: tuple[float, ...], model: int, *, stratified: bool) -> Founders:
    """Founders of model n where sizes differ; ``shares``: fresh ones of each run. By moments."""
    counts = schedule.counts(model)
    runs = [
        (size, share, int(count))
        for size, share, count in zip(schedule.sizes, shares, counts, strict=True)
        if count > 0
    ]
    state = Lineages(float(runs[-1][0]))
    for i, (size, share, count) in reversed(list(enumerate(runs))):
        fresh = Fresh(share, stratified)
        state, _ = back(state, size, count - 1, fresh)
        if i > 0:  # the oldest of this size, whose parents are a sample of another size
            state = across(state, float(size), float(runs[i - 1][0]), fresh)
    return Founders(state.founders_mean, state.founders_variance)


def _exact(samples: int, fresh: Fresh, models: Iterable[int]) -> Iterator[Founders]:
    """By E [z^R; k lineages left] for many z at once, exactly; R: those that ended in a fresh sample."""
    low, high = 1e-5 / samples, -np.log(_SMALL_Z)
    place = np.cos(np.pi * (np.arange(_NODES) + 0.5) / _NODES)
    u = np.exp(0.5 * (np.log(low) + np.log(high)) + 0.5 * np.log(high / low) * place)
    chain = _Killed(samples, fresh, u)
    at = 1
    for model in models:
        for _ in range(model - at):
            if chain.is_over:
                break
            chain.back()
        at = model
        mean, variance, absent, present = chain.ended()
        yield TransformedFounders(
            mean,
            variance,
            low=low,
            high=high,
            log_absent=_series(place, np.log(-np.log(absent) / u)),
            log_present=_series(place, np.log(present / -np.expm1(-u))),
        )


def _series(place: Array, values: Array) -> Array:
    """The Chebyshev coefficients of the polynomial through the values at Chebyshev's nodes."""
    count = place.size
    angles = np.arccos(place)
    coefficients: Array = 2.0 / count * np.cos(np.outer(np.arange(count), angles)) @ values
    coefficients[0] /= 2.0
    return coefficients


class _Killed:
    """The lineages' chain with fresh samples: distribution of k, moments of R, E z^R and 1 − E z^R, all by k."""

    def __init__(self, samples: int, fresh: Fresh, u: Array) -> None:
        self._u = u
        k = np.arange(samples + 1)
        self._thin = _thinning(samples, fresh)  # [k, left]
        falls = np.zeros((samples + 1, samples + 1))
        falls[0, 0] = 1.0
        falls[1:, 1:] = occupancy(samples, samples)
        self._falls = falls
        ended = np.maximum(k[:, None] - k[None, :], 0)
        self._ended = ended.astype(float)
        size = samples + 1
        self._law, self._first, self._second = np.zeros(size), np.zeros(size), np.zeros(size)
        self._law[-1] = 1.0
        self._alive = np.zeros((u.size, size))  # E [z^R; k]
        self._alive[:, -1] = 1.0
        self._lost = np.zeros((u.size, size))  # E [1 − z^R; k]

    @property
    def is_over(self) -> bool:
        """Whether no lineage is left."""
        return self._law.size <= 1

    def back(self) -> None:
        """One generation further back."""
        size = self._law.size
        thin, falls, ended = (m[:size, :size] for m in (self._thin, self._falls, self._ended))
        first, second = self._first, self._second
        new_second = second @ thin + 2.0 * first @ (thin * ended) + self._law @ (thin * ended**2)
        new_first = first @ thin + self._law @ (thin * ended)
        # 1 − z^(R + r) = (1 − z^R) z^r + (1 − z^r): positive terms, so small p keep all digits
        joint = self._law[:, None] * thin
        by_ended = np.zeros((size, size))  # [r, left]
        rows, columns = np.tril_indices(size)
        np.add.at(by_ended, (rows - columns, columns), joint[rows, columns])
        chance = -np.expm1(-self._u[:, None] * np.arange(size))
        up = np.exp(-self._u[:, None] * np.arange(size))
        lost = ((self._lost * up) @ thin) / up + chance @ by_ended
        alive = ((self._alive * up) @ thin) / up
        self._alive, self._lost = alive @ falls, lost @ falls
        self._law, self._first, self._second = (
            (self._law @ thin) @ falls,
            new_first @ falls,
            new_second @ falls,
        )
        self._trim()

    def ended(self) -> tuple[float, float, Array, Array]:
        """Mean and variance of R + k, E z^(R + k) and 1 − E z^(R + k)."""
        k = np.arange(self._law.size, dtype=float)
        mean = float(self._first.sum() + self._law @ k)
        square = float(self._second.sum() + 2.0 * self._first @ k + self._law @ k**2)
        up = np.exp(-self._u[:, None] * k)
        absent = (self._alive * up).sum(axis=1)
        present = (self._lost * up).sum(axis=1) + -np.expm1(-self._u[:, None] * k) @ self._law
        return mean, max(square - mean * mean, 0.0), absent, present

    def _trim(self) -> None:
        kept = np.flatnonzero(self._law > _NEGLIGIBLE)
        size = int(kept[-1]) + 1 if kept.size else 1
        self._law, self._first, self._second = self._law[:size], self._first[:size], self._second[:size]
        self._alive, self._lost = self._alive[:, :size], self._lost[:, :size]


def _thinning(samples: int, fresh: Fresh) -> Array:
    """[k, left]: of k lineages in a sample, k − left are fresh real ones."""
    k, left = np.arange(samples + 1.0)[:, None], np.arange(samples + 1.0)[None, :]
    ended = k - left
    possible = ended >= 0
    if fresh.stratified:
        real = round(fresh.share * samples)
        possible &= (ended <= real) & (left <= samples - real)
        log = (
            _log_choose(real, np.where(possible, ended, 0.0))
            + _log_choose(samples - real, np.where(possible, left, 0.0))
            - _log_choose(samples, k)
        )
    else:
        with np.errstate(divide="ignore", invalid="ignore"):
            log = (
                _log_choose(k, np.where(possible, left, 0.0))
                + np.where(left > 0, left * np.log1p(-fresh.share), 0.0)
                + np.where(ended > 0, ended * np.log(fresh.share), 0.0)
            )
    weights: Array = np.where(possible, np.exp(np.where(possible, log, 0.0)), 0.0)
    weights /= weights.sum(axis=1, keepdims=True)
    return weights


def _log_choose(n: Array | float, k: Array) -> Array:
    value: Array = gammaln(np.asarray(n) + 1.0) - gammaln(k + 1.0) - gammaln(np.asarray(n) - k + 1.0)
    return value
