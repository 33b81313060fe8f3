"""The finite-size correction of many fits of one source, one covariance and no random features, by sums alone.

Of the determinant in finite_size.py M = T − df2 is left. For the test error's own covariance as probe, with
W = 1/(T − df2), η = W df2, g = Σ S²U and ρ_i = η U_i − S_i (a mode's relative change of S),

    d(df2) = 2 Σ S² ρ,  dg = Σ (2S² − 3S³) ρ,  X = W² g,  Y = −W,

the correction is the change of Σ_i σ_i (X + Y S_i) f_i², f the residual of the labels, along the probe. Sums over modes
of S^j U^k are all it takes; plain_origins.py follows a correction through biased generators, mode by mode.
"""

from dataclasses import dataclass
from math import inf
from typing import Final, NamedTuple

import numpy as np

from service.theory.model import Array, Population

_NEAR: Final = 0.45  # see left_over

NEGLIGIBLE: Final = (
    1e-3  # share of the total below which a part does not decide whether corrections are small
)
LARGEST: Final = 0.6  # of a part: a larger correction is not one; two samples to spare make it 1/2


class NotSmall(Exception):
    """A correction that is not small beside what it corrects, less than one sample to spare, or too much work."""


def added(value: float, correction: float, least: float = 0.0) -> float:
    """value + correction. Raises NotSmall unless the correction is small beside the value or ``least``."""
    if abs(correction) <= max(LARGEST * abs(value), least):
        return value + correction
    raise NotSmall


def continued(value: float, correction: float, least: float = 0.0) -> float:
    """value + correction as the first terms of a geometric series, which label noise follows. Raises NotSmall.

    Exact for an unpenalized fit's variance: d/(T−d) and its correction d/(T−d)² give d/(T−d−1).
    """
    ratio = correction / value if value else inf  # of numbers next to 0 a product with LARGEST is rounded up
    if abs(ratio) <= LARGEST:
        return value / (1.0 - ratio)
    return added(value, correction, least)


class Corrections(NamedTuple):
    """Of fits, each as value and correction of shape (fits,).

    ``truth``: what is not learned; ``noise``: the derivative by the label noise; ``label``: the derivative by an error
    of the labels' model of covariance Σ^-1.
    """

    truth: tuple[Array, Array]
    noise: tuple[Array, Array]
    label: tuple[Array, Array]


def left_over(moved: float, room: float, closeness: float) -> float:
    """The relative error that is left after corrections of this share.

    ``room``: the least samples to spare of a fit; ``closeness``: the most of (1 − openness)/(samples to spare), which
    is what counts next to an interpolation threshold, where corrections may cancel. Calibrated on random mixes: covers
    the true error of 19 in 20 (docs/finite-size.md).
    """
    return min(moved / max(room, 1.0) + near_threshold(closeness), 1.0)


def near_threshold(closeness: float) -> float:
    """What no correction shows; see left_over."""
    return _NEAR * closeness * closeness


@dataclass(frozen=True, eq=False)
class _Sums:
    """Σ_i S^j U^k: plain ones ``s`` and ``u``, and weighted by the target's part of the test error, ``w``."""

    s2: Array
    su: Array
    u: list[Array]  # U², S U², S² U²
    w: list[Array]  # the same, weighted

    @property
    def ssu(self) -> Array:
        return self.su - self.u[1]

    @property
    def sssu(self) -> Array:
        return self.ssu - self.u[2]

    @property
    def s3(self) -> Array:
        return self.s2 - self.ssu

    @property
    def s4(self) -> Array:
        return self.s3 - self.sssu


def corrections(population: Population, samples: Array, ridges: Array) -> Corrections:
    """Of fits on these numbers of rows at these effective ridges, all shapes (fits,); every mode has variance."""
    s2, su, u, w = _sums(population, ridges)
    return _corrections(_Sums(s2, su, list(u), list(w)), samples)


def bias_and_variance(population: Population, samples: Array, ridges: Array) -> tuple[Array, Array]:
    """To order 1, of fits to real labels: bias, and variance for noise of variance 1; all shapes (fits,).

    Raises NotSmall where any correction is not small.
    """
    with np.errstate(all="ignore"):  # what is not defined is not small
        (bias, change), (variance, more), _ = corrections(population, samples, ridges)
    if not (np.all(np.abs(change) <= LARGEST * bias) and np.all(np.abs(more) <= LARGEST * variance)):
        raise NotSmall
    return bias + change, variance / (
        1.0 - np.divide(more, variance, out=np.zeros_like(more), where=variance > 0)
    )


def _sums(population: Population, ridges: Array) -> tuple[Array, Array, Array, Array]:
    """The sums of _Sums at effective ridges, in arrays of shapes (fits,), (fits,), (3, fits), (3, fits)."""
    m = population.multiplicities
    columns = np.stack([m, population.weight * population.target_power], axis=1)
    total = population.eigenvalues + ridges[:, None]
    S, U = population.eigenvalues / total, ridges[:, None] / total
    SU = S * U
    by_u = np.stack([(U * U).dot(columns), (SU * U).dot(columns), (SU * SU).dot(columns)])
    return (S * S).dot(m), SU.dot(m), by_u[:, :, 0], by_u[:, :, 1]


def _corrections(sums: _Sums, samples: Array) -> Corrections:
    W = 1.0 / (samples - sums.s2)
    eta = W * sums.s2
    h = 1.0 + eta
    s2, s3, s4 = sums.s2, sums.s3, sums.s4
    slope = W * W * 2.0 * (eta * s2 - h * s3)  # of W
    X, Y = W * W * sums.ssu, -W
    X1 = 2.0 * W * slope * sums.ssu + W * W * (eta * (2.0 * s2 - 3.0 * s3) - h * (2.0 * s3 - 3.0 * s4))
    c0 = X1 + eta * X  # of X + Y S, with the drive σ, along the probe: c0 + c1 S + c2 S²
    c1 = -slope + 2.0 * eta * Y
    c2 = -h * Y
    u0, u1, u2 = sums.u
    w0, w1, w2 = sums.w
    label = c0 * u0 + c1 * u1 + c2 * u2
    label -= 2.0 * (X * (eta * sums.su - h * sums.ssu) + Y * (eta * sums.ssu - h * sums.sssu))
    truth = c0 * w0 + (c1 - 2.0 * h * X) * w1 + (c2 - 2.0 * h * Y) * w2
    return Corrections((h * w0, truth), (eta, X1 + X * eta), (s2 + eta * u0, label))
