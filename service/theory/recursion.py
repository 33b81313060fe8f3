"""Generations of one source each, fitted one to the labels of the other: many such recursions side by side.

With m = E (e + w)² the second moment of a model, S, U, gain = S²/σ and room = T − df2 of its fit, one generation does

    drive = (noise + Σ σ U² m)/room,   m' = S² m + drive gain,

linear with one scalar feedback. A run of equal fits is therefore a sum over powers of S², with drives that solve one
small triangular Toeplitz system: matrix products instead of a loop, forward for the moments and backward for
the response of the final error to every generation's noise. Errors are split as E e² = (1 − Π S)² w² + fluctuation,
all terms positive: nothing cancels. Cost: O(generations × modes).
"""

from functools import cached_property, lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from service.theory.model import Array, Population

_BLOCK: Final = 128  # generations that are taken together
_MEMORY: Final = 2_000_000
_FEW: Final = 16  # generations that plain numbers are quicker for than arrays of one


class Fits:
    """Fits at effective ridges θ; arrays over modes have shape (fits, 1, modes), numbers (fits,)."""

    def __init__(self, population: Population, theta: Array, samples: Array) -> None:
        self.samples, self.biased = samples, bool(theta.any() if theta.size > 1 else theta.item())
        column = theta[:, None, None]
        Q = 1.0 / (population.eigenvalues + column)
        S = self.S = population.eigenvalues * Q
        self.U = column * Q
        self.SS, self.gain = S * S, S * Q
        self.residual = population.weight * (self.U * self.U)
        rank, m = population.rank, population.multiplicities
        least, most = (samples.item(),) * 2 if samples.size == 1 else (samples.min(), samples.max())
        if rank <= 2 * most:  # else there are few samples in each fit, see freedom.py
            self.room: Array = (samples - rank) + theta * (Q + self.gain)[:, 0].dot(m)
        if rank > 2 * least:
            few = samples - self.SS[:, 0].dot(m)
            self.room = few if rank > 2 * most else np.where(rank > 2 * samples, few, self.room)
        self._blocks: dict[int, _Powers] = {}

    def unlearned(self, generations: int) -> Array:
        """1 − S^generations, to full relative accuracy."""
        if generations > _FEW:
            return np.asarray(-np.expm1(generations * np.log1p(-self.U)))
        lost = self.U
        for _ in range(1, generations):
            lost = self.S * lost + self.U
        return lost

    def powers(self, generations: int) -> "_Powers":
        """What a block of so many equal fits needs, made once."""
        if generations not in self._blocks:
            self._blocks[generations] = _Powers(self, generations)
        return self._blocks[generations]


class _Powers:
    """S^(2l) for l = 0 … generations − 1, and the response of the drives to noise.

    ``powers`` and ``gains`` = powers × gain: shape (fits, generations, modes); ``all``: S^(2 generations);
    ``response``: drive_k = Σ_j response_jk (noise_j + Σ σ U² S^(2j) m), shape (fits, generations, generations).
    """

    def __init__(self, fits: Fits, generations: int) -> None:
        count, _, modes = fits.SS.shape
        if generations == 1:
            self.powers = np.ones((1, 1, modes))
            self.all, self.gains = fits.SS, fits.gain
            self.response = (1.0 / fits.room)[:, None, None]
            return
        if not fits.biased:  # unbiased: every error is handed on as it is
            self.powers, self.all = np.ones((1, generations, modes)), fits.SS
            self.gains = np.broadcast_to(fits.gain, (count, generations, modes))
            self.response = np.eye(generations) / fits.room[:, None, None]
            return
        self.powers = np.empty((count, generations, modes))
        self.powers[:, 0] = 1.0
        self.powers[:, 1] = fits.SS[:, 0]
        known = 2
        while known < generations:
            more = min(known, generations - known)
            last = self.powers[:, known - 1 : known] * fits.SS
            np.multiply(self.powers[:, :more], last, out=self.powers[:, known : known + more])
            known += more
        self.all = self.powers[:, -1:] * fits.SS
        self.gains = self.powers * fits.gain
        left = (fits.residual @ self.gains.swapaxes(1, 2))[:, 0]
        self.response = _remaining(left, fits.room)[:, _steps_between(generations)]


def _remaining(left: Array, room: Array) -> Array:
    """What is left of a unit of noise after m generations, h_m = (δ_m0 + Σ_{j<m} left_{m−1−j} h_j)/room, and a 0.

    ``left``: shape (fits, generations); ``room``: shape (fits,).
    """
    count, generations = left.shape
    if count == 1 and generations <= _FEW:
        c, r = left[0].tolist(), float(room[0])
        one = [1.0 / r if r else np.inf]
        for m in range(1, generations):
            total = 0.0
            for j in range(m):
                total += c[m - 1 - j] * one[j]
            one.append(total * one[0])
        return np.array([[*one, 0.0]])
    h = np.zeros((count, generations + 1))
    h[:, 0] = 1.0 / room
    reverse = left[:, ::-1]
    for m in range(1, generations):
        h[:, m] = np.vecdot(reverse[:, generations - m :], h[:, :m]) / room
    return h


@lru_cache(maxsize=256)
def _steps_between(generations: int) -> NDArray[np.intp]:
    """k − j for k >= j, −1 below the diagonal."""
    steps = np.arange(generations)
    return np.asarray(np.maximum(steps - steps[:, None], -1), dtype=np.intp)


class Recursion:
    """The last generator of each recursion, seen from the stage that is fitted to its labels.

    ``cross``: E[e w], ``second``: E e², ``model``: E (e + w)²; shape (recursions or 1, 1, modes).
    """

    def __init__(self, population: Population, runs: list[tuple[int, Fits]], noise: Array) -> None:
        """``runs``: numbers of generations with equal fits; ``noise``: of each generation's labels, shape
        (recursions or 1, generations)."""
        self.population, self.noise = population, noise
        signal = population.target_power
        self.blocks: list[tuple[int, Fits, _Powers]] = []
        lost: Array = np.zeros((1, 1, 1))  # 1 − Π S
        at = 0
        for length, fits in runs:
            forgotten = fits.unlearned(length)
            lost = forgotten if at == 0 else lost + forgotten * (1.0 - lost)
            most = max(1, min(_BLOCK, _MEMORY // fits.SS.size))
            for begin in range(0, length, most):
                size = min(most, length - begin)
                self.blocks.append((at + begin, fits, fits.powers(size)))
            at += length
        known: Array = signal[None, None]  # (Π S)² w²
        self.model, self.second = known, np.zeros(known.shape)
        for start, fits, block in self.blocks:
            size = block.response.shape[-1]
            left = (fits.residual * self.model) @ block.powers.swapaxes(1, 2)
            drive = (noise[:, None, start : start + size] + left) @ block.response
            spread = fits.gain * (drive[..., ::-1] @ block.powers)  # the fluctuation's variance
            self.second = spread if start == 0 else block.all * self.second + spread
            known = block.all * known
            self.model = known + self.second
        self.cross: Array = -lost * signal
        self.second = self.second - lost * self.cross

    @cached_property
    def moments(self) -> Array:
        """Rows to be summed with Q² at the next stage, see grid.py: Σ S² E e², Σ S U E[e w], Σ U² E (e + w)²."""
        sigma, weight = self.population.eigenvalues, self.population.weight
        scaled = sigma * weight
        rows = np.empty((max(len(self.second), len(self.cross)), 3, sigma.size))
        rows[:, :1] = sigma * scaled * self.second
        rows[:, 1:2] = scaled * self.cross
        rows[:, 2:] = weight * self.model
        return rows

    def noise_responses(self, gradient: Array) -> Array:
        """Derivatives of Σ gradient_i E e_i² by the noise of each generation; shape (recursions, points, generations).

        ``gradient``: shape (recursions or 1, points, modes).
        """
        count = max(len(gradient), len(self.model))
        responses = np.empty((count, gradient.shape[1], self.noise.shape[1]))
        for start, fits, block in reversed(self.blocks):
            z = (gradient @ block.gains.swapaxes(1, 2)) @ block.response
            z = z[..., ::-1]
            responses[..., start : start + z.shape[-1]] = z
            if start > 0:
                gradient = block.all * gradient + fits.residual * (z @ block.powers)
        return responses
