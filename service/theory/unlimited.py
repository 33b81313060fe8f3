"""Unlimited data: every number of samples to infinity at fixed proportions.

Then g_s -> 0 and a_s -> p_s ω_s: each stage learns L_s = p_s ω_s σ_s/(M + κ) with M = Σ_s p_s ω_s σ_s, and fluctuates
only with its random features, if any: κ (1 − df1(κ)/m) = λ with df1 = Σ M/(M + κ). What is left of the test error is
the floor, positive under strong model collapse: p_2² tr ΔΣ for one covariance, equal weights and no penalty (Dohmatob,
Feng, Subramonian, Kempe, arXiv 2410.04840).
"""

from collections import Counter
from dataclasses import dataclass
from math import inf

import numpy as np

from service.theory.chain import Chain, History, covariances_of, label_indices
from service.theory.design import Design
from service.theory.errors import NotConverged
from service.theory.grid import STEP
from service.theory.model import Array, Population, Stage, TrainingMix
from service.theory.moments import error_moments, history
from service.theory.one_covariance import effective_ridge
from service.theory.penalty import interpolated_minima
from service.theory.penalty_general import minimize_penalty
from service.theory.plain_prediction import is_plain
from service.theory.response import FixedResponse, Regime, Response, empty_response

_FURTHER = 90  # points beyond either end of the grid: fifteen decades


@dataclass(frozen=True, eq=False)
class UnlimitedFeatures(Response):
    """A stage with unlimited data seen through m random features, whose draw is all that fluctuates.

    ``gain``: U²/(m − Σ (1 − U)²), the fluctuation per unit of the model's power.
    """

    gain: Array

    def fluctuation(self, residuals: Array, model_power: float) -> Array:  # noqa: ARG002
        """See Response.fluctuation."""
        return self.gain * model_power

    @property
    def openness(self) -> float:
        """One: there is no interpolation threshold."""
        return 1.0

    def sensitivities(self, gradient: Array) -> tuple[Array, Array]:
        """See Response.sensitivities."""
        return np.zeros((*gradient.shape[:-1], self.learned.shape[0])), gradient @ self.gain


def unlimited(population: Population, stage: Stage, penalty: float) -> Response:
    """The response of a stage with unlimited data in its proportions. Raises NotConverged.

    The limit of ``stages.solve`` as all samples are multiplied by a number that grows. A mode that no source sees, or
    whose penalty is infinite, is not learned.
    """
    design, modes = Design.of(stage), population.eigenvalues.size
    if design.active == 0 or penalty == inf:
        return empty_response(len(stage.sources), modes)
    if stage.passes:  # every fit of a row keeps its share
        learned = np.ones(modes)
        for one in stage.passes:
            if one.penalty > 0:
                learned *= population.eigenvalues / (population.eigenvalues + one.penalty)
        learned[population.eigenvalues == 0] = 0.0
        return FixedResponse.of(Regime.RIDGE, learned[None], 1.0 - learned)
    weight = design.samples * design.weights / design.total
    covariances = covariances_of(stage, population)
    sigma = (
        np.broadcast_to(population.eigenvalues, (weight.size, modes)) if covariances is None else covariances
    )
    learnable = weight @ sigma
    kappa, rank = penalty, float(population.multiplicities[learnable > 0].sum())
    if rank == 0:
        return empty_response(len(stage.sources), modes)
    width = stage.width
    if width is not None and width == rank and penalty == 0:
        width = None  # as many features as modes span them all
    if width is not None:
        # the equation of a plain ridge fit with m in the place of the samples
        seen = Population(learnable, population.multiplicities, population.target_power, 0.0)
        kappa = effective_ridge(seen, Design.make([width], [1.0]), penalty)
    total = learnable + kappa
    Q = np.divide(1.0, total, out=np.zeros_like(total), where=total > 0)
    U = np.where(total > 0, kappa * Q, 1.0)
    L = weight[:, None] * sigma * Q
    shares, scale = weight / weight.sum(), float(weight.sum())
    kind = Regime.RIDGE if penalty > 0 else Regime.LEAST_SQUARES
    if width is None or kappa == 0:
        return FixedResponse(kind, L, U, scale * Q, shares, None)
    room = width - float(population.multiplicities @ (1.0 - U) ** 2)
    if room <= 0:
        raise NotConverged("the random features are too close to the number of modes")
    return UnlimitedFeatures(kind, L, U, scale * Q, shares, width, U * U / room)


def floors(population: Population, mix: TrainingMix) -> tuple[float, float]:
    """The test error with unlimited data at the given penalties, and at the best one of the last stage.

    Both >= 0. Raises NotConverged.
    """
    if is_plain(population, mix) and float(mix.stages[-1].penalty) < inf:
        return _plain_floors(population, mix)
    stages, final = mix.stages, mix.stages[-1]
    responses = [unlimited(population, stage, float(stage.penalty)) for stage in stages]
    past = history(Chain(population, stages, responses, label_indices(stages)))

    def error(response: Response) -> float:
        return float(population.weight @ error_moments(population, final, response, past.labels)[0])

    given = error(responses[-1])
    if population.signal == 0 or Design.of(final).active == 0:
        return given, min(given, population.signal)
    if covariances_of(final, population) is None and final.width is None:
        return given, min(given, _least(population, final, past))
    scale = float(population.trace)
    if (
        not past.labels.second.any()
    ):  # true labels: what no penalty leaves is what no source sees, or no feature
        return given, min(given, error(unlimited(population, final, 0.0)))
    best = minimize_penalty(lambda x: error(unlimited(population, final, x)), scale, population.signal)
    return given, min(given, best.total)


def _plain_floors(population: Population, mix: TrainingMix) -> tuple[float, float]:
    """Nothing fluctuates: a recursion learns the share Π_k σ/(σ + λ_k) of every mode."""
    sigma, weight, power = population.eigenvalues, population.weight, population.target_power
    counts = Counter(float(stage.penalty) for stage in mix.stages[:-1])
    with np.errstate(divide="ignore"):  # a mode of which nothing is learned
        fading = [n * np.log1p(-penalty / (sigma + penalty)) for penalty, n in counts.items() if penalty > 0]
    lost = -np.expm1(sum(fading)) if fading else np.zeros_like(sigma)
    last = float(mix.stages[-1].penalty)
    left = last / (sigma + last)
    given = float((weight * power) @ (lost + left * (1.0 - lost)) ** 2)
    return given, min(given, _lowest(population, lost * lost * power, -lost * power))


def _least(population: Population, final: Stage, past: History) -> float:
    """The least error at any penalty of a stage of one covariance, see _lowest."""
    F = unlimited(population, final, 0.0).shares
    second = np.einsum("s,stm,t->m", F, past.labels.second, F)
    return _lowest(population, second, F @ past.labels.cross)


def _lowest(population: Population, second: Array, cross: Array) -> float:
    """The least of Σ σ (S² E e² − 2 S U E[e w] + U² w²) over θ >= 0, e the weighted mean of the labels' errors."""
    if not second.any() and not cross.any():
        return 0.0
    weight, grid, sigma = population.weight, population.grid, population.eigenvalues
    rows = np.array(
        [weight * second * sigma * sigma, weight * cross * sigma, weight * population.target_power]
    )

    def error(log_theta: Array, theta: Array | None = None) -> Array:
        ss, su, uu = grid.products(rows, theta)
        at = np.exp(log_theta)
        return np.asarray(ss - 2.0 * at * su + at * at * uu)

    values = error(grid.log_theta)
    least = min(float(weight @ second), population.signal, float(values.min()))
    with np.errstate(invalid="ignore"):
        found = interpolated_minima(grid.log_theta, values[None])
    rises = population.positive @ (second + cross) <= 0  # with the penalty, from 0 on
    if not np.isfinite(found.value[0]) and not (rises and values.argmin() < values.size // 2):
        # labels with hardly any error, or hardly any truth: beyond the grid
        further = STEP * np.arange(1.0, _FURTHER + 1)
        log_theta = np.concatenate(
            [grid.log_theta[0] - further[::-1], grid.log_theta, grid.log_theta[-1] + further]
        )
        with np.errstate(invalid="ignore"):
            found = interpolated_minima(log_theta, error(log_theta, np.exp(log_theta))[None])
    if np.isfinite(found.value[0]):
        # the value at the place found is right to the square of its error
        least = min(least, float(error(np.log(found.theta), found.theta)[0]))
    return max(least, 0.0)
