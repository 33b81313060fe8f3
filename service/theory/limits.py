"""What happens after very many generations, and with unlimited data: limits, floors and where the error peaks."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from service.theory.accumulate_limits import accumulated_limit, accumulated_null_generation
from service.theory.chain import covariances_of
from service.theory.errors import NotConverged, Unsupported
from service.theory.generations import NO_RECURSION, UNKNOWN, Recursion
from service.theory.matrices import unlimited as matrices
from service.theory.matrices.response import StageSolver
from service.theory.model import OPTIMAL, Population, Stage, TrainingMix
from service.theory.plain_correction import NotSmall
from service.theory.plain_limits import recursion
from service.theory.unlimited import floors

_ROUNDING = 1e-14
_MOST_PEAKS = 64
_FIELDS = ("generations_limit", "growth_per_generation", "worse_than_null_from")


@dataclass(frozen=True)
class Peak:
    """Double descent: without penalty the error of a fit is infinite where ``quantity`` is ``position``.

    ``stage``: the first with this design; ``quantity``: "samples" (of positive weight, all sources together) or
    "width"; ``value``: what it is in the mix. A penalty turns the pole into a hump at about the same place.
    """

    stage: str
    quantity: str
    position: float
    value: float


@dataclass(frozen=True)
class Limits:
    """Limits of a mix; None where a value does not exist, with the reason in ``missing`` under the field's name.

    ``generations_limit``: the test error after infinitely many generations; ``growth_per_generation``: what each
    further one adds where it grows linearly for ever; ``worse_than_null_from``: the first generation whose model has a
    larger test error than predicting nothing; ``data_limit``: the test error with unlimited samples in the given
    proportions at the given penalties; ``best_data_limit``: the same at the best last penalty, the floor; ``strong``:
    whether that is above 0 (strong model collapse, arXiv 2410.04840); ``double_descent``: see Peak.
    ``generations_order``: of the values over generations, see ``limits``.
    """

    generations_limit: float | None
    growth_per_generation: float | None
    worse_than_null_from: int | None
    data_limit: float | None
    best_data_limit: float | None
    strong: bool | None
    regime: str
    double_descent: tuple[Peak, ...]
    missing: Mapping[str, str] = field(default_factory=dict)
    generations_order: Literal[0, 1] = 0


def limits(population: Population, mix: TrainingMix, *, order: Literal[0, 1] = 0) -> Limits:
    """The limits of a mix without "optimal" penalties, see Limits. Raises NotConverged, Unsupported.

    ``order`` 1: growth without penalties and limits of kept data are those of finite samples, where these are known;
    all else over generations is asymptotic, and ``generations_order`` 0.
    """
    peaks = double_descent(population, mix)
    if mix.keeps_data:
        try:
            return _accumulated(population.condensed, mix, peaks, order)
        except NotSmall:  # the correction is not one there: asymptotic values
            return _accumulated(population.condensed, mix, peaks, 0)
    missing: dict[str, str] = {}
    found = _continued(population, mix, order, missing)
    limit = growth = worse = None
    if found is not None:
        limit, growth = found.limit(missing)
        worse = found.null_generation(limit, growth, missing)
    given: float | None = None
    best: float | None = None
    try:
        given, best = (matrices.floors if mix.has_matrices else floors)(population, mix)
    except (NotConverged, Unsupported) as error:
        missing["data_limit"] = missing["best_data_limit"] = missing["strong"] = f"{error}."
    strong = None if best is None else best > _ROUNDING * population.signal
    regime = found.regime if found is not None else NO_RECURSION if mix.next_generation is None else UNKNOWN
    corrected: Literal[0, 1] = 1 if found is not None and found.corrected else 0
    return Limits(limit, growth, worse, given, best, strong, regime, peaks, missing, corrected)


def _continued(
    population: Population, mix: TrainingMix, order: int, missing: dict[str, str]
) -> Recursion | None:
    """The recursion that the mix is the beginning of, if there is one and its penalties are given."""
    again = mix.next_generation
    if again is not None and again.penalty != OPTIMAL:
        return recursion(population, mix, again, order)
    reason = "Limits over generations are computed at given penalties."
    if again is None:
        reason = "There is no recursion of equal generations to continue."
    missing.update(dict.fromkeys(_FIELDS, reason))
    return None


def _accumulated(population: Population, mix: TrainingMix, peaks: tuple[Peak, ...], order: int) -> Limits:
    try:
        return _kept(population, mix, peaks, order)
    except NotSmall:  # some fit on the way has a correction that is not small
        return _accumulated(population, mix, peaks, 0)
    except NotConverged as error:
        missing = dict.fromkeys((*_FIELDS, "data_limit", "best_data_limit", "strong"), f"{error}.")
        return Limits(None, None, None, None, None, None, UNKNOWN, peaks, missing)


def _kept(population: Population, mix: TrainingMix, peaks: tuple[Peak, ...], order: int) -> Limits:
    missing: dict[str, str] = {}
    limit = accumulated_limit(population, mix, order, missing)
    worse = accumulated_null_generation(population, mix, limit, order, missing)
    missing["growth_per_generation"] = "The error is bounded: the growth per generation tends to 0."
    # a penalty on the sum vanishes beside unlimited data, and so do bias and variance of every fit
    floor = population.signal if mix.stages[0].sources[0].samples == 0 else 0.0
    strong = floor > _ROUNDING * population.signal
    return Limits(limit, None, worse, floor, floor, strong, "bounded", peaks, missing, 1 if order else 0)


def double_descent(population: Population, mix: TrainingMix) -> tuple[Peak, ...]:
    """Where the errors of the fits peak, see Peak: at samples = min(rank, width), and at width = samples < rank.

    Equal designs are named once, at most 64 of them, the last stages first. Sources: Hastie et al. (2022); Bach (2024).
    """
    peaks: list[Peak] = []
    seen: set[tuple[float, float | None, float]] = set()
    kept = 0.0
    total = sum(stage.sources[0].samples for stage in mix.stages) if mix.keeps_data else 0.0
    for stage in reversed(mix.stages):
        rows = sum(source.samples for source in stage.sources if source.weight > 0)
        if mix.keeps_data:
            rows, kept = total - kept, kept + rows
        rank = _rank(population, stage)
        key = (rows, stage.width, rank)
        if key in seen or rows == 0 or rank == 0:
            continue
        seen.add(key)
        capacity = rank if stage.width is None else min(rank, stage.width)
        peaks.append(Peak(stage.name, "samples", capacity, rows))
        if stage.width is not None and rows < rank:
            peaks.append(Peak(stage.name, "width", rows, stage.width))
        if len(peaks) >= _MOST_PEAKS:
            break
    return tuple(peaks)


def _rank(population: Population, stage: Stage) -> float:
    """Modes that the sources of a stage see."""
    if any(source.covariance is not None for source in stage.sources):
        return StageSolver(population, stage).rank
    covariances = covariances_of(stage, population)
    if covariances is None:
        return population.rank
    used = [s.samples > 0 and s.weight > 0 for s in stage.sources]
    return float(population.multiplicities[np.any(covariances[used] > 0, axis=0)].sum())
