"""Gaussian fits: draw the samples, fit mean and covariance, draw from the fit, and again."""

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.random import Generator
from scipy.linalg import solve_triangular

from service.simulation.costs import MICROSECOND, NORMAL, Burden
from service.simulation.distributions.streams import replicate_generator
from service.theory.model import Array

QUANTITIES: Final = (
    "variance", "drift", "variance_second_moment", "log_variance_mean", "standard_deviation", "log_determinant_mean",
    "kl_fit_true", "kl_true_fit", "wasserstein2_squared", "variance_drift_moment", "drift_fourth_moment",
    "total_variance_second_moment", "covariance_square_trace",
)  # fmt: skip

_MANY: Final = 4

Workflow = Literal["replace", "stratified", "iid", "retained", "accumulate"]


@dataclass(frozen=True, eq=False)
class _Pool:
    """A sample by its number, mean, shape (d,), and a root of the scatter about it: S = root rootᵀ.

    ``root``: lower trapezoidal, shape (d, r), r ≤ d the rank. Fits to fits are products of such roots, in which every
    direction keeps its own relative precision, however much faster than others it has collapsed; in S itself the
    largest variance would swallow the smallest after a few dozen generations.
    """

    count: int
    mean: Array
    root: Array

    @classmethod
    def drawn(cls, rng: Generator, count: int, mean: Array, root: Array) -> "_Pool":
        """Of samples mean + root z, z standard normal."""
        if not count:
            return cls(0, np.zeros(len(root)), np.empty((len(root), 0)))
        Z = rng.standard_normal((count, root.shape[1]))
        centre = Z.mean(axis=0)
        return cls(count, mean + root @ centre, root @ _factor(Z - centre))

    def joined(self, other: "_Pool") -> "_Pool":
        """Both samples as one: the scatters and n_1 n_2/n δδᵀ of the means' distance δ add up."""
        if not self.count or not other.count:
            return self if self.count else other
        total = self.count + other.count
        apart = other.mean - self.mean
        between = np.sqrt(self.count * other.count / total) * apart
        mean = self.mean + other.count / total * apart
        both = np.column_stack([self.root, other.root, between])
        return _Pool(total, mean, _triangle(both.T).T)


def _factor(Z: Array) -> Array:
    """Lower trapezoidal L, shape (k, min(n − 1, k)), with L Lᵀ = ZᵀZ for ``Z`` (n, k) whose columns sum to zero."""
    n, k = Z.shape
    if n > _MANY * k:  # nearly orthogonal columns: their products do not harm the precision
        return np.asarray(np.linalg.cholesky(Z.T @ Z), dtype=float)
    return _triangle(Z)[: n - 1].T


def _triangle(A: Array) -> Array:
    """R of A = Q R."""
    return np.asarray(np.linalg.qr(A, mode="r"), dtype=float)


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
        nothing, truth = np.zeros(d), np.diag(np.sqrt(self.eigenvalues))
        mean, root = nothing, truth
        kept = _Pool.drawn(rng, 0, nothing, truth)
        found = []
        for generation, size in enumerate(self.sizes[: self.reported[-1] + 1]):
            fresh = self._real_samples(rng, generation, size)
            real = _Pool.drawn(rng, fresh, nothing, truth) if fresh else kept
            if self.workflow == "retained" and generation == 0:
                kept = real
            count = size - (real.count if self.workflow != "accumulate" or generation == 0 else 0)
            # whatever generation 0 does not keep is real too: the first root is the truth's
            pool = real.joined(_Pool.drawn(rng, count, mean, root))
            if self.workflow == "accumulate":
                kept = pool
            mean, root = pool.mean, pool.root / np.sqrt(max(pool.count - self.unbiased, 1))
            if generation in wanted:
                found.append(self._measured(mean, root))
        return np.stack(found, axis=1).ravel()

    def _real_samples(self, rng: Generator, generation: int, size: int) -> int:
        """Real samples to draw anew; those that are kept are not."""
        if self.workflow == "retained":
            return int(self.real[generation]) if generation == 0 else 0
        if self.workflow == "iid":
            return int(rng.binomial(size, self.real[generation] / size))
        return int(self.real[generation]) if self.workflow == "stratified" else 0

    @np.errstate(divide="ignore", over="ignore", invalid="ignore")  # of what has collapsed altogether
    def _measured(self, mean: Array, root: Array) -> Array:
        """Of the fit N(mean, root rootᵀ)."""
        values = self.eigenvalues
        d, total = len(values), values.sum()
        deviation = float(np.abs(root[0, :1]).sum()) / np.sqrt(values[0])  # the rest of the row is zero
        v, error = deviation**2, mean[0] ** 2 / values[0]
        singular = root.shape[1] < d or not root.diagonal().all()
        log_det = (
            -np.inf if singular else float(2 * np.log(np.abs(root.diagonal())).sum() - np.log(values).sum())
        )
        variances = np.einsum("ij,ij->i", root, root)
        trace, square = float((variances / values).sum()), float((mean**2 / values).sum())
        forward, backward = 0.5 * (trace + square - d - log_det), np.inf
        if not singular:
            # Σ^-1 = L^-T L^-1
            solved = solve_triangular(
                root, np.column_stack([np.diag(np.sqrt(values)), mean]), lower=True, check_finite=False
            )
            backward = 0.5 * (float((solved**2).sum()) - d + log_det)
        scaled = np.sqrt(values)[:, None] * root
        cross = np.sqrt(np.clip(np.linalg.eigvalsh(scaled @ scaled.T), 0.0, None)).sum()
        distance = mean @ mean + variances.sum() + total - 2 * cross
        return np.array([
            variances.sum() / total, mean @ mean / total, v**2, 2 * np.log(deviation), deviation,
            log_det, forward, backward if np.isfinite(backward) else np.inf, max(distance, 0.0), v * error, error**2,
            variances.sum() ** 2, float(((root.T @ root) ** 2).sum()),
            *(float(v < threshold) for threshold in self.thresholds),
            *(float(log_det < np.log(threshold)) for threshold in self.determinant_thresholds),
        ])  # fmt: skip


def burden(work: GaussianWork) -> Burden:
    """Of one replicate: drawing and multiplying the samples; d³ per fit, and more per report."""
    d, sizes, reported = len(work.eigenvalues), work.sizes, len(work.reported)
    calls = 15 if work.workflow == "replace" else 60  # two samples to join
    fits = len(sizes) * (calls * MICROSECOND + 2.5 * d**3)
    flops = sum(sizes) * d * (1.5 * NORMAL + 2 * d) + fits + reported * (45 * MICROSECOND + 6 * d**3)
    return Burden(flops, 3.0 * max(sizes) * d + 10.0 * d * d)
