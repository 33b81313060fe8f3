"""Penalties of earlier stages that are jointly optimal: those that leave the last stage's test error least.

A generator that is best for itself is not best for the model trained on its labels: what it shrinks away is lost for
ever, what it overfits a penalty downstream can still damp. So all penalties that are asked for are found together, over
their logarithms: a scan of common levels, then quasi-Newton steps from the best of them, then a scan of every single
penalty over its whole range, penalty 0 and an infinite one (predicting zero) included, until no scan finds better.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import exp, inf, log
from typing import Final

import numpy as np
from scipy.optimize import minimize

from service.theory.chain import covariances_of
from service.theory.design import Design
from service.theory.errors import NotConverged, Unsupported
from service.theory.model import OPTIMAL, Array, Population, Stage, TrainingMix

MOST_STAGES: Final = 16
_DECADES: Final = (-13, 7)  # of the scans, around tr Σ/N
_COMMON: Final = (-8, 3)
_LN10: Final = log(10.0)
_STEP: Final = 1e-3  # of the differences that stand for derivatives by ln λ
_STARTS: Final = 2
_ROUNDS: Final = 8
_ITERATIONS: Final = 60
_BETTER: Final = 1e-9  # relative; what the error of the last stage's best penalty is known to


def optimal_stages(mix: TrainingMix) -> list[int]:
    """Indices of the stages before the last whose penalty is to be found."""
    return [i for i, stage in enumerate(mix.stages[:-1]) if stage.penalty == OPTIMAL]


def evaluations(mix: TrainingMix) -> int:
    """About how many test errors the search computes: a measure of its cost; 1 where there is nothing to search."""
    count = len(optimal_stages(mix))
    return 1 if count == 0 else 15 + 2 * count * (_DECADES[1] - _DECADES[0] + 3) + 30 * (2 * count + 1)


def with_best_penalties(
    population: Population, mix: TrainingMix, error: Callable[[TrainingMix], float]
) -> TrainingMix:
    """The mix with every "optimal" penalty before the last stage replaced by the jointly best one.

    ``error``: the test error of a mix whose earlier penalties are numbers. The penalties are the arg min of it over
    [0, ∞]^stages, each right to about 1e-4 (the error there to 1e-8). Raises Unsupported for more than 16 of them.
    """
    chosen = optimal_stages(mix)
    if not chosen:
        return mix
    if len(chosen) > MOST_STAGES:
        raise Unsupported(
            f'{len(chosen)} stages before the last have penalty "optimal"; at most {MOST_STAGES} are found jointly: '
            "give some of them a number"
        )
    search = _Search(mix, chosen, [_scale(population, mix.stages[i]) for i in chosen], error)
    return search.mix_at(search.best().logs)


def _scale(population: Population, stage: Stage) -> float:
    """Of the penalties that matter: tr Σ/N."""
    covariances = covariances_of(stage, population)
    trace = (
        population.trace if covariances is None else float((covariances @ population.multiplicities).max())
    )
    samples = Design.of(stage).total
    return trace / samples if trace > 0 and samples > 0 else 1.0


@dataclass(frozen=True, eq=False)
class _Point:
    """ln(λ/scale) of every stage, −∞ for penalty 0 and ∞ for predicting zero; and the error there."""

    logs: Array
    error: float


class _Search:
    def __init__(
        self,
        mix: TrainingMix,
        chosen: Sequence[int],
        scales: Sequence[float],
        error: Callable[[TrainingMix], float],
    ) -> None:
        self.mix, self.chosen, self.scales, self.error = mix, chosen, scales, error

    def mix_at(self, logs: Array) -> TrainingMix:
        """The mix with these penalties."""
        stages = list(self.mix.stages)
        for i, scale, x in zip(self.chosen, self.scales, logs.tolist(), strict=True):
            stages[i] = replace(stages[i], penalty=inf if x == inf else scale * exp(x))
        return replace(self.mix, stages=tuple(stages))

    def at(self, logs: Array) -> _Point:
        """Evaluates."""
        try:
            value = self.error(self.mix_at(logs))
        except (NotConverged, Unsupported):  # next to penalty 0
            value = inf
        return _Point(logs, value)

    def best(self) -> _Point:
        """The global minimum."""
        count = len(self.chosen)
        levels = [-inf, *(_LN10 * np.arange(_COMMON[0], _COMMON[1] + 1.0)).tolist(), inf]
        common = sorted((self.at(np.full(count, x)) for x in levels), key=lambda point: point.error)
        best = min((self._polished(start) for start in common[:_STARTS]), key=lambda point: point.error)
        for _ in range(_ROUNDS):
            found = self._scanned(best)
            if not found.error < best.error * (1.0 - _BETTER):
                return self._simplest(best)
            best = self._polished(found)
        return self._simplest(best)

    def _scanned(self, point: _Point) -> _Point:
        """The best that moving one penalty after the other over its whole range finds."""
        levels = [-inf, *(_LN10 * np.arange(_DECADES[0], _DECADES[1] + 1.0)).tolist(), inf]
        for k in range(len(self.chosen)):
            tried = [self.at(_moved(point.logs, k, x)) for x in levels]
            point = min([point, *tried], key=lambda one: one.error)
        return point

    def _simplest(self, point: _Point) -> _Point:
        """Penalty 0, or predicting zero, wherever no finite penalty is better by more than rounding."""
        for k in range(len(self.chosen)):
            for end in (-inf, inf):
                ended = self.at(_moved(point.logs, k, end))
                if ended.error <= point.error * (1.0 + 1e-12):
                    point = ended
        return point

    def _polished(self, start: _Point) -> _Point:
        """The local minimum over the finite penalties of a point (L-BFGS-B on ln E, central differences)."""
        free = np.flatnonzero(np.isfinite(start.logs))
        if free.size == 0 or not 0 < start.error < inf:
            return start
        best = start

        def value(x: Array) -> float:
            nonlocal best
            logs = start.logs.copy()
            logs[free] = x
            point = self.at(logs)
            if point.error < best.error:
                best = point
            return (
                log(point.error / start.error)
                if 0 < point.error < inf
                else -700.0
                if point.error == 0
                else 700.0
            )

        def slope(x: Array) -> Array:
            steps = _STEP * np.eye(free.size)
            return np.array([(value(x + step) - value(x - step)) / (2.0 * _STEP) for step in steps])

        bounds = [(_LN10 * _DECADES[0] - 1.0, _LN10 * _DECADES[1] + 1.0)] * free.size
        minimize(
            value, start.logs[free], jac=slope, method="L-BFGS-B", bounds=bounds,
            options={"maxiter": _ITERATIONS, "ftol": 1e-13, "gtol": 1e-7},
        )  # fmt: skip
        return best


def _moved(logs: Array, k: int, x: float) -> Array:
    moved = logs.copy()
    moved[k] = x
    return moved
