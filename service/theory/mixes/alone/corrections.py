"""Where the errors of one mix come from to order 1; formulas and names as in mixes/stage.py.

Weights have shape (points, 2, modes): value and correction. With g the value and h the correction, what is passed back
is combined by numbers: for pairs of labels of S times the steps S h, S g, S² g, S³ g and of σ m S^k, for models of −U
times the steps themselves and the same.
"""

from collections.abc import Sequence

import numpy as np

from service.theory.chain import TRUTH
from service.theory.mixes import functional
from service.theory.mixes.alone.chain import Fit
from service.theory.mixes.alone.origins import Sweep
from service.theory.mixes.functional import (
    FORMS,
    MODELS,
    ONE,
    OWN2,
    TWO,
    Constants,
    filled,
    forms_of,
    probed,
    terms_of,
)
from service.theory.mixes.scenarios import Links
from service.theory.model import Array


class Corrections(Sweep):
    """``truth``: what is not learned of the target, shape (points, 2)."""

    def __init__(
        self, links: Sequence[Links], powers: Sequence[Array], fits: Sequence[Fit], last: Sequence[Fit]
    ) -> None:
        self.truth = np.zeros((len(last), 2))
        self._known: dict[tuple[int, tuple[int, bytes]], _Stage] = {}
        weight = np.zeros((len(last), 2, last[0].weight.size))
        weight[:, 0] = last[0].weight
        super().__init__(links, powers, fits, last, weight)

    def _stage(self, f: int, fit: Fit) -> "_Stage":
        key = id(fit), self.links[f].kind
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = _Stage(self.links[f], fit)
        return found

    def passed(self, f: int, fits: Sequence[Fit], weights: Array) -> Sequence[Array]:
        """See Sweep."""
        stages, links = [self._stage(f, fit) for fit in fits], self.links[f]
        S, Q, left, weighted = (_each(stages, name) for name in ("S", "Q", "left", "weighted"))
        steps = _steps(weights, S)
        probes, unlearned = np.vecdot(steps, Q[:, None]).tolist(), np.vecdot(weights, left[:, None])
        learned = np.vecdot(steps[:, 1:3], left[:, None]).tolist()
        pairs, models = np.zeros((len(stages), 2, 5, FORMS)), np.zeros((len(stages), 2, 4, MODELS))
        noise = np.zeros((len(stages), 2, 3))
        self.truth += unlearned
        for p, (stage, sums) in enumerate(zip(stages, probes, strict=True)):
            self.truth[p] += stage.write(pairs[p], models[p], noise[p], sums, learned[p])
        self.noise[f] = noise @ _each(stages, "drawn")
        found: list[Array] = []
        if links.pairs:
            pairs = pairs @ _each(stages, "forms")[:, None]
            found += _columns(_each(stages, "pair_steps") @ (S[:, None] * steps), pairs, weighted)
        if links.models:
            models, lost = models @ _each(stages, "models")[:, None], _each(stages, "lost")
            found += _columns(_each(stages, "model_steps") @ steps, models, weighted[:, :4], lost[:, None])
        return found

    def hand_on(self, f: int, fit: Fit, u: int, weights: Array) -> None:
        """See Sweep."""
        stage, models, (S, U) = self._stage(f, fit), self.links[f].models, fit.repeated(len(weights))
        steps = _steps(weights, S)
        if models:
            handed = (stage.handing @ steps).reshape(len(weights), 2, len(models), -1)
            for k, v in enumerate(models):
                self.add(u, v, handed[:, :, k])
        kept = np.empty_like(weights)
        np.multiply(weights[:, 0], -U, out=kept[:, 0])
        lost = stage.constants.total * steps[:, 1] - stage.constants.b2 * steps[:, 2] - weights[:, 1]
        np.multiply(lost, U, out=kept[:, 1])
        if u == TRUTH:
            self.truth += kept.dot(fit.design.population.target_power)
        else:
            self.add(u, TRUTH, kept)


def _steps(weights: Array, S: Array) -> Array:
    """S h, S g, S² g, S³ g, shape (points, 4, modes)."""
    found = np.empty((len(weights), 4, S.shape[1]))
    np.multiply(weights[:, 1], S, out=found[:, 0])
    np.multiply(weights[:, 0], S, out=found[:, 1])
    np.multiply(found[:, 1], S, out=found[:, 2])
    np.multiply(found[:, 2], S, out=found[:, 3])
    return found


def _each(stages: Sequence["_Stage"], name: str) -> Array:
    """What is known of a stage at each point, (points, …); once where it is one stage."""
    if stages[0] is stages[-1]:
        only: Array = getattr(stages[0], name)
        return only[None]
    return np.array([getattr(stage, name) for stage in stages])


def _columns(found: Array, by_power: Array, powers: Array, times: Array | None = None) -> list[Array]:
    """Of each column its weights, (points, 2, modes).

    ``found``: from the steps, (points, 2 × columns, modes); ``by_power``: (points, 2, powers, columns); ``powers``:
    (points or 1, powers, modes); ``times``: what all is multiplied with, (points or 1, 1, modes).
    """
    points, _, count, columns = by_power.shape
    found += by_power.swapaxes(2, 3).reshape(points, 2 * columns, count) @ powers
    if times is not None:
        found *= times
    return list(found.reshape(points, 2, columns, -1).transpose(2, 0, 1, 3))


class _Stage:
    """What is the same for all weights.

    ``weighted``: σ m S^k, k = 0 … 4; ``left``: U² w²; ``truths``: Σ σ m S^k U² w²; ``drawn``: B_2 … B_4; ``forms``,
    ``models``: see functional.py; ``pair_steps``, ``model_steps``: coefficients of the steps for each column, values
    then corrections; ``handing``: those for each model of what is handed on.
    """

    def __init__(self, links: Links, fit: Fit) -> None:
        population = fit.design.population
        self.S, self.lost, self.Q = fit.S, -fit.U, fit.Q
        self.left = fit.U * fit.U * population.target_power
        powers = np.empty((5, fit.S.size))
        powers[0] = 1.0
        for k in range(4):
            np.multiply(powers[k], fit.S, out=powers[k + 1])
        self.weighted = powers * fit.weight
        self.truths = self.weighted[:3].dot(self.left).tolist()
        terms = terms_of(fit.parts[:1], fit.parts[1:], np.array([fit.room]))
        named, n = terms @ links.members.T, len(links.models)
        self.drawn = terms[0, 1:]
        self.forms, self.models = forms_of(links, named)[0], named[0, :, :n]
        s2, s3, s4 = powers[2:].dot(population.multiplicities).tolist()
        _, b2, b3, b4 = terms[0].sum(axis=1).tolist()
        self.constants = Constants.of((s2, s3, s4), fit.room, (b2, b3, b4))
        by_pair, by_model = probed(self.constants)
        self.pair_steps = _by_step(self.forms[ONE], filled(by_pair, 3, FORMS).dot(self.forms))
        self.model_steps = _by_step(2.0 * self.models[0], filled(by_model, 3, MODELS).dot(self.models))
        _, _, _, _, _, _, _, kappa, alpha, total = self.constants
        F, B2, B3, _ = self.models
        self.handing = _by_step(F, np.array([kappa * B3 + alpha * B2, -B2 - F * total, F * b2]))

    def write(
        self, pairs: Array, models: Array, noise: Array, probes: list[float], learned: list[float]
    ) -> tuple[float, float]:
        """Coefficients of σ m S^k by form, (2, 5, FORMS), of −U σ m S^k by B_k, (2, 4, MODELS), of B_2 … B_4, (2, 3).

        ``probes``: sums of the steps with Q; ``learned``: of S g and S² g with ``left``. Returns what the truth adds,
        value and correction, but for the weights' own.
        """
        (beta1, beta, probe2, probe3), (once, twice), total = probes, learned, self.constants.total
        added, b2 = functional.passed(self.constants, beta, probe2, probe3), self.constants.b2
        for block, entries in ((pairs[1], added.pairs), (models[1], added.models)):
            for place, value in entries.items():
                block[place] = value
        for by_form, by_model, drive in zip(pairs, models, (beta, beta1), strict=True):
            by_form[0, OWN2] += drive  # σ m Σ_s B_2,s (e_s − ē)² of order 0
            by_form[1, TWO] -= 2.0 * drive
            by_form[2, ONE] += b2 * drive
            by_model[0, 1] -= 2.0 * drive
            by_model[1, 0] += 2.0 * b2 * drive
        a2, a3, a4 = added.noise
        noise[0, 0], noise[1] = beta, (beta1 + a2, a3, a4)
        correction = b2 * beta1 * self.truths[0] + 3.0 * b2 * twice - 2.0 * total * once
        correction += sum([x * y for x, y in zip(added.truth, self.truths, strict=True)])
        return b2 * beta * self.truths[0], correction


def _by_step(value: Array, correction: Array) -> Array:
    """Of S h and S g alike ``value``, shape (columns,), and of S g … S³ g ``correction``, (3, columns)."""
    found = np.zeros((2, value.size, 4))
    found[0, :, 1] = found[1, :, 0] = value
    found[1, :, 1:] = correction.T
    return found.reshape(-1, 4)
