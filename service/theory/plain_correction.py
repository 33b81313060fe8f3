"""The finite-size correction of plain recursions with unbiased generators, in closed form.

One source, one covariance, no random features: M = T − df2 alone (finite_size.py). For the test error's own covariance
as probe, with W = 1/(T − df2), η = W df2, g = Σ S²U and ρ_i = η U_i − S_i (a mode's relative change of S),

    d(df2) = 2 Σ S² ρ,  dg = Σ (2S² − 3S³) ρ,  X = W² g,  Y = −W,

the correction is the change of Σ_i σ_i (X + Y S_i) f_i², f the residual of the labels, along the probe. Sums over modes
of S^j U^k are all it takes. A generator without penalty and with samples to spare passes weights on unchanged, and its
own T − d becomes T − d − 1.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from service.theory.model import Array, Population


class Corrections(NamedTuple):
    """Of one fit, each as value and correction.

    ``truth``: what is not learned; ``noise``: the derivative by the label noise; ``label``: the derivative by an error
    of the labels' model of covariance Σ^-1.
    """

    truth: tuple[float, float]
    noise: tuple[float, float]
    label: tuple[float, float]


@dataclass(frozen=True, eq=False)
class _Sums:
    """Σ_i S^j U^k: plain ones ``s`` and ``u``, and weighted by the target's part of the test error, ``w``."""

    s2: float
    su: float
    ssu: float
    sssu: float
    u: list[float]  # U², U²S, U²S²
    w: list[float]  # the same, weighted

    @property
    def s3(self) -> float:
        return self.s2 - self.ssu

    @property
    def s4(self) -> float:
        return self.s3 - self.sssu


def corrections(population: Population, samples: float, ridges: Array) -> list[Corrections]:
    """Of fits on ``samples`` rows at these effective ridges, shape (fits,); every mode has variance."""
    m, weighted = population.multiplicities, population.weight * population.target_power
    inverse = 1.0 / (population.eigenvalues + ridges[:, None])
    S, U = population.eigenvalues * inverse, ridges[:, None] * inverse
    SU, SS = S * U, S * S
    SUU, UU = SU * U, U * U
    columns = np.stack([m, weighted], axis=1)
    by_u = [UU.dot(columns), SUU.dot(columns), (SU * SU).dot(columns)]
    plain = [values.dot(m).tolist() for values in (SS, SU, SS * U, SS * SU)]
    return [
        _corrections(_Sums(*row, [k[i, 0] for k in by_u], [k[i, 1] for k in by_u]), samples)
        for i, row in enumerate(zip(*plain, strict=True))
    ]


def _corrections(sums: _Sums, samples: float) -> Corrections:
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
    return Corrections((h * w0, float(truth)), (eta, X1 + X * eta), (s2 + eta * u0, float(label)))
