"""Where the errors at some points of the last stage come from, backward through the stages; see adjoint.py."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np

from service.theory.chain import TRUTH
from service.theory.mixes.alone.chain import Fit, by_label
from service.theory.mixes.scenarios import Links
from service.theory.model import Array


class Sweep(ABC):
    """What is passed back from stage to stage: weights of E[e_u e_v] in the final errors, arrays of shape
    (points, …, modes).

    ``noise``: of each stage, the derivatives by its sources' noise variances, (points, …, sources); ``shift``: of all
    shifts together, (points, …).
    """

    def __init__(
        self, links: Sequence[Links], powers: Sequence[Array], fits: Sequence[Fit], last: Sequence[Fit],
        weight: Array,
    ) -> None:  # fmt: skip
        """``weight``: of E e² of the last model; its shape is that of all."""
        self.links, self.powers = links, powers
        shape = weight.shape[:-1]
        self.noise = [np.zeros((*shape, link.members.shape[1])) for link in links]
        self.shift = np.zeros(shape)
        # of stages f not yet passed, by u <= f or TRUTH
        self._pending: list[dict[int, Array]] = [{} for _ in links]
        final = len(links) - 1
        self._hand_out(final, self.passed(final, last, weight))
        for f in range(final - 1, -1, -1):
            wanted = self._pending[f]
            if f in wanted:
                self._hand_out(f, self.passed(f, [fits[f]] * len(last), wanted.pop(f)))
            for u, weights in wanted.items():
                self.hand_on(f, fits[f], u, weights)

    @abstractmethod
    def passed(self, f: int, fits: Sequence[Fit], weights: Array) -> Array | Sequence[Array]:
        """From weights of E e_f² to those of the pairs of labels, and then perhaps of E[e_v w] for their models.

        ``fits``: of stage f at each point. Sets ``noise``.
        """

    @abstractmethod
    def hand_on(self, f: int, fit: Fit, u: int, weights: Array) -> None:
        """From weights of E[e_f e_u], u another model or the truth, to those of E[e_v e_u] and E[w e_u]."""

    def add(self, u: int, v: int, weights: Array) -> None:
        """Weights of E[e_u e_v], of E[e_u w] where one is the truth."""
        kept, least = self._pending[max(u, v)], min(u, v)
        kept[least] = kept[least] + weights if least in kept else weights

    def _hand_out(self, f: int, columns: Array | Sequence[Array]) -> None:
        links, models = self.links[f], self.links[f].models
        for weights, (v, u) in zip(columns, links.pairs, strict=False):
            if v < len(models):
                self.add(models[v], models[u], weights)
            else:
                self.shift += weights.dot(self.powers[f][v - len(models)])
        for weights, u in zip(columns[len(links.pairs) :], models, strict=False):
            self.add(u, TRUTH, weights)


class Origins(Sweep):
    """To order 0: arrays have shape (points, modes)."""

    def __init__(
        self, links: Sequence[Links], powers: Sequence[Array], fits: Sequence[Fit], last: Sequence[Fit]
    ) -> None:
        weight = last[0].weight
        super().__init__(links, powers, fits, last, np.array([weight] * len(last)))

    def passed(self, f: int, fits: Sequence[Fit], weights: Array) -> Array | Sequence[Array]:
        """See Sweep."""
        if fits[0] is fits[-1]:
            columns, self.noise[f] = self._passed(self.links[f], fits[0], weights)
            return columns
        each = [self._passed(self.links[f], fit, row[None]) for fit, row in zip(fits, weights, strict=True)]
        self.noise[f] = np.concatenate([noise for _, noise in each])
        return np.concatenate([columns for columns, _ in each], axis=1)

    def _passed(self, links: Links, fit: Fit, weights: Array) -> tuple[Array, Array]:
        """Weights of the pairs, shape (pairs, points, modes), and derivatives by the noise; see stage.py."""
        by_drive = weights.dot(fit.gain)[:, None] / fit.room
        noise = by_drive.dot(fit.parts[1:])
        if not links.pairs:
            return weights[:0], noise
        basis, (S, _) = np.empty((3, *weights.shape)), fit.repeated(len(weights))
        means, own, crossed = basis
        by_drive.dot(fit.weight[None], out=own)
        np.multiply(own, S, out=crossed)
        np.multiply(crossed, fit.phi, out=means)
        means += weights * S
        means *= S
        found = _coefficients(links, fit).dot(basis.reshape(3, -1))
        return found.reshape(-1, *weights.shape), noise

    def hand_on(self, f: int, fit: Fit, u: int, weights: Array) -> None:
        """See Sweep."""
        learned = weights * fit.repeated(len(weights))[0]
        for v, F in zip(self.links[f].models, by_label(self.links[f], fit.solved.shares), strict=False):
            self.add(u, v, F * learned)


def _coefficients(links: Links, fit: Fit) -> Array:
    """Of E[e_v e_u] in ē², in Σ q e_s² and in −2 ē Σ q e_s, S left out; shape (pairs, 3)."""
    found = fit.known.get(links.kind)
    if found is None:
        F, q = by_label(links, fit.solved.shares), by_label(links, fit.weighting)
        rows = [
            (F[v] * F[v], q[v], -2.0 * F[v] * q[v])
            if v == u
            else (2.0 * F[v] * F[u], 0.0, -2.0 * (F[v] * q[u] + F[u] * q[v]))
            for v, u in links.pairs
        ]
        found = fit.known[links.kind] = np.array(rows)
    return found
