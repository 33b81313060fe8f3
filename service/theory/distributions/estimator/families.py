"""Families with exact recursions of their own under the replace workflow: exponential scale, Poisson mean."""

from dataclasses import dataclass
from math import exp, expm1

import numpy as np
from scipy.special import polygamma

from service.theory.distributions.schedule import Models, Schedule
from service.theory.distributions.special import digamma_minus_log
from service.theory.model import Array


@dataclass(frozen=True, eq=False)
class ExponentialScale:
    """Fits of an exponential's scale, in units of the true one, shape (models,): exact.

    ``squared_error``: E (θ − 1)² = Π(1 + 1/M_i) − 1. ``kl``: E KL(fit ‖ truth) = Σ [ln M_i − ψ(M_i)].
    ``log_variance``: Var ln θ = Σ ψ'(M_i).
    """

    squared_error: Array
    kl: Array
    log_variance: Array


def exponential_scale(schedule: Schedule, models: Models) -> ExponentialScale:
    """The n-th fit's sample mean of M_n exponentials whose scale is the fit before it."""
    sizes, total = schedule.array, schedule.cumulative
    with np.errstate(over="ignore"):
        squared = np.expm1(total(np.log1p(1.0 / sizes), models))
    return ExponentialScale(
        squared, total(-digamma_minus_log(sizes), models), total(polygamma(1, sizes), models)
    )


def poisson_extinction(mean: float, schedule: Schedule, models: Models) -> Array:
    """P(λ_n = 0), shape (models,): exact.

    Counts are a branching process, each of one fit's having Poisson(M_i/M_{i−1}) successors in the next:
    P = exp(−M_1 λ u_n), u_1 = 1 the chance that a count's line lives on, and u is carried backwards by
    u ← 1 − exp(−(M_i/M_{i−1}) u), i = n … 2.
    """
    first, last = schedule.at(1), int(models[-1])
    if len(schedule.sizes) == 1:
        u, found, value = 1.0, 0, np.empty(len(models))
        for model in range(1, last + 1):
            if model == models[found]:
                value[found], found = exp(-first * mean * u), found + 1
            u = -expm1(-u)
        return value
    sizes = schedule.between(1, last)
    ratios = sizes[1:] / sizes[:-1]
    return np.array([_extinct(first * mean, ratios[: int(n) - 1]) for n in models])


def _extinct(lineages: float, ratios: Array) -> float:
    u = 1.0
    for ratio in ratios[::-1].tolist():
        u = -expm1(-ratio * u)
    return exp(-lineages * u)
