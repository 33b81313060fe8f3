"""The entry of the tails in the registry of simulations: the learner itself, item by item."""

from collections.abc import Mapping, Sequence
from math import isnan, sqrt
from typing import Any, Final, Literal

import numpy as np
from pydantic import Field

from service.distributions.tail import schemas
from service.distributions.tail.drawn import (
    MAX_REPLICATE_ITEMS,
    TailSimulationRequest,
    check,
    flops_of,
    held_by,
    items_of,
    planned,
)
from service.distributions.tail.engine import bigram_of, memory_of, seconds_of
from service.errors import InvalidInput
from service.jobs.compute import Work
from service.predictions.responses import Answer, Value
from service.simulation import verdict
from service.simulation.tail import DrawnLaw, TailWork
from service.simulation.verdict import Comparison
from service.simulations.kinds import Cell, Figure, Kind, Planned, Point, Series
from service.simulations.resource import SimulationSummary
from service.theory.distributions.tail.zipf import Zipf
from service.theory.model import Array

_ROUNDING: Final = 1e-12


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
        check(request)
        items = items_of(request)
        if items > MAX_REPLICATE_ITEMS:
            raise InvalidInput.at(
                "/samples", "too_large",
                f"One replicate draws and sorts {items:.2g} items; at most {MAX_REPLICATE_ITEMS:.2g}. Take fewer "
                "samples, points or generations; the prediction has no such limit.",
            )  # fmt: skip
        points = planned(request)
        return Planned(points, len(points), flops_of(request, len(points)), held_by(request))

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


def _comparison(point: Point, mean: float, error: float) -> Comparison:
    """With the prediction as near to the mean as its stated error allows: what is left is to be explained by chance."""
    predicted, off = point["prediction"], point["expected_relative_error"]
    nearest = min(max(mean, predicted * (1.0 - off)), predicted * (1.0 + off)) if off else predicted
    return Comparison(mean, error, nearest, mean, understated=verdict.understated(mean, nearest))


def _known(value: float) -> float | None:
    return None if isnan(value) else float(value)


def _score(prediction: float | None, mean: float, error: float) -> float | None:
    if prediction is None or isnan(error) or error == 0.0:
        return None
    return (mean - prediction) / error
