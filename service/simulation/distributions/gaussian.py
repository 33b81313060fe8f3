"""Gaussian fits: draw the samples, fit mean and covariance, draw from the fit, and again."""

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.random import Generator

from service.simulation.distributions.streams import replicate_generator
from service.theory.model import Array

QUANTITIES: Final = (
    "variance", "drift", "variance_second_moment", "log_variance_mean", "standard_deviation", "log_determinant_mean",
    "kl_fit_true", "kl_true_fit", "wasserstein2_squared", "variance_drift_moment", "drift_fourth_moment",
    "total_variance_second_moment", "covariance_square_trace",
)  # fmt: skip

Workflow = Literal["replace", "stratified", "iid", "retained", "accumulate"]


@dataclass(frozen=True, eq=False)
class _Pool:
    """A sample by its number, mean, shape (d,), and scatter about it, shape (d, d)."""

    count: int
    mean: Array
    scatter: Array

    @classmethod
    def of(cls, x: Array) -> "_Pool":
        if not len(x):
            d = x.shape[1]
            return cls(0, np.zeros(d), np.zeros((d, d)))
        mean = x.mean(axis=0)
        centred = x - mean
        return cls(len(x), mean, centred.T @ centred)

    def joined(self, other: "_Pool") -> "_Pool":
        """Both samples as one."""
        if not self.count or not other.count:
            return self if self.count else other
        total = self.count + other.count
        apart = other.mean - self.mean
        between = self.count * other.count / total * np.outer(apart, apart)
        mean = self.mean + other.count / total * apart
        return _Pool(total, mean, self.scatter + other.scatter + between)


@dataclass(frozen=True, eq=False)
class GaussianWork:
    """Fits of N(0, diag(eigenvalues)) by generation.

    ``sizes``: samples of each generation, 0 first; ``real``: how many of them are real (iid: their expected number;
    retained: the same ones; not used otherwise). ``reported``: rising generations; rows are QUANTITIES, then one
    indicator per threshold of v and per threshold of det Σ/det Σ_0, each at every reported generation.
    """

    eigenvalues: Array
    sizes: tuple[int, ...]
    real: tuple[float, ...]
    workflow: Workflow
    unbiased: bool
    reported: tuple[int, ...]
    thresholds: tuple[float, ...] = ()
    determinant_thresholds: tuple[float, ...] = ()

    @property
    def rows(self) -> int:
        """How many numbers a replicate comes to."""
        indicators = len(self.thresholds) + len(self.determinant_thresholds)
        return (len(QUANTITIES) + indicators) * len(self.reported)

    def outcomes(self, seed: int, first: int, last: int) -> Array:
        """Of the replicates first <= r < last, shape (rows, last - first)."""
        return np.stack([self._replicate(replicate_generator(seed, r)) for r in range(first, last)], axis=1)

    def _replicate(self, rng: Generator) -> Array:
        d, wanted = len(self.eigenvalues), set(self.reported)
        scale = np.sqrt(self.eigenvalues)
        real_root = np.diag(scale)
        mean, root = np.zeros(d), real_root
        kept = _Pool.of(np.empty((0, d)))
        found = []
        for generation, size in enumerate(self.sizes[: self.reported[-1] + 1]):
            fresh = self._real_samples(rng, generation, size)
            real = kept
            if fresh:
                real = _Pool.of(rng.standard_normal((fresh, d)) * scale)
            if self.workflow == "retained" and generation == 0:
                kept = real
            count = size - (real.count if self.workflow != "accumulate" or generation == 0 else 0)
            # whatever generation 0 does not keep is real too: the first root is the truth's
            synthetic = _Pool.of(mean + rng.standard_normal((count, d)) @ root.T)
            pool = real.joined(synthetic)
            if self.workflow == "accumulate":
                kept = pool
            mean = pool.mean
            covariance = pool.scatter / (pool.count - self.unbiased)
            root = _root(covariance)
            if generation in wanted:
                found.append(self._measured(mean, covariance))
        return np.stack(found, axis=1).ravel()

    def _real_samples(self, rng: Generator, generation: int, size: int) -> int:
        """Real samples to draw anew; those that are kept are not."""
        if self.workflow == "retained":
            return int(self.real[generation]) if generation == 0 else 0
        if self.workflow == "iid":
            return int(rng.binomial(size, self.real[generation] / size))
        return int(self.real[generation]) if self.workflow == "stratified" else 0

    def _measured(self, mean: Array, covariance: Array) -> Array:
        values = self.eigenvalues
        d, total = len(values), values.sum()
        v, error = covariance[0, 0] / values[0], mean[0] ** 2 / values[0]
        with np.errstate(divide="ignore"):
            log_v = np.log(v)
        sign, log_det = np.linalg.slogdet(covariance / np.sqrt(np.outer(values, values)))
        singular = sign <= 0 or log_det < -60 * d
        trace, square = float((np.diag(covariance) / values).sum()), float((mean**2 / values).sum())
        forward = np.inf if singular else 0.5 * (trace + square - d - log_det)
        backward = np.inf
        if not singular:
            inverse = np.linalg.inv(covariance)
            backward = 0.5 * (float((np.diag(inverse) * values).sum()) + mean @ inverse @ mean - d + log_det)
        scaled = np.sqrt(values)[:, None] * covariance * np.sqrt(values)
        cross = np.sqrt(np.clip(np.linalg.eigvalsh(scaled), 0.0, None)).sum()
        distance = mean @ mean + np.trace(covariance) + total - 2 * cross
        return np.array([
            np.trace(covariance) / total, mean @ mean / total, v**2, log_v, np.sqrt(v),
            -np.inf if singular else log_det, forward, backward, max(distance, 0.0), v * error, error**2,
            np.trace(covariance) ** 2, (covariance**2).sum(),
            *(float(v < threshold) for threshold in self.thresholds),
            *(float(singular or log_det < np.log(threshold)) for threshold in self.determinant_thresholds),
        ])  # fmt: skip


def _root(covariance: Array) -> Array:
    """A square root, shape (d, d), of a covariance that may be singular."""
    if len(covariance) == 1:
        return np.sqrt(covariance)
    values, vectors = np.linalg.eigh(covariance)
    root: Array = vectors * np.sqrt(np.clip(values, 0.0, None))
    return root


def flops(d: int, sizes: tuple[int, ...]) -> float:
    """Of one replicate, about: drawing and multiplying the samples, and d³ per fit."""
    return float(sum(size * d * (2 * d + 30) + 30 * d**3 + 20_000 for size in sizes))
