"""Where the final error of a plain recursion comes from, to order 1, in closed form: one pass backward.

One source a stage, one covariance, no random features: of the determinant in finite_size.py only M = T − df2 is left;
W = 1/M. The final error is linear in the second moments of every model. With c_i its derivative by E e_i² of a model
(multiplicity m_i included), the fit is probed by q = c/(m (σ + θ)), and its field answers by η = W Σ m S q. Along the
probe S changes by the share η U − q, what is left of a label by −U (q + η S), and by q more for the labels' own error,
so that with

    G = Σ m S² U,  X = W² G,  dW = 2 W² (η G − Σ m S² q),
    dX = 2 W dW G + W² (η Σ m (2S² − 3S³) U − Σ m (2S² − 3S³) q)

the derivative of F_1's part Σ m σ (X − W S) f², f what is left of a label, hands on

    z = m σ U² (dX + η X − (dW + 2 W η + 2 X η) S + 3 W η S²) − m σ S' q,  S' = U² (2 X − 3 W S),
    t = m σ U (X − W S) q

as z + 2t to the labels' E e², 2 (z + t) to their E[e w], z to E[w²], and dX + X η to their noise; the mean response S
moves by S U (X − W S). Without penalty, and with samples to spare, U = 0: weights pass unchanged, and T − d in the
noise's part becomes T − d − 1.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from service.theory.model import Array, Population

_CUBES: Final = 3  # columns of PlainFits.columns that are Q S^j


class PlainFits:
    """Fits at effective ridges θ > 0, or all of them at 0 with samples to spare; every mode has variance.

    ``theta``, ``room`` = T − df2: shape (fits,).
    """

    @staticmethod
    def of(population: Population, samples: Array, theta: Array, room: Array | None = None) -> "PlainFits":
        """Fits on these numbers of samples, shapes (fits or 1,); ``room``, where it is known."""
        samples, theta = np.broadcast_arrays(samples, theta)
        if room is None:
            S = population.eigenvalues / (population.eigenvalues + theta[:, None])
            room = samples - (S * S).dot(population.multiplicities)
        return PlainFits(population, theta, np.broadcast_to(room, theta.shape))

    def __init__(self, population: Population, theta: Array, room: Array) -> None:
        self.room, self.biased = room, bool(theta.any())
        m, column = population.multiplicities, theta[:, None, None]
        Q = 1.0 / (population.eigenvalues + column)
        S = self.S = population.eigenvalues * Q
        W = self.W = 1.0 / room[:, None]
        QS = Q * S
        if not self.biased:
            self.columns = QS.swapaxes(1, 2)
            return
        U = self.U = column * Q
        self.UU, self.SU, self.SS = U * U, S * U, S * S
        SSU = self.SS * U
        G = self.G = SSU @ m
        self.G2 = 2.0 * G - 3.0 * ((SSU * S) @ m)
        X = self.X = W * W * G
        WS = W[:, :, None] * S
        self.tilt = self.SU * (X[:, :, None] - WS)
        self.pull = S * self.UU * (2.0 * X[:, :, None] - 3.0 * WS)
        residual = population.weight * self.UU
        self.basis = np.concatenate([residual, residual * S, residual * self.SS], axis=1)
        power = population.target_power
        self.basis_power = (self.basis @ power)[:, None]
        self.columns = np.concatenate(
            [QS, QS * S, QS * self.SS, self.UU * power, self.pull * power], axis=1
        ).swapaxes(1, 2)
        self.cross_columns = np.concatenate([U * power, self.tilt * power], axis=1).swapaxes(1, 2)


@dataclass(frozen=True, eq=False)
class Weights:
    """Derivatives of the final error by E e² and E[e w] of a model, per mode, and what order 1 adds to them.

    Shape (recursions, points, modes) each.
    """

    square: Array
    cross: Array
    more_square: Array
    more_cross: Array

    @staticmethod
    def of(population: Population, points: int) -> "Weights":
        """Of the last model: the test error itself."""
        zero = np.zeros((points, 1, population.eigenvalues.size))
        return Weights(np.broadcast_to(population.weight, zero.shape), zero, zero, zero)

    def shaped(self, recursions: int) -> "Weights":
        """The same, points of one recursion together."""
        parts = (self.square, self.cross, self.more_square, self.more_cross)
        return Weights(*(part.reshape(recursions, -1, part.shape[-1]) for part in parts))


@dataclass(frozen=True, eq=False)
class Step:
    """One fit, passed backward: derivatives of the final error by the noise of its labels, and the part of it that
    comes from what is not learned of the target here (all of it where the labels are real); value and correction, shape
    (2, recursions, points)."""

    noise: Array
    truth: Array
    fits: PlainFits
    weights: Weights
    coefficients: Array | None

    @staticmethod
    def back(fits: PlainFits, weights: Weights) -> "Step":
        """From the weights of the fit's model."""
        W = fits.W
        sums = weights.square @ fits.columns
        more = weights.more_square @ fits.columns[:, :, : 1 if not fits.biased else None]
        eta, more_eta = W * sums[..., 0], W * more[..., 0]
        if not fits.biased:
            return Step(np.array([eta, more_eta + W * eta]), np.zeros((2, *eta.shape)), fits, weights, None)
        X, G = fits.X, fits.G
        s2, s3 = sums[..., 1], sums[..., 2]
        dW = 2.0 * W * W * (eta * G - s2)
        dX = 2.0 * W * dW * G + W * W * (eta * fits.G2 - 2.0 * s2 + 3.0 * s3)
        own = dX + X * eta
        slope = -dW - 2.0 * (W + X) * eta
        coefficients = np.array([own + more_eta, slope, 3.0 * W * eta])
        crossed = weights.cross @ fits.cross_columns
        more_crossed = weights.more_cross @ fits.cross_columns[:, :, :1]
        B = fits.basis_power
        first = eta * B[..., 0] + sums[..., _CUBES] - crossed[..., 0]
        second = (coefficients * np.moveaxis(B, -1, 0)).sum(axis=0)
        second += more[..., _CUBES] - sums[..., _CUBES + 1] - more_crossed[..., 0] + crossed[..., 1]
        return Step(np.array([eta, more_eta + own]), np.array([first, second]), fits, weights, coefficients)

    def labels(self) -> Weights:
        """The weights of the model that its labels come from."""
        if self.coefficients is None:
            return self.weights
        fits, c = self.fits, self.weights
        zeroth = self.noise[0][..., None] * fits.basis[:, :1]
        z = np.moveaxis(self.coefficients, 0, -1) @ fits.basis - c.square * fits.pull
        t = c.square * fits.tilt
        zt = z + t
        return Weights(
            fits.SS * c.square + zeroth,
            fits.S * c.cross + 2.0 * (zeroth - fits.SU * c.square),
            fits.SS * c.more_square + zt + t,
            fits.S * c.more_cross + 2.0 * (zt - fits.SU * c.more_square) + fits.tilt * c.cross,
        )


@dataclass(frozen=True, eq=False)
class PlainOrigins:
    """The final error by its origins, value and correction: arrays of shape (2, points).

    ``clean``: what is not learned of the target where the last labels are real; ``noise``: the derivative by the last
    labels' noise; ``truth``: what the recursion does not learn; ``past``: the derivatives by each generation's noise,
    shape (2, points, generations).
    """

    clean: Array
    noise: Array
    truth: Array
    past: Array


def plain_origins(
    population: Population, runs: Sequence[tuple[int, PlainFits]], last: PlainFits
) -> PlainOrigins:
    """The origins of the error of each fit of ``last``, on labels of ``runs``: generations with equal fits, in order.

    Runs have one fit, which all of ``last`` share, or one for each of ``last``. Cost: O(generations × fits × modes),
    where a run is unbiased O(fits × modes).
    """
    points = last.room.size
    final = Step.back(last, Weights.of(population, points))
    clean, noise = final.truth.reshape(2, points), final.noise.reshape(2, points)
    past = np.empty((2, points, sum(length for length, _ in runs)))
    truth, step = np.zeros((2, points)) if runs else clean, final
    if runs:
        truth = truth + clean
    at = past.shape[-1]
    for length, fits in reversed(runs):
        recursions = fits.room.size
        if not fits.biased:
            step = Step.back(fits, step.labels().shaped(recursions))
            past[:, :, at - length : at] = step.noise.reshape(2, points)[..., None]
            at -= length
            continue
        for _ in range(length):
            step = Step.back(fits, step.labels().shaped(recursions))
            at -= 1
            past[:, :, at] = step.noise.reshape(2, points)
            truth = truth + step.truth.reshape(2, points)
    return PlainOrigins(clean, noise, truth, past)
