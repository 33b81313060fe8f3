"""Solved stages side by side: what a fit learns of each mode, and how much room its samples leave.

With S = σ/(σ+θ), U = 1 − S and F_s the share of source s, a model's error is

    e = S Σ_s F_s e_s − U w + fluctuation,   of variance X S²/σ,   X = Σ_s (F_s²/T_s) (noise_s + E‖e_s − ē‖²_Σ)/r,
    r = 1 − φ Σ S²,   φ = Σ_s F_s²/T_s.

Sources: one_covariance.py.
"""

from functools import cached_property
from typing import Final

import numpy as np

from service.theory.mixes.designs import Designs
from service.theory.model import Array, Population

_POWERS: Final = 5


class Fits:
    """``theta``: shape (fits,); ``shares``: F, shape (fits, sources); arrays over modes have shape (fits, modes).

    ``weighting``: F²/T, shape (fits, sources); ``phi``: φ; ``s2``: Σ S²; ``room``: r.
    """

    def __init__(self, population: Population, designs: Designs, theta: Array, shares: Array) -> None:
        self.population, self.theta, self.shares = population, theta, shares
        sigma, m, rank, active = (
            population.eigenvalues, population.multiplicities, population.rank, designs.active,
        )  # fmt: skip
        self.Q: Array = 1.0 / (sigma + theta[:, None])
        self.S, self.U = sigma * self.Q, theta[:, None] * self.Q
        self.weighting = shares * shares / np.where(designs.samples > 0, designs.samples, 1.0)
        self.phi: Array = self.weighting.sum(axis=1)
        self.s2: Array = (self.S * self.S).dot(m)
        self.room: Array = 1.0 - self.phi * self.s2
        if designs.common.any():  # without cancellation next to the threshold
            left = (self.U * (1.0 + self.S)).dot(m)
            exact = np.where(rank > 2 * active, active - self.s2, (active - rank) + left)
            self.room = np.where(designs.common, self.phi * exact, self.room)

    def part(self, rows: slice) -> "Fits":
        """Some of them."""
        part = Fits.__new__(Fits)
        part.population = self.population
        for name in ("theta", "shares", "Q", "S", "U", "weighting", "phi", "s2", "room"):
            setattr(part, name, getattr(self, name)[rows])
        return part

    @cached_property
    def gain(self) -> Array:
        """S²/σ."""
        return self.S * self.Q

    @cached_property
    def samples_to_spare(self) -> Array:
        """See stages.samples_to_spare."""
        return self.room / self.phi

    @cached_property
    def crowding(self) -> Array:
        """See stages.crowding."""
        return (1.0 - self.room) / self.samples_to_spare

    # --- products over modes that moments.py, last.py and adjoint.py share -----------------------------

    @cached_property
    def shares_and_weighting(self) -> Array:
        """F and F²/T, shape (fits, 2, sources)."""
        return np.array([self.shares, self.weighting]).swapaxes(0, 1)

    @cached_property
    def weighted(self) -> Array:
        """σ m times S², S U, U², shape (fits, 3, modes)."""
        found = np.empty((self.S.shape[0], 3, self.S.shape[1]))
        S, U = self.population.weight * self.S, self.population.weight * self.U
        np.multiply(S, self.S, out=found[:, 0])
        np.multiply(S, self.U, out=found[:, 1])
        np.multiply(U, self.U, out=found[:, 2])
        return found

    @cached_property
    def unlearned_power(self) -> Array:
        """U² w²."""
        return self.U * self.U * self.population.target_power

    @cached_property
    def unlearned_signal(self) -> Array:
        """Σ σ m U² w², shape (fits,)."""
        return np.asarray(self.unlearned_power.dot(self.population.weight))

    @cached_property
    def powers(self) -> Array:
        """S^k, k = 0 … 4, shape (fits, powers, modes)."""
        powers = np.empty((self.S.shape[0], _POWERS, self.S.shape[1]))
        powers[:, 0], powers[:, 1] = 1.0, self.S
        for k in range(2, _POWERS):
            np.multiply(powers[:, k - 1], self.S, out=powers[:, k])
        return powers

    @cached_property
    def weighted_powers(self) -> Array:
        """σ m S^k."""
        return self.powers * self.population.weight
