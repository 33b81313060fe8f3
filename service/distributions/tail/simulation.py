"""The entry of the tails in the registry of simulations: the learner itself, item by item."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import isnan, nan, sqrt
from typing import Annotated, Any, Final, Literal

import numpy as np
from pydantic import Field, model_validator

from service.distributions.schemas import Count
from service.distributions.tail import schemas
from service.distributions.tail.answer import unknown
from service.distributions.tail.engine import POINTS, bigram_of, memory_of, seconds_of, training_of
from service.errors import InvalidInput
from service.jobs.compute import Work
from service.predictions.responses import Answer, Value
from service.simulation import verdict
from service.simulation.tail import LEAST_ENDLESS, MAX_TABLE, DrawnLaw, TailWork
from service.simulation.verdict import Comparison
from service.simulations.kinds import Cell, Figure, Kind, Planned, Point, Series
from service.simulations.resource import SimulationOptions, SimulationSummary
from service.theory.distributions.schedule import reported_models
from service.theory.distributions.tail.bigram import bigram_error
from service.theory.distributions.tail.generations import Recursive
from service.theory.distributions.tail.prediction import by_generation
from service.theory.distributions.tail.training import CLEAN, unseen_mass
from service.theory.distributions.tail.zipf import Zipf
from service.theory.model import Array

MAX_CURVE: Final = 50
MAX_REPLICATE_ITEMS: Final = 100_000_000
_ROUNDING: Final = 1e-12
_FLOPS_PER_ITEM: Final = 3_000.0  # drawn, sorted, counted


class TailSimulationRequest(schemas.TailProblem, SimulationOptions):
    """A learner that is shown items one by one; the same problem as a prediction's."""

    curve: Annotated[list[Count], Field(min_length=1, max_length=MAX_CURVE)] | None = Field(
        None,
        description="Numbers of samples to look at, rising, the last instead of `samples`; null: `samples` alone. "
        "Not with kind recursive, where the learner is looked at after every generation.",
    )

    @model_validator(mode="after")
    def _curve_rises(self) -> "TailSimulationRequest":
        if self.curve is not None and any(b <= a for a, b in pairwise(self.curve)):
            raise ValueError("curve needs each number of samples above the one before")
        if self.curve is not None and isinstance(self.training, schemas.RecursiveTraining):
            raise ValueError("with kind recursive the curve is over the generations: leave curve out")
        return self


class TailMeasured(Answer):
    """One number of samples, or one generation: measured, and predicted."""

    samples: int
    generation: int | None = Field(description="With kind recursive.")
    prediction: Value
    prediction_missing: str | None = Field(description="Why there is no prediction.")
    expected_relative_error: float = Field(description="Of the prediction; 0: an identity.")
    mean: Value = Field(description="Of the test error, over the replicates that are done.")
    standard_error: Value = Field(description="null for a single replicate.")
    z_score: Value = Field(description="Mean minus prediction in standard errors.")
    adjusted_p_value: Value = Field(description="By Holm's method over all points; null below 8 replicates.")
    replicates: int


class TailResult(Answer):
    """Every point, and whether theory and simulation agree."""

    verdict: Literal["agree", "disagree", "undecided"] = Field(
        description="undecided: too few replicates yet, or nothing that has a prediction."
    )
    level: float = Field(description="Chance of one false alarm or more, all points together.")
    points: list[TailMeasured]


class TailSimulation(SimulationSummary):
    """A simulation of a learner that fails on what it has not seen."""

    kind: Literal["tail"] = "tail"
    request: TailSimulationRequest
    verdict: Literal["agree", "disagree", "undecided"]
    level: float
    points: list[TailMeasured]


class Tail(Kind[TailSimulationRequest, None]):
    """Items are drawn and looked up."""

    name = "tail"
    request = TailSimulationRequest
    simulation = TailSimulation

    def seconds(self, request: TailSimulationRequest) -> float:
        """Of its prediction."""
        return seconds_of(request, len(request.curve or [request.samples]))

    def plan(self, request: TailSimulationRequest, data: None) -> Planned:  # noqa: ARG002 - nothing is stored beforehand
        """The predictions, and the items that a replicate draws."""
        _check(request)
        items = _items(request)
        if items > MAX_REPLICATE_ITEMS:
            raise InvalidInput.at(
                "/samples", "too_large",
                f"One replicate draws and sorts {items:.2g} items; at most {MAX_REPLICATE_ITEMS:.2g}. Take fewer "
                "samples, points or generations; the prediction has no such limit.",
            )  # fmt: skip
        points = _planned(request)
        return Planned(points, len(points), _FLOPS_PER_ITEM * items)

    def work(self, request: TailSimulationRequest, points: Sequence[Point], data: None) -> Work:  # noqa: ARG002
        """The learner and where it is looked at."""
        training = request.training
        samples = tuple(request.curve or [request.samples])
        if isinstance(request.law, schemas.BigramLaw):
            token = _drawn(request.law.token_exponent, None)
            context = _drawn(request.law.context_exponent, None)
            return TailWork(context, samples, token=token, rank=bigram_of(request.law, training)[1])
        law = _drawn(request.law.exponent, request.law.types)
        memory = memory_of(request.memory)
        common: dict[str, Any] = {"memory": memory.items, "noisy": memory.noisy}
        match training:
            case schemas.RecursiveTraining():
                sizes = training.generator_samples
                return TailWork(
                    law, samples, real_fraction=training.real_fraction, allocation=training.allocation,
                    sizes=(sizes,) * training.generations if isinstance(sizes, int) else tuple(sizes),
                    reported=tuple(point["generation"] for point in points), **common,
                )  # fmt: skip
            case schemas.NarrowedTraining():
                return TailWork(
                    law, samples, generator=_drawn(training.exponent, request.law.types), **common
                )
            case schemas.CountsTraining():
                return TailWork(
                    law,
                    samples,
                    real_fraction=0.0,
                    rank=training.rank,
                    real_samples=training.real_samples,
                    **common,
                )
            case schemas.MixedTraining():
                return TailWork(
                    law, samples, real_fraction=training.real_fraction, rank=training.rank, **common
                )
            case schemas.Cut():
                return TailWork(law, samples, real_fraction=0.0, rank=training.rank, **common)
            case schemas.Real():
                return TailWork(law, samples, **common)

    def result(self, request: Mapping[str, Any], points: Sequence[Point], outcomes: Array) -> TailResult:  # noqa: ARG002
        """Means beside predictions, and the verdict on all of them."""
        replicates = outcomes.shape[1]
        means = outcomes.mean(axis=1) if replicates else np.full(len(points), np.nan)
        errors = (
            outcomes.std(axis=1, ddof=1) / sqrt(replicates)
            if replicates > 1
            else np.full(len(points), np.nan)
        )
        errors[errors <= _ROUNDING * means] = 0.0
        compared = [
            (i, _comparison(point, float(means[i]), float(errors[i])))
            for i, point in enumerate(points)
            # without any spread nothing rare has happened yet, which says nothing
            if point["prediction"] is not None and replicates >= verdict.LEAST_REPLICATES and errors[i] > 0.0
        ]
        adjusted = verdict.adjusted_p_values([one for _, one in compared], replicates)
        p = {i: float(value) for (i, _), value in zip(compared, adjusted, strict=True)}
        return TailResult(
            verdict="undecided" if not p else "agree" if min(p.values()) > verdict.LEVEL else "disagree",
            level=verdict.LEVEL,
            points=[
                TailMeasured(
                    **point,
                    mean=_known(means[i]),
                    standard_error=_known(errors[i]),
                    z_score=_score(point["prediction"], float(means[i]), float(errors[i])),
                    adjusted_p_value=p.get(i),
                    replicates=replicates,
                )
                for i, point in enumerate(points)
            ],
        )

    def rows(self, simulation: TailSimulation) -> list[dict[str, Cell]]:
        """One row per point."""
        return [point.model_dump() for point in simulation.points]

    def figure(self, simulation: TailSimulation) -> Figure:
        """The test error over samples or generations."""
        points = simulation.points
        recursive = any(point.generation is not None for point in points)
        x = [float((point.generation or 0) if recursive else point.samples) for point in points]
        series = Series(
            "test error",
            tuple(x),
            predicted=tuple(point.prediction for point in points),
            measured=tuple(point.mean for point in points),
            standard_error=tuple(point.standard_error for point in points),
        )
        return Figure("generation of synthetic data" if recursive else "samples", "test error", (series,))


TAIL: Final = Tail()


def _drawn(exponent: float, types: int | None) -> DrawnLaw:
    return DrawnLaw(exponent, Zipf(exponent, types).normalizer, types)


def _check(request: TailSimulationRequest) -> None:
    """What cannot be drawn item by item. Raises InvalidInput."""
    law = request.law
    exponents = (
        (law.context_exponent, law.token_exponent) if isinstance(law, schemas.BigramLaw) else (law.exponent,)
    )
    endless = isinstance(law, schemas.BigramLaw) or law.types is None
    if endless and min(exponents) < LEAST_ENDLESS:
        raise InvalidInput.at(
            "/law", "cannot_be_simulated",
            f"Items of an endless law are drawn as 64-bit ranks, which needs an exponent of at least {LEAST_ENDLESS}: "
            f"give the number of types (at most {MAX_TABLE:,}).",
        )  # fmt: skip
    if isinstance(law, schemas.ZipfLaw) and law.types is not None and law.types > MAX_TABLE:
        raise InvalidInput.at(
            "/law/types",
            "cannot_be_simulated",
            f"At most {MAX_TABLE:,} types are drawn; or null for endlessly many.",
        )
    if isinstance(request.memory, schemas.AssociativeMemory):
        raise InvalidInput.at(
            "/memory",
            "cannot_be_simulated",
            "An associative memory is a law, not a process that could be carried out.",
        )


def _items(request: TailSimulationRequest) -> float:
    """Items that one replicate draws or sorts."""
    training = request.training
    if isinstance(training, schemas.RecursiveTraining):
        sizes = training.generator_samples
        drawn = sizes * training.generations if isinstance(sizes, int) else sum(sizes)
        return float(drawn + 2 * request.samples * (min(training.generations, POINTS) + 1))
    looked_at = request.curve or [request.samples]
    real = training.real_samples if isinstance(training, schemas.CountsTraining) else 0
    # of pairs two items each, and sorting them takes longer
    weight = 6 if isinstance(request.law, schemas.BigramLaw) else 1
    return float(weight * (looked_at[-1] + sum(looked_at) + real * (1 + len(looked_at))))


def _comparison(point: Point, mean: float, error: float) -> Comparison:
    """With the prediction as near to the mean as its stated error allows: what is left is to be explained by chance."""
    predicted, off = point["prediction"], point["expected_relative_error"]
    nearest = min(max(mean, predicted * (1.0 - off)), predicted * (1.0 + off)) if off else predicted
    return Comparison(mean, error, nearest, mean, understated=verdict.understated(mean, nearest))


def _planned(request: TailSimulationRequest) -> list[Point]:
    """Where the learner is looked at, with the prediction there."""
    looked_at = [float(T) for T in request.curve or [request.samples]]
    if isinstance(request.law, schemas.BigramLaw):
        pairs, rank = bigram_of(request.law, request.training)
        return [_point(request, T, None, bigram_error(pairs, T, rank)) for T in looked_at]
    law, memory = Zipf(request.law.exponent, request.law.types), memory_of(request.memory)
    training = training_of(request.training)
    if isinstance(request.training, schemas.RecursiveTraining):
        [T] = looked_at
        if not isinstance(training, Recursive):
            return [_point(request, T, 0, unseen_mass(law, CLEAN, T, memory.items))]
        reported = [0, *map(int, reported_models(training.generators.fits, POINTS))]
        way = by_generation(law, training, T, reported, memory.reach(law, training, T))
        offs = [0.0, *(training.first(g).expected_error(T) for g in reported[1:])]
        return [
            _point(request, T, one.generation, one.test_error, off)
            for one, off in zip(way, offs, strict=True)
        ]
    points = []
    for T in looked_at:
        reach = memory.reach(law, training, T)
        error = nan if isnan(reach) else unseen_mass(law, training, T, reach)
        points.append(_point(request, T, None, error, memory.expected_error(law, training, T)))
    return points


def _point(
    request: TailSimulationRequest, samples: float, generation: int | None, error: float, off: float = 0.0
) -> Point:
    known = not isnan(error)
    return {
        "samples": int(samples),
        "generation": generation,
        "prediction": error if known else None,
        "prediction_missing": None if known else unknown(request.training, "prediction").message,
        "expected_relative_error": off if known else 0.0,
    }


def _known(value: float) -> float | None:
    return None if isnan(value) else float(value)


def _score(prediction: float | None, mean: float, error: float) -> float | None:
    if prediction is None or isnan(error) or error == 0.0:
        return None
    return (mean - prediction) / error
