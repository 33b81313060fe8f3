"""The best loss weight of each synthetic source of the last stage, jointly with its penalty.

Only ratios of weights matter at the best penalty, so one source keeps its weight: the real one, or the first where
there is none. With one covariance weights only change how the sources share what is learned; re-weighting brings the
floor of strong collapse to 0 only as the synthetic weight goes to 0 (arXiv 2410.04840).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import exp, inf, log
from typing import Final, Literal

import numpy as np

from service.theory import log_search
from service.theory.joint_penalties import LEVELS as PENALTIES
from service.theory.joint_penalties import Errors, penalty_scale
from service.theory.model import OPTIMAL, REAL, Array, Population, TrainingMix

LARGEST: Final = 1e6  # times the weight of the source that keeps its own
_LN10: Final = log(10.0)
_LEVELS: Final = log_search.Levels(
    common=(-inf, *(_LN10 * x / 2 for x in range(-6, 7))),
    single=(-inf, *(_LN10 * x for x in range(-6, 7))),
)


@dataclass(frozen=True)
class BestWeights:
    """``weights`` of the sources in ``sources`` (indices), 0 to ``LARGEST`` times the kept one; and the error there."""

    sources: tuple[int, ...]
    weights: tuple[float, ...]
    test_error: float


def free_sources(mix: TrainingMix) -> list[int]:
    """The last stage's sources whose weight is to be found: all synthetic ones in use but the one that is kept."""
    kept = kept_source(mix)
    if kept is None:
        return []
    return [
        i
        for i, source in enumerate(mix.stages[-1].sources)
        if source.labels != REAL and source.samples > 0 and i != kept
    ]


def kept_source(mix: TrainingMix) -> int | None:
    """The source that keeps its weight: the first real one in use, else the first synthetic one; None without any."""
    used = [i for i, s in enumerate(mix.stages[-1].sources) if s.samples > 0 and s.weight > 0]
    real = [i for i in used if mix.stages[-1].sources[i].labels == REAL]
    return next(iter(real or used), None)


def with_weights(
    mix: TrainingMix,
    sources: Sequence[int],
    weights: Sequence[float],
    penalty: float | Literal["optimal"] = OPTIMAL,
) -> TrainingMix:
    """The mix with these loss weights in its last stage, by default at its best penalty."""
    last = mix.stages[-1]
    changed = list(last.sources)
    for i, weight in zip(sources, weights, strict=True):
        changed[i] = replace(changed[i], weight=weight)
    stage = replace(last, sources=tuple(changed), penalty=penalty)
    return replace(mix, stages=(*mix.stages[:-1], stage))


def best_weights(population: Population, mix: TrainingMix, errors: Errors) -> BestWeights:
    """The weights of least error, each right to about 1e-3 where it matters; ``errors``: of mixes, as joint_penalties.

    With one covariance the error at the best penalty costs little more than at a given one; with several it costs fifty
    times as much, so there the penalty is one more number of the search.
    """
    free, kept, sources = free_sources(mix), kept_source(mix), mix.stages[-1].sources
    if kept is None or not free:
        return BestWeights((), (), errors([with_weights(mix, (), ())])[0])
    unit = sources[kept].weight

    def weights(logs: Array) -> list[float]:
        return [unit * exp(x) for x in logs.tolist()]

    given = np.array([log(w / unit) if (w := sources[i].weight) > 0 else -inf for i in free])
    given = np.clip(given, None, _LEVELS.bounds[1])
    if all(source.covariance_key is None for source in sources):
        found = log_search.least(
            lambda points: errors([with_weights(mix, free, weights(logs)) for logs in points]),
            [_LEVELS] * len(free),
            [given],
        )
        return BestWeights(tuple(free), tuple(weights(found.logs)), found.error)
    scale = penalty_scale(population, mix.stages[-1])

    def at(points: Sequence[Array]) -> Sequence[float]:
        penalties = [inf if logs[-1] == inf else scale * exp(logs[-1]) for logs in points]
        return errors(
            [with_weights(mix, free, weights(x[:-1]), p) for x, p in zip(points, penalties, strict=True)]
        )

    tried = at([np.append(given, x) for x in PENALTIES.single])
    start = PENALTIES.single[int(np.argmin(tried))]
    penalties = log_search.Levels((start,) * len(_LEVELS.common), PENALTIES.single)
    logs = log_search.least(at, [*[_LEVELS] * len(free), penalties], [np.append(given, start)]).logs
    best = tuple(weights(logs[:-1]))
    return BestWeights(tuple(free), best, errors([with_weights(mix, free, best)])[0])
