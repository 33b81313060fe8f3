"""Simulations of a training mix: the kind that lives at /v1/simulations itself."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from service.database.engine import Connection
from service.jobs.compute import Work
from service.predictions.responses import Answer
from service.simulation.plan import PARTS
from service.simulations import workload
from service.simulations.comparison import compared
from service.simulations.kinds import Cell, Figure, Kind, Planned, Point, Series
from service.simulations.planning import expected_seconds, planned
from service.simulations.schemas import RegressionEstimate, Simulation, SimulationPoint, SimulationRequest
from service.theory.model import Array


class Regression(Kind[SimulationRequest, workload.Stored]):
    """Regressions of any training mix, literally or by their Gram matrices."""

    name = "regression"
    request = SimulationRequest
    simulation = Simulation
    estimate = RegressionEstimate

    async def load(
        self, connection: Connection, request: SimulationRequest, rows_dir: Path
    ) -> workload.Stored | None:
        """The stored data set that the request names, with its rows."""
        return await workload.stored(connection, request.dataset, rows_dir)

    def seconds(self, request: SimulationRequest) -> float:
        """Every stage of every point is predicted."""
        return expected_seconds(request)

    def plan(self, request: SimulationRequest, data: workload.Stored | None) -> Planned:
        """The predictions of every stage of every point."""
        return planned(request, data)

    def work(self, request: SimulationRequest, points: Sequence[Point], data: workload.Stored | None) -> Work:
        """The processes, with the penalties that were found at submit."""
        return workload.work(request, [point["penalties"] for point in points], data)

    def result(self, request: Mapping[str, Any], points: Sequence[Point], outcomes: Array) -> Answer:
        """Every point and stage beside its prediction."""
        return compared(request, points, outcomes)

    def rows(self, simulation: Simulation) -> list[dict[str, Cell]]:
        """One row per point and stage."""
        return [row for point in simulation.points for row in _stage_rows(point)]

    def figure(self, simulation: Simulation) -> Figure:
        """Test errors over the last axis of the grid; without a grid over the stages."""
        axes = simulation.request.grid
        if not axes:
            [point] = simulation.points
            return Figure("stage", "excess test error", (_over_stages(point),))
        length = len(axes[-1].values)
        groups = [simulation.points[i : i + length] for i in range(0, len(simulation.points), length)]
        return Figure(
            axes[-1].pointer,
            "excess test error",
            tuple(_over_axis(group, axes[-1].pointer) for group in groups),
        )

    def wanted(self, points: Sequence[Point]) -> Sequence[int]:
        """The total of the last stage of every point."""
        ends, rows = 0, []
        for point in points:
            ends += len(PARTS) * len(point["stages"])
            rows.append(ends - len(PARTS) + PARTS.index("total"))
        return rows


REGRESSION: Final = Regression()


def _stage_rows(point: SimulationPoint) -> list[dict[str, Cell]]:
    rows: list[dict[str, Cell]] = []
    for stage in point.stages:
        row: dict[str, Cell] = dict(point.parameters)
        row["stage"] = stage.stage
        predicted, measured = stage.prediction, stage.test_error
        row["replicates"] = measured.replicates if measured else 0
        for part in ("total", "bias", "variance", "generation"):
            found = None if measured is None else measured if part == "total" else getattr(measured, part)
            row[f"predicted_{part}"] = getattr(predicted, part) if predicted else None
            row[f"simulated_{part}"] = found.mean if found else None
            row[f"standard_error_{part}"] = found.standard_error if found else None
            row[f"z_score_{part}"] = getattr(stage.z_scores, part)
        for quantile in ("p05", "p25", "p50", "p75", "p95"):
            spread = measured.quantiles if measured else None
            row[quantile] = getattr(spread, quantile) if spread else None
        row["relative_difference"] = stage.relative_difference
        row["disagreements"] = len(stage.disagreements)
        rows.append(row)
    return rows


def _over_stages(point: SimulationPoint) -> Series:
    stages = point.stages
    return _series("", [float(k) for k in range(len(stages))], stages)


def _over_axis(points: Sequence[SimulationPoint], pointer: str) -> Series:
    others = {name: value for name, value in points[0].parameters.items() if name != pointer}
    label = ", ".join(f"{name.rsplit('/', 1)[-1]} {value:g}" for name, value in others.items())
    return _series(
        label, [float(point.parameters[pointer]) for point in points], [point.stages[-1] for point in points]
    )


def _series(label: str, x: Sequence[float], stages: Sequence[Any]) -> Series:
    errors = [stage.test_error for stage in stages]
    predictions = [stage.prediction for stage in stages]
    return Series(
        label,
        tuple(x),
        predicted=tuple(one.total if one else None for one in predictions),
        measured=tuple(one.mean if one else None for one in errors),
        standard_error=tuple(one.standard_error if one else None for one in errors),
        parts=tuple(
            (part, tuple(getattr(one, part) if one else None for one in predictions))
            for part in ("bias", "variance", "generation")
        ),
    )
