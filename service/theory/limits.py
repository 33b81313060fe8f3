"""What happens after very many generations, and with unlimited data."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from service.theory.chain import Chain, Labels, covariances_of, label_indices
from service.theory.design import Design
from service.theory.model import OPTIMAL, PREVIOUS, REAL, Array, Population, Shift, Stage, TrainingMix
from service.theory.moments import error_moments, history
from service.theory.one_covariance import OneCovariance
from service.theory.response import FixedResponse, Regime, Response, empty_response

NO_RECURSION = "no recursion"
BOUNDED = "bounded"
LINEAR = "linear growth"
EXPONENTIAL = "exponential growth"
UNKNOWN = "unknown"

_ROUNDING = 1e-14


@dataclass(frozen=True)
class Limits:
    """Limits of a mix; None where a value does not exist, with the reason in ``missing`` under the field's name.

    ``generations_limit``: the test error after infinitely many generations; ``growth_per_generation``: what each
    further one adds where it grows linearly for ever; ``data_limit``: the test error with unlimited samples in the
    given proportions at the given penalties; ``strong``: whether that stays above 0 at the best last penalty (strong
    model collapse, arXiv 2410.04840).
    """

    generations_limit: float | None
    growth_per_generation: float | None
    data_limit: float | None
    strong: bool | None
    regime: str
    missing: Mapping[str, str] = field(default_factory=dict)


def limits(population: Population, mix: TrainingMix) -> Limits:
    """The limits of a mix without "optimal" penalties, see Limits."""
    missing: dict[str, str] = {}
    if mix.keeps_data:
        for name in ("generations_limit", "growth_per_generation", "data_limit", "strong"):
            missing[name] = "Not computed for kept data."
        return Limits(None, None, None, None, UNKNOWN, missing)
    limit, growth, regime = _generations(population, mix, missing)
    floor, strong = _unlimited_data(population, mix, missing)
    return Limits(limit, growth, floor, strong, regime, missing)


# --- generations ----------------------------------------------------------------------------------


def _generations(
    population: Population, mix: TrainingMix, missing: dict[str, str]
) -> tuple[float | None, float | None, str]:
    again, final = mix.next_generation, mix.stages[-1]
    if again is None:
        reason = "There is no recursion of equal generations to continue."
        missing["generations_limit"] = missing["growth_per_generation"] = reason
        return None, None, NO_RECURSION
    if again.width is not None or final.width is not None or again.penalty == OPTIMAL:
        reason = "Limits over generations are computed without random features and at given penalties."
        missing["generations_limit"] = missing["growth_per_generation"] = reason
        return None, None, UNKNOWN
    response = OneCovariance.solve(population, Design.of(again), float(again.penalty))
    closing = OneCovariance.solve(population, Design.of(final), float(final.penalty))
    if Regime.THRESHOLD in (response.regime, closing.regime):
        reason = "A fit at its interpolation threshold has an infinite error."
        missing["generations_limit"] = missing["growth_per_generation"] = reason
        return None, None, UNKNOWN
    step = _Step(population, again, response)
    if step.unbiased:
        missing["generations_limit"] = (
            "The error grows by the same amount with every generation, without bound."
        )
        return None, _increase(population, final, closing, step), LINEAR
    if step.ratio >= 1:
        missing["generations_limit"] = missing["growth_per_generation"] = (
            "Each generation amplifies the error of the one before: it grows exponentially."
        )
        return None, None, EXPONENTIAL
    labels = _final_labels(final, step.cross, step.second)
    error, _ = error_moments(population, final, closing, labels)
    missing["growth_per_generation"] = "The error is bounded: the growth per generation tends to 0."
    return _sum(population, error), None, BOUNDED


class _Step:
    """A further generation as an affine map of (E[e w], E e²) per mode, and its fixed point.

    E e²' = L² E e² + b + S²/σ X,  X = x_0 + Σ_i x_i E e_i²: bounded iff ratio = Σ x_i (S²/σ)_i/(1 − L_i²) < 1.
    """

    def __init__(self, population: Population, stage: Stage, response: Response) -> None:
        U, signal = response.unlearned, population.target_power
        previous = [s for s, source in enumerate(stage.sources) if source.labels == PREVIOUS]
        L = response.learned[previous].sum(axis=0)
        rest = response.learned.sum(axis=0) - L + U  # 1 − L without cancellation
        seen = population.eigenvalues > 0
        self.response, self.stage, self.population = response, stage, population
        self.unbiased = not np.any(rest[seen] > 0)
        if self.unbiased:
            self.ratio = np.inf
            return
        weight = population.multiplicities * population.eigenvalues
        unit = response.fluctuation(np.eye(len(stage.sources))[0], 0.0)  # shape of S²/σ, any scale
        scale = float(weight @ unit)
        self.cross = -np.divide(U * signal, rest, out=np.zeros_like(U), where=rest > 0)
        # the fixed point is that of the chain without fluctuation, plus a multiple of the fluctuation's own echo
        b = U**2 * signal - 2 * L * U * self.cross
        room = rest * (1.0 + L)
        base = np.divide(b, room, out=np.zeros_like(b), where=room > 0)
        spread = np.divide(unit, room, out=np.zeros_like(b), where=room > 0)
        self.ratio = (self._drive(spread, weight, homogeneous=True)) / scale if scale > 0 else 0.0
        drive = self._drive(base, weight)
        level = drive / scale / (1.0 - self.ratio) if scale > 0 and self.ratio < 1 else 0.0
        self.second = base + level * spread

    def _drive(self, second: Array, weight: Array, *, homogeneous: bool = False) -> float:
        """Σ σ fluctuation of the next model where the previous has E e² = ``second`` (homogeneous: that part alone)."""
        stage, response, population = self.stage, self.response, self.population
        if homogeneous:
            population = Population(
                population.eigenvalues, population.multiplicities, np.zeros_like(second), 0.0
            )
            cross = np.zeros_like(second)
            noise = np.zeros(len(stage.sources))
        else:
            cross = self.cross
            noise = np.array([source.noise_variance for source in stage.sources])
        labels = _final_labels(stage, cross, second)
        error, mean = error_moments(population, stage, response, labels, noise)
        return float(weight @ (error - mean.square))


def _increase(population: Population, final: Stage, closing: Response, step: _Step) -> float:
    """What one more unbiased generation adds to the final error: its label noise, seen through the last stage."""
    noise = np.array([source.noise_variance for source in step.stage.sources])
    added = step.response.fluctuation(noise, 0.0)
    silent = np.zeros(len(final.sources))
    blank = Population(population.eigenvalues, population.multiplicities, np.zeros_like(added), 0.0)
    labels = _final_labels(final, np.zeros_like(added), added)
    error, _ = error_moments(blank, final, closing, labels, silent)
    return _sum(population, error)


def _final_labels(stage: Stage, cross: Array, second: Array) -> Labels:
    """Label moments of a stage whose synthetic sources are all labelled by one model with these moments."""
    count = len(stage.sources)
    model = [s for s, source in enumerate(stage.sources) if _by_model(source.labels)]
    all_cross, all_second = np.zeros((count, cross.size)), np.zeros((count, count, cross.size))
    for s in model:
        all_cross[s] = cross
        for t in model:
            all_second[s, t] = second
    return Labels(all_cross, all_second)


def _by_model(labels: str | Shift) -> bool:
    return not isinstance(labels, Shift) and labels != REAL


# --- unlimited data -------------------------------------------------------------------------------


def _unlimited(population: Population, stage: Stage, penalty: float) -> Response:
    design = Design.of(stage)
    if design.active == 0 or penalty == np.inf:
        return empty_response(len(stage.sources), population.eigenvalues.size)
    weight = design.samples * design.weights / design.total
    shares, theta = weight / weight.sum(), penalty / weight.sum()
    total = population.eigenvalues + theta
    seen = total > 0
    S = np.divide(population.eigenvalues, total, out=np.zeros_like(total), where=seen)
    U = np.divide(theta, total, out=np.ones_like(total), where=seen)
    return FixedResponse.of(Regime.LEAST_SQUARES, shares[:, None] * S, U)


def _unlimited_data(
    population: Population, mix: TrainingMix, missing: dict[str, str]
) -> tuple[float | None, bool | None]:
    stages = mix.stages
    if any(stage.width is not None or stage.penalty == OPTIMAL for stage in stages) or any(
        covariances_of(stage, population) is not None for stage in stages
    ):
        missing["data_limit"] = missing["strong"] = (
            "The limit of unlimited data is computed for one covariance and without random features."
        )
        return None, None
    responses = [_unlimited(population, stage, float(stage.penalty)) for stage in stages]
    past = history(Chain(population, stages, responses, label_indices(stages)))
    floor, _ = error_moments(population, stages[-1], responses[-1], past.labels)
    unpenalized = _unlimited(population, stages[-1], 0.0)
    least, _ = error_moments(population, stages[-1], unpenalized, past.labels)
    null = population.signal
    return _sum(population, floor), _sum(population, least) > _ROUNDING * null


def _sum(population: Population, error: Array) -> float:
    return float((population.multiplicities * population.eigenvalues) @ error)
