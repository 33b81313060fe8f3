"""The errors of a plain recursion to order 1, at several effective ridges of its last stage; see plain_origins.py."""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

from service.theory.model import Population
from service.theory.plain_correction import NEGLIGIBLE, NotSmall, added, continued
from service.theory.plain_origins import PlainFits, plain_origins
from service.theory.scenarios import Scenarios

MAX_WORK: Final = 2_000_000  # modes × biased generations: beyond it a correction would take seconds


def within_reach(population: Population, biased: int) -> bool:
    """Whether so many biased generations can be corrected in a fraction of a second."""
    return biased * population.eigenvalues.size <= MAX_WORK


class CorrectedFit(NamedTuple):
    """The errors of one fit to order 1.

    ``bias``: of the last stage on real labels; ``by_noise``: the derivative by the noise of its labels; ``past``: by
    the noise of each generator; ``moved``: see Prediction; ``room``, ``closeness``: see left_over.
    """

    total: float
    bias: float
    by_noise: float
    past: list[float]
    moved: float
    room: float
    closeness: float


def corrected_fits(
    population: Population,
    given: Scenarios,
    run_ridges: Sequence[float],
    run_rooms: Sequence[float],
    ridges: Sequence[float],
) -> list[CorrectedFit]:
    """The last stage of the only scenario at these effective ridges.

    ``run_ridges``: of each run of generators; ``run_rooms``: samples − second-order degrees of freedom. Raises
    NotSmall.
    """
    samples = given.run_samples[0].tolist()
    with np.errstate(all="ignore"):  # what overflows is not small
        runs = [
            (length, PlainFits(population, np.array([ridge]), np.array([room])))
            for length, ridge, room in zip(given.runs, run_ridges, run_rooms, strict=True)
        ]
        if not within_reach(population, sum(length for length, fits in runs if fits.biased)):
            raise NotSmall
        last = PlainFits.of(population, given.samples, np.array(ridges))
        found = plain_origins(population, runs, last)
    noise, past_noise = float(given.noise[0]), given.generator_noise[0]
    # with the corrections' absolute values, which do not cancel
    values = found.truth[0] + noise * found.noise[0] + found.past[0] @ past_noise
    moved = np.abs(found.truth[1]) + noise * np.abs(found.noise[1]) + np.abs(found.past[1]) @ past_noise
    fits = []
    for i in range(len(ridges)):
        spare = [*zip(samples, run_rooms, strict=True), (float(given.samples[0]), float(last.room[i]))]
        if min(r for _, r in spare) < 1.0:
            raise NotSmall
        value = float(values[i])
        least = NEGLIGIBLE * value
        truth, clean, own = (pair[:, i].tolist() for pair in (found.truth, found.clean, found.noise))
        bias, by_noise = added(clean[0], clean[1], least), continued(own[0], own[1])
        past = [
            continued(part, change, least / s2 if s2 else np.inf)
            for part, change, s2 in zip(*found.past[:, i].tolist(), past_noise.tolist(), strict=True)
        ]
        total = added(truth[0], truth[1], least) + noise * by_noise + float(np.dot(past, past_noise))
        fits.append(
            CorrectedFit(
                total, bias, by_noise, past,
                float(moved[i]) / value if value > 0 else 0.0,
                min(r for _, r in spare),
                max((1.0 - r / T) / r for T, r in spare),
            )
        )  # fmt: skip
    return fits
