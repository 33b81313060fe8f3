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
        stages = [self._stage(f, fit) for fit in fits]
        S, lost, Q, left, weighted = (_each(stages, name) for name in ("S", "lost", "Q", "left", "weighted"))
        steps = np.empty((len(stages), 4, S.shape[1]))
        np.multiply(weights[:, 1], S, out=steps[:, 0])
        np.multiply(weights[:, 0], S, out=steps[:, 1])
        np.multiply(steps[:, 1], S, out=steps[:, 2])
        np.multiply(steps[:, 2], S, out=steps[:, 3])
        probes, unlearned = np.vecdot(steps, Q[:, None]).tolist(), np.vecdot(weights, left[:, None]).tolist()
        learned = np.vecdot(steps[:, 1:3], left[:, None]).tolist()
        pairs, models = np.zeros((len(stages), 2, 5, FORMS)), np.zeros((len(stages), 2, 4, MODELS))
        by_noise = np.zeros((len(stages), 2, 3))
        for p, (stage, (beta1, beta, probe2, probe3)) in enumerate(zip(stages, probes, strict=True)):
            added, b2 = functional.passed(stage.constants, beta, probe2, probe3), stage.constants.b2
            for block, entries in ((pairs[p, 1], added.pairs), (models[p, 1], added.models)):
                for place, value in entries.items():
                    block[place] = value
            for k, drive in enumerate((beta, beta1)):  # σ m Σ_s B_2,s (e_s − ē)² of order 0
                by_pair, by_model = pairs[p, k], models[p, k]
                by_pair[0, OWN2] += drive
                by_pair[1, TWO] -= 2.0 * drive
                by_pair[2, ONE] += b2 * drive
                by_model[0, 1] -= 2.0 * drive
                by_model[1, 0] += 2.0 * b2 * drive
                self.truth[p, k] += unlearned[p][k] + b2 * drive * stage.truths[0]
            (once, twice), total = learned[p], stage.constants.total
            self.truth[p, 1] += 3.0 * b2 * twice - 2.0 * total * once
            self.truth[p, 1] += sum([x * y for x, y in zip(added.truth, stage.truths, strict=True)])
            a2, a3, a4 = added.noise
            by_noise[p, 0, 0], by_noise[p, 1] = beta, (beta1 + a2, a3, a4)
        self.noise[f] = by_noise @ _each(stages, "drawn")
        found: list[Array] = []
        if self.links[f].pairs:
            pairs = pairs @ _each(stages, "forms")[:, None]
            found += _columns(_each(stages, "pair_steps") @ (S[:, None] * steps), pairs, weighted)
        if self.links[f].models:
            models = models @ _each(stages, "models")[:, None]
            found += _columns(_each(stages, "model_steps") @ steps, models, weighted[:, :4], lost[:, None])
        return found

    def hand_on(self, f: int, fit: Fit, u: int, weights: Array) -> None:
        """See Sweep."""
        stage, models, (S, U) = self._stage(f, fit), self.links[f].models, fit.repeated(len(weights))
        value, correction = weights[:, 0], weights[:, 1]
        steps = np.empty((len(weights), 4, S.shape[1]))
        np.multiply(correction, S, out=steps[:, 0])
        np.multiply(value, S, out=steps[:, 1])
        np.multiply(steps[:, 1], S, out=steps[:, 2])
        np.multiply(steps[:, 2], S, out=steps[:, 3])
        if models:
            handed = (stage.handing @ steps).reshape(len(weights), 2, len(models), -1)
            for k, v in enumerate(models):
                self.add(u, v, handed[:, :, k])
        kept = np.empty_like(weights)
        np.multiply(value, -U, out=kept[:, 0])
        lost = stage.constants.total * steps[:, 1] - stage.constants.b2 * steps[:, 2] - correction
        np.multiply(lost, U, out=kept[:, 1])
        if u == TRUTH:
            self.truth += kept.dot(fit.design.population.target_power)
        else:
            self.add(u, TRUTH, kept)


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
        self.pair_steps = _steps(self.forms[ONE], filled(by_pair, 3, FORMS).dot(self.forms))
        self.model_steps = _steps(2.0 * self.models[0], filled(by_model, 3, MODELS).dot(self.models))
        _, _, _, _, _, _, _, kappa, alpha, total = self.constants
        F, B2, B3, _ = self.models
        self.handing = _steps(F, np.array([kappa * B3 + alpha * B2, -B2 - F * total, F * b2]))


def _steps(value: Array, correction: Array) -> Array:
    """Of S h and S g alike ``value``, shape (columns,), and of S g … S³ g ``correction``, (3, columns)."""
    found = np.zeros((2, value.size, 4))
    found[0, :, 1] = found[1, :, 0] = value
    found[1, :, 1:] = correction.T
    return found.reshape(-1, 4)
