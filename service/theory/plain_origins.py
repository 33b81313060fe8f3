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

import numpy as np

from service.theory.model import Array, Population


class PlainFits:
    """Fits at effective ridges θ > 0, or all of them at 0 with samples to spare; every mode has variance.

    ``theta``, ``room`` = T − df2: shape (fits,). What is made of them here has shape (fits, …, modes), or twice the
    modes where it is about both weights of a Step.
    """

    @staticmethod
    def of(population: Population, samples: Array, theta: Array, room: Array | None = None) -> "PlainFits":
        """Fits on these numbers of samples, shapes (fits or 1,); ``room``, where it is known."""
        if theta.size < samples.size:
            theta = np.repeat(theta, samples.size)
        if room is None:
            S = population.eigenvalues / (population.eigenvalues + theta[:, None])
            room = samples - (S * S).dot(population.multiplicities)
        return PlainFits(population, theta, room if room.size == theta.size else np.repeat(room, theta.size))

    def __init__(self, population: Population, theta: Array, room: Array) -> None:
        self.room, self.biased = room, bool(theta.any())
        m, column = population.multiplicities, theta[:, None, None]
        fits, modes = theta.size, population.eigenvalues.size
        Q = 1.0 / (population.eigenvalues + column)
        S = population.eigenvalues * Q
        W = 1.0 / room
        self.W = W[:, None]
        QS = Q * S
        if not self.biased:
            self.summed = np.concatenate([QS, np.zeros(QS.shape)], axis=2).swapaxes(1, 2)
            return
        power = population.target_power
        U = column * Q
        UU, SU, SS = U * U, S * U, S * S
        SSU = SS * U
        G = SSU.dot(m)[:, 0]
        G2 = 2.0 * G - 3.0 * (SSU * S).dot(m)[:, 0]
        X = W * W * G
        XY = X[:, None, None] - W[:, None, None] * S
        tilt = self.tilt = SU * XY
        pull = S * UU * (3.0 * XY - X[:, None, None])
        self.kept, self.turned = np.concatenate([SS, S], axis=2), 2.0 * SU
        self.added = np.empty((fits, 1, 2, modes))
        twice = 2.0 * tilt
        np.subtract(twice, pull, out=self.added[:, :, 0])
        np.subtract(self.added[:, :, 0], pull, out=self.added[:, :, 1])
        self.basis = np.empty((fits, 3, 2 * modes))
        residual, by_S, by_SS = (self.basis[:, k : k + 1, :modes] for k in range(3))
        np.multiply(population.weight, UU, out=residual)
        np.multiply(residual, S, out=by_S)
        np.multiply(residual, SS, out=by_SS)
        np.multiply(self.basis[..., :modes], 2.0, out=self.basis[..., modes:])
        self.basis_power = self.basis[..., :modes].dot(power)[:, :, None]
        # what weights are summed with: of E e² Q S, Q S², Q S³; of both what the target is, and its change
        summed = np.zeros((fits, 5, 2 * modes))
        square, cross = summed[..., :modes], summed[..., modes:]
        square[:, :1] = QS
        np.multiply(QS, S, out=square[:, 1:2])
        np.multiply(QS, SS, out=square[:, 2:3])
        np.multiply(UU, power, out=square[:, 3:4])
        np.multiply(pull, -power, out=square[:, 4:])
        np.multiply(U, -power, out=cross[:, 3:4])
        np.multiply(tilt, power, out=cross[:, 4:])
        self.summed = summed.swapaxes(1, 2)
        # dX + η X, −dW − 2 (W + X) η and 3 W η from the first three of these sums
        WW, none = W * W, np.zeros(fits)
        dW = np.array([2.0 * WW * W * G, -2.0 * WW, none])
        own = 2.0 * X / W * dW + np.array([WW * W * G2 + X * W, -2.0 * WW, 3.0 * WW])
        slope = -dW - np.array([2.0 * (W + X) * W, none, none])
        third = np.array([3.0 * WW, none, none])
        self.driven = np.array([own, slope, third]).transpose(2, 1, 0)


@dataclass(frozen=True, eq=False)
class Step:
    """One fit, passed backward.

    ``weights``: derivatives of the final error by E e² of its model, per mode, and behind them by E[e w]; value and
    what order 1 adds, shape (2, recursions, points, 2 modes). ``truth``: what the final error would owe to the target
    if the fit's labels were real, shape (2, recursions, points). ``field``: coefficients of the weights handed on in
    ``PlainFits.basis``, of which the first is the derivative by the label noise, shape (2, recursions, points, 3 or 1).
    """

    fits: PlainFits
    weights: Array
    field: Array
    truth: Array

    @staticmethod
    def last(population: Population, fits: PlainFits) -> "Step":
        """The last fit of each recursion, from the test error itself; shape (2, fits, 1, …)."""
        modes = population.eigenvalues.size
        weights = np.zeros((2, fits.room.size, 1, 2 * modes))
        weights[0, ..., :modes] = population.weight
        return Step.of(fits, weights)

    @staticmethod
    def of(fits: PlainFits, weights: Array) -> "Step":
        """With these weights of the fit's model."""
        sums = weights @ fits.summed
        if not fits.biased:
            field = fits.W[:, :, None] * sums
            field[1] += fits.W[:, :, None] * field[0]
            return Step(fits, weights, field, np.zeros(field.shape[:-1]))
        field = np.zeros((*sums.shape[:-1], 3))
        field[..., 0] = fits.W * sums[..., 0]
        field[1] += sums[0, ..., :3] @ fits.driven
        truth = (field @ fits.basis_power)[..., 0] + sums[..., 3]
        truth[1] += sums[0, ..., 4]
        return Step(fits, weights, field, truth)

    def before(self, fits: PlainFits) -> "Step":
        """The fit whose model the labels come from; ``fits``: one for all points, or one for each recursion."""
        handed = self._handed()
        return Step.of(fits, handed.reshape(2, fits.room.size, -1, handed.shape[-1]))

    def _handed(self) -> Array:
        """The weights of the model that the labels come from."""
        fits, weights = self.fits, self.weights
        if not fits.biased:
            return weights
        modes = weights.shape[-1] // 2
        square = weights[..., :modes]
        handed = self.field @ fits.basis
        handed += weights * fits.kept
        cross = handed[..., modes:]
        cross -= square * fits.turned
        change = handed[1].reshape(*handed.shape[1:-1], 2, modes)
        change += square[0][..., None, :] * fits.added
        cross[1] += weights[0, ..., modes:] * fits.tilt
        return handed


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
    step = Step.last(population, last)
    clean, noise = (part.reshape(2, points) for part in (step.truth, step.field[..., 0]))
    truth, past = clean, np.empty((2, points, sum(length for length, _ in runs)))
    at = past.shape[-1]
    for length, fits in reversed(runs):
        for k in range(length):
            if k == 0 or fits.biased:  # else as before
                step = step.before(fits)
            at -= 1
            past[:, :, at] = step.field[..., 0].reshape(2, points)
            if fits.biased:
                truth = truth + step.truth.reshape(2, points)
    return PlainOrigins(clean, noise, truth, past)
