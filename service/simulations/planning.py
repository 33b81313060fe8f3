"""Every check of a simulated training mix before it is stored: its points, their predictions, its cost."""

from collections.abc import Sequence
from math import prod
from typing import Final

from service.errors import InvalidInput
from service.predictions.engine import work_of
from service.predictions.schemas import PowerLawSpectrum, StagesMix
from service.simulation.engine import outcomes
from service.simulation.spectrum import MAX_DIMENSION
from service.simulations.grid import expand
from service.simulations.kinds import Planned
from service.simulations.predicted import MAX_PREDICTIONS, Predictions
from service.simulations.schemas import MAX_ERRORS, SimulationRequest
from service.simulations.workload import Stored, compile_point, flops_per_replicate, groups

MAX_PREDICTION_WORK: Final = 100e6
_STAGE_SECONDS: Final = 0.015


def planned(request: SimulationRequest, data: Stored | None) -> Planned:
    """Check and predict a simulation; takes seconds at worst, no database. Raises InvalidInput."""
    _drawable(request)
    grid = expand(request)
    compiled = [compile_point(point, data) for point in grid]
    _storable(request, [len(mix.stages) for _, mix in compiled])
    work = sum(work_of(population, mix) * (1 + len(mix.stages)) / 2 for population, mix in compiled)
    if work > MAX_PREDICTION_WORK:
        raise InvalidInput.at(
            "/grid",
            "too_large",
            f"Grid points × stages² × sources × modes is {work:.2g}; at most {MAX_PREDICTION_WORK:.2g}.",
        )
    predictions = Predictions()
    points, processes = [], []
    for point, (population, mix) in zip(grid, compiled, strict=True):
        described, process = predictions.point(point.parameters, point.request.training_mix, population, mix)
        points.append(described)
        processes.append(process)
    counts = [len(process.mix.stages) for process in processes]
    _storable(request, counts)  # generators that the theory takes together are several fits
    fits = groups(request, [population for population, _ in compiled], processes, data)
    return Planned(points, outcomes(processes), flops_per_replicate(fits))


def expected_seconds(request: SimulationRequest) -> float:
    """About how long ``planned`` takes, rather too long than too short."""
    mix = request.training_mix
    stages = len(mix.stages) if isinstance(mix, StagesMix) else 1 + getattr(mix, "generations", 0)
    for axis in request.grid:
        if axis.pointer == "/training_mix/generations":
            stages = 1 + max(int(value) for value in axis.values)
    return _STAGE_SECONDS * min(prod(len(axis.values) for axis in request.grid) * stages, MAX_PREDICTIONS)


def _drawable(request: SimulationRequest) -> None:
    spectrum = getattr(request.dataset, "spectrum", None)
    if isinstance(spectrum, PowerLawSpectrum) and spectrum.dimension is None:
        raise InvalidInput.at(
            "/dataset/spectrum/dimension", "infinite_dimension",
            "Infinitely many modes cannot be drawn: state a dimension, at most "
            f"{MAX_DIMENSION}, and predict with the same one to see what the modes beyond it change.",
        )  # fmt: skip


def _storable(request: SimulationRequest, stages: Sequence[int]) -> None:
    replicates = request.replicates or 1  # the cap of a precision adapts itself
    if sum(stages) * replicates > MAX_ERRORS:
        raise InvalidInput.at(
            "/replicates",
            "too_large",
            f"{sum(stages)} stages of {len(stages)} grid points × {replicates} replicates; at most"
            f" {MAX_ERRORS} test errors are kept: take fewer of any.",
        )
