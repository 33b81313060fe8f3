"""The ground truth: draw samples, label them by the previous model, fit, repeat; no formula of the theory."""

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np

from service.simulation.averaging import averaged, burden
from service.simulation.costs import MICROSECOND
from service.simulation.plan import PARTS, Plan, Task, plan
from service.simulation.problem import Problem, Streams, UnsupportedError
from service.simulation.process import Process
from service.simulation.replicate import measured
from service.theory.model import OPTIMAL, Array

MAX_HELD: Final = 100e6
"""Numbers of designs (their rows or Gram matrices) and of their fits at one time, at most: 800 MB."""

AT_ONCE: Final = 16
"""Replicates side by side, at most: twice as many are no faster."""

_BOOKKEEPING: Final = 20 * MICROSECOND  # of a design, a batch of labels, a system, a fit, an outcome

KEPT_AT_ONCE: Final = 1.5e6
"""Numbers kept of all of them, about: 12 MB."""


def outcomes(processes: Sequence[Process]) -> int:
    """Rows that ``simulate`` returns: a stage's parts, for every stage of every process."""
    return len(PARTS) * sum(len(process.mix.stages) for process in processes)


def last_totals(processes: Sequence[Process], values: Array) -> Array:
    """Test errors of the last stages among ``simulate``'s values, shape (processes, replicates)."""
    ends = np.cumsum([outcomes([process]) for process in processes])
    return np.asarray(values[ends - len(PARTS)])


def check(problem: Problem[Any], processes: Sequence[Process], *, average_noise: bool = False) -> None:
    """Raise ``UnsupportedError`` where ``simulate`` would; nothing is drawn."""
    for process in processes:
        for stage in process.mix.stages:
            if stage.penalty == OPTIMAL:
                raise UnsupportedError(f"stage {stage.name!r} needs a number as its penalty")
            problem.check(stage)
    planned = plan(processes, whole=average_noise)
    if (held := _most_held(problem, planned, average_noise=average_noise)) > MAX_HELD:
        raise UnsupportedError(
            f"the designs that are needed at one time, and their fits, take {held:.2g} numbers; at most "
            f"{MAX_HELD:.2g}: take fewer sources, generations that keep earlier data, samples, or features"
        )


def replicate_flops(
    problem: Problem[Any], processes: Sequence[Process], *, average_noise: bool = False
) -> float:
    """Floating-point operations of one replicate of all processes, about; what they share counts once."""
    planned = plan(processes, whole=average_noise)
    drawn = sum(problem.draw_flops(design) for design in planned.designs)
    solved = sum(
        problem.solver_flops(
            [planned.designs[design] for design in planned.systems[task.system].designs],
            planned.systems[task.system].width,
            task.penalties,
        )
        for tasks in planned.schedule
        for task in tasks
    )
    things = sum(
        map(len, (planned.designs, planned.batches, planned.systems, planned.fits, planned.outcomes))
    )
    averaging = burden(problem, planned).flops if average_noise else 0.0
    return drawn + solved + averaging + _BOOKKEEPING * things


def simulate(  # noqa: PLR0917 (the pieces of a shard, always passed together)
    problem: Problem[Any],
    processes: Sequence[Process],
    seed: int,
    first: int,
    last: int,
    on_replicate: Callable[[int], None] = lambda _: None,
    *,
    average_noise: bool = False,
) -> Array:
    """Replicates ``first`` ≤ r < ``last``: for every stage of every process its test error and the clean parts of it.

    Shape (outcomes(processes), last − first); rows in the order process, stage, ``PARTS``. The random numbers of
    replicate r depend on (seed, r) alone, so any partition of the replicates gives the same numbers; every process uses
    the same ones (common random numbers), so that differences between them are precise. ``average_noise``: the
    expectation over all label noise given everything else that is drawn (Rao-Blackwell): the same mean, but not the
    spread of single runs. ``on_replicate`` is called after each with its number. Raises ``UnsupportedError`` as
    ``check`` does.
    """
    check(problem, processes, average_noise=average_noise)
    planned = plan(processes, whole=average_noise)
    values = np.empty((len(PARTS) * len(planned.outcomes), last - first))
    at_once = 1 if average_noise else _at_once(problem, planned)
    for start in range(first, last, at_once):
        numbers = range(start, min(start + at_once, last))
        streams = [Streams(seed, replicate) for replicate in numbers]
        found = (
            [averaged(problem, planned, *streams)] if average_noise else measured(problem, planned, streams)
        )
        values[:, start - first : numbers.stop - first] = np.transpose(found)
        for replicate in numbers:
            on_replicate(replicate)
    return values


def _at_once(problem: Problem[Any], planned: Plan) -> int:
    """Replicates that are carried out side by side."""
    if not any(problem.gains(design) for design in planned.designs):
        return 1
    kept = float(_kept(problem, planned).max())
    return int(min(max(KEPT_AT_ONCE / kept, 1), AT_ONCE))


def _most_held(problem: Problem[Any], planned: Plan, *, average_noise: bool) -> float:
    """Numbers held at the worst time; averaging keeps the matrices of everything to the end."""
    fitted = [
        max((_fitted(problem, planned, task) for task in tasks), default=0.0) for tasks in planned.schedule
    ]
    most = float((_kept(problem, planned) + np.array(fitted)).max(initial=0.0))
    return most + (burden(problem, planned).numbers if average_noise else 0.0)


def _fitted(problem: Problem[Any], planned: Plan, task: Task) -> float:
    """Numbers held for the fits of one system."""
    system = planned.systems[task.system]
    designs = [planned.designs[design] for design in system.designs]
    return problem.system_memory(designs, system.width, task.penalties)


def _kept(problem: Problem[Any], planned: Plan) -> Array:
    """Numbers kept of designs, at every position."""
    change = np.zeros(len(planned.schedule) + 1)
    for design, (first, last) in planned.lifetimes.items():
        size = problem.memory(planned.designs[design])
        change[first] += size
        change[last + 1] -= size
    return np.asarray(np.cumsum(change)[:-1])
