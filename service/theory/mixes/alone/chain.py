"""The stages before the last: moments forward and origins backward, to order 0; see moments.py and adjoint.py."""

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
        S, U = self.S, self.U = sigma * Q, theta * Q
        self.gain = S * Q
        # σ m times S², S U, U²
        self.weighted = np.empty((3, S.size))
        learned = weight * S
        np.multiply(learned, S, out=self.weighted[0])
        np.multiply(learned, U, out=self.weighted[1])
        np.multiply(weight * U, U, out=self.weighted[2])
        self._coefficients: dict[tuple[int, bytes], Array] = {}
        self._repeated: dict[int, tuple[Array, Array]] = {}

    def repeated(self, count: int) -> tuple[Array, Array]:
        """S and U, one below the other as often; shapes (count, modes): sooner multiplied than what is broadcast."""
        found = self._repeated.get(count)
        if found is None:
            S, U = np.empty((2, count, self.S.size))
            S[:], U[:] = self.S, self.U
            found = self._repeated[count] = S, U
        return found

    def coefficients(self, links: Links) -> Array:
        """Of E[e_v e_u] for each pair of labels in ē², and r^-1 times those of Σ q e_s² and of −2 ē Σ q e_s.

        Shape (pairs, 3); not of the modes: ē's S is left out.
        """
        known = self._coefficients.get(links.kind)
        if known is None:
            F, q = by_label(links, self.solved.shares), by_label(links, self.weighting)
            r, rows = self.room, []
            for v, u in links.pairs:
                if v == u:
                    rows.append((F[v] * F[v], q[v] / r, -2.0 * F[v] * q[v] / r))
                else:
                    rows.append((2.0 * F[v] * F[u], 0.0, -2.0 * (F[v] * q[u] + F[u] * q[v]) / r))
            known = self._coefficients[links.kind] = np.array(rows)
        return known

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


class Origins:
    """Where the errors at some points of the last stage come from.

    ``noise``: of each stage, the derivatives by its sources' noise variances, [point][source]; ``shift``: of all shifts
    together, [point].
    """

    def __init__(
        self, links: Sequence[Links], powers: Sequence[Array], fits: Sequence[Fit], last: Sequence[Fit]
    ) -> None:
        self.points = len(last)
        self.links, self.powers = links, powers
        self.noise = [[[0.0] * len(link.members.T)] * self.points for link in links]
        self.shift = [0.0] * self.points
        # weights of E[e_f e_u] in the final errors for stages f not yet passed, by u <= f; shape (points, modes)
        self._pending: list[dict[int, Array]] = [{} for _ in links]
        weight = last[0].weight[None]
        final = len(links) - 1
        passed = [_passed(links[final], fit, weight) for fit in last]
        self.noise[final] = [responses[0] for _, responses in passed]
        self._hand_out(final, np.concatenate([pairs for pairs, _ in passed], axis=1))
        for f in range(final - 1, -1, -1):
            self._pass(f, fits[f])

    def _pass(self, f: int, fit: Fit) -> None:
        """From stage f to what it is fitted on."""
        wanted = self._pending[f]
        if f in wanted:
            pairs, self.noise[f] = _passed(self.links[f], fit, wanted.pop(f))
            self._hand_out(f, pairs)
        models = self.links[f].models
        if wanted:
            shares, (S, _) = by_label(self.links[f], fit.solved.shares), fit.repeated(self.points)
            for u, weights in wanted.items():
                learned = weights * S
                for v, F in zip(models, shares, strict=False):
                    self._add(u, v, F * learned)

    def _add(self, u: int, v: int, weights: Array) -> None:
        """Weights of E[e_u e_v]."""
        kept, least = self._pending[max(u, v)], min(u, v)
        kept[least] = kept[least] + weights if least in kept else weights

    def _hand_out(self, f: int, pairs: Array) -> None:
        """Weights of pairs of labels of stage f, shape (pairs, points, modes)."""
        links, models = self.links[f], self.links[f].models
        for weights, (v, u) in zip(pairs, links.pairs, strict=True):
            if v < len(models):
                self._add(models[v], models[u], weights)
            else:
                added = weights.dot(self.powers[f][v - len(models)]).tolist()
                self.shift = [x + more for x, more in zip(self.shift, added, strict=True)]


def _passed(links: Links, fit: Fit, weights: Array) -> tuple[Array, list[list[float]]]:
    """From weights of E e², shape (points, modes): those of the pairs of labels, (pairs, points, modes), and the
    derivatives by the noise variances, [point][source]; see stage.py."""
    beta = weights.dot(fit.gain)
    noise = [[zeta * q for q in fit.weighting] for zeta in (beta / fit.room).tolist()]
    if not links.pairs:
        return weights[:0], noise
    basis = np.empty((3, *weights.shape))
    means, own, crossed = basis
    S, _ = fit.repeated(len(weights))
    beta[:, None].dot(fit.weight[None], out=own)
    np.multiply(own, S, out=crossed)
    np.multiply(crossed, fit.phi / fit.room, out=means)
    means += weights * S
    means *= S
    pairs = fit.coefficients(links).dot(basis.reshape(3, -1))
    return pairs.reshape(-1, *weights.shape), noise


def by_label(links: Links, values: list[float]) -> list[float]:
    """Values of sources, summed over those of each label."""
    return [sum([values[s] for s in sources]) for sources in links.sources]
