"""Chains of estimators: draw the samples, estimate, draw from the estimate, and again."""

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.random import Generator

from service.simulation.costs import MICROSECOND, NORMAL, Burden
from service.simulation.distributions.streams import replicate_generator
from service.theory.model import Array

Family = Literal["linear", "least_squares", "exponential", "poisson"]
Workflow = Literal["replace", "fresh", "retained", "accumulate", "fixed_budget"]

_QUANTITIES: Final[dict[Family, tuple[str, ...]]] = {
    "linear": ("squared_error", "kl"),
    "least_squares": ("squared_error", "kl"),
    "exponential": ("squared_error", "kl", "log_variance"),
    "poisson": ("squared_error", "kl", "extinction"),
}


def quantities_of(family: Family) -> tuple[str, ...]:
    """What is measured of it at every reported generation."""
    return _QUANTITIES[family]


@dataclass(frozen=True, eq=False)
class _Summary:
    """What an estimate needs of a sample: how many, and their sum; of a regression XᵀX and Xᵀy."""

    count: int
    moment: Array
    gram: Array | None

    def joined(self, other: "_Summary") -> "_Summary":
        """Of both samples together."""
        gram = None if self.gram is None or other.gram is None else self.gram + other.gram
        return _Summary(self.count + other.count, self.moment + other.moment, gram)

    def estimate(self) -> Array:
        """The mean, or the least-squares coefficients, shape (d,)."""
        if self.gram is None:
            return self.moment / self.count
        solved: Array = np.asarray(np.linalg.solve(self.gram, self.moment), dtype=float)
        return solved


@dataclass(frozen=True, eq=False)
class EstimatorWork:
    """Estimates by generation, in their family's own draws.

    linear: the mean of N(θ, 1) in d dimensions, θ = 0. least_squares: y = Xw + noise, X and noise standard normal,
    w = 0. exponential: the scale, truly 1. poisson: the mean ``mean``. ``sizes``: samples of each generation, 0
    first; ``real``: how many of them are real (retained: the same ones). ``weights``: of the real samples' own
    estimate, by generation, where estimates are combined; None: all samples are fitted together. ``log_means``:
    E ln θ by reported generation, about which ``log_variance`` is taken.
    """

    family: Family
    dimension: int
    mean: float
    workflow: Workflow
    sizes: tuple[int, ...]
    real: tuple[int, ...]
    weights: tuple[float, ...] | None
    reported: tuple[int, ...]
    log_means: tuple[float, ...]

    @property
    def rows(self) -> int:
        """How many numbers a replicate comes to."""
        return len(quantities_of(self.family)) * len(self.reported)

    def outcomes(self, seed: int, first: int, last: int) -> Array:
        """Of the replicates first <= r < last, shape (rows, last - first)."""
        return np.stack([self._replicate(replicate_generator(seed, r)) for r in range(first, last)], axis=1)

    def _replicate(self, rng: Generator) -> Array:
        truth = np.full(self.dimension, {"exponential": 1.0, "poisson": self.mean}.get(self.family, 0.0))
        estimate, found = truth, list[tuple[float, ...]]()
        pool: list[Array] = []
        kept: _Summary | None = None
        for generation in range(self.reported[-1] + 1):
            real = self.sizes[0] if generation == 0 else self.real[generation]
            synthetic = self.sizes[generation] - real
            if self.workflow == "fixed_budget":
                pool.append(self._drawn(rng, truth if generation == 0 else estimate, self.sizes[generation]))
                rows = np.concatenate(pool)
                estimate = self._summary(rows[rng.integers(len(rows), size=self.sizes[0])]).estimate()
            elif self.workflow == "accumulate":
                batch = self._summary(self._drawn(rng, truth, real))
                batch = batch.joined(self._summary(self._drawn(rng, estimate, synthetic)))
                kept = batch if kept is None else kept.joined(batch)
                estimate = kept.estimate()
            else:
                own = kept if kept is not None else self._summary(self._drawn(rng, truth, real))
                if self.workflow == "retained":
                    kept = own
                estimate = self._combined(
                    generation, own, self._summary(self._drawn(rng, estimate, synthetic))
                )
            if generation == self.reported[len(found)]:
                found.append(self._measured(estimate, self.log_means[len(found)]))
        return np.array(found).T.ravel()

    def _combined(self, generation: int, real: _Summary, synthetic: _Summary) -> Array:
        if self.weights is None or not real.count or not synthetic.count:
            return real.joined(synthetic).estimate()
        w = self.weights[generation]
        return w * real.estimate() + (1.0 - w) * synthetic.estimate()

    def _drawn(self, rng: Generator, parameter: Array, count: int) -> Array:
        """Samples, shape (count, d); of a regression the features and then the label, (count, d + 1)."""
        if self.family == "exponential":
            return rng.exponential(parameter[0], (count, 1))
        if self.family == "poisson":
            return rng.poisson(parameter[0], (count, 1)).astype(float)
        x = rng.standard_normal((count, self.dimension))
        if self.family == "linear":
            return parameter + x
        return np.column_stack([x, x @ parameter + rng.standard_normal(count)])

    def _summary(self, rows: Array) -> _Summary:
        if self.family != "least_squares":
            return _Summary(len(rows), rows.sum(axis=0), None)
        x, y = rows[:, :-1], rows[:, -1]
        return _Summary(len(rows), x.T @ y, x.T @ x)

    def _measured(self, estimate: Array, log_mean: float) -> tuple[float, ...]:
        value = float(estimate[0])
        if self.family == "exponential":
            log = float(np.log(value)) if value > 0.0 else -np.inf
            return (value - 1.0) ** 2, value - 1.0 - log, (log - log_mean) ** 2
        if self.family == "poisson":
            ratio = value / self.mean
            divergence = self.mean * (ratio * np.log(ratio) - ratio + 1.0) if ratio > 0.0 else self.mean
            return (value - self.mean) ** 2, float(divergence), float(value == 0.0)
        squared = float(estimate @ estimate)
        return squared, 0.5 * squared


def burden(work: EstimatorWork) -> Burden:
    """Of one replicate: drawing the samples and summing them, d³ per least-squares fit."""
    sizes = work.sizes[: work.reported[-1] + 1]
    d, regression = work.dimension, work.family == "least_squares"
    each = (
        d * (2 * d + 2 * NORMAL)
        if regression
        else 8 * NORMAL
        if work.family == "poisson"
        else 1.5 * NORMAL * d
    )
    fits = len(sizes) * ((20 if regression else 9) * MICROSECOND + (d**3 if regression else 0))
    total = sum(sizes) * each + fits
    if work.workflow == "fixed_budget":
        total += sum(range(len(sizes) + 1)) * max(sizes) * d * 0.2 * NORMAL  # the pool is put together anew
    width = d + regression
    held = width * (sum(sizes) if work.workflow == "fixed_budget" else max(sizes))
    return Burden(total, 4.0 * held)
