"""Founders of a model that keeps m real tokens, of the M_0 that the first one was trained on.

The m are founders for ever. A lineage that is not among them copies one of the tokens of the model before: a retained
one, where it ends, with probability m/M, else one of the k = M − m others, which are balls in boxes again. What is
left at the first model are real tokens of it besides the m.
"""

from collections.abc import Iterable, Iterator
from math import exp, log, log1p
from typing import Final

import numpy as np

from service.theory.distributions.vocabulary.ancestors import occupancy
from service.theory.distributions.vocabulary.founders import Founders, trimmed
from service.theory.distributions.vocabulary.killed import thinning
from service.theory.distributions.vocabulary.moments import Fresh, Lineages, across, back
from service.theory.distributions.vocabulary.training import Retained
from service.theory.model import Array

EXACT_SAMPLES: Final = 300
_NONE: Final = 1e-15  # expected lineages besides the retained tokens that are none


def by_model(training: Retained, models: Iterable[int]) -> Iterator[Founders]:
    """Founders of the models n (increasing, from 1).

    Exact up to EXACT_SAMPLES samples, and where generation 0 had the retained samples alone; else by two moments.
    """
    real, first = training.real, training.begun
    others = training.samples - real
    if first == real or others == 0:
        yield from (Founders.certain(first if n == 1 else real) for n in models)
        return
    lineages = (_Exact if training.samples <= EXACT_SAMPLES else _Moments)(training)
    for model in models:
        yield Founders.certain(first) if model == 1 else lineages.founders(model - 2)


class _Exact:
    """The law of the lineages besides the retained tokens, generation by generation."""

    def __init__(self, training: Retained) -> None:
        self._training, self._at = training, 0
        others = training.samples - training.real
        self._step = _choices(others, training.real / training.samples, others)
        self._law = np.zeros(others + 1)
        self._law[-1] = 1.0

    def founders(self, generations: int) -> Founders:
        """So many generations before the model, never fewer than before, in the first one."""
        while self._at < generations and self._law[0] < 1.0 - _NONE:
            self._law, self._at = self._law @ self._step, self._at + 1
        self._at = generations
        real, first = self._training.real, self._training.begun
        left = self._law @ _choices(self._law.size - 1, real / first, first - real)
        return Founders.of(real, trimmed(left))


class _Moments:
    """Their mean and variance."""

    def __init__(self, training: Retained) -> None:
        self._training, self._at = training, 0
        self._others = training.samples - training.real
        share = training.real / training.samples
        self._share = Fresh(share, stratified=False)
        self._log_left = log1p(-share) if share < 0.5 else log(self._others / training.samples)
        self._state = Lineages(float(self._others))

    def founders(self, generations: int) -> Founders:
        """So many generations before the model, never fewer than before, in the first one."""
        steps, self._at = generations - self._at, generations
        state, rest = back(self._state, self._others, steps, self._share)
        # lineages that do not meet any more end one by one
        kept = exp(rest * self._log_left)
        variance = kept * kept * state.variance + kept * (1.0 - kept) * state.mean
        self._state = Lineages(kept * state.mean, variance)
        real, first = self._training.real, self._training.begun
        left = across(
            self._state, float(self._others), float(first - real), Fresh(real / first, stratified=False)
        )
        if left.mean < _NONE * real:
            return Founders.certain(real)
        return Founders(real + left.mean, left.variance)


def _choices(lineages: int, ended: float, boxes: int) -> Array:
    """[k, left]: of k lineages each ends with that chance, and the others fall into so many boxes; k, left from 0."""
    falls = np.zeros((lineages + 1, lineages + 1))
    falls[0, 0] = 1.0
    falls[1:, 1:] = occupancy(lineages, boxes)
    value: Array = thinning(lineages, Fresh(ended, stratified=False)) @ falls
    return value
