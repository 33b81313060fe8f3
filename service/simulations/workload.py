"""From a request to what is computed: problems and mixes, the same at submit and in every worker."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from service.datasets import store as datasets
from service.errors import InvalidInput
from service.predictions.engine import compiled
from service.simulation import features
from service.simulation.engine import check, outcomes, replicate_flops
from service.simulation.problem import Problem, UnsupportedError
from service.simulation.process import Process
from service.simulation.rows import EmpiricalProblem
from service.simulation.spectrum import SpectrumProblem
from service.simulation.work import Group, RegressionWork
from service.simulations.grid import GridPoint, expand
from service.simulations.processes import process
from service.simulations.schemas import SimulationRequest, StudentTFeatures
from service.theory.model import Population, TrainingMix


@dataclass(frozen=True, eq=False)
class Stored:
    """A stored data set: its population for the theory, its rows for the simulation."""

    population: Population
    problem: EmpiricalProblem


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
    request: SimulationRequest,
    populations: Sequence[Population],
    processes: Sequence[Process],
    data: Stored | None,
) -> tuple[Group, ...]:
    """The points by problem. Raises InvalidInput where they cannot be simulated."""
    _check_options(request, data)
    found: OrderedDict[tuple[object, ...], tuple[Problem[Any], list[int]]] = OrderedDict()
    for index, population in enumerate(populations):
        key = (
            population.eigenvalues.tobytes(),
            population.multiplicities.tobytes(),
            population.target_power.tobytes(),
            None if population.target is None else population.target.tobytes(),
            population.noise_variance,
        )
        if key not in found:
            found[key] = (data.problem if data else _drawn(request, population), [])
        found[key][1].append(index)
    edges = [0, *accumulate(outcomes([one]) for one in processes)]
    return tuple(
        Group(
            problem,
            tuple(processes[index] for index in indices),
            tuple(row for index in indices for row in range(edges[index], edges[index + 1])),
            request.average_noise,
        )
        for problem, indices in found.values()
    )


def _check_options(request: SimulationRequest, data: Stored | None) -> None:
    """What does not go together."""
    if data is not None and request.features is not None:
        raise InvalidInput.at(
            "/features", "not_drawn", "The samples are rows of the data set: leave features out (null)."
        )
    if data is not None and request.method == "wishart":
        raise InvalidInput.at(
            "/method", "not_gaussian",
            "wishart is exact for Gaussian features; rows of a data set are not: use method literal, or describe"
            " the data set by its spectrum.",
        )  # fmt: skip
    if request.method == "wishart" and request.features is not None and request.features.kind != "gaussian":
        raise InvalidInput.at(
            "/features", "not_gaussian",
            f"wishart is exact for Gaussian features alone: use method literal for {request.features.kind} ones.",
        )  # fmt: skip


def _drawn(request: SimulationRequest, population: Population) -> SpectrumProblem:
    try:
        return SpectrumProblem(population, _features(request))
    except UnsupportedError as error:
        raise InvalidInput.at("/dataset", "cannot_be_simulated", _sentence(error)) from error


def _features(request: SimulationRequest) -> features.Features:
    if request.method == "wishart":
        return features.Bartlett()
    match request.features:
        case StudentTFeatures(degrees_of_freedom=nu):
            return features.StudentT(nu)
        case None:
            return features.Gaussian()
        case other:
            by_kind: dict[str, features.Features] = {
                "gaussian": features.Gaussian(),
                "rademacher": features.Rademacher(),
                "uniform": features.Uniform(),
            }
            return by_kind[other.kind]


def flops_per_replicate(work: Sequence[Group]) -> float:
    """Of all points together. Raises InvalidInput where they cannot be simulated."""
    total = 0.0
    for group in work:
        try:
            check(group.problem, group.processes, average_noise=group.average_noise)
        except UnsupportedError as error:
            raise InvalidInput.at("/training_mix", "cannot_be_simulated", _sentence(error)) from error
        total += replicate_flops(group.problem, group.processes, average_noise=group.average_noise)
    return total


def _sentence(error: UnsupportedError) -> str:
    text = str(error)
    return f"{text[:1].upper()}{text[1:]}."


def work(
    request: SimulationRequest, penalties: Sequence[Sequence[float]] | None, data: Stored | None
) -> RegressionWork:
    """What is computed; ``penalties``: of every point's stages, where some are "optimal" in the request."""
    populations, processes = [], []
    for index, point in enumerate(expand(request)):
        population, mix = compile_point(point, data)
        if penalties is not None:
            mix = with_penalties(mix, penalties[index])
        populations.append(population)
        processes.append(process(point.request.training_mix, population, mix))
    return RegressionWork(groups(request, populations, processes, data), outcomes(processes))
