"""Temperature on finitely many samples: the limit of many, as long as sampling noise takes little off it.

Generation g has the frequencies of M samples of p_g, p_g = a p_0 + (1 − a) p_{g−1}^(1/T)/Z. To first order in 1/M, ln
p_i of a type varies by v ← [(1 − a) d/(T p)]² v + 1/(M p), d the decoded and p the next probability: each generation's
noise is added, and what there was is amplified where T < 1. A type is gone with about e^(−M p). What the mean field
leaves out of the entropy is ½ Σ p v + Σ p gone |ln p|, and out of Σ p² it is Σ p² (2 v + gone). Measured, the entropy's
bias is that within a tenth for equal types and up to 1.8 times as much where many are rare: twice is what is stated.
Below T = 1 noise decides a contest between types of nearly the same frequency, which no mean knows: nothing is said
from where, of n types, √(2 v ln n) is 0.4 of a type near the top one, of others 0.4 ln²(p_1/p).
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from scipy.special import xlogy

from service.theory.distributions.accuracy import Accuracy, Caution, approximate
from service.theory.distributions.schedule import Models, Schedule
from service.theory.distributions.vocabulary.levels import Vocabulary
from service.theory.distributions.vocabulary.results import Generation, VocabularyPrediction
from service.theory.distributions.vocabulary.sampled import (
    SURVIVAL,
    predict_sampled,
    truth_state,
    unknown_state,
)
from service.theory.distributions.vocabulary.training import FreshReal, Replace, Training
from service.theory.errors import Unsupported
from service.theory.model import Array

LARGEST_ERROR: Final = 0.02
"""Relative error of entropy or diversity beyond which neither is given."""
LARGEST_CONTEST: Final = 0.4
_SAFE: Final = 2.0  # what is stated over the first order
MAX_STEPS: Final = 10_000
_UNCHANGED: Final = 1e-13


@dataclass(frozen=True)
class _Field:
    """A generation in the mean field, with the first order of what it leaves out of both."""

    diversity: float
    entropy: float
    of_diversity: float
    of_entropy: float
    contest: float

    @property
    def error(self) -> float:
        """The larger of the two relative errors."""
        both = (self.of_entropy, self.entropy), (self.of_diversity, self.diversity)
        return max(off / value if value > 0.0 else np.inf for off, value in both)

    @property
    def known(self) -> bool:
        """Whether the mean field says what happens."""
        return self.error <= LARGEST_ERROR and self.contest <= LARGEST_CONTEST


def predict_tempered(
    vocabulary: Vocabulary, training: Training, temperature: float, models: Models, ranks: tuple[int, ...]
) -> VocabularyPrediction:
    """Diversity and entropy of each of ``models``, until their error exceeds ``LARGEST_ERROR``; no survival.

    Generation 0 is a plain sample of the truth. Raises Unsupported for endless laws, for retained and accumulated
    data, and for more than ``MAX_STEPS`` generations while something still changes.
    """
    if not isinstance(training, Replace | FreshReal):
        raise Unsupported(
            "temperature with retained data out of a larger generation 0 has no formula for finitely many samples: "
            "simulate"
        )
    if np.isinf(vocabulary.types):
        raise Unsupported(
            "temperature on finitely many samples has no formula for an endless vocabulary: give a finite number "
            "of types, or samples null, or simulate"
        )
    real = training.shares() if isinstance(training, FreshReal) else (0.0,) * len(training.schedule.sizes)
    first = predict_sampled(vocabulary, training, np.array([1]), ranks)
    found = [first.generations[0]] if models[0] == 1 else []
    shown, hidden = list[_Field](), False
    later = [int(n) for n in models if n > 1]
    for model, field in zip(
        later, _fields(vocabulary, training.schedule, real, temperature, later), strict=True
    ):
        hidden = hidden or field is None
        state = unknown_state(len(ranks))
        if field is not None and not hidden:
            shown.append(field)
            state = replace(state, diversity=field.diversity, entropy=field.entropy)
        found.append(Generation(model - 1, state))
    return VocabularyPrediction(
        truth_state(vocabulary, ranks), tuple(found), unknown_state(len(ranks)), None,
        _accuracy(shown, first.accuracy), _cautions(hidden=hidden, later=bool(later)),
    )  # fmt: skip


def _fields(
    vocabulary: Vocabulary, schedule: Schedule, real: tuple[float, ...], temperature: float, models: list[int]
) -> Iterator[_Field | None]:
    """Of each of ``models`` (from 2); None from the first one on whose error is too large."""
    levels = vocabulary.condensed
    truth, types = levels.probabilities, levels.multiplicities
    p, log_p = truth, np.log(truth)
    v, gone = _noise(p, schedule.at(1))
    at, still = 1, False
    for model in models:
        while at < model and not still:
            share = real[int(schedule.run(np.array(at + 1)))]
            log_drawn = (log_p - log_p[0]) / temperature
            drawn = np.exp(log_drawn)
            drawn /= float(types @ drawn)
            after = share * truth + (1.0 - share) * drawn
            own, lost = _noise(after, schedule.at(at + 1))
            with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
                gain = np.where(after > 0.0, (1.0 - share) * drawn / (temperature * after), 0.0)
                log_after = np.log(after)
                spread = np.minimum(gain**2 * v + own, 1.0)
            left = lost if share > 0.0 else np.minimum(gone + lost, 1.0)
            same = all(
                bool(np.all(np.abs(new - old) <= _UNCHANGED * new))
                for new, old in ((after, p), (spread, v), (left, gone))
            )
            still = same and at >= schedule.ends[-1] - schedule.repetitions[-1]
            p, log_p, v, gone, at = after, log_after, spread, left, at + 1
            if at > MAX_STEPS and not still:
                raise Unsupported(
                    f"after {at:,} generations something is still changing, and no more are computed one by one; ask "
                    "for fewer generations, or simulate"
                )
            if not _field(p, types, v, gone, temperature).known:
                yield from (None for n in models if n >= model)
                return
        at = model
        yield _field(p, types, v, gone, temperature)


def _noise(p: Array, samples: int) -> tuple[Array, Array]:
    """Var ln p of one sample, at most 1, and the chance that a type does not occur in it."""
    with np.errstate(divide="ignore"):
        return np.minimum(1.0 / (samples * p), 1.0), np.exp(-samples * p)


def _field(p: Array, types: Array, v: Array, gone: Array, temperature: float) -> _Field:
    surprise = -xlogy(p, p)
    contest = 0.0
    if temperature < 1.0:
        with np.errstate(divide="ignore"):
            behind = np.maximum(np.log(p[0] / p), 1.0)
        contest = float((np.sqrt(2.0 * v * np.log(types.sum())) / behind**2).max())
    return _Field(
        diversity=1.0 - float(types @ p**2),
        entropy=float(types @ surprise),
        of_diversity=_SAFE * float(types @ (p**2 * (2.0 * v + gone))),
        of_entropy=_SAFE * float(types @ (0.5 * p * v + surprise * gone)),
        contest=contest,
    )


def _accuracy(shown: list[_Field], plain: tuple[Accuracy, ...]) -> tuple[Accuracy, ...]:
    """Of what is given: survival at generation 0 alone."""
    if not shown:
        return plain
    basis = "Mean field; the error is twice the first order in 1/M of what noise takes off the mean."
    worst = {
        "diversity": max(one.of_diversity / one.diversity for one in shown),
        "entropy": max(one.of_entropy / one.entropy for one in shown),
    }
    others = tuple(one for one in plain if one.quantity not in worst)
    return (*(approximate(name, error, basis) for name, error in worst.items()), *others)


def _cautions(*, hidden: bool, later: bool) -> tuple[Caution, ...]:
    found = [Caution("no_half_life", "A half-life is given for plain sampling only.", "diversity_half_life")]
    message = "At a temperature what becomes of finitely many samples for ever has no formula."
    found.append(Caution("no_limit", message, "limit"))
    if later:
        message = (
            "Which types are lost at a temperature has no formula on finitely many samples. Simulate it "
            "(POST /v1/distributions/vocabulary/simulations)."
        )
        found += [Caution("simulate", message, quantity) for quantity in (*SURVIVAL, "spread")]
    if hidden:
        message = (
            f"From some generation on sampling noise changes this by more than {LARGEST_ERROR:.0%}, or decides between "
            "types of nearly equal frequency: nothing is extrapolated. Simulate it, or take more samples."
        )
        found += [Caution("simulate", message, quantity) for quantity in ("diversity", "entropy")]
    return tuple(found)
