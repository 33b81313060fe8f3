"""Limits of plain recursions in closed form; see generations.py and unlimited.py, whose formulas these are.

With S, U, room = T − df2 and gain = S²/σ of a generation's fit, the fixed point of E e'² = (S e − U w)² + drive gain is
E[e w] = −w², E e² = w² + drive gain/(1 − S²), drive = noise/(room − Σ σ U² gain/(1 − S²)); it is reached iff that
denominator is positive.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from service.theory.generations import BOUNDED, EXPONENTIAL, LINEAR, Recursion
from service.theory.model import OPTIMAL, REAL, Array, Population, Source, Stage, TrainingMix
from service.theory.plain_prediction import is_plain
from service.theory.ridges import effective_ridges

_BOUNDED: Final = "The error is bounded: the growth per generation tends to 0."


def recursion(population: Population, mix: TrainingMix, again: Stage, order: int) -> Recursion:
    """The mix continued by more generations of ``again``."""
    if is_plain(population, mix) and _is_plain(again) and mix.stages[-1].sources[0].labels != REAL:
        source, last = again.sources[0], mix.stages[-1]
        sizes = np.array([source.samples, last.sources[0].samples])
        penalties = np.array([again.penalty, last.penalty], dtype=np.float64)
        with np.errstate(all="ignore"):
            fits = _fits(population, sizes, effective_ridges(population, sizes, penalties))
        regular = all(np.isfinite(fit.room) and fit.room > 0 for fit in fits)
        if regular and (
            fits[0].U.any() or (source.noise_variance > 0 and source.samples > population.rank + 1)
        ):
            return PlainRecursion(population, source, last, order, *fits)
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


@dataclass(frozen=True, eq=False)
class _Fit:
    """One fit; ``S``, ``U``, ``gain`` = S²/σ: shape (modes,)."""

    S: Array
    U: Array
    gain: Array
    room: float


def _fits(population: Population, samples: Array, ridges: Array) -> list[_Fit]:
    Q = 1.0 / (population.eigenvalues + ridges[:, None])
    S, U = population.eigenvalues * Q, ridges[:, None] * Q
    few = samples - (S * S).dot(population.multiplicities)
    many = (samples - population.rank) + (U * (1.0 + S)).dot(population.multiplicities)
    rooms = np.where(population.rank > 2 * samples, few, many).tolist()
    return [_Fit(*fit) for fit in zip(S, U, S * Q, rooms, strict=True)]


class PlainRecursion(Recursion):
    """A recursion of one source a stage, one covariance, no random features, away from every threshold."""

    def __init__(  # noqa: PLR0917
        self, population: Population, source: Source, last: Stage, order: int, step: _Fit, close: _Fit
    ) -> None:
        self.population, self.order, self.fresh, self.sources = population, order, False, 1
        self.plain, self.noise = step, source.noise_variance
        weight, power = population.weight, population.target_power
        self.residual = weight * step.U**2
        # the evaluated error: of E e² and E[e w] of its labels, and what is its own
        ratio = float(close.S**2 @ population.multiplicities) / close.room
        left = weight * close.U**2
        self.of_second = weight * close.S**2 + ratio * left
        self.of_cross = 2.0 * (ratio * left - weight * close.S * close.U)
        self.own = (1.0 + ratio) * float(left @ power) + ratio * last.sources[0].noise_variance

    def limit(self, missing: dict[str, str]) -> tuple[float | None, float | None]:
        """See Recursion.limit."""
        fit, power = self.plain, self.population.target_power
        if not fit.U.any():
            room = fit.room - 1.0 if self.order else fit.room
            self.regime = LINEAR
            missing["generations_limit"] = (
                "The error grows by the same amount with every generation, without bound."
            )
            return None, self.noise / room * float(self.of_second @ fit.gain)
        spread = fit.gain / (fit.U * (1.0 + fit.S))
        denominator = fit.room - float(self.residual @ spread)
        if denominator <= 0:
            self.regime = EXPONENTIAL
            missing["generations_limit"] = missing["growth_per_generation"] = (
                "Each generation amplifies the error of the one before: it grows exponentially."
            )
            return None, None
        self.regime = BOUNDED
        missing["growth_per_generation"] = _BOUNDED
        return self._closed(-power, power + self.noise / denominator * spread), None

    def _advanced(self, cross: Array, second: Array) -> tuple[Array, Array]:
        fit, power = self.plain, self.population.target_power
        drive = (self.noise + float(self.residual @ (second + 2.0 * cross + power))) / fit.room
        lost = fit.U * power
        more = fit.S * cross - lost
        # (S e − U w)² = S² e² − U w (S e + (S e − U w))
        return more, fit.S * (fit.S * second - fit.U * cross) - fit.U * more + drive * fit.gain

    def _closed(self, cross: Array, second: Array) -> float:
        return float(self.of_second @ second + self.of_cross @ cross) + self.own
