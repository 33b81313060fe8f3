"""The ground truth: draw samples, label them by the previous model, fit, repeat; no formula of the theory."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from service.simulation.gaussian import GaussianProblem
from service.simulation.problem import Problem, Streams, UnsupportedError
from service.simulation.rows import EmpiricalProblem
from service.theory.model import OPTIMAL, REAL, Array, Shift, Source, Stage, TrainingMix

__all__ = ["EmpiricalProblem", "GaussianProblem", "UnsupportedError", "check", "replicate_flops", "simulate"]


@dataclass(frozen=True)
class _Step:
    """One distinct fit of a set of mixes: equal fits of several mixes are one step.

    ``labels``: for each name that the stage's sources use, the step that fitted it.
    """

    stage: Stage
    position: int
    labels: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class _Plan:
    """Every distinct step, those it needs before it, and for each mix the step that is evaluated."""

    steps: tuple[_Step, ...]
    final: tuple[int, ...]


def _plan(mixes: Sequence[TrainingMix]) -> _Plan:
    """Merge the fits that mixes have in common.

    Two fits are the same random variable, to the last bit, where their stages are at the same position in
    their mixes (the position selects the random stream) with equal penalty, width and sources, labelled by
    fits that are the same.
    """
    steps: list[_Step] = []
    known: dict[tuple[object, ...], int] = {}
    final = []
    for mix in mixes:
        fitted: dict[str, int] = {}
        for position, stage in enumerate(mix.stages):
            sources = tuple(_source_key(source, fitted) for source in stage.sources)
            key = (position, stage.penalty, stage.width, sources)
            if key not in known:
                known[key] = len(steps)
                names = {s.labels for s in stage.sources if isinstance(s.labels, str) and s.labels != REAL}
                steps.append(_Step(stage, position, tuple((name, fitted[name]) for name in sorted(names))))
            fitted[stage.name] = known[key]
        final.append(fitted[mix.stages[-1].name])
    return _Plan(tuple(steps), tuple(final))


def _source_key(source: Source, fitted: dict[str, int]) -> tuple[object, ...]:
    labels: object
    if isinstance(source.labels, Shift):
        labels = ("shift", source.labels.power.tobytes())
    else:
        labels = REAL if source.labels == REAL else fitted[source.labels]
    eigenvalues = None if source.eigenvalues is None else source.eigenvalues.tobytes()
    return (labels, source.samples, source.noise_variance, source.weight, eigenvalues)


def check(problem: Problem, mixes: Sequence[TrainingMix]) -> None:
    """Raise ``UnsupportedError`` where ``simulate`` would; nothing is drawn."""
    for mix in mixes:
        for stage in mix.stages:
            if stage.penalty == OPTIMAL:
                raise UnsupportedError(f"stage {stage.name!r} needs a number as its penalty")
            problem.check(stage)


def replicate_flops(problem: Problem, mixes: Sequence[TrainingMix]) -> float:
    """Floating-point operations of one replicate of all mixes, about; fits that mixes share count once."""
    return sum(problem.fit_flops(step.stage) for step in _plan(mixes).steps)


def simulate(  # noqa: PLR0917 (the pieces of a shard, always passed together)
    problem: Problem,
    mixes: Sequence[TrainingMix],
    seed: int,
    first: int,
    last: int,
    on_replicate: Callable[[int], None] = lambda _: None,
) -> Array:
    """Test errors of replicates ``first`` ≤ r < ``last`` of every mix, shape (len(mixes), last − first).

    The random numbers of replicate r depend on (seed, r) alone, so any partition of the replicates gives
    the same numbers; every mix uses the same ones (common random numbers), so that differences between
    mixes are precise.
    ``on_replicate`` is called after each with its number. Raises ``UnsupportedError`` as ``check`` does.
    """
    check(problem, mixes)
    plan = _plan(mixes)
    errors = np.empty((len(mixes), last - first))
    for replicate in range(first, last):
        models: list[Array] = []
        for step in plan.steps:
            labelling = {name: models[index] for name, index in step.labels}
            models.append(problem.fit(step.stage, labelling, Streams(seed, replicate, step.position)))
        errors[:, replicate - first] = [problem.test_error(models[index]) for index in plan.final]
        on_replicate(replicate)
    return errors
