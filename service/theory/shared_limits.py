"""Generations without end on one design: all of them are functions of the one matrix S of shared_design.py.

With a penalty λ the share Π s/(s + λ) that is left of the truth tends to 0, and the noises add up to

    Σ_j s/(s + λ)² (s/(s + λ))^2j = s/(λ (λ + 2 s)) = (1 − (λ/2)/(s + λ/2))/(2 λ),

a resolvent at −λ/2: the last generator is noise alone, E e² = w² + (σ²/T) σ/(σ + κ)/(2 λ), κ (1 − df1(κ)/T) = λ/2.
Without penalty all are one projection: n generations are a single fit of n times the noise (Dohmatob, Feng, Kempe,
arXiv 2402.07712), and each adds the same.
"""

from dataclasses import replace
from math import floor, inf

import numpy as np

from service.theory.generations import BOUNDED, COUNTABLE, DIVERGENT, NEVER_WORSE, Recursion
from service.theory.model import REAL, ROUNDING, Array, Pass, Population, Stage, TrainingMix
from service.theory.moments import error_moments
from service.theory.shared_design import expected_seconds
from service.theory.stages import solve

_MOST = 9_999  # generations
_MOST_SECONDS = 1.0
_REPEATED = 1e-12


class SharedRecursion(Recursion):
    """A recursion whose generators are fitted to one design, ``again`` the next pass of it. The last fit has its own.

    Asymptotic; without penalty and with samples to spare growth is of order 1 where that is asked for.
    """

    def __init__(self, population: Population, mix: TrainingMix, again: Stage, order: int) -> None:
        super().__init__(population, mix, replace(again, passes=()), order)

    def limit(self, missing: dict[str, str]) -> tuple[float | None, float | None]:
        """See Recursion.limit."""
        source, power = self.again.sources[0], self.population.target_power
        penalty = float(self.again.penalty)
        if penalty == 0 and source.samples > 0:
            return self._unbiased(missing)
        second = power
        if source.samples > 0 and penalty < inf:
            half = solve(self.population, self.again, penalty / 2.0)
            second = power + source.noise_variance / source.samples / (2.0 * penalty) * half.learned[0]
        error = self._closed(-power, second)
        self.regime = BOUNDED if error < inf else DIVERGENT
        if error == inf:
            missing["generations_limit"] = missing["growth_per_generation"] = (
                "The last fit is at its interpolation threshold."
            )
            return None, None
        missing["growth_per_generation"] = "The error is bounded: the growth per generation tends to 0."
        return error, None

    def null_generation(
        self,
        limit: float | None,
        growth: float | None,
        missing: dict[str, str],
    ) -> int | None:
        """See Recursion.null_generation; in closed form where there is one."""
        null, name = (1.0 + ROUNDING) * self.population.signal, "worse_than_null_from"
        zero = np.zeros_like(self.population.target_power)
        if self._closed(zero, zero) > null:
            return 0
        if self.regime == DIVERGENT:
            return 1
        if float(self.again.penalty) > 0 and self.again.sources[0].samples > 0:
            return self._null_generation_with_penalty(null, limit, missing)
        first = self._closed(*self._first(self.again.sources[0].noise_variance))
        if first > null:
            return 1
        further = (null - first) / growth if growth else inf
        if further < COUNTABLE:
            return floor(further) + 2
        missing[name] = f"Not before generation {COUNTABLE:g}." if growth else NEVER_WORSE
        return None

    def _null_generation_with_penalty(
        self, null: float, limit: float | None, missing: dict[str, str]
    ) -> int | None:
        """See Recursion.null_generation: looked at are 1, 2, 4, … generations, then those between the two where the
        error passes that of predicting zero, which it is taken to do once."""
        below, above, seconds = 0, _MOST + 1, 0.0
        never = limit is not None and limit <= null
        while above - below > 1:
            n = min(max(2 * below, 1), _MOST) if above > _MOST else (below + above) // 2
            seconds += expected_seconds(self.population, self.again.sources[0].samples, self._passes(n))
            if seconds > _MOST_SECONDS:
                break
            error = self._after_passes(n)
            if error > null:
                above = n
                continue
            below = n
            if limit is not None and never and abs(error - limit) <= _REPEATED * null:
                below = _MOST
        else:
            if above <= _MOST:
                return above
        later = f"Not before generation {below + 1}; later ones take too long to look at."
        missing["worse_than_null_from"] = NEVER_WORSE if never and below == _MOST else later
        return None

    def _passes(self, n: int) -> tuple[Pass, ...]:
        return (Pass(float(self.again.penalty), 1.0 / n),) * n

    def _after_passes(self, n: int) -> float:
        """The test error after n generations."""
        source = replace(
            self.again.sources[0], labels=REAL, noise_variance=n * self.again.sources[0].noise_variance
        )
        stage = replace(self.again, sources=(source,), passes=self._passes(n))
        response = solve(self.population, stage, float(stage.penalty))
        zero = np.zeros_like(self.population.target_power)
        error, mean = error_moments(self.population, stage, response, self._labels(stage, zero, zero))
        return self._closed(mean.truth, error)

    def _noiseless(self) -> tuple[Array, Array]:
        return self._first(0.0)

    def _first(self, noise_variance: float) -> tuple[Array, Array]:
        """The moments of the first generation."""
        zero, noise = np.zeros_like(self.population.target_power), np.array([noise_variance])
        labels = self._labels(self.again, zero, zero)
        error, mean = error_moments(self.population, self.again, self.step, labels, noise)
        return mean.truth, error
