"""Where the final error of many mixes comes from: the adjoint of the chain, to order 0 and 1.

A stage passes the weights of its own E e² and of E[e e_u] back to its labels' models, its label noises and the truth.
Every weight has its value and its correction: arrays of shape (orders, points, scenarios, …, modes). How one stage does
it is in stage.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from service.theory.chain import TRUTH
from service.theory.mixes.fits import Fits
from service.theory.mixes.scenarios import Links
from service.theory.mixes.stage import Stage
from service.theory.model import Array


@dataclass(frozen=True, eq=False)
class Origins:
    """Contributions to the final errors, shape (orders, points, scenarios, …).

    ``noise``: of each stage, the derivatives by its sources' noise variances, last axis sources; ``shift``: of all
    shifts together; ``truth``: what is not learned of the target, where there are two orders.
    """

    noise: list[Array]
    shift: Array
    truth: Array


def origins(
    links: Sequence[Links],
    powers: Sequence[Array],
    fits: Sequence[Fits],
    last: Fits,
    *,
    points: int,
    orders: int,
) -> Origins:
    """Of mixes with fits ``fits`` of their earlier stages, and ``last`` of the last one: ``points`` of them for each
    scenario, in order of points, then scenarios; ``powers``: see Mixes. Finite errors only."""
    return _Sweep(links, powers, (orders, points, last.theta.size // points)).origins(fits, last)


class _Sweep:
    def __init__(self, links: Sequence[Links], powers: Sequence[Array], shape: tuple[int, int, int]) -> None:
        self.links, self.powers, self.shape, self.orders = links, powers, shape, shape[0]
        self.truth, self.shift = np.zeros(self.shape), np.zeros(self.shape)
        self.noise = [np.zeros((*self.shape, link.members.shape[1])) for link in links]
        # weights of E[e_f e_u] in the final error for stages f not yet passed, by u <= f or TRUTH
        self.pending: list[dict[int, Array]] = [{} for _ in links]

    def origins(self, fits: Sequence[Fits], last: Fits) -> Origins:
        """See Origins."""
        population, links = last.population, self.links
        weight = np.zeros((self.orders, 1, 1, population.weight.size))
        weight[0] = population.weight
        final, known = len(links) - 1, dict[tuple[int, tuple[int, bytes]], Stage]()
        self._pass(final, Stage(links[final], last, self.shape[1:], self.orders), weight)
        for f in range(final - 1, -1, -1):
            wanted = self.pending[f]
            if not wanted:
                continue
            key = id(fits[f]), links[f].kind
            stage = known.get(key)
            if stage is None:
                stage = known[key] = Stage(links[f], fits[f], (1, fits[f].theta.size), self.orders)
            if f in wanted:
                self._pass(f, stage, wanted.pop(f))
            for u, weights in wanted.items():
                self._hand_on(links[f].models, stage, u, weights)
        return Origins(self.noise, self.shift, self.truth)

    def _add(self, u: int, v: int, weights: Array) -> None:
        """Weights of E[e_u e_v], of E[e_u w] where one is the truth."""
        kept, least = self.pending[max(u, v)], min(u, v)
        kept[least] = kept[least] + weights if least in kept else weights

    def _pass(self, f: int, stage: Stage, weights: Array) -> None:
        """Weights of E e_f² to what stage f is fitted on."""
        links, models = self.links[f], self.links[f].models
        passed, noise, truth = stage.passed(weights)
        self.noise[f][:] = noise
        if self.orders == 2:
            self.truth += truth
        for k, (v, u) in enumerate(zip(links.first.tolist(), links.second.tolist(), strict=True)):
            if v < len(models):
                self._add(models[v], models[u], passed[..., k, :])
            else:
                self.shift += np.vecdot(passed[..., k, :], self.powers[f][:, v - len(models)])
        if self.orders == 2:
            for k, u in enumerate(models, len(links.first)):
                self._add(u, TRUTH, passed[..., k, :])

    def _hand_on(self, models: tuple[int, ...], stage: Stage, u: int, weights: Array) -> None:
        """Weights of E[e_f e_u], u another model or the truth, to those of E[e_s e_u] and E[w e_u]."""
        handed, kept = stage.handed(weights)
        for k, v in enumerate(models):
            self._add(u, v, handed[..., k, :])
        if self.orders == 2:
            if u == TRUTH:
                self.truth += kept @ stage.fits.population.target_power
            else:
                self._add(u, TRUTH, kept)
