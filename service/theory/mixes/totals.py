"""Total test errors of many mixes side by side, and nothing else: for searches.

The same formulas as outcomes.py at the last stage's penalty alone, or at its best one. What is not regular there is
left to the caller, who looks at it one by one.
"""

from collections.abc import Hashable, Sequence
from dataclasses import replace
from math import isnan
from typing import Final, Literal

import numpy as np

from service.theory.mixes.adjoint import origins
from service.theory.mixes.errors import corrected
from service.theory.mixes.fits import Fits
from service.theory.mixes.outcomes import INTERPOLATION, Batch
from service.theory.mixes.scenarios import Mixes, Numbers, is_mixed, real_source
from service.theory.model import Array, Mask, Population, Shift, Stage, TrainingMix
from service.theory.plain_prediction import is_plain

_CHUNK: Final = 32_000  # modes × mixes that are computed at a time: they share the processor's cache


def totals(population: Population, mixes: Sequence[TrainingMix], order: Literal[0, 1]) -> Array:
    """Test errors, nan where a mix has to be looked at by itself; shape (mixes,).

    In order 1 without the correction where it is not small at this penalty. Mixes that differ in samples, weights,
    noise and penalties alone are computed together. Reduces to ``predict``, which in order 1 knows in addition the
    exact values of mixes without penalties, and decides together for all penalties whether corrections are small.
    """
    found = np.full(len(mixes), np.nan)
    groups: dict[Hashable, list[int]] = {}
    for i, mix in enumerate(mixes):
        if is_mixed(population, mix):
            groups.setdefault(tuple(_structure(stage) for stage in mix.stages), []).append(i)
    for condensation in dict.fromkeys((population.condensation, None)):
        own = population if condensation is None else condensation.population
        step = max(1, _CHUNK // own.eigenvalues.size)
        for members in groups.values():
            if len(members) == 1 and is_plain(population, mixes[members[0]]):
                continue  # by itself it is faster
            left = [i for i in members if isnan(found[i])]  # not regular on few modes
            for k in range(0, len(left), step):
                rows = left[k : k + step]
                stacked = _stacked(population, [mixes[i] for i in rows]).condensed(condensation)
                found[rows] = _side_by_side(own, stacked, len(rows), order)
    return found


def _structure(stage: Stage) -> Hashable:
    """Who labels whom: equal for stages that differ in numbers alone."""
    labels = (id(s.labels) if isinstance(s.labels, Shift) else s.labels for s in stage.sources)
    return stage.name, tuple(labels)


def _side_by_side(population: Population, mixes: Mixes, count: int, order: Literal[0, 1]) -> Array:
    with np.errstate(all="ignore"):  # what overflows or is not defined is not regular
        batch = Batch(population, mixes)
        fits, penalty, regular = _last(batch)
        total = batch.last.at(fits)
        regular = regular & (total < np.inf) & batch.roomy(fits)
        if order == 1:
            total = _corrected(batch, fits, penalty, total)
        return np.broadcast_to(np.where(regular & np.isfinite(total), total, np.nan), count)


def _last(batch: Batch) -> tuple[Fits, Array, Mask]:
    """The last stage's fits at its penalty, these penalties, and where they are regular."""
    solved, nothing = batch.solved, np.zeros(1)
    if not np.isnan(batch.mixes.numbers[-1].penalty).any():
        theta, shares, penalty = solved.given(nothing, nothing[:, None], nothing)
        return batch.fits([(theta, shares)], batch.count), penalty, theta >= 0
    optima = batch.optima
    theta, shares, penalty = solved.given(optima.theta, *solved.shares_at(optima.theta))
    fits = batch.fits([(theta, shares)], batch.count)
    least = batch.last.at(fits)
    found = optima.regular & (np.abs(least - optima.value) <= INTERPOLATION * least)
    found &= least < (1.0 - INTERPOLATION) * batch.population.signal
    return fits, penalty, found | ~np.isnan(batch.mixes.numbers[-1].penalty)


def _corrected(batch: Batch, fits: Fits, penalty: Array, total: Array) -> Array:
    """The totals to order 1, where the corrections are small."""
    mixes = batch.mixes
    found = origins(mixes.links, mixes.powers, batch.solved.fits, fits, points=1, orders=2)
    real = batch.real.corrected(batch.real.ridges(np.broadcast_to(penalty, batch.count)[None]))
    noises = [numbers.noise for numbers in mixes.numbers]
    errors = corrected(found, 0, real.part(0), noises, mixes.real_noise)
    spare = [np.broadcast_to(one.samples_to_spare, batch.count) for one in (*batch.solved.fits, fits)]
    return np.where(errors.small & (np.min(spare, axis=0) >= 1), errors.total, total)


def _stacked(population: Population, mixes: Sequence[TrainingMix]) -> Mixes:
    """One below the other; a stage that all have in common is there once."""
    first = Mixes.of(population, mixes[0])
    numbers = [
        own if all(mix.stages[k] is mixes[0].stages[k] for mix in mixes)
        else _together([Numbers.of(mix.stages[k]) for mix in mixes])
        for k, own in enumerate(first.numbers)
    ]  # fmt: skip
    real = real_source(mixes[0])
    return replace(
        first, numbers=numbers, real_noise=first.real_noise if real is None else numbers[-1].noise[:, real]
    )


def _together(numbers: Sequence[Numbers]) -> Numbers:
    """One below the other; what all have in common is there once."""

    def column(parts: list[Array]) -> Array:
        rows = np.concatenate(parts)
        return rows[:1] if (rows == rows[:1]).all() else rows

    return Numbers(
        column([one.samples for one in numbers]),
        column([one.weights for one in numbers]),
        column([one.noise for one in numbers]),
        column([one.penalty for one in numbers]),
    )
