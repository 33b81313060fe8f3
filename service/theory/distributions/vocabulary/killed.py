"""The chain of the lineages behind a model, some of which end in fresh real samples: exactly, generation by generation.

Of k lineages in a sample some are fresh and end; those that are left fall into the parents' boxes and may meet. Where
few are left, many generations are one product with a power of the step's matrix.
"""

from typing import Final

import numpy as np
from scipy.special import gammaln

from service.theory.distributions.vocabulary.ancestors import occupancy
from service.theory.distributions.vocabulary.moments import Fresh
from service.theory.model import Array

_NEGLIGIBLE: Final = 1e-16
_SMALL: Final = 12  # numbers of lineages from which on generations are taken many at a time
_ENDED: Final = 60.0  # no lineage is left after 60/share generations: e^-60


class Step:
    """One generation back: from a sample of size M, part of which is fresh, among as many ``parents``."""

    def __init__(self, samples: int, fresh: Fresh, parents: int) -> None:
        size = samples + 1
        self.thin = thinning(samples, fresh)  # [k, left]
        self.falls = np.zeros((size, size))
        self.falls[0, 0] = 1.0
        self.falls[1:, 1:] = occupancy(samples, parents)
        k = np.arange(size)
        self.together = np.minimum(k[:, None] + k[None, :], size)  # [r, left]: k = left + r, or none
        self.ending = np.vstack([self.thin, np.zeros(size)])[self.together, k]  # P(r of left + r end)
        self.ended = np.maximum(k[:, None] - k[None, :], 0).astype(float)
        self.ends = self.thin * self.ended  # first and second moment of how many end
        self.ends_squared = self.ends * self.ended
        self.far = _Strides()
        # generations by which every lineage has ended
        self.end = int(min(_ENDED / fresh.share, 1e17)) if fresh.share > 0.0 else 10**17


class KilledLineages:
    """The lineages' chain with fresh samples: distribution of k, moments of R, E z^R and 1 − E z^R, all by k."""

    def __init__(self, samples: int, u: Array) -> None:
        size = samples + 1
        k = np.arange(size)
        self._u = u
        # z^k about its middle, so that neither end overflows
        self._up = np.exp(-u[:, None] * (k - samples // 2))
        self._chance = -np.expm1(-u[:, None] * k)  # 1 − z^k
        self._moments = np.zeros((3, size))  # E [R²; k], E [R; k], P(k)
        self._moments[2, -1] = 1.0
        # E [z^(R + k); k], which thinning leaves as it is, over e^scale
        self._alive, self._scale = np.zeros((u.size, size)), -u * samples
        self._alive[:, -1] = 1.0
        self._lost = np.zeros((u.size, size))  # E [1 − z^R; k]

    def back(self, step: Step, generations: int) -> None:
        """So many generations further back, all alike."""
        left = min(generations, step.end)
        while left > 0 and self._size > 1:
            if self._size > _SMALL or left < _SMALL:
                self._step(step)
                left -= 1
            else:
                left -= self._stride(step, left)
            self._trim()

    @property
    def _size(self) -> int:
        return self._alive.shape[1]

    def _step(self, step: Step) -> None:
        size = self._size
        thin, falls, ends, ends_squared = (
            m[:size, :size] for m in (step.thin, step.falls, step.ends, step.ends_squared)
        )
        _, first, law = self._moments
        drawn = self._moments @ thin
        drawn[0] += 2.0 * first @ ends + law @ ends_squared
        drawn[1] += law @ ends
        # 1 − z^(R + r) = (1 − z^R) z^r + (1 − z^r): positive terms, so small p keep all digits
        joint = np.append(law, 0.0)[np.minimum(step.together[:size, :size], size)] * step.ending[:size, :size]
        up = self._up[:, :size]
        lost = ((self._lost * up) @ thin) / up + self._chance[:, :size] @ joint
        alive = (self._alive @ thin) / up
        largest = alive.max(axis=1)
        self._alive = ((alive / largest[:, None]) @ falls) * up
        self._scale = self._scale + np.log(largest)
        self._lost, self._moments = lost @ falls, drawn @ falls

    def _stride(self, step: Step, most: int) -> int:
        """As many generations at once as a power of the step has; returns their number."""
        size = self._size
        if not step.far.holds(size):
            step.far = _Strides.of(*self._blocks(step, size))
        power, count = step.far.largest(size, most)
        transforms, moments = power
        both = np.concatenate([self._lost, np.broadcast_to(self._moments[2], self._lost.shape)], axis=1)
        both = (both[:, None, :] @ transforms)[:, 0, :]
        up = np.exp(-self._u[:, None] * np.arange(size))
        self._alive = ((self._alive / up)[:, None, :] @ transforms[:, :size, :size])[:, 0, :] * up
        self._lost = both[:, :size]
        self._moments = (self._moments.ravel() @ moments).reshape(3, size)
        return count

    def _blocks(self, step: Step, size: int) -> tuple[Array, Array]:
        """One generation as a matrix: of (1 − z^R, 1) for every z, and of (R², R, 1)."""
        thin, falls, ended = (m[:size, :size] for m in (step.thin, step.falls, step.ended))
        up = np.exp(-self._u[:, None, None] * ended)
        plain = thin @ falls
        transforms = np.zeros((self._u.size, 2, size, 2, size))
        transforms[:, 0, :, 0] = (thin * up) @ falls
        transforms[:, 1, :, 0] = (thin * -np.expm1(-self._u[:, None, None] * ended)) @ falls
        transforms[:, 1, :, 1] = plain
        once, twice = (m[:size, :size] @ falls for m in (step.ends, step.ends_squared))
        moments = np.zeros((3, size, 3, size))
        for i in range(3):
            moments[i, :, i] = plain
        moments[1, :, 0], moments[2, :, 0], moments[2, :, 1] = 2.0 * once, twice, once
        return transforms, moments

    def ended(self) -> tuple[float, float, Array, Array]:
        """Mean and variance of R + k, ln E z^(R + k) and 1 − E z^(R + k)."""
        second, first, law = self._moments
        k = np.arange(law.size, dtype=float)
        mean = float(first.sum() + law @ k)
        square = float(second.sum() + 2.0 * first @ k + law @ k**2)
        up = np.exp(-self._u[:, None] * k)
        present = (self._lost * up).sum(axis=1) + self._chance[:, : law.size] @ law
        log_absent = np.log(self._alive.sum(axis=1)) + self._scale
        few = present < 0.5
        log_absent[few] = np.log1p(-present[few])
        return mean, max(square - mean * mean, 0.0), log_absent, present

    def _trim(self) -> None:
        kept = np.flatnonzero(self._moments[2] > _NEGLIGIBLE)
        size = int(kept[-1]) + 1 if kept.size else 1
        if size < self._size:
            self._moments = self._moments[:, :size]
            self._alive, self._lost = self._alive[:, :size], self._lost[:, :size]
        largest = self._alive.max(axis=1)
        self._alive /= largest[:, None]
        self._scale = self._scale + np.log(largest)


class _Strides:
    """Powers of two of one generation's matrices, for as many lineages as there were when they were made."""

    def __init__(self, powers: list[tuple[Array, Array]] | None = None) -> None:
        self._powers = powers or []

    @classmethod
    def of(cls, transforms: Array, moments: Array) -> "_Strides":
        """Of the step given by blocks: (nodes, 2, k, 2, left) and (3, k, 3, left)."""
        return cls([(transforms, moments)])

    def holds(self, size: int) -> bool:
        """Whether there are any, of as many numbers of lineages."""
        return bool(self._powers) and self._powers[-1][0].shape[2] >= size

    def largest(self, size: int, most: int) -> tuple[tuple[Array, Array], int]:
        """The largest power of at most ``most`` generations, of ``size`` numbers of lineages, and its exponent.

        Lineages only fall in number, so that the corner of a power is the power of the corner.
        """
        level = most.bit_length() - 1
        while len(self._powers) <= level:
            self._powers.append(self._squared(size))
        transforms, moments = self._powers[level]
        return self._flat(transforms, moments, size), 1 << level

    def _squared(self, size: int) -> tuple[Array, Array]:
        transforms, moments = self._flat(*self._powers[-1], size)
        return (
            (transforms @ transforms).reshape(-1, 2, size, 2, size),
            (moments @ moments).reshape(3, size, 3, size),
        )

    @staticmethod
    def _flat(transforms: Array, moments: Array, size: int) -> tuple[Array, Array]:
        return (
            transforms[:, :, :size, :, :size].reshape(-1, 2 * size, 2 * size),
            moments[:, :size, :, :size].reshape(3 * size, 3 * size),
        )


def thinning(samples: int, fresh: Fresh) -> Array:
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
