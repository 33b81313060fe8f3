"""The entrance: what becomes of a Gaussian under each workflow."""

from collections.abc import Callable
from dataclasses import astuple, replace
from math import inf, log

import numpy as np
from numpy.typing import NDArray
from scipy.special import digamma, gammainc

from service.theory.distributions.accuracy import Caution
from service.theory.distributions.gaussian import closure, trust
from service.theory.distributions.gaussian.accumulate import Pool, accumulate, limit
from service.theory.distributions.gaussian.fourth_order import (
    FOURTH_ORDER,
    FourthOrder,
    fresh_for_ever,
    fresh_fourth_order,
    pooled_fourth_order,
)
from service.theory.distributions.gaussian.mixed import (
    Moments,
    Stationary,
    fresh_moments,
    fresh_stationary,
    retained_moments,
    retained_stationary,
)
from service.theory.distributions.gaussian.model import (
    Curve,
    FixedPoint,
    Gaussian,
    GaussianPrediction,
    HalfLife,
    Limit,
)
from service.theory.distributions.gaussian.replace import predict_replace
from service.theory.distributions.gaussian.threshold import probability_below
from service.theory.distributions.schedule import Mix, Models, Schedule
from service.theory.model import Array

LN2 = log(2.0)


def predict_fresh(
    truth: Gaussian, mix: Mix, models: Models, *, unbiased: bool, thresholds: Array
) -> GaussianPrediction:
    """Fresh real samples in every fit; without any it is the replace workflow, exactly."""
    if not mix.real.any():
        return predict_replace(truth, mix.schedule, models, unbiased=unbiased, thresholds=thresholds)
    return _predict_mixed(
        truth, mix, models, unbiased, thresholds,
        lambda wanted: fresh_moments(mix, wanted, unbiased=unbiased), fresh_stationary(mix, unbiased=unbiased),
        fresh_fourth_order(truth, mix, models, unbiased=unbiased),
    )  # fmt: skip


def predict_retained(
    truth: Gaussian, mix: Mix, models: Models, *, unbiased: bool, thresholds: Array
) -> GaussianPrediction:
    """The same real samples in every fit."""
    return _predict_mixed(
        truth, mix, models, unbiased, thresholds,
        lambda wanted: retained_moments(mix, wanted, unbiased=unbiased), retained_stationary(mix, unbiased=unbiased),
        FourthOrder.unknown(len(models)),
    )  # fmt: skip


def predict_limit(truth: Gaussian, mix: Mix, *, retained: bool, unbiased: bool) -> Limit:
    """After infinitely many fits like the last one."""
    size, real = mix.schedule.last, mix.real[-1]
    if real == size:
        single = predict_replace(
            truth, Schedule.constant(size, 1), np.array([1]), unbiased=unbiased, thresholds=np.empty(0)
        )
        return Limit(single.curve, single.accuracies, single.cautions)
    if not real:  # all is lost, but for the unbiased variance's mean
        point = Stationary(
            x=0.0 if unbiased else -1.0,
            variance=1.0 if unbiased else 0.0,
            x_squared=inf,
            drift=inf if unbiased else 1.0,
            rate=1.0,
            spread=inf,
        )
    else:
        point = (retained_stationary if retained else fresh_stationary)(mix, unbiased=unbiased)
    x, x_squared, drift, spread = (
        np.array([v]) for v in (point.x, point.x_squared, point.drift, point.spread)
    )
    fourth = (
        FourthOrder.unknown(1)
        if retained or not real
        else fresh_for_ever(mix, point.variance, unbiased=unbiased)
    )
    direction = closure.lognormal(x, x_squared, drift, np.empty(0), fourth)
    models = np.array([mix.schedule.fits])
    curve = closure.curve_of(truth, models, direction, spread, fourth)
    return Limit(
        curve, trust.accuracies(truth, curve, spread, known=False),
        tuple(trust.cautions(truth, curve, spread, known=False)),
    )  # fmt: skip


def predict_accumulate(
    truth: Gaussian, schedule: Schedule, models: Models, *, unbiased: bool, thresholds: Array
) -> GaussianPrediction:
    """All data kept. Time grows with the last of ``models``."""
    beyond = models if models[-1] == schedule.fits else np.append(models, schedule.fits)
    whole = accumulate(schedule, beyond, unbiased=unbiased)
    pool = Pool(*(column[: len(models)] for column in astuple(whole)))
    direction = closure.Direction(
        x=np.expm1(pool.log_variance), variance=np.exp(pool.log_variance), drift=pool.drift,
        relative_variance=np.where(pool.log_variance > -inf, np.expm1(pool.log_moment), 0.0),
        log_mean=pool.log_mean, log_variance=pool.log_spread, log_deviation=pool.log_deviation,
        below=_pool_below(schedule, pool, thresholds, unbiased),
    )  # fmt: skip
    curve = closure.curve_of(truth, models, direction, pool.spread, pooled_fourth_order(truth, pool))
    # the first pool is all real: one Wishart law, known to all orders
    first, alone = models == 1, Mix(schedule, np.zeros(len(schedule.sizes)))
    judged, spread = curve.at(~first), pool.spread[~first]
    curve, exceptions = _with_single_fits(truth, alone, curve, first, unbiased, thresholds)
    variance, drift = limit(
        schedule, float(whole.log_variance[-1]), float(whole.drift[-1]), unbiased=unbiased
    )
    return GaussianPrediction(
        curve, FixedPoint(variance, drift, relaxation=None, stable=True), _pool_half_life(schedule, unbiased),
        trust.accuracies(truth, judged, spread, known=True),
        (*trust.cautions(truth, judged, spread, known=True), *exceptions),
    )  # fmt: skip


def _predict_mixed(  # noqa: PLR0917 (the two public functions fill it in)
    truth: Gaussian, mix: Mix, models: Models, unbiased: bool, thresholds: Array,
    moments_at: Callable[[Models], Moments], stationary: Stationary, fourth: FourthOrder,
) -> GaussianPrediction:  # fmt: skip
    moments = moments_at(models)
    direction = closure.lognormal(moments.x, moments.x_squared, moments.drift, thresholds, fourth)
    curve = closure.curve_of(truth, models, direction, moments.spread, fourth)
    single = _single_fits(mix, models)
    judged, spread = curve.at(~single), moments.spread[~single]
    curve, exceptions = _with_single_fits(truth, mix, curve, single, unbiased, thresholds)

    def mean(wanted: Models) -> Array:
        with np.errstate(divide="ignore"):
            return np.log1p(moments_at(wanted).x)

    def typical(wanted: Models) -> Array:
        found = moments_at(wanted)
        unknown = FourthOrder.unknown(len(wanted))
        return closure.lognormal(found.x, found.x_squared, found.drift, np.empty(0), unknown).log_mean

    half_life = HalfLife(_first_half(mean, mix.schedule), _first_half(typical, mix.schedule), None, None)
    if mix.real[-1]:
        fixed_point = _fixed_point(stationary)
    else:  # no real data from here on: as under replace, from wherever the last fit is
        variance = (
            float(curve.variance[-1])
            if models[-1] == mix.schedule.fits
            else 1.0 + float(moments_at(mix.schedule.ends[-1:]).x[0])
        )
        fixed_point = (
            FixedPoint(variance, inf, None, False)
            if unbiased
            else FixedPoint(0.0, 1.0, float(mix.schedule.last), True)
        )
    return GaussianPrediction(
        curve, fixed_point, half_life, trust.accuracies(truth, judged, spread, known=False),
        (*trust.cautions(truth, judged, spread, known=False), *exceptions),
    )  # fmt: skip


def _fixed_point(stationary: Stationary) -> FixedPoint:
    stable = stationary.x < inf
    relaxation = -1.0 / log(stationary.rate) if 0 < stationary.rate < 1 else (0.0 if stable else None)
    return FixedPoint(stationary.variance, stationary.drift, relaxation, stable)


def _single_fits(mix: Mix, models: Models) -> NDArray[np.bool_]:
    """Which models are fitted to real samples alone, as generation 0 is."""
    run = mix.schedule.run(models)
    found: NDArray[np.bool_] = (models == 1) | (mix.real[run] == mix.schedule.array[run])
    return found


def _with_single_fits(  # noqa: PLR0917
    truth: Gaussian, mix: Mix, curve: Curve, single: NDArray[np.bool_], unbiased: bool, thresholds: Array
) -> tuple[Curve, tuple[Caution, ...]]:
    """Fits to real samples alone follow one Wishart law: exact in place of matched; with that law's cautions."""
    if not single.any():
        return curve, ()
    cautions: tuple[Caution, ...] = ()
    values = {name: getattr(curve, name).copy() for name in _PATCHED}
    run = mix.schedule.run(curve.models)
    for size in set(mix.schedule.array[run[single]]):
        where = single & (mix.schedule.array[run] == size)
        known = predict_replace(
            truth, Schedule.constant(int(size), 1), np.array([1]), unbiased=unbiased, thresholds=thresholds
        )
        cautions += known.cautions
        for name, value in values.items():
            value[..., where] = getattr(known.curve, name)
    return replace(curve, **values), cautions


_PATCHED = (
    "log_mean", "log_variance", "deviation", "log_det_mean", "log_det_variance",
    "kl_fit_true", "kl_true_fit", "w2", "w2_lower", "below", *FOURTH_ORDER,
)  # fmt: skip


def _first_half(log_value: Callable[[Models], Array], schedule: Schedule) -> int | None:
    """The first model with a value of at most ½, the value falling within each run; the last run goes on for ever."""
    last = int(schedule.ends[-1])
    further = last + 2 ** np.arange(40, dtype=np.int64)
    ends = np.concatenate([schedule.ends, further])
    with np.errstate(invalid="ignore", divide="ignore"):
        reached = np.flatnonzero(log_value(ends) <= -LN2)
    if not len(reached):
        return None
    high = int(ends[reached[0]])
    low = int(ends[reached[0] - 1]) if reached[0] else 0
    while high - low > 1:
        middle = (low + high) // 2
        if log_value(np.array([middle]))[0] <= -LN2:
            high = middle
        else:
            low = middle
    return high


def _pool_below(schedule: Schedule, pool: Pool, thresholds: Array, unbiased: bool) -> Array:
    """P(v < t): the first fit's chi-square times a lognormal growth, averaged by Gauss-Hermite over the growth."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(40)
    first = accumulate(schedule, np.array([1]), unbiased=unbiased)
    half = np.array([(schedule.at(1) - 1) / 2])
    below = np.empty((len(thresholds), len(pool.log_mean)))
    if half[0] == 0:
        return np.ones_like(below)
    mean = float(first.log_mean[0])
    for column in range(below.shape[1]):
        growth = pool.log_mean[column] - mean
        spread = np.sqrt(max(pool.log_spread[column] - first.log_spread[0], 0.0))
        for row, threshold in enumerate(np.log(thresholds)):
            if spread == 0:
                below[row, column] = probability_below(float(threshold), mean, half, np.ones(1))
                continue
            shifted = np.exp(threshold - growth - spread * nodes - mean)
            below[row, column] = weights @ _chi_square_below(half[0], shifted) / weights.sum()
    return below


def _chi_square_below(half: float, ratio: Array) -> Array:
    """P(χ²_ν < ratio × exp E ln χ²_ν), ν = 2 half."""
    value: Array = gammainc(half, np.exp(digamma(half)) * ratio)
    return value


def _pool_half_life(schedule: Schedule, unbiased: bool) -> HalfLife:
    """Looked for among the given fits and the first further ones; a pool's variance hardly moves after those."""
    models = np.arange(1, min(max(schedule.fits, 4096), 16_384) + 1)
    pool = accumulate(schedule, models, unbiased=unbiased)
    mean, typical = (np.flatnonzero(values <= -LN2) for values in (pool.log_variance, pool.log_mean))
    return HalfLife(
        mean=int(models[mean[0]]) if len(mean) else None,
        typical=int(models[typical[0]]) if len(typical) else None,
        mean_fits=None, typical_fits=None,
    )  # fmt: skip
