"""Diversity: the probability that two tokens of a model are of different types, in expectation, exactly.

H_n = 1 − Σ_i p_{n,i}² (Gini and Simpson). Everything is said through the kinship of a model, Φ_n: the probability that
two of its tokens descend from the same real token. E H_n = (1 − Φ_n) H_0, whatever the vocabulary, because tokens that
do not are independent draws of the truth.
"""

from math import expm1, inf, log, log1p
from typing import Final

import numpy as np

from service.theory.distributions.schedule import Models, Schedule
from service.theory.distributions.vocabulary.training import (
    Accumulate,
    FreshReal,
    Replace,
    Retained,
    Training,
)
from service.theory.model import Array
from service.theory.spectra import ranks

_LISTED: Final = 4096


def kinship(training: Training, models: Models) -> Array:
    """Φ_n at each of ``models`` (increasing, from 1), shape (models,); exact, O(runs + models) each.

    Replace: Φ = 1 − Π_t (1 − 1/M_t). Fresh real samples, a = m/M, b = 1 − a: stratified
    Φ' = (a + b (1 − Φ))/M + b² Φ, i.i.d. Φ' = 1/M + (1 − 1/M) b² Φ, from Φ_1 = 1/M_1. Retained: from 1/M_1,
    see ``_retained``. Accumulate: 1 − Φ' = (1 − Φ)(1 − M/N'²), N' all so far.
    """
    match training:
        case Replace(schedule):
            with np.errstate(divide="ignore"):
                logs = np.log1p(-1.0 / schedule.array)
            return np.asarray(-np.expm1(schedule.cumulative(logs, models)))
        case FreshReal():
            return _fresh(training, models)
        case Retained():
            return _retained(training, models)
        case Accumulate(schedule):
            return np.asarray(-np.expm1([_accumulated(schedule, int(n)) for n in models]))


def kinship_limit(training: Training) -> float:
    """Φ after infinitely many generations, the last sample size going on for ever.

    Replace: 1, all diversity is lost. Fresh real samples: [1/M] / (1 − b² + b/M) stratified,
    [1/M] / (1 − (1 − 1/M) b²) i.i.d. Accumulate: 1 − the infinite product; for equal sizes 1 − sin(πx)/(πx), x = M^-½.
    """
    match training:
        case Replace():
            return 1.0
        case FreshReal(schedule):
            size, share = schedule.last, training.shares()[-1]
            start, gap = _affine(size, share, stratified=training.stratified)
            return start / gap
        case Retained():
            return _retained_limit(training)[0]
        case Accumulate(schedule):
            return -expm1(_accumulated(schedule, None))


def generations_to(training: Training, bound: float) -> float:
    """The first model n with Φ_n ≥ bound, for bound < 1, the last size going on; inf where it never comes to that."""
    if kinship_limit(training) < bound:
        return inf
    low, high = 0, 1
    while float(kinship(training, np.array([high]))[0]) < bound:
        low, high = high, 2 * high
        if high > 2**62:
            return inf
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (
            (middle, high) if float(kinship(training, np.array([middle]))[0]) < bound else (low, middle)
        )
    return float(high)


def _affine(size: int, share: float, *, stratified: bool) -> tuple[float, float]:
    """``start`` and ``gap`` of Φ' = start + (1 − gap) Φ with fresh real samples; 1 − b² as a (2 − a)."""
    b, fresh = 1.0 - share, share * (2.0 - share)
    return 1.0 / size, fresh + (b if stratified else b * b) / size


def _fresh(training: FreshReal, models: Models) -> Array:
    schedule = training.schedule
    value, values = 0.0, []
    coefficients = [
        _affine(size, share, stratified=training.stratified)
        for size, share in zip(schedule.sizes, training.shares(), strict=True)
    ]
    before = np.zeros(len(schedule.sizes))
    for model in models:
        counts = schedule.counts(int(model))
        for (start, gap), count in zip(coefficients, counts - before, strict=True):
            # Φ after r equal generations: (1 − gap)^r Φ + start (1 − (1 − gap)^r)/gap
            if count > 0:
                lost = -expm1(count * log1p(-gap)) if gap < 1.0 else 1.0
                value = (1.0 - lost) * value + start * lost / gap
        before = counts
        values.append(value)
    # Model 1 is all real: Φ_1 = 1/M_1 either way, since Φ_0 = 0.
    return np.array(values)


def _retained(training: Retained, models: Models) -> Array:
    """Φ' = a²/m + 2ab Γ + b² [Φ + (1 − Φ)/k], Γ' = a/m + b Γ, k = M − m, a = m/M, b = k/M, from Φ_1 = Γ_1 = 1/M_1.

    Γ: a retained token and one of the model are the same real token; 1/m for ever where model 1 had no other ones.
    All terms are positive: nothing cancels where M_1 is much larger than m.
    """
    m, k, first = training.real, training.samples - training.real, training.begun
    steps = models.astype(float) - 1.0
    if k == 0:
        return np.where(steps > 0.0, 1.0 / m, 1.0 / first)
    a, b = m / training.samples, k / training.samples
    gap = a * (2.0 - a) + b * b / k  # 1 − rate, rate = b² (1 − 1/k)
    lost = (
        -np.expm1(steps * log1p(-gap)) if gap < 1.0 else np.where(steps > 0.0, 1.0, 0.0)
    )  # 1 − rate^(n − 1)
    kept = np.exp(steps * (log1p(-a) if a < b else log(b)))
    summed = lost / gap  # of rate^i, i < n − 1
    # of rate^(n − 2 − i) b^i: how much of Γ_1 − 1/m there still is; rate/b = 1 − apart
    apart = a + b / k
    unlike = -np.expm1(steps * log1p(-apart)) if apart < 1.0 else np.where(steps > 0.0, 1.0, 0.0)
    mixed = kept * unlike / (b * apart)
    value: Array = (
        (1.0 - lost) / first
        + (a * a / m + b * b / k) * summed
        + 2.0 * a * b * (mixed / first + (summed - mixed) / m)
    )
    return value


def _retained_limit(training: Retained) -> tuple[float, float]:
    """The fixed point, and the share of the distance to it that a generation takes away."""
    m, k = training.real, training.samples - training.real
    if k == 0:
        return 1.0 / m, 1.0
    a, b = m / training.samples, k / training.samples
    kept = a * (2.0 - a)  # 1 − b²
    gap = kept + b * b / k
    return (kept / m + b * b / k) / gap, gap


def _accumulated(schedule: Schedule, model: int | None) -> float:
    """ln(1 − Φ_n) = Σ ln(1 − M_i/N_i²); model None: without end."""
    total, log = 0.0, 0.0
    counts = schedule.counts(model if model is not None else schedule.fits)
    for place, (size, count) in enumerate(zip(schedule.sizes, counts, strict=True)):
        if count <= 0:
            continue
        endless = model is None and place == len(schedule.sizes) - 1
        log += _batches(float(size), total, None if endless else int(count))
        total += size * count
    return log


def _batches(size: float, before: float, count: int | None) -> float:
    """Σ_{i=1..count} ln(1 − M/(B + iM)²), all i if count is None."""
    i, weights = ranks(count) if count is None or count > _LISTED else (np.arange(1.0, count + 1), None)
    with np.errstate(divide="ignore"):
        logs = np.log1p(-size / (before + i * size) ** 2)
    summed = float(logs.sum() if weights is None else weights @ logs)
    if count is None:  # beyond the last rank, where ln(1 − x) = −x: Σ 1/(M i²) = 1/(M last)
        summed -= 1.0 / (size * float(i[-1]))
    return summed
