"""A recursion of equal generations: its limit, its growth, and when it becomes worse than predicting nothing.

A further generation maps the moments of the model before it, per mode,

    E[e'w] = L E[ew] − U w²,      E e'² = L² E e² + b + Σ_j v_j r_j,      r = r_0 + R E e²,

with v_j the fluctuation for one unit of residual j (of each source, and of the model's power where there are random
features) and r_j that residual, affine in E e². So the fixed point is (b + Σ_j v_j ρ_j)/(1 − L²) for a ρ that solves a
linear system of the size of the number of sources: (1 − K) ρ = r(b/(1 − L²)), K_jk = R_j (v_k/(1 − L²)), K >= 0.
It exists, and is reached, iff the largest eigenvalue of K is below 1.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cached_property
from math import floor, inf

import numpy as np

from service.theory.chain import Labels, covariances_of
from service.theory.model import PREVIOUS, REAL, ROUNDING, Array, Population, Shift, Stage, TrainingMix
from service.theory.moments import Mean, error_moments, mean_moments
from service.theory.response import Regime
from service.theory.stages import solve

NO_RECURSION = "no recursion"
BOUNDED = "bounded"
LINEAR = "linear growth"
EXPONENTIAL = "exponential growth"
DIVERGENT = "divergent"
UNKNOWN = "unknown"
TOO_FAR_APART = "The numbers lie too many orders of magnitude apart for double precision."

_MOST_GENERATIONS = 10_000
_SCAN_WORK = 1_000_000  # modes × sources² × generations that are looked at one by one
_REPEATED = 1e-12
COUNTABLE = 1e18
NEVER_WORSE = "No generation is worse than predicting nothing."


class Recursion:
    """The mix continued by more generations of ``again``.

    Either every generation is labelled by the one before alone, the first by the truth, and the last stage closes
    (recursive); or each has real data of its own and is itself what is evaluated (replace_with_real). ``corrected``:
    whether the limit is of order 1.
    """

    regime = UNKNOWN
    corrected = False
    most = inf  # no error that ``_errors`` has yet to give is larger

    def __init__(self, population: Population, mix: TrainingMix, again: Stage, order: int) -> None:
        self.population, self.again, self.order, self.sources = population, again, order, len(again.sources)
        self.fresh = any(source.labels == REAL for source in again.sources)
        self.closing = again if self.fresh else _labelled(mix.stages[-1])
        self.first = mix.stages[0]
        self.step = solve(population, again, float(again.penalty))
        self.close = solve(population, self.closing, float(self.closing.penalty))
        self.silent = Population(
            population.eigenvalues, population.multiplicities, np.zeros_like(population.target_power), 0.0
        )

    # --- limits ---------------------------------------------------------------------------------

    def limit(self, missing: dict[str, str]) -> tuple[float | None, float | None]:
        """The error after infinitely many generations, and its growth where it is linear; sets ``regime``."""
        with np.errstate(over="ignore", invalid="ignore"):  # said in ``missing``
            return self._limit(missing)

    def _limit(self, missing: dict[str, str]) -> tuple[float | None, float | None]:
        zero = np.zeros_like(self.population.target_power)
        if not np.isfinite(self._after(zero, zero)):
            self.regime = DIVERGENT
            missing["generations_limit"] = missing["growth_per_generation"] = (
                "A fit at its interpolation threshold has an infinite error."
            )
            return None, None
        if self.step.regime is Regime.THRESHOLD:  # without noise, and all is learned
            self.regime = BOUNDED
            missing["growth_per_generation"] = "Nothing is added."
            return self._closed(zero, zero), None
        L, U, signal = self._learned(), self.step.unlearned, self.population.target_power
        rest = self.step.learned.sum(axis=0) - L + U  # 1 − L without cancellation
        if not np.any(rest[self.population.eigenvalues > 0] > 0):
            return self._unbiased(missing)
        cross = -np.divide(U * signal, rest, out=np.zeros_like(U), where=rest > 0)
        room = rest * (1.0 + L)
        inverse = np.divide(1.0, room, out=np.zeros_like(room), where=room > 0)
        units = self._units()
        base = self._mean(self.population, cross, zero).square * inverse  # the chain without fluctuation
        spread = [unit * inverse for unit in units]
        K = np.array([self._residuals(self.silent, zero, one) for one in spread]).T
        if not np.all(np.isfinite(K)):
            missing["generations_limit"] = missing["growth_per_generation"] = TOO_FAR_APART
            return None, None
        if float(np.abs(np.linalg.eigvals(K)).max()) >= 1.0:
            self.regime = EXPONENTIAL
            missing["generations_limit"] = missing["growth_per_generation"] = (
                "Each generation amplifies the error of the one before: it grows exponentially."
            )
            return None, None
        noise = np.array([*(source.noise_variance for source in self.again.sources), 0.0])
        driven = self._residuals(self.population, cross, base) + noise
        rho = np.linalg.solve(np.eye(len(units)) - K, driven)
        second = base + sum(r * one for r, one in zip(rho.tolist(), spread, strict=True))
        self.regime = BOUNDED
        missing["growth_per_generation"] = "The error is bounded: the growth per generation tends to 0."
        error = self._closed(cross, second)
        if not np.isfinite(error):  # the last stage alone is at its threshold
            at_threshold = self.close.regime is Regime.THRESHOLD
            self.regime = DIVERGENT if at_threshold else BOUNDED
            missing["generations_limit"] = (
                "The last fit is at its interpolation threshold." if at_threshold else TOO_FAR_APART
            )
            return None, None
        return error, None

    def _unbiased(self, missing: dict[str, str]) -> tuple[float | None, float | None]:
        """Every generation learns its label whole: each one's noise stays for ever."""
        zero = np.zeros_like(self.population.target_power)
        noise = np.array([source.noise_variance for source in self.again.sources])
        added = self.step.fluctuation(noise, 0.0)
        rows, rank = sum(source.samples for source in self.again.sources), self.population.rank
        plain = self.again.width is None and covariances_of(self.again, self.population) is None
        if self.order and plain and rows > rank:
            self.corrected = True
            # least squares, exactly: the mean of the inverse Wishart matrix
            added = (
                added * ((rows - rank) / (rows - rank - 1)) if rows > rank + 1 else np.full_like(added, inf)
            )
        nothing = np.zeros(len(self.closing.sources))
        if np.all(np.isfinite(added)):
            labels = self._labels(self.closing, zero, added)
            growth = self._sum(error_moments(self.silent, self.closing, self.close, labels, nothing)[0])
        else:
            growth = inf
        if not np.isfinite(growth):
            self.regime = DIVERGENT
            missing["generations_limit"] = missing["growth_per_generation"] = (
                "A fit next to its interpolation threshold has an infinite error."
            )
            return None, None
        if growth == 0:
            self.regime = BOUNDED
            missing["growth_per_generation"] = "Without noise nothing is added."
            return self._closed(*self._noiseless()), None
        self.regime = LINEAR
        missing["generations_limit"] = (
            "The error grows by the same amount with every generation, without bound."
        )
        return None, growth

    def _noiseless(self) -> tuple[Array, Array]:
        """The moments of a generation that learns all there is to learn: those of the truth."""
        zero = np.zeros_like(self.population.target_power)
        return zero, zero

    # --- the comparison with predicting nothing -------------------------------------------------

    def null_generation(
        self, limit: float | None, growth: float | None, missing: dict[str, str]
    ) -> int | None:
        """The first generation with a test error above that of predicting zero."""
        null, name = (1.0 + ROUNDING) * self.population.signal, "worse_than_null_from"
        errors = self._errors()
        error = next(errors)
        if error > null:
            return 0
        if self.regime == DIVERGENT:
            return 1
        if growth is not None:
            first = (null - error) / growth
            if first < COUNTABLE:
                return floor(first) + 1
            missing[name] = f"Not before generation {COUNTABLE:g}."
            return None
        last = max(_SCAN_WORK // (self.population.eigenvalues.size * self.sources**2), 16)
        last = min(last, _MOST_GENERATIONS)
        for n in range(1, last + 1):
            if self.most <= null:
                break
            before, error = error, next(errors)
            if error > null:
                return n
            if (
                limit is not None
                and limit <= null
                and abs(error - limit) + abs(error - before) <= _REPEATED * limit
            ):
                break
        else:
            if limit is None or limit > null:
                missing[name] = f"Not before generation {last}; later ones were not looked at."
                return None
        missing[name] = NEVER_WORSE
        return None

    def _errors(self) -> Iterator[float]:
        """The test error after 0, 1, … generations."""
        zero = np.zeros_like(self.population.target_power)
        cross, second = zero, zero
        if self.fresh:  # generation 0 is the first stage, on real data alone
            response = solve(self.population, self.first, float(self.first.penalty))
            second, mean = error_moments(
                self.population, self.first, response, self._labels(self.first, zero, zero)
            )
            cross = mean.truth
            yield self._sum(second)
        else:
            yield self._closed(cross, second)
        while True:
            cross, second = self._advanced(cross, second)
            yield self._sum(second) if self.fresh else self._closed(cross, second)

    # --- moments --------------------------------------------------------------------------------

    def _learned(self) -> Array:
        previous = [s for s, source in enumerate(self.again.sources) if by_model(source.labels)]
        return np.asarray(self.step.learned[previous].sum(axis=0))

    def _units(self) -> list[Array]:
        """The fluctuation for one unit of each residual, and of the power."""
        count = len(self.again.sources)
        units = [self.step.fluctuation(row, 0.0) for row in np.eye(count)]
        return [*units, self.step.fluctuation(np.zeros(count), 1.0)]

    def _residuals(self, population: Population, cross: Array, second: Array) -> Array:
        """Residual of each source and the mean's power, for labels of these moments."""
        mean = self._mean(population, cross, second)
        return np.append(mean.residual, mean.power)

    def _mean(self, population: Population, cross: Array, second: Array) -> Mean:
        labels = self._labels(self.again, cross, second, shifted=population is not self.silent)
        covariances = covariances_of(self.again, population)
        return mean_moments(population, self.step, labels, covariances, powered=self.again.width is not None)

    def _advanced(self, cross: Array, second: Array) -> tuple[Array, Array]:
        """The moments of one more generation."""
        if self._map is not None:
            return self._map(cross, second)
        labels = self._labels(self.again, cross, second)
        error, mean = error_moments(self.population, self.again, self.step, labels)
        return mean.truth, error

    def _closed(self, cross: Array, second: Array) -> float:
        """The error that is evaluated where the last generation has these moments."""
        labels = self._labels(self.closing, cross, second)
        return self._sum(error_moments(self.population, self.closing, self.close, labels)[0])

    @cached_property
    def _map(self) -> Callable[[Array, Array], tuple[Array, Array]] | None:
        """The moments of one more generation in a few operations, where one covariance and no features allow that.

        What a label is off its fit is (1 − L) e + U w for labels of the model before and −L e + U w for real ones.
        """
        sources, population = self.again.sources, self.population
        if (
            self.again.width is not None
            or covariances_of(self.again, population) is not None
            or not all(source.labels == REAL or by_model(source.labels) for source in sources)
        ):
            return None
        model = np.array([by_model(source.labels) for source in sources])
        L, U, power, weight = self._learned(), self.step.unlearned, population.target_power, population.weight
        rest = self.step.learned[~model].sum(axis=0) + U  # 1 − L
        units = np.array(self._units()[:-1])
        lost = U * power
        own = U * lost + np.array([source.noise_variance for source in sources]) @ units
        LL, LU2, left = L * L, 2.0 * L * U, float(weight @ (U * lost))
        by_model_labels, by_real_labels = units[model].sum(axis=0), units[~model].sum(axis=0)
        of_model, of_model_cross = weight * rest * rest, 2.0 * weight * rest * U

        def advanced(cross: Array, second: Array) -> tuple[Array, Array]:
            kept = LL * second - LU2 * cross
            drive = float(of_model @ second + of_model_cross @ cross) + left
            real_drive = float(weight @ kept) + left
            return L * cross - lost, kept + own + drive * by_model_labels + real_drive * by_real_labels

        return advanced

    def _after(self, cross: Array, second: Array) -> float:
        """The error one generation on."""
        if Regime.THRESHOLD not in (self.step.regime, self.close.regime):
            return 0.0  # nothing else makes it infinite
        cross, second = self._advanced(cross, second)
        return self._closed(cross, second) if np.all(np.isfinite(second)) else inf

    def _labels(self, stage: Stage, cross: Array, second: Array, *, shifted: bool = True) -> Labels:
        """Label moments of a stage whose sources by models are all labelled by one with these moments."""
        count = len(stage.sources)
        model = [s for s, source in enumerate(stage.sources) if by_model(source.labels)]
        all_cross, all_second = np.zeros((count, cross.size)), np.zeros((count, count, cross.size))
        for s in model:
            all_cross[s] = cross
            for t in model:
                all_second[s, t] = second
        if shifted:
            for s, source in enumerate(stage.sources):
                if isinstance(source.labels, Shift):
                    all_second[s, s] = source.labels.power
        return Labels(all_cross, all_second)

    def _sum(self, error: Array) -> float:
        return float(self.population.weight @ error)


def _labelled(last: Stage) -> Stage:
    """The last stage, labelled by a model also where there is no generation yet."""
    sources = tuple(
        replace(source, labels=PREVIOUS) if source.labels == REAL else source for source in last.sources
    )
    return replace(last, sources=sources)


def by_model(labels: str | Shift) -> bool:
    """Whether labels come from an earlier stage."""
    return not isinstance(labels, Shift) and labels != REAL
