"""Limits of plain recursions in closed form; see generations.py and unlimited.py, whose formulas these are.

With S, U, room = T − df2 and gain = S²/σ of a generation's fit, the fixed point of E e'² = (S e − U w)² + drive gain is
E[e w] = −w², E e² = w² + drive gain/(1 − S²), drive = noise/(room − Σ σ U² gain/(1 − S²)); it is reached iff that
denominator is positive.
"""

from collections.abc import Iterator
from math import inf
from typing import Final

import numpy as np

from service.theory.generations import BOUNDED, EXPONENTIAL, LINEAR, TOO_FAR_APART, Recursion
from service.theory.model import OPTIMAL, Array, Population, Source, Stage, TrainingMix
from service.theory.plain_prediction import is_plain
from service.theory.recursion import Fits
from service.theory.ridges import effective_ridges
from service.theory.shared_limits import SharedRecursion

_BLOCK: Final = 32  # generations that are looked at together


def recursion(population: Population, mix: TrainingMix, again: Stage, order: int) -> Recursion:
    """The mix continued by more generations of ``again``."""
    if again.passes:
        return SharedRecursion(population, mix, again, order)
    if is_plain(population, mix) and _is_plain(again):
        source, last = again.sources[0], mix.stages[-1]
        sizes = np.array([source.samples, last.sources[0].samples])
        penalties = np.array([again.penalty, last.penalty], dtype=np.float64)
        with np.errstate(all="ignore"):
            ridges = effective_ridges(population, sizes, penalties)
        if np.all(np.isfinite(ridges)):
            step, close = (Fits(population, ridges[k : k + 1], sizes[k : k + 1]) for k in range(2))
            regular = step.room[0] > 0 and close.room[0] > 0
            noisy = source.noise_variance > 0 and source.samples > population.rank + 1
            if regular and (step.U.any() or noisy):
                return PlainRecursion(population, source, last, order, step, close)
    return Recursion(population, mix, again, order)


def _is_plain(again: Stage) -> bool:
    source = again.sources[0]
    return (
        len(again.sources) == 1
        and again.width is None
        and source.weight == 1
        and source.samples > 0
        and source.eigenvalues is None
        and again.penalty not in (OPTIMAL, np.inf)
    )


class PlainRecursion(Recursion):
    """A recursion of one source a stage, one covariance, no random features, away from every threshold."""

    def __init__(  # noqa: PLR0917
        self, population: Population, source: Source, last: Stage, order: int, step: Fits, close: Fits
    ) -> None:
        self.population, self.order, self.sources = population, order, 1
        self.step_fits, self.noise = step, source.noise_variance
        weight, power = population.weight, population.target_power
        # the evaluated error: of E e² and E[e w] of its labels, and what is its own
        SS, U = close.SS[0, 0], close.U[0, 0]
        with np.errstate(over="ignore"):  # said in limit
            ratio = float((SS @ population.multiplicities) / close.room[0])
            left = close.residual[0, 0]
            self.of_second = weight * SS + ratio * left
            self.of_cross = 2.0 * (ratio * left - weight * (1.0 - U) * U)
            self.own = (1.0 + ratio) * float(left @ power) + ratio * last.sources[0].noise_variance

    def limit(self, missing: dict[str, str]) -> tuple[float | None, float | None]:
        """See Recursion.limit."""
        fit, power = self.step_fits, self.population.target_power
        U, gain, room = fit.U[0, 0], fit.gain[0, 0], float(fit.room[0])
        if not U.any():
            self.regime, self.corrected = LINEAR, self.order > 0
            missing["generations_limit"] = (
                "The error grows by the same amount with every generation, without bound."
            )
            return None, self.noise / (room - 1.0 if self.order else room) * float(self.of_second @ gain)
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            spread = gain / (U * (2.0 - U))
            denominator = room - float(fit.residual[0, 0] @ spread)
            drive = self.noise / denominator
            error = float(self.of_second @ (power + drive * spread) - self.of_cross @ power) + self.own
        if denominator <= 0:
            self.regime = EXPONENTIAL
            missing["generations_limit"] = missing["growth_per_generation"] = (
                "Each generation amplifies the error of the one before: it grows exponentially."
            )
            return None, None
        if not np.isfinite(error):
            missing["generations_limit"] = missing["growth_per_generation"] = TOO_FAR_APART
            return None, None
        self.regime = BOUNDED
        missing["growth_per_generation"] = "The error is bounded: the growth per generation tends to 0."
        return error, None

    def _errors(self) -> Iterator[float]:
        """See Recursion._errors; a block of generations at a time, see recursion.py.

        With s = S^n, which the n-th model has learned of the truth, the error of the means is quadratic in s.
        """
        fit, power, a, b = self.step_fits, self.population.target_power, self.of_second, self.of_cross
        self.most = self._most(0.0, power, np.zeros_like(power))
        yield self.own
        block = fit.powers(_BLOCK)
        powers, response, S, SS = block.powers[0], block.response[0], fit.S[0, 0], fit.SS[0, 0]
        steps = np.arange(_BLOCK)
        learned = np.sqrt(powers)
        answer = (powers * fit.gain[0, 0]) @ a  # to a drive, so many generations later
        later = np.where(steps >= steps[:, None], answer[np.maximum(steps - steps[:, None], 0)], 0.0)
        whole, linear, square = float((a - b) @ power), (b - 2.0 * a) * power, a * power
        before, spread = np.ones_like(S), np.zeros_like(power)  # of the block: S^n, and the fluctuation
        while True:
            drive = (
                self.noise + powers @ (fit.residual[0, 0] * (before * before * power + spread))
            ) @ response
            s = before * S
            means = whole + learned @ (s * linear) + powers @ (s * s * square)
            yield from (self.own + means + powers @ (a * SS * spread) + drive @ later).tolist()
            spread = block.all[0, 0] * spread + fit.gain[0, 0] * (drive[::-1] @ powers)
            before = s * learned[-1]
            self.most = self._most(1.0 - before, before * before * power, spread)

    def _most(self, lost: Array | float, known: Array, spread: Array) -> float:
        """A bound on the error of this and all later generations, infinite where there is none.

        In what follows ``known`` falls and ``lost`` rises to 1. Of the means the error is a convex function of
        ``lost``, so the larger of now and the end bounds it. With ``known`` as it is now for ever the fluctuation tends
        to a fixed point; a multiple of that which it is below now it stays below, since a step is increasing in it.
        """
        fit, power, a, b = self.step_fits, self.population.target_power, self.of_second, self.of_cross
        U, gain, left = fit.U[0, 0], fit.gain[0, 0], fit.residual[0, 0]
        with np.errstate(all="ignore"):  # what is not defined bounds nothing
            end = gain / (U * (2.0 - U))
            room = float(fit.room[0]) - float(left @ end)
            end *= (self.noise + float(left @ known)) / room
            above = np.divide(spread, end, out=np.zeros_like(end), where=spread > 0).max()
            means = np.maximum((a * lost - b) * lost, a - b) @ power
            bound = self.own + float(means + max(above, 1.0) * (a @ end))
        return bound if room > 0 and bound < inf else inf
