"""From the shards' test errors to what is reported; the same for a running and for a finished simulation."""

import asyncio
from math import isfinite
from typing import Any

import numpy as np
from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from service.database.schema import shard_results, simulations
from service.jobs.compute import from_bytes
from service.simulation.reduce import QUANTILES, reduce
from service.simulations.schemas import MeasuredError, Quantiles, SimulationPoint
from service.theory.model import Array


async def errors_so_far(connection: AsyncConnection, simulation_id: str, points: int) -> Array:
    """Test errors of every replicate that is done, in order, shape (points, replicates)."""
    rows = await connection.execute(
        select(shard_results.c.test_errors)
        .where(shard_results.c.simulation_id == simulation_id)
        .order_by(shard_results.c.index)
    )
    done = [from_bytes(row.test_errors, points) for row in rows]
    return np.concatenate(done, axis=1) if done else np.empty((points, 0))


async def finish(connection: AsyncConnection, simulation_id: str) -> None:
    """Reduce a simulation whose shards have all succeeded; a second time changes nothing."""
    row = (
        await connection.execute(
            select(simulations.c.points, simulations.c.replicates)
            .where(simulations.c.id == simulation_id, simulations.c.state == "running")
            .with_for_update(key_share=True)
        )
    ).first()
    if row is None:
        return
    errors = await errors_so_far(connection, simulation_id, len(row.points))
    if errors.shape[1] != row.replicates:
        raise ValueError(f"{errors.shape[1]} replicates are stored, not {row.replicates}")
    points = await asyncio.to_thread(compared, row.points, errors)
    await connection.execute(
        update(simulations)
        .where(simulations.c.id == simulation_id)
        .values(
            state="succeeded",
            result={"points": [point.model_dump(mode="json") for point in points]},
            finished_at=func.now(),
        )
    )


def compared(points: list[dict[str, Any]], errors: Array) -> list[SimulationPoint]:
    """Each planned point beside what was measured; ``errors``: shape (points, replicates), may be empty."""
    if errors.shape[1] == 0:
        return planned(points)
    summary = reduce(errors)
    return [
        _point(
            point,
            MeasuredError(
                replicates=summary.replicates,
                mean=_finite(summary.mean[index]),
                standard_error=_finite(summary.standard_error[index]),
                quantiles=_quantiles(summary.quantiles[:, index]),
            ),
        )
        for index, point in enumerate(points)
    ]


def planned(points: list[dict[str, Any]]) -> list[SimulationPoint]:
    """Each planned point before anything was measured."""
    return [_point(point, None) for point in points]


def _point(point: dict[str, Any], measured: MeasuredError | None) -> SimulationPoint:
    predicted = point["prediction"]["total"] if point["prediction"] else None
    mean = measured.mean if measured else None
    error = measured.standard_error if measured else None
    difference = mean - predicted if mean is not None and predicted is not None else None
    return SimulationPoint(
        parameters=point["parameters"],
        prediction=point["prediction"],
        prediction_missing=point["prediction_missing"],
        test_error=measured,
        difference=difference,
        relative_difference=difference / predicted if difference is not None and predicted else None,
        z_score=difference / error if difference is not None and error else None,
    )


def _quantiles(values: Array) -> Quantiles | None:
    if not np.isfinite(values).all():
        return None
    return Quantiles(**{f"p{100 * q:02.0f}": float(v) for q, v in zip(QUANTILES, values, strict=True)})


def _finite(value: float) -> float | None:
    return float(value) if isfinite(value) else None
