"""The finite-size correction of many plain recursions side by side; see plain_correction.py, whose formulas it uses."""

from dataclasses import replace
from typing import Final

import numpy as np

from service.theory.model import Array, Mask, Population
from service.theory.plain_correction import LARGEST, Corrections, corrections_at
from service.theory.scenarios import Outcomes, Point, Scenarios

_CHUNK: Final = 500_000  # modes × fits at a time


def corrected_outcomes(population: Population, scenarios: Scenarios, found: Outcomes) -> Outcomes:
    """The outcomes to order 1; ``regular`` where the generators are unbiased and every correction is small."""
    unbiased = (scenarios.run_penalties == 0) & (scenarios.run_samples > population.rank)
    with np.errstate(all="ignore"):  # what is not small or not defined is not regular
        parts = [_Corrected(population, scenarios, ridges) for ridges in found.ridges]
        given, best, clean = parts
        small = given.small & best.small & clean.small
        return replace(
            found,
            regular=found.regular & unbiased.all(axis=1) & small & np.isfinite(found.best.penalty),
            given=given.point(found.given),
            best=best.point(found.best),
            clean_total=clean.bias + clean.by_noise * scenarios.real_noise,
            total_at_clean=clean.total,
        )


class _Corrected:
    """The last stage at effective ridges, shape (scenarios or 1,)."""

    def __init__(self, population: Population, scenarios: Scenarios, ridges: Array) -> None:
        self.scenarios = scenarios
        samples = np.broadcast_to(scenarios.samples, np.broadcast(scenarios.samples, ridges).shape)
        ridges = np.broadcast_to(ridges, samples.shape)
        at = _corrections(population, samples, ridges)
        room = np.repeat(scenarios.run_samples - population.rank, scenarios.runs, axis=1)
        label, change = at.label[0][:, None], at.label[1][:, None]
        past, past_change = label / room, (change + label / room) / room
        self.bias: Array = at.truth[0] + at.truth[1]
        self.by_noise = _continued(*at.noise)
        self.responses = _continued(past, past_change)
        noises = (self.responses * scenarios.generator_noise).sum(axis=1)
        self.total: Array = self.bias + self.by_noise * scenarios.noise + noises
        self.small: Mask = _small(*at.truth) & _small(*at.noise) & _small(past, past_change).all(axis=1)

    def point(self, before: Point) -> Point:
        """The corrected point."""
        s = self.scenarios
        return Point(
            before.penalty,
            self.total,
            self.bias,
            self.by_noise * s.real_noise,
            self.by_noise * (s.noise - s.real_noise),
            self.responses,
            before.room,
        )


def _corrections(population: Population, samples: Array, ridges: Array) -> Corrections[Array]:
    """Side by side, a bounded number of modes at a time."""
    step = max(1, _CHUNK // population.eigenvalues.size)
    parts = [
        corrections_at(population, samples[i : i + step], ridges[i : i + step])
        for i in range(0, ridges.size, step)
    ]
    truth, noise, label = (
        (np.concatenate([part[k][0] for part in parts]), np.concatenate([part[k][1] for part in parts]))
        for k in range(3)
    )
    return Corrections(truth, noise, label)


def _small(value: Array, correction: Array) -> Mask:
    return np.asarray(np.abs(correction) <= LARGEST * np.abs(value))


def _continued(value: Array, correction: Array) -> Array:
    """See plain_correction.continued."""
    return np.asarray(np.where(correction == 0, value, value / (1.0 - correction / value)))
