"""Model n is fitted to M_n samples of model n − 1 alone: products of independent Wishart matrices, nearly all exact.

μ_i = μ_{i−1} + Σ_{i−1}^{1/2} z_i/√M_i and Σ_i = Σ_{i−1}^{1/2} W_i Σ_{i−1}^{1/2}/D_i with W_i ~ Wishart_d(ν_i, I),
ν_i = M_i − 1, D_i = M_i (maximum likelihood) or M_i − 1 (unbiased), r_i = ν_i/D_i.
"""

from dataclasses import replace
from math import inf, log

import numpy as np
from numpy.typing import NDArray

from service.theory.distributions.accuracy import Accuracy, Caution, exact
from service.theory.distributions.gaussian.determinant import log_determinant_steps
from service.theory.distributions.gaussian.fourth_order import FOURTH_ORDER, fresh_fourth_order
from service.theory.distributions.gaussian.model import (
    Curve,
    FixedPoint,
    Gaussian,
    GaussianPrediction,
    HalfLife,
)
from service.theory.distributions.gaussian.threshold import probability_below
from service.theory.distributions.gaussian.transport import transport
from service.theory.distributions.recursion import propagate
from service.theory.distributions.schedule import Mix, Models, Schedule
from service.theory.distributions.special import digamma_minus_log, log_half_step, polygamma_of
from service.theory.model import Array

LN2 = log(2.0)


def predict_replace(
    truth: Gaussian, schedule: Schedule, models: Models, *, unbiased: bool, thresholds: Array
) -> GaussianPrediction:
    """Everything known of models fitted to the samples of the previous one.

    ``models``: rising indices to report. ``thresholds``: t of P(v < t), shape (thresholds,). Raises ValueError for a
    single sample with the unbiased estimator: it has no variance.
    """
    if unbiased and min(schedule.sizes) < 2:
        raise ValueError("the unbiased variance of one sample does not exist; it needs at least 2 samples")
    run = _Run(truth, schedule, unbiased)
    curve = run.curve(models, thresholds)
    w2, w2_accuracy, cautions = transport(truth, schedule, curve, unbiased=unbiased)
    return GaussianPrediction(
        replace(curve, w2=w2), _fixed_point(schedule, unbiased), run.half_life(),
        (*EXACT, w2_accuracy), (*run.cautions(models), *cautions),
    )  # fmt: skip


def lyapunov_exponents(truth: Gaussian, samples: float, *, unbiased: bool) -> tuple[float, float]:
    """What the logarithms of the largest and of the smallest eigenvalue gain per fit to M samples, in the long run.

    The j-th of d is ψ((M − j)/2) − ln(D/2), j = 1 … d; their sum is that of the log determinant at any n. −∞ where
    M ≤ j: that eigenvalue is zero from the first such fit on. Fewer than some 60 fits have not settled to them.
    """
    divisor = samples - (1.0 if unbiased else 0.0)

    def exponent(j: int) -> float:
        if samples <= j:
            return -inf
        lost = j - (1.0 if unbiased else 0.0)
        return float(digamma_minus_log(np.array((samples - j) / 2))) + float(np.log1p(-lost / divisor))

    return exponent(1), exponent(truth.dimension)


def determinant_below(
    truth: Gaussian, schedule: Schedule, models: Models, thresholds: Array, *, unbiased: bool
) -> Array:
    """P(det Σ_n < t det Σ_0), shape (thresholds, models); absolute accuracy 1e-11.

    The generalised variance is a product of independent χ²(M_i − j)/D_i, j = 1 … d, over the fits: Bartlett.
    Certain where some fit has M ≤ d.
    """
    mean, _ = (schedule.cumulative(one, models) for one in _Run(truth, schedule, unbiased).determinant())
    halves = (schedule.array[:, None] - np.arange(1.0, truth.dimension + 1.0)) / 2.0  # (runs, d)
    below = np.ones((len(thresholds), len(models)))
    for column in np.flatnonzero(np.isfinite(mean)):
        times = np.repeat(schedule.counts(int(models[column]))[:, None], truth.dimension, axis=1)
        used = times > 0.0
        sizes, place = np.unique(halves[used], return_inverse=True)
        counts = np.bincount(place, weights=times[used]).astype(float)
        for row, threshold in enumerate(thresholds):
            below[row, column] = probability_below(log(threshold), float(mean[column]), sizes, counts)
    return below


EXACT: tuple[Accuracy, ...] = (
    exact("variance", "product of (M − 1)/D"),
    exact("drift", "sum of variance/M"),
    exact("second_moment", "chi-square moments"),
    exact("relative_variance", "chi-square moments"),
    exact("log_mean", "digamma sums"),
    exact("log_variance", "trigamma sums"),
    exact("deviation", "gamma-function products"),
    exact("log_det_mean", "Wishart determinants"),
    exact("log_det_variance", "Wishart determinants"),
    exact("kl_fit_true", "trace, drift and log determinant"),
    exact("kl_true_fit", "inverse Wishart recursion"),
    exact("w2_lower", "one-dimensional distance along each eigenvector"),
    *(exact(name, "moments of order four of two directions") for name in FOURTH_ORDER),
    exact("below", "inversion of the characteristic function, absolute accuracy 1e-11"),
)


class _Run:
    """The quantities of one fit, per run of the schedule, shape (runs,); their sums over fits."""

    def __init__(self, truth: Gaussian, schedule: Schedule, unbiased: bool) -> None:
        self.truth, self.schedule, self.unbiased = truth, schedule, unbiased
        self.samples = schedule.array
        self.freedom = self.samples - 1
        with np.errstate(divide="ignore"):
            # the unbiased estimator's r is 1 whatever M
            self.log_shrink = np.zeros_like(self.samples) if unbiased else np.log1p(-1.0 / self.samples)
        self.log_rate = digamma_minus_log(self.freedom / 2) + self.log_shrink

    def curve(self, models: Models, thresholds: Array) -> Curve:
        """All but the transport distance, which is left at NaN for d > 1."""
        d, total = self.truth.dimension, self.schedule.cumulative
        log_variance_factor = total(self.log_shrink, models)
        inverse = total(1.0 / self.samples, models)
        drift = inverse if self.unbiased else -np.expm1(log_variance_factor)
        variance = np.exp(log_variance_factor)
        log_mean = total(self.log_rate, models)
        with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
            log_moment = total(np.log1p(2.0 / self.freedom), models)
            relative = np.where(variance > 0, np.expm1(log_moment), 0.0)
            second = np.where(variance > 0, np.exp(log_moment + 2 * log_variance_factor), 0.0)
        halves = total(log_half_step(self.freedom / 2), models)
        log_det, log_det_variance = (total(each, models) for each in self.determinant())
        # maximum likelihood: trace and drift add up to d, so that only the determinant is left
        fit_true = 0.5 * ((d * inverse if self.unbiased else 0.0) - log_det)
        fourth = fresh_fourth_order(
            self.truth, Mix(self.schedule, np.zeros_like(self.samples)), models, unbiased=self.unbiased
        )
        one_dimensional = _distance(variance, drift, halves, log_variance_factor)
        return Curve(
            models=models, variance=variance, drift=drift, second_moment=second, relative_variance=relative,
            log_mean=log_mean, log_variance=total(polygamma_of(1, self.freedom / 2), models),
            deviation=np.exp(halves + 0.5 * log_variance_factor),
            log_det_mean=log_det, log_det_variance=log_det_variance,
            kl_fit_true=fit_true, kl_true_fit=self._kl_true_fit(models, log_det),
            w2=self.truth.trace * one_dimensional if d == 1 else np.full(len(models), np.nan),
            w2_lower=self.truth.trace * one_dimensional,
            variance_drift=fourth.variance_drift, drift_fourth=fourth.drift_fourth,
            trace_squared=fourth.trace_squared, square_trace=fourth.square_trace,
            below=self._below(models, thresholds, log_mean),
        )  # fmt: skip

    def determinant(self) -> tuple[Array, Array]:
        """E and Var of what ln det gains in one fit."""
        return log_determinant_steps(self.schedule, self.truth.dimension, unbiased=self.unbiased)

    def _kl_true_fit(self, models: Models, log_det: Array) -> Array:
        """½[d Πk + Q_n − d + E ln det], k = D/(M − d − 2), Q ← k(Q + d/M); infinite once some M ≤ d + 2."""
        d = self.truth.dimension
        finite = self.schedule.smallest(models) > d + 2
        if not finite.any():
            return np.full(len(models), np.inf)
        divisor = self.samples - (1 if self.unbiased else 0)
        left = np.maximum(self.samples - d - 2, 1.0)
        grow = divisor / left
        log_grow = np.log1p((d + (1 if self.unbiased else 2)) / left)

        def step(run: int) -> Array:
            return np.array([[grow[run], grow[run] * d / self.samples[run]], [0.0, 1.0]])

        known = models[finite]
        shift = propagate(step, self.schedule, np.array([0.0, 1.0]), known)[:, 0]
        value = np.full(len(models), np.inf)
        with np.errstate(over="ignore"):
            spread = d * np.expm1(self.schedule.cumulative(log_grow, known))
        value[finite] = 0.5 * (spread + shift + log_det[finite])
        return np.where(np.isnan(value), np.inf, value)  # powers beyond double precision: infinity times zero

    def _below(self, models: Models, thresholds: Array, log_mean: Array) -> Array:
        below = np.empty((len(thresholds), len(models)))
        unique: tuple[Array, NDArray[np.intp]] = np.unique(self.freedom / 2, return_inverse=True)
        sizes, runs = unique
        for column, model in enumerate(models):
            counts = np.zeros(len(sizes))
            np.add.at(counts, runs, self.schedule.counts(int(model)))
            used = counts > 0
            for row, threshold in enumerate(thresholds):
                below[row, column] = probability_below(
                    log(threshold), log_mean[column], sizes[used], counts[used]
                )
        return below

    def half_life(self) -> HalfLife:
        """From the cumulative rates; the last sample size goes on for ever."""
        constant = len(self.schedule.sizes) == 1
        mean_fits, typical_fits = (
            -LN2 / rate[0] if constant and rate[0] < 0 else None for rate in (self.log_shrink, self.log_rate)
        )
        return HalfLife(
            mean=self._first(self.log_shrink), typical=self._first(self.log_rate),
            mean_fits=None if mean_fits is None else float(mean_fits),
            typical_fits=None if typical_fits is None else float(typical_fits),
        )  # fmt: skip

    def _first(self, rates: Array) -> int | None:
        """The first n with Σ_{i ≤ n} rate_i ≤ −ln 2."""
        ends = self.schedule.cumulative(rates, self.schedule.ends)
        run = int(np.searchsorted(-ends, LN2))
        run = min(run, len(rates) - 1)
        before = float(ends[run - 1]) if run else 0.0
        if rates[run] == 0:
            return None
        start = int(self.schedule.ends[run - 1]) if run else 0
        fits = (LN2 + before) / -rates[run]
        return start + max(int(np.ceil(fits * (1 - 1e-14))), 1)

    def cautions(self, models: Models) -> list[Caution]:
        """What is infinite, and why."""
        d, smallest = self.truth.dimension, int(self.schedule.smallest(models[-1:])[0])
        found = []
        if smallest <= d:
            found.append(Caution(
                "degenerate",
                f"A fit to {smallest} samples has rank {smallest - 1} in {d} dimensions for ever after: its log "
                "determinant is minus infinity and its divergence from the truth infinite.",
                "kl_fit_true",
            ))  # fmt: skip
        if smallest <= d + 2:
            found.append(Caution(
                "divergent",
                f"The expected divergence of the truth from a fit is infinite with {d + 2} samples or fewer in {d} "
                f"dimensions; here a fit has {smallest}.",
                "kl_true_fit",
            ))  # fmt: skip
        return found


def _distance(variance: Array, drift: Array, halves: Array, log_variance_factor: Array) -> Array:
    """E W_2²/σ_0² for d = 1: drift + (1 − g)² + r(1 − g²/r), ln g = Σ L(ν/2) + ½ ln r; full precision at any M."""
    with np.errstate(invalid="ignore"):
        short = -np.expm1(halves + 0.5 * log_variance_factor)
        spread = np.where(variance > 0, variance * -np.expm1(2 * halves), 0.0)
    value: Array = drift + short**2 + spread
    return value


def _fixed_point(schedule: Schedule, unbiased: bool) -> FixedPoint:
    """Maximum likelihood: collapse onto a wandering point. Unbiased: the mean variance stays, the drift grows."""
    if unbiased:
        return FixedPoint(variance=1.0, drift=inf, relaxation=None, stable=False)
    return FixedPoint(variance=0.0, drift=1.0, relaxation=float(schedule.last), stable=True)
