"""From sample sizes and workflows as a client gives them to the theory's schedules, the same for every kind."""

from itertools import groupby
from typing import Any, Protocol

import numpy as np

from service.distributions.schemas import Fresh, Recursion, Retained, Run
from service.errors import InvalidInput
from service.theory.distributions.schedule import Mix, Models, Schedule, reported_models

_WHOLE = 1e-9


class Sized(Protocol):
    """What says how many generations there are, of how many samples."""

    @property
    def generations(self) -> int:
        """Of synthetic data."""
        ...

    @property
    def samples(self) -> Any:
        """One number, or a list with an entry or a run for each."""
        ...


def models_of(request: Recursion) -> Models:
    """The model indices to report: generation + 1."""
    if request.at is None:
        return reported_models(request.generations + 1)
    return np.array(request.at, dtype=np.int64) + 1


def schedule_of(request: Sized, workflow: object) -> Schedule:
    """The sample sizes of all fits, generation 0 first; that of ``retained`` has the retained samples alone."""
    samples, fits = request.samples, request.generations + 1
    if isinstance(samples, int):
        if isinstance(workflow, Retained) and fits > 1:
            return Schedule((workflow.real_samples, samples), (1, fits - 1))
        return Schedule.constant(workflow.real_samples if isinstance(workflow, Retained) else samples, fits)
    if isinstance(samples[0], Run):
        runs: Any = samples
        return Schedule(tuple(run.samples for run in runs), tuple(run.repetitions for run in runs))
    sizes: Any = samples
    return Schedule.of(sizes)


def mix_of(request: Sized, workflow: Fresh | Retained) -> Mix:
    """Sizes and real samples of all fits. Raises InvalidInput where there are more real samples than samples."""
    schedule = schedule_of(request, workflow)
    if isinstance(workflow, Retained):
        if workflow.real_samples > min(schedule.sizes):
            raise InvalidInput.at(
                "/workflow/real_samples", "too_many",
                f"{workflow.real_samples:,} retained samples do not fit into a generation of {min(schedule.sizes):,}; "
                "`samples` counts the real and the synthetic ones together.",
            )  # fmt: skip
        real = np.full(len(schedule.sizes), float(workflow.real_samples))
        return Mix(schedule, real, synthetic=_rest(schedule, [workflow.real_samples] * len(real)))
    if isinstance(workflow.real_samples, list):
        return _listed(request, workflow.real_samples, schedule, workflow)
    if workflow.real_fraction is not None:
        real = workflow.real_fraction * schedule.array
        if workflow.allocation == "stratified":
            real = _whole(real, schedule)
    else:
        given = workflow.real_samples or 0
        # generation 0 is all real whatever the number, so that a smaller one is no contradiction
        first = [min(given, schedule.sizes[0])] if schedule.repetitions[0] == 1 else []
        counts = [*first, *[given] * (len(schedule.sizes) - len(first))]
        real = np.array(counts, dtype=float)
        _fits(real, schedule)
        return Mix(schedule, real, workflow.allocation == "iid", _rest(schedule, counts))
    return Mix(schedule, real, workflow.allocation == "iid")


def _rest(schedule: Schedule, real: list[int]) -> Any:
    """Of whole numbers: as doubles they may be equal beyond 2^53."""
    return np.array([float(size - m) for size, m in zip(schedule.sizes, real, strict=True)])


def _listed(request: Sized, real: list[int], schedule: Schedule, workflow: Fresh) -> Mix:
    if len(real) != request.generations:
        raise InvalidInput.at(
            "/workflow/real_samples", "wrong_length",
            f"There are {len(real)} entries for the generations 1 … {request.generations}; "
            "give one for each, or one number.",
        )  # fmt: skip
    sizes = [schedule.at(model) for model in range(1, request.generations + 2)]
    pairs = list(zip(sizes, [min(real[0], sizes[0]), *real], strict=True)) if real else [(sizes[0], sizes[0])]
    runs = [(pair, len(list(run))) for pair, run in groupby(pairs)]
    split = Schedule(tuple(size for (size, _), _ in runs), tuple(count for _, count in runs))
    whole = [m for (_, m), _ in runs]
    counts = np.array(whole, dtype=float)
    _fits(counts, split)
    return Mix(split, counts, workflow.allocation == "iid", _rest(split, whole))


def _fits(real: Any, schedule: Schedule) -> None:
    over = np.flatnonzero(real > schedule.array)
    if len(over):
        raise InvalidInput.at(
            "/workflow/real_samples", "too_many",
            f"{int(real[over[0]]):,} real samples do not fit into a generation of {schedule.sizes[over[0]]:,}; "
            "`samples` counts the real and the synthetic ones together.",
        )  # fmt: skip


def _whole(real: Any, schedule: Schedule) -> Any:
    """Stratified counts are whole numbers: the law depends on it."""
    whole = np.rint(real)
    off = np.flatnonzero(np.abs(real - whole) > _WHOLE * schedule.array)
    if len(off):
        raise InvalidInput.at(
            "/workflow/real_fraction", "not_whole",
            f"That fraction of {schedule.sizes[off[0]]:,} samples is {real[off[0]]:.6g}, not a whole number. Give "
            'real_samples, or the allocation "iid".',
        )  # fmt: skip
    return whole
