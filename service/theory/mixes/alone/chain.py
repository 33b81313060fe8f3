"""The stages before the last: their fits, and moments forward; see moments.py."""

from collections.abc import Sequence
from typing import Final

import numpy as np

from service.theory.mixes.alone.design import Design, NotRegular, Solved, Sums
from service.theory.mixes.scenarios import Links
from service.theory.model import Array, Population

ROOM: Final = 1e-9  # next to a threshold what is left of the samples is rounding


class Fit:
    """A solved stage, see fits.Fits: vectors have shape (modes,). ``parts``: F and F²/T, shape (2, sources)."""

    room: float

    def __init__(self, design: Design, solved: Solved) -> None:
        population = design.population
        sigma, weight, theta = population.eigenvalues, population.weight, solved.theta
        Q = 1.0 / (sigma + theta)
        sums = Sums.of(theta, population.grid.base_rows.dot(Q * Q).tolist())
        self.design, self.solved, self.weight, self.signal = design, solved, weight, sums.signal
        self.weighting = [
            F * F / T if F > 0 else 0.0 for F, T in zip(solved.shares, design.samples, strict=True)
        ]
        self.phi = sum(self.weighting)
        self.room = design.room(self.phi, sums)
        if not self.room > ROOM:
            raise NotRegular
        self.parts: Array = np.array([solved.shares, self.weighting])
        self.Q = Q
        S, U = self.S, self.U = sigma * Q, theta * Q
        self.gain = S * Q
        # σ m times S², S U, U²
        self.weighted = np.empty((3, S.size))
        learned = weight * S
        np.multiply(learned, S, out=self.weighted[0])
        np.multiply(learned, U, out=self.weighted[1])
        np.multiply(weight * U, U, out=self.weighted[2])
        self.known: dict[tuple[int, bytes], Array] = {}  # see origins.py
        self._repeated: dict[int, tuple[Array, Array]] = {}

    def repeated(self, count: int) -> tuple[Array, Array]:
        """S and U, one below the other as often; shapes (count, modes): sooner multiplied than what is broadcast."""
        found = self._repeated.get(count)
        if found is None:
            S, U = np.empty((2, count, self.S.size))
            S[:], U[:] = self.S, self.U
            found = self._repeated[count] = S, U
        return found

    @property
    def spare(self) -> float:
        """See stages.samples_to_spare."""
        return self.room / self.phi

    @property
    def crowding(self) -> float:
        """See stages.crowding."""
        return (1.0 - self.room) / self.spare


def moments(
    population: Population,
    links: Sequence[Links],
    powers: Sequence[Array],
    fits: Sequence[Fit],
    noise: Sequence[list[float]],
) -> Array:
    """M at the last stage, shape (places, places, modes); see moments.py."""
    count, modes = links[0].placed.shape[1], population.eigenvalues.size
    M = np.zeros((count, count, modes))
    M[0, 0] = population.target_power
    diagonal: Array = M.reshape(-1, modes)[:: count + 1]  # a view
    vectors = np.empty((5, modes))
    for link, power, fit, own in zip(links, powers, fits, noise, strict=False):
        if link.place is not None:
            _add(M, diagonal, vectors, link, power, fit, own)
    return M


def _add(  # noqa: PLR0917
    M: Array, diagonal: Array, vectors: Array, links: Links, powers: Array, fit: Fit, noise: list[float]
) -> None:
    """Write the moments of one more model."""
    count, modes = diagonal.shape
    S, U, phi = fit.S, fit.U, fit.phi
    placed = fit.parts.dot(links.placed)
    mixed, drawn = placed.dot(M.reshape(count, -1)).reshape(2, count, modes)  # E[e_F e_u], Σ q E[e_s e_u]
    placed.dot(mixed, out=vectors[:2])
    vectors[2], vectors[3], vectors[4] = placed[1].dot(diagonal), drawn[0], mixed[0]
    if links.shifted:
        F, q = fit.parts[:, links.shifted]
        vectors[:3] += np.array([F * F, F * q, q]).dot(powers)
    # by S²; by S U; by U²
    (bb, _, _), (dd, d, _), (ss, s, own), (_, c, cross), (_, t, _) = vectors.dot(fit.weighted.T).tolist()
    residual = max(ss - 2.0 * dd + phi * bb, 0.0) + 2.0 * (s + c - d - phi * t)
    residual += own + 2.0 * cross + phi * fit.signal
    drive = sum(q * x for q, x in zip(fit.weighting, noise, strict=True)) + max(residual, 0.0)
    many_S, many_U = fit.repeated(count)
    row = many_S * mixed
    row -= many_U * M[0]  # E[ē e_u]
    square = S * vectors[0]
    square -= U * vectors[4]
    square *= S
    square -= U * row[0]
    square += (drive / fit.room) * fit.gain
    place = links.place
    M[place] = row
    M[:, place] = row
    M[place, place] = square


def by_label(links: Links, values: list[float]) -> list[float]:
    """Values of sources, summed over those of each label."""
    return [values[own[0]] if len(own) == 1 else sum([values[s] for s in own]) for own in links.sources]
