"""The finite-size correction of many plain recursions side by side; see plain_correction.py, whose formulas it uses."""

from dataclasses import replace
from typing import Final

import numpy as np

from service.theory.model import Array, Mask, Population
from service.theory.plain_corrected import within_reach
from service.theory.plain_correction import LARGEST, corrections
from service.theory.plain_origins import PlainFits, plain_origins
from service.theory.scenarios import Outcomes, Point, Scenarios

_CHUNK: Final = 500_000  # modes × fits at a time


def corrected_outcomes(population: Population, scenarios: Scenarios, found: Outcomes) -> Outcomes:
    """The outcomes to order 1; ``regular`` where every correction is small."""
    if not (unbiased(population, scenarios) or within_reach(population, sum(scenarios.runs))):
        return replace(found, regular=np.zeros_like(found.regular))
    with np.errstate(all="ignore"):  # what is not small or not defined is not regular
        parts = [_Corrected(population, scenarios, found, ridges) for ridges in found.ridges]
        given, best, clean = parts
        return replace(
            found,
            regular=found.regular & given.small & best.small & clean.small & np.isfinite(found.best.penalty),
            given=given.point(found.given),
            best=best.point(found.best),
            clean_total=clean.bias + clean.by_noise * scenarios.real_noise,
            total_at_clean=clean.total,
        )


class _Corrected:
    """The last stage at effective ridges, shape (scenarios or 1,)."""

    def __init__(self, population: Population, scenarios: Scenarios, found: Outcomes, ridges: Array) -> None:
        self.scenarios = scenarios
        shape = np.broadcast_shapes(scenarios.samples.shape, ridges.shape, found.run_rooms.shape[:1])
        samples, ridges = np.broadcast_to(scenarios.samples, shape), np.broadcast_to(ridges, shape)
        if unbiased(population, scenarios):
            clean, noise, truth, past = _unbiased(population, scenarios, samples, ridges)
        else:
            clean, noise, truth, past = _biased(population, scenarios, found, samples, ridges)
        self.bias: Array = clean[0] + clean[1]
        self.by_noise = _continued(*noise)
        self.responses = _continued(*past)
        noises = (self.responses * scenarios.generator_noise).sum(axis=1)
        self.total: Array = truth[0] + truth[1] + self.by_noise * scenarios.noise + noises
        self.small: Mask = _small(*clean) & _small(*noise) & _small(*truth) & _small(*past).all(axis=1)
        self.small &= (found.run_rooms >= 1.0).all(axis=1)

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


def unbiased(population: Population, scenarios: Scenarios) -> bool:
    """Whether all generators are least squares with samples to spare."""
    return bool(np.all((scenarios.run_penalties == 0) & (scenarios.run_samples > population.rank)))


def _unbiased(
    population: Population, scenarios: Scenarios, samples: Array, ridges: Array
) -> tuple[Array, Array, Array, Array]:
    """The fields of PlainOrigins where generators hand all errors on."""
    step = max(1, _CHUNK // population.eigenvalues.size)
    parts = [
        corrections(population, samples[i : i + step], ridges[i : i + step])
        for i in range(0, ridges.size, step)
    ]
    truth, noise, label = (
        np.array([np.concatenate([part[k][order] for part in parts]) for order in (0, 1)]) for k in range(3)
    )
    room = np.repeat(scenarios.run_samples - population.rank, scenarios.runs, axis=1)
    value, change = label[..., None] / room
    return truth, noise, truth, np.array([value, change + value / room])


def _biased(
    population: Population, scenarios: Scenarios, found: Outcomes, samples: Array, ridges: Array
) -> tuple[Array, Array, Array, Array]:
    """The fields of PlainOrigins."""
    step = max(1, _CHUNK // (population.eigenvalues.size * (1 + len(scenarios.runs))))
    parts = []
    for first in range(0, ridges.size, step):
        here = slice(first, first + step)
        runs = [
            (
                length,
                PlainFits.of(
                    population,
                    _part(scenarios.run_samples[:, k], here),
                    _part(theta, here),
                    _part(found.run_rooms[:, k], here),
                ),
            )
            for k, (length, theta) in enumerate(zip(scenarios.runs, found.run_ridges, strict=True))
        ]
        parts.append(plain_origins(population, runs, PlainFits.of(population, samples[here], ridges[here])))
    clean, noise, truth, past = (
        np.concatenate([getattr(part, name) for part in parts], axis=1)
        for name in ("clean", "noise", "truth", "past")
    )
    return clean, noise, truth, past


def _part(values: Array, here: slice) -> Array:
    return values if len(values) == 1 else values[here]


def _small(value: Array, correction: Array) -> Mask:
    return np.asarray(np.abs(correction) <= LARGEST * np.abs(value))


def _continued(value: Array, correction: Array) -> Array:
    """See plain_correction.continued."""
    ratio = np.where(value == 0, np.inf, correction / value)
    return np.asarray(np.where(np.abs(ratio) <= LARGEST, value / (1.0 - ratio), value + correction))
