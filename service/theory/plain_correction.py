"""The finite-size correction of plain recursions with unbiased generators, in closed form.

One source, one covariance, no random features: M = T − df2 alone (finite_size.py). For the test error's own covariance
as probe, with W = 1/(T − df2), η = W df2, g = Σ S²U and ρ_i = η U_i − S_i (a mode's relative change of S),

    d(df2) = 2 Σ S² ρ,  dg = Σ (2S² − 3S³) ρ,  X = W² g,  Y = −W,

the correction is the change of Σ_i σ_i (X + Y S_i) f_i², f the residual of the labels, along the probe. Sums over modes
of S^j U^k are all it takes. A generator without penalty and with samples to spare passes weights on unchanged, and its
own T − d becomes T − d − 1.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

import numpy as np

from service.theory.model import Array, Population, Source, TrainingMix

Number = TypeVar("Number", float, Array)

_NEAR = 0.45  # see left_over

NEGLIGIBLE = (
    1e-3  # share of the total below which a contribution does not decide whether corrections are small
)
LARGEST = 0.6  # of a contribution: a larger correction is not one; two samples to spare make it 1/2


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
    if value and abs(correction) <= LARGEST * abs(value):
        return value / (1.0 - correction / value)
    return added(value, correction, least)


class Corrections(NamedTuple, Generic[Number]):
    """Of one fit, each as value and correction.

    ``truth``: what is not learned; ``noise``: the derivative by the label noise; ``label``: the derivative by an error
    of the labels' model of covariance Σ^-1.
    """

    truth: tuple[Number, Number]
    noise: tuple[Number, Number]
    label: tuple[Number, Number]


def unbiased(population: Population, mix: TrainingMix) -> bool:
    """Whether all generators of a plain recursion are least squares with samples to spare."""
    return all(s.penalty == 0 and s.sources[0].samples > population.rank for s in mix.stages[:-1])


class CorrectedFit(NamedTuple):
    """The errors of one fit to order 1.

    ``by_noise``: the derivative by the noise of its labels; ``past``: by the noise of a generator, by its samples;
    ``moved``: see Prediction; ``room``, ``closeness``: see left_over.
    """

    total: float
    bias: float
    by_noise: float
    past: dict[float, float]
    moved: float
    room: float
    closeness: float


def corrected_fits(population: Population, mix: TrainingMix, ridges: Sequence[float]) -> list[CorrectedFit]:
    """The last stage of a plain recursion with unbiased generators at these effective ridges. Raises NotSmall."""
    source = mix.stages[-1].sources[0]
    noise_of: dict[float, float] = {}  # of all generators with so many samples: equal ones have equal parts
    for stage in mix.stages[:-1]:
        generator = stage.sources[0]
        noise_of[generator.samples] = noise_of.get(generator.samples, 0.0) + generator.noise_variance
    at = corrections(population, float(source.samples), np.array(ridges))
    return [_corrected(one, source, noise_of, population.rank) for one in at]


def _corrected(
    at: Corrections[float], source: Source, noise_of: dict[float, float], rank: float
) -> CorrectedFit:
    noise = source.noise_variance
    past = {samples: _generator_noise(rank, samples, at.label) for samples in noise_of}
    parts = [(noise, at.noise), *((noise_of[samples], pair) for samples, pair in past.items())]
    value = at.truth[0] + sum(variance * pair[0] for variance, pair in parts)
    moved = abs(at.truth[1]) + sum(variance * abs(pair[1]) for variance, pair in parts)
    bias, by_noise = added(*at.truth, NEGLIGIBLE * value), continued(*at.noise)
    response = {samples: continued(*pair) for samples, pair in past.items()}
    total = bias + by_noise * noise + sum(noise_of[samples] * response[samples] for samples in noise_of)
    # samples and samples to spare of every fit
    rooms = [(source.samples, source.samples / (1.0 + at.noise[0])), *((T, T - rank) for T in noise_of)]
    spare = min(room for _, room in rooms)
    if spare < 1.0:
        raise NotSmall
    closeness = max((1.0 - room / T) / room for T, room in rooms)
    return CorrectedFit(
        total, bias, by_noise, response, moved / value if value > 0 else 0.0, spare, closeness
    )


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


def _generator_noise(rank: float, samples: float, label: tuple[float, float]) -> tuple[float, float]:
    """The final error by the label noise of one generator, and its correction."""
    room = samples - rank
    return label[0] / room, (label[1] + label[0] / room) / room


@dataclass(frozen=True, eq=False)
class _Sums(Generic[Number]):
    """Σ_i S^j U^k: plain ones ``s`` and ``u``, and weighted by the target's part of the test error, ``w``."""

    s2: Number
    su: Number
    u: list[Number]  # U², S U², S² U²
    w: list[Number]  # the same, weighted

    @property
    def ssu(self) -> Number:
        return self.su - self.u[1]

    @property
    def sssu(self) -> Number:
        return self.ssu - self.u[2]

    @property
    def s3(self) -> Number:
        return self.s2 - self.ssu

    @property
    def s4(self) -> Number:
        return self.s3 - self.sssu


def corrections(population: Population, samples: float, ridges: Array) -> list[Corrections[float]]:
    """Of fits on ``samples`` rows at these effective ridges, shape (fits,); every mode has variance."""
    s2, su, u, w = (part.T.tolist() for part in _sums(population, ridges))
    return [_corrections(_Sums(*sums), samples) for sums in zip(s2, su, u, w, strict=True)]


def corrections_at(population: Population, samples: Array, ridges: Array) -> Corrections[Array]:
    """Of fits on these numbers of rows at these effective ridges, all shapes (fits,); every mode has variance."""
    s2, su, u, w = _sums(population, ridges)
    return _corrections(_Sums(s2, su, list(u), list(w)), samples)


def bias_and_variance(population: Population, samples: Array, ridges: Array) -> tuple[Array, Array]:
    """To order 1, of fits to real labels: bias, and variance for noise of variance 1; all shapes (fits,).

    Raises NotSmall where any correction is not small.
    """
    (bias, change), (variance, more), _ = corrections_at(population, samples, ridges)
    if np.any(np.abs(change) > LARGEST * bias) or np.any(np.abs(more) > LARGEST * variance):
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


def _corrections(sums: _Sums[Number], samples: Number) -> Corrections[Number]:
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
