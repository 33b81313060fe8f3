"""Penalties of earlier stages that are jointly optimal: those that leave the last stage's test error least.

A generator that is best for itself is not best for the model trained on its labels: what it shrinks away is lost for
ever, what it overfits a penalty downstream can still damp. So all penalties that are asked for are found together.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import exp, inf, log
from typing import Final

from service.theory import log_search
from service.theory.chain import covariances_of
from service.theory.design import Design
from service.theory.errors import Unsupported
from service.theory.model import OPTIMAL, Array, Population, Stage, TrainingMix

MOST_STAGES: Final = 16
_LN10: Final = log(10.0)
_HALVES: Final = tuple(x / 2.0 for x in range(-8, 7))  # where several minima may lie a decade apart
LEVELS: Final = log_search.Levels(  # decades around tr Σ/N; 0 and predicting zero
    common=(-inf, *(_LN10 * x for x in range(-8, 4)), inf),
    single=(-inf, *(_LN10 * x for x in (*range(-13, -4), *_HALVES, *range(4, 8))), inf),
)

Errors = Callable[[Sequence[TrainingMix]], Sequence[float]]


def optimal_stages(mix: TrainingMix) -> list[int]:
    """Indices of the stages before the last whose penalty is to be found."""
    return [i for i, stage in enumerate(mix.stages[:-1]) if stage.penalty == OPTIMAL]


def evaluations(mix: TrainingMix, *, last_too: bool = False) -> int:
    """About how many test errors the search computes: a measure of its cost; 1 where there is nothing to search."""
    count = len(optimal_stages(mix))
    if count == 0:
        return 1
    return log_search.evaluations(count + (last_too and mix.stages[-1].penalty == OPTIMAL), LEVELS)


def with_best_penalties(
    population: Population, mix: TrainingMix, errors: Errors, *, last_too: bool = False
) -> TrainingMix:
    """The mix with every "optimal" penalty before the last stage replaced by the jointly best one.

    ``errors``: the test errors of mixes whose earlier penalties are numbers, infinite where there is none. The
    penalties are the arg min over [0, ∞]^stages, each right to about 1e-4 (the error there to 1e-8). ``last_too``: a
    last penalty that is "optimal" is found beside them, so that all are numbers to ``errors``, and stays "optimal" in
    the answer. Raises Unsupported for more than 16 of them.
    """
    chosen = optimal_stages(mix)
    if not chosen:
        return mix
    if len(chosen) > MOST_STAGES:
        raise Unsupported(
            f'{len(chosen)} stages before the last have penalty "optimal"; at most {MOST_STAGES} are found jointly: '
            "give some of them a number"
        )
    if last_too and mix.stages[-1].penalty == OPTIMAL:
        chosen.append(len(mix.stages) - 1)
    scales = [penalty_scale(population, mix.stages[i]) for i in chosen]

    def mix_at(logs: Array) -> TrainingMix:
        stages = list(mix.stages)
        for i, scale, x in zip(chosen, scales, logs.tolist(), strict=True):
            stages[i] = replace(stages[i], penalty=inf if x == inf else scale * exp(x))
        return replace(mix, stages=tuple(stages))

    found = log_search.least(lambda points: errors(list(map(mix_at, points))), [LEVELS] * len(chosen))
    best = mix_at(found.logs)
    return replace(best, stages=(*best.stages[:-1], mix.stages[-1]))


def penalty_scale(population: Population, stage: Stage) -> float:
    """Of the penalties that matter: tr Σ/N."""
    traces = [population.trace]
    if any(source.covariance is not None for source in stage.sources):
        traces += [
            float(source.covariance.trace()) for source in stage.sources if source.covariance is not None
        ]
    elif (covariances := covariances_of(stage, population)) is not None:
        traces = list(covariances @ population.multiplicities)
    trace = float(max(traces))
    samples = Design.of(stage).total
    return trace / samples if trace > 0 and samples > 0 else 1.0
