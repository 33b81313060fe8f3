"""From a request to what is computed: problems and mixes, the same at submit and in every worker."""

import asyncio
import pickle
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from service.database.engine import Database
from service.database.schema import simulations
from service.datasets import store as datasets
from service.errors import InvalidInput, NotFound
from service.jobs.compute import Group
from service.predictions.engine import compiled
from service.simulation.literal import (
    EmpiricalProblem,
    GaussianProblem,
    UnsupportedError,
    check,
    replicate_flops,
)
from service.simulation.problem import Problem
from service.simulations.grid import GridPoint, expand
from service.simulations.schemas import SimulationRequest
from service.theory.model import Population, TrainingMix

_KEPT: Final = 8  # workloads that a worker keeps ready


@dataclass(frozen=True, eq=False)
class Stored:
    """A stored data set: its population for the theory, its rows for the simulation."""

    population: Population
    problem: EmpiricalProblem


@dataclass(frozen=True, eq=False)
class Workload:
    """What one replicate of a simulation computes; ``pickled``: the groups, for a worker's child."""

    pickled: bytes
    points: int
    seed: int


async def stored(connection: AsyncConnection, dataset: object, rows_dir: Path) -> Stored | None:
    """The stored data set that a request names, None for an inline one. Raises NotFound, RowsDeleted."""
    if not isinstance(dataset, str):
        return None
    return Stored(
        await datasets.population(connection, dataset),
        await datasets.empirical_problem(connection, dataset, rows_dir),
    )


def compile_point(point: GridPoint, data: Stored | None) -> tuple[Population, TrainingMix]:
    """Population and mix of one grid point. Raises InvalidInput."""
    return compiled(point.request, data.population if data else None)


def with_penalties(mix: TrainingMix, penalties: Sequence[float]) -> TrainingMix:
    """The mix with these penalties, stage by stage: "optimal" ones were resolved when it was submitted."""
    stages = tuple(
        replace(stage, penalty=penalty) for stage, penalty in zip(mix.stages, penalties, strict=True)
    )
    return replace(mix, stages=stages)


def groups(
    populations: Sequence[Population], mixes: Sequence[TrainingMix], data: Stored | None
) -> tuple[Group, ...]:
    """The points by problem. Raises InvalidInput where they cannot be simulated literally."""
    found: OrderedDict[tuple[object, ...], tuple[Problem, list[int]]] = OrderedDict()
    for index, population in enumerate(populations):
        key = (
            population.eigenvalues.tobytes(),
            population.multiplicities.tobytes(),
            population.target_power.tobytes(),
            population.noise_variance,
        )
        if key not in found:
            found[key] = (data.problem if data else _gaussian(population), [])
        found[key][1].append(index)
    return tuple(
        Group(problem, tuple(mixes[index] for index in indices), tuple(indices))
        for problem, indices in found.values()
    )


def _gaussian(population: Population) -> GaussianProblem:
    try:
        return GaussianProblem(population)
    except UnsupportedError as error:
        raise InvalidInput.at("/dataset", "cannot_be_simulated", _sentence(error)) from error


def flops_per_replicate(work: Sequence[Group]) -> float:
    """Of all points together. Raises InvalidInput where they cannot be simulated literally."""
    total = 0.0
    for group in work:
        try:
            check(group.problem, group.mixes)
        except UnsupportedError as error:
            raise InvalidInput.at("/training_mix", "cannot_be_simulated", _sentence(error)) from error
        total += replicate_flops(group.problem, group.mixes)
    return total


def _sentence(error: UnsupportedError) -> str:
    text = str(error)
    return f"{text[:1].upper()}{text[1:]}."


class Workloads:
    """Workloads of stored simulations, by id, made once per worker."""

    def __init__(self, database: Database, rows_dir: Path) -> None:
        self._database = database
        self._rows_dir = rows_dir
        self._kept: OrderedDict[str, Workload] = OrderedDict()

    async def get(self, simulation_id: str) -> Workload:
        """Raises NotFound, RowsDeleted, DatabaseUnavailable."""
        if simulation_id in self._kept:
            self._kept.move_to_end(simulation_id)
            return self._kept[simulation_id]
        async with self._database.transaction() as connection:
            row = (
                await connection.execute(
                    select(simulations.c.request, simulations.c.points).where(
                        simulations.c.id == simulation_id
                    )
                )
            ).first()
            if row is None:
                raise NotFound(f"There is no simulation {simulation_id}.")
            request = SimulationRequest.model_validate(row.request)
            data = await stored(connection, request.dataset, self._rows_dir)
        workload = await asyncio.to_thread(_workload, request, [p["penalties"] for p in row.points], data)
        self._kept[simulation_id] = workload
        while len(self._kept) > _KEPT:
            self._kept.popitem(last=False)
        return workload


def _workload(
    request: SimulationRequest, penalties: Sequence[Sequence[float]], data: Stored | None
) -> Workload:
    populations, mixes = [], []
    for point, resolved in zip(expand(request), penalties, strict=True):
        population, mix = compile_point(point, data)
        populations.append(population)
        mixes.append(with_penalties(mix, resolved))
    return Workload(pickle.dumps(groups(populations, mixes, data)), len(mixes), request.seed)
