"""Replicates of a plan: what is drawn, labelled and fitted, stage after stage."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from service.simulation.plan import PARTS, Plan, Task
from service.simulation.problem import Labels, Problem, Solver, Streams, Wanted
from service.theory.model import REAL, Array, Shift


class Replicate:
    """The models of one replicate, made by ``run``; ``noisy`` False: labels are without noise."""

    def __init__(self, problem: Problem[Any], planned: Plan, streams: Streams, *, noisy: bool = True) -> None:
        self.problem, self.plan, self.streams, self.noisy = problem, planned, streams, noisy
        self.models: dict[int, Array] = {}
        self.drawn: dict[int, Any] = {}
        self._labels: dict[int, Labels] = {}

    def solvers(self) -> Iterator[tuple[Task, Solver]]:
        """Draw and label everything, system after system: the models of one are there before the next is asked for."""
        for position, tasks in enumerate(self.plan.schedule):
            fits = [fit for task in tasks for _, same in task.fits for fit in same]
            self._label(batch for fit in fits for batch in self.plan.fits[fit].batches)
            for task in tasks:
                yield task, self._solver(task)
            for design in [one for one in self.drawn if self.plan.lifetimes[one][1] <= position]:
                del self.drawn[design]

    def labels(self, fits: Iterable[int]) -> list[list[Labels]]:
        """Of several fits, for each of their designs."""
        return [[self._labels[batch] for batch in self.plan.fits[fit].batches] for fit in fits]

    def _label(self, needed: Iterable[int]) -> None:
        """Label the batches that have no labels yet, those of one design in one pass over it."""
        by_design: dict[int, list[int]] = {}
        for batch in dict.fromkeys(needed):
            if batch not in self._labels:
                by_design.setdefault(self.plan.batches[batch].design, []).append(batch)
        for design, batches in by_design.items():
            if design not in self.drawn:
                self.drawn[design] = self.problem.draw(self.plan.designs[design], self.streams)
            wanted = [self._wanted(batch) for batch in batches]
            made = self.problem.label(self.drawn[design], wanted, self.streams)
            self._labels.update(zip(batches, made, strict=True))

    def _wanted(self, batch: int) -> Wanted:
        spec = self.plan.batches[batch]
        match spec.labels:
            case None:
                model = None
            case Shift() as shift:
                model = self.problem.shifted(shift, self.streams.shift(spec.place))
            case int() as fit:
                model = self.models[fit]
            case name:
                assert name == REAL
                model = self.problem.target
        return Wanted(model, spec.noise_variance if self.noisy else 0.0, spec.place)

    def _solver(self, task: Task) -> Solver:
        system = self.plan.systems[task.system]
        projection = None
        if system.width is not None:
            projection = (system.width, self.streams.projection(system.position))
        drawn = [self.drawn[design] for design in system.designs]
        return self.problem.solver(drawn, system.weights, projection, task.penalties)


def run(replicates: Sequence[Replicate]) -> Iterator[tuple[Task, Sequence[Solver]]]:
    """Carry out replicates of one plan side by side, giving the solvers of each system while its designs are there."""
    iterators = [replicate.solvers() for replicate in replicates]
    for _ in range(sum(map(len, replicates[0].plan.schedule))):
        found = [next(one) for one in iterators]
        task, solvers = found[0][0], [solver for _, solver in found]
        for penalty, same in task.fits:
            labels = [replicate.labels(same) for replicate in replicates]
            fitted = replicates[0].problem.fit(solvers, penalty, labels)
            for replicate, models in zip(replicates, fitted, strict=True):
                replicate.models.update(zip(same, models, strict=True))
        yield task, solvers
        del found, solvers  # the matrices of one system are gone before the next one's are made


def measured(problem: Problem[Any], planned: Plan, streams: Sequence[Streams]) -> list[list[float]]:
    """The parts of every outcome of each replicate, in the order of ``PARTS``."""
    replicates = [Replicate(problem, planned, one) for one in streams]
    deque(run(replicates), maxlen=0)
    return [_parts(replicate) for replicate in replicates]


def _parts(replicate: Replicate) -> list[float]:
    values: list[float] = []
    for outcome in replicate.plan.outcomes:
        values += (
            replicate.problem.test_error(replicate.models[outcome.total]),
            replicate.problem.test_error(replicate.models[outcome.bias]),
            replicate.problem.mean_square(replicate.models[outcome.variance]),
        )
    assert len(values) == len(PARTS) * len(replicate.plan.outcomes)
    return values
