"""Founders of a model in pure replacement: each model is trained on samples of the one before it alone."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import numpy as np

from service.theory.distributions.schedule import Schedule
from service.theory.distributions.vocabulary.founders import Founders, normal_weights, trimmed
from service.theory.distributions.vocabulary.moments import NO_FRESH, Lineages, across, back
from service.theory.model import Array

EXACT_SAMPLES: Final = 1500
"""Sample size up to which the law of the founders is computed without any approximation, for equal sizes."""

EXACT_MIXED: Final = 150
"""The same where sizes differ and more than ``FEW_MODELS`` models are asked about: each takes its own way back."""

FEW_MODELS: Final = 50

_FEW: Final = 200.0  # lineages below which their law is followed value by value
_SHORT: Final = 64  # values of a law whose matrices are squared without a thought
_ROWS: Final = 48  # of a block
_UNSEEN: Final = 1e-20
_SATURATED: Final = 45.0  # balls per box from which a box is empty with probability e^-45


def occupancy(balls: int, boxes: int) -> Array:
    """P[k − 1, j − 1]: k balls occupy j of the boxes, k, j = 1 … balls; lower triangular, rows sum to one.

    P(k, j) = P(k − 1, j) j/M + P(k − 1, j − 1) (M − j + 1)/M.
    """
    j = np.arange(1.0, balls + 1)
    stay, open_new = j / boxes, np.maximum(boxes - j + 1.0, 0.0) / boxes
    matrix = np.zeros((balls, balls))
    matrix[0, 0] = 1.0
    for k in range(1, balls):
        last = matrix[k - 1, : k + 1]
        matrix[k, : k + 1] = last * stay[: k + 1]
        matrix[k, 1 : k + 1] += last[:k] * open_new[1 : k + 1]
    return matrix


def _last_row(balls: int, boxes: int) -> Array:
    """The law of the occupied boxes for one number of balls: the last row of ``occupancy``."""
    j = np.arange(1.0, balls + 1)
    stay, open_new = j / boxes, np.maximum(boxes - j + 1.0, 0.0) / boxes
    row = np.zeros(balls)
    row[0] = 1.0
    for _ in range(1, balls):
        moved = row[:-1] * open_new[1:]
        row *= stay
        row[1:] += moved
    return row


def occupied(mean: float, variance: float, boxes: int) -> Array:
    """P(j boxes are occupied), j = 1 … boxes, by a normal number of balls: for few boxes, all of which may be full.

    Near saturation the number of occupied boxes is far from normal; the balls' own number, in its cells, is not.
    """
    if mean - 9.0 * np.sqrt(variance) > _SATURATED * boxes:
        full = np.zeros(boxes)
        full[-1] = 1.0
        return full
    balls = normal_weights(mean, variance)
    j = np.arange(1.0, boxes + 1)
    stay, open_new = j / boxes, np.maximum(boxes - j + 1.0, 0.0) / boxes
    row, law = np.zeros(boxes), np.zeros(boxes)
    row[0] = 1.0
    for weight in balls:
        law += weight * row
        moved = row[:-1] * open_new[1:]
        row *= stay
        row[1:] += moved
    return law


def _squared(matrix: Array) -> Array:
    """The square of a lower triangular stochastic matrix, whose entries below ``_UNSEEN`` count for nothing.

    While few lineages have met, all that is there lies near the diagonal: by blocks of rows.
    """
    size = matrix.shape[0]
    below = np.subtract(*np.nonzero(matrix > _UNSEEN)).max()  # the furthest entry from the diagonal
    if size < 2 * _ROWS or 3 * below > size:
        return np.asarray(matrix @ matrix)
    square = np.zeros_like(matrix)
    for start in range(0, size, _ROWS):
        stop = min(start + _ROWS, size)
        near, far = max(start - below, 0), max(start - 2 * below, 0)
        square[start:stop, far:stop] = matrix[start:stop, near:stop] @ matrix[near:stop, far:stop]
    return square


class _Chain:
    """The occupancy chain of one sample size, and its powers of two as far as they pay."""

    def __init__(self, balls: int, boxes: int) -> None:
        self._powers, self._boxes = [occupancy(balls, boxes)], boxes

    def back(self, weights: Array, generations: int) -> Array:
        """The law of the lineages ``generations`` further back; weights[j] is P(k = j + 1)."""
        left = generations
        while left > 0:
            size = weights.size
            if size == 1:
                break
            # A power costs a product of matrices, a step one of a vector and a matrix: square where it pays.
            # Many lineages halve within 2 M/k generations, after which all is shorter.
            ahead = left if size <= _SHORT else min(left, 4 * self._boxes // size)
            while ahead >> (len(self._powers) - 1) > max(size // 2, 16) and self._powers[-1].shape[0] >= size:
                # The chain only falls: the corner of a power is the power of the corner.
                corner = self._powers[-1][:size, :size]
                self._powers.append(_squared(corner))
            level = max(i for i, power in enumerate(self._powers) if power.shape[0] >= size and left >> i > 0)
            weights = trimmed(weights @ self._powers[level][:size, :size])
            left -= 1 << level
        return weights


def by_model(samples: int, models: Iterable[int], first: int | None = None) -> Iterator[Founders]:
    """Founders of the models n (increasing, from 1), trained on ``samples`` of the one before; ``first``: of model 1.

    One pass: with equal sizes, n models back from anywhere is the same. Exact up to EXACT_SAMPLES; beyond, the law is
    normal while there are more than 200 lineages (measured: at most 2e-6 in P(gone)), then followed exactly.
    """
    real = samples if first is None else first
    wanted = list(models)
    if wanted and wanted[0] == 1:
        yield Founders.certain(real)
        wanted = wanted[1:]
    lineages = _Lineages(samples)
    for model in wanted:
        lineages.back_to(
            model - 2
        )  # what model n draws from, n − 2 samples of equal size before the first model's
        yield lineages.founders(real)


class _Lineages:
    """The law of the lineages of a sample, going back through samples of the same size."""

    def __init__(self, samples: int) -> None:
        self._samples, self._at = samples, 0
        self._state = Lineages(float(samples))
        self._weights: Array | None = None
        self._chain: _Chain | None = None

    def back_to(self, generations: int) -> None:
        """So many generations back from the sample, never fewer than before."""
        left, self._at = generations - self._at, generations
        if left > 0 and self._weights is None and self._samples <= EXACT_SAMPLES:
            self._weights = trimmed(_last_row(self._samples, self._samples))
            left -= 1
        if self._weights is None:
            self._state, left = back(self._state, self._samples, left, NO_FRESH, least=_FEW)
            if self._state.mean < _FEW and self._samples > EXACT_SAMPLES:
                self._weights = normal_weights(self._state.mean, self._state.variance)
        if self._weights is not None and left > 0:
            self._chain = self._chain or _Chain(self._weights.size, self._samples)
            self._weights = self._chain.back(self._weights, left)

    def founders(self, first: int) -> Founders:
        """What is left of the lineages among ``first`` parents."""
        if self._weights is not None:
            if self._weights.size == 1:
                return Founders.of(1, self._weights)
            if first == self._samples and self._chain is not None:
                return Founders.of(1, self._chain.back(self._weights, 1))
            return Founders.of(1, _Chain(self._weights.size, first).back(self._weights, 1))
        if self._samples <= EXACT_SAMPLES and self._at == 0:
            return Founders.of(1, trimmed(_last_row(self._samples, first)))
        if first <= _FEW:
            return Founders.of(1, occupied(self._state.mean, self._state.variance, first))
        state = across(self._state, float(self._samples), float(first), NO_FRESH)
        if state.mean < _FEW:
            return Founders.of(1, normal_weights(min(state.mean, float(first)), state.variance))
        return Founders(state.mean, state.variance)


def largest_exact(models: int) -> int:
    """Sample size up to which the law is exact where sizes differ and so many models are asked about."""
    return EXACT_SAMPLES if models <= FEW_MODELS else EXACT_MIXED


def of_schedule(schedule: Schedule, model: int, largest: int = EXACT_SAMPLES) -> Founders:
    """Founders of model n where sizes differ: M_1 … M_n back from the last. Exact up to ``largest`` samples."""
    runs = _runs(schedule, model)
    start = runs[-1][0]
    exact = max(size for size, _ in runs) <= largest
    state = Lineages(float(start))
    weights: Array | None = None
    if exact:
        weights = np.zeros(start)
        weights[-1] = 1.0
    # The last sample itself is where the tracing starts; every one before it is a set of parents.
    parents = [*runs[:-1], (start, runs[-1][1] - 1)]
    for size, generations in reversed(parents):
        left = generations
        if weights is None and left > 0 and size <= _FEW:
            weights, left = trimmed(occupied(state.mean, state.variance, size)), left - 1
        if weights is None:
            state, left = back(state, size, left, NO_FRESH, least=_FEW)
            if state.mean < _FEW:
                weights = normal_weights(min(state.mean, float(size)), state.variance)
        if weights is not None and left > 0 and weights.size > 1:
            weights = _Chain(weights.size, size).back(weights, left)
    return Founders(state.mean, state.variance) if weights is None else Founders.of(1, weights)


def _runs(schedule: Schedule, model: int) -> Sequence[tuple[int, int]]:
    """(size, repetitions) of the fits 1 … model."""
    counts = schedule.counts(model)
    return [(size, int(count)) for size, count in zip(schedule.sizes, counts, strict=True) if count > 0]
