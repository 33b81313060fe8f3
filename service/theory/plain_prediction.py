"""The prediction of one plain recursion, from its outcome; see plain_one.py and plain_chain.py."""

from dataclasses import replace
from math import inf
from typing import Final, Literal

import numpy as np

from service.theory.chain import Labels
from service.theory.curves import ErrorCurve
from service.theory.design import Design
from service.theory.flat_spectrum import FlatStage
from service.theory.flatness import EXCESS, flat_range, vouched
from service.theory.model import OPTIMAL, REAL, Population, Stage, TrainingMix
from service.theory.one_covariance import OneCovariance, effective_ridge
from service.theory.plain_chain import condensed_outcomes, outcomes
from service.theory.plain_corrected import CorrectedFit, corrected_fits
from service.theory.plain_correction import NotSmall, left_over
from service.theory.plain_one import Fit, Outcome, regular_outcome
from service.theory.response import Regime, regime
from service.theory.results import (
    Baseline,
    Best,
    Decomposition,
    FlatRange,
    Prediction,
    Regularization,
    SourceNoise,
    assemble,
)
from service.theory.scenarios import Scenarios

_BEST: Final = float("nan")


def is_plain(population: Population, mix: TrainingMix) -> bool:
    """Whether every stage has one source of weight 1, labelled by the stage before, the first by the truth."""
    if mix.keeps_data or mix.has_matrices or population.null_modes > 0:
        return False
    before, last = REAL, mix.stages[-1]
    for stage in mix.stages:
        source = stage.sources[0]
        if (
            len(stage.sources) > 1
            or stage.passes
            or stage.width is not None
            or source.eigenvalues is not None
        ):
            return False
        if source.weight != 1 or source.samples == 0 or source.labels != before:
            return False
        if stage is not last and stage.penalty in (OPTIMAL, inf):
            return False
        before = stage.name
    return True


def scenario(population: Population, mix: TrainingMix) -> Scenarios:
    """A plain mix as a batch of one."""
    runs: list[int] = []
    samples: list[float] = []
    penalties: list[float] = []
    noise: list[float] = []
    for stage in mix.stages[:-1]:
        source = stage.sources[0]
        noise.append(source.noise_variance)
        if runs and source.samples == samples[-1] and stage.penalty == penalties[-1]:
            runs[-1] += 1
        else:
            runs.append(1)
            samples.append(source.samples)
            penalties.append(float(stage.penalty))
    final = mix.stages[-1]
    source = final.sources[0]
    # only without generations are the last stage's labels real
    real_noise = population.noise_variance if runs else source.noise_variance
    penalty = _BEST if final.penalty == OPTIMAL else float(final.penalty)
    last = np.array([[source.samples], [source.noise_variance], [real_noise], [penalty]], dtype=np.float64)
    return Scenarios(
        tuple(runs), np.array([samples], dtype=np.float64), np.array([penalties]), np.array([noise]), *last
    )


def plain_prediction(population: Population, mix: TrainingMix, order: Literal[0, 1] = 0) -> Prediction | None:
    """The prediction of a plain mix, or None where the general engine must look.

    ``order`` 1: with the finite-size correction where that has a closed form and is small.
    """
    given, full = scenario(population, mix), population
    population = full.condensed
    found = regular_outcome(population, given)
    if found is None:
        irregular = condensed_outcomes(full, given)
        if not irregular.regular[0] and population is not full:
            population, irregular = full, outcomes(full, given)
        if not irregular.regular[0]:
            return None
        found = Outcome.of(irregular)
    if order == 1 and found.best.penalty < inf:
        same = int(found.ridges[0] == found.ridges[1])  # the recommended penalty is the given one
        try:
            fits = corrected_fits(population, given, found.run_ridges, found.run_rooms, found.ridges[same:])
            fits = [fits[0], *fits] if same else fits
            return _prediction(population, mix, given, found, fits)
        except NotSmall:
            pass
    return _prediction(population, mix, given, found, None)


def _prediction(
    population: Population,
    mix: TrainingMix,
    given: Scenarios,
    found: Outcome,
    fits: list[CorrectedFit] | None,
) -> Prediction:
    """``fits``: of order 1, at the given, the recommended and the clean-optimal penalty."""
    final, generators = mix.stages[-1], mix.stages[:-1]
    T, penalty = given.samples.item(), found.given.penalty
    rooms = [*found.run_rooms, found.given.room]
    samples = [*given.run_samples[0].tolist(), T]
    if fits is None:
        error, at_best = (_decomposition(generators, point) for point in (found.given, found.best))
        clean_total, total_at_clean = found.clean_total, found.total_at_clean
        expected, moved = 1.0 / max(min(rooms), 1.0), None
    else:
        noise, real_noise = given.noise.item(), given.real_noise.item()
        error, at_best = (_corrected(generators, fit, noise, real_noise) for fit in fits[:2])
        clean_total, total_at_clean = fits[2].bias + fits[2].by_noise * real_noise, fits[2].total
        expected, moved = left_over(fits[0].moved, fits[0].room, fits[0].closeness), fits[0].moved
    best_clean = Best(found.clean_penalty, clean_total)
    baseline = Baseline(T, error.bias + error.variance, error.bias, error.variance, best_clean)
    regimes: list[Regime] = []
    for run, size, ridge in zip(given.runs, samples, given.run_penalties[0].tolist(), strict=False):
        regimes += [regime(size, population.rank, None, ridge)] * run
    return Prediction(
        mix if final.penalty == penalty else _resolved(mix, penalty),
        (*regimes, regime(T, population.rank, None, penalty)),
        error,
        baseline,
        None if generators else baseline,
        population.signal,
        Regularization(
            penalty,
            Best(found.best.penalty, at_best.total),
            _flat_range(population, given, found),
            at_best,
            best_clean.penalty,
            max(total_at_clean - at_best.total, 0.0),
            found.effective_samples,
        ),
        population.noise_variance,
        min(room / size for room, size in zip(rooms, samples, strict=True)),
        expected,
        order=0 if fits is None else 1,
        moved=moved,
    )


def _corrected(
    generators: tuple[Stage, ...], fit: CorrectedFit, noise: float, real_noise: float
) -> Decomposition:
    return assemble(
        fit.total, fit.bias, fit.by_noise * real_noise, _by_source(generators, fit.past),
        shift=0.0, mismatch=fit.by_noise * (noise - real_noise),
    )  # fmt: skip


def _resolved(mix: TrainingMix, penalty: float) -> TrainingMix:
    return replace(mix, stages=(*mix.stages[:-1], replace(mix.stages[-1], penalty=penalty)))


def _flat_range(population: Population, given: Scenarios, found: Outcome) -> FlatRange:
    """As interpolated where the exact error there vouches for it, else by search."""
    least, grid = found.best.total, population.grid
    if found.ends:
        (low, at_low), (high, at_high) = found.ends
        if vouched(at_low, (1.0 + EXCESS) * least) and vouched(at_high, (1.0 + EXCESS) * least):
            return FlatRange(low, high)
    if population.eigenvalues.size == 1 and found.best.penalty < inf:
        stage = FlatStage.of(population, found.past, float(given.samples[0]), float(given.noise[0]))
        v, sigma = stage.least(), float(population.eigenvalues[0])
        if v is not None:
            low, high = stage.range(v, EXCESS)
            return FlatRange(sigma * low, sigma * high)
    design = Design.make([float(given.samples[0])], [1.0])
    labels = Labels(found.past.cross[0], found.past.second[0][None])
    curve = ErrorCurve(population, design, given.noise, labels)
    values, _ = curve(grid.on_grid(curve.columns, features=False))

    def penalty(theta: float) -> float:
        return OneCovariance.at(population, design, theta, Regime.RIDGE).penalty(design)

    return flat_range(
        grid, curve, values, penalty,
        theta=found.ridges[1] if found.best.penalty < inf else inf,
        least=least, lowest=effective_ridge(population, design, 0.0),
    )  # fmt: skip


def _decomposition(generators: tuple[Stage, ...], fit: Fit) -> Decomposition:
    by_source = _by_source(generators, fit.noise_responses)
    return assemble(fit.total, fit.bias, fit.variance, by_source, shift=0.0, mismatch=fit.mismatch)


def _by_source(generators: tuple[Stage, ...], responses: list[float]) -> tuple[SourceNoise, ...]:
    found = []
    for stage, response in zip(generators, responses, strict=True):
        source = stage.sources[0]
        found.append(SourceNoise(stage.name, source.name, source.noise_variance * response))
    return tuple(found)
