"""What one replicate computes, everything once: the draws, labels, decompositions and fits of a set of processes.

Two things are the same random variable, to the last bit, where all that determines them is the same; the place of a
source in its mix selects its random streams. So mixes of a grid have common random numbers, and what they share is
computed once: the generators of several final fits, and one Gram matrix and its decomposition for many penalties. Only
a design that nothing else in the plan has to do with may be drawn otherwise (``Alone``), in the same distribution.
"""

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final, TypeVar

import numpy as np

from service.simulation.process import Place, Process
from service.theory.model import REAL, Array, Shift, Source, Stage

PARTS: Final = ("total", "bias", "variance")
"""What is measured of every stage, in this order; the generation term is total − bias − variance."""

Labeller = int | Shift | str | None
"""Who labels: a fit, by its number; a shift; ``REAL``; None: labels are noise alone."""


@dataclass(frozen=True)
class Alone:
    """Fits of one design at one penalty per sample; ``labels``: different right-hand sides, noise as one of them."""

    penalty: float
    labels: int


@dataclass(frozen=True, eq=False)
class Design:
    """Features of one source: ``place`` selects the stream; ``eigenvalues`` or ``covariance``: see ``Source``.

    ``alone``: how it is fitted, where all that is seen of it are fits of it alone at one penalty.
    """

    place: Place
    samples: int
    eigenvalues: Array | None
    covariance: Array | None = None
    alone: "Alone | None" = None

    @cached_property
    def root(self) -> Array | None:
        """The symmetric square root of the covariance matrix, for a diagonal one the features' standard deviations."""
        if self.covariance is None:
            return None
        values, vectors = np.linalg.eigh(self.covariance)
        return np.asarray((vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T)


@dataclass(frozen=True, eq=False)
class Batch:
    """Labels on a design; ``place`` selects the streams of their noise and of their shift."""

    design: int
    place: Place
    labels: Labeller
    noise_variance: float


@dataclass(frozen=True, eq=False)
class System:
    """Designs that are fitted together, with their loss weights, on ``width`` random features if given."""

    position: int
    designs: tuple[int, ...]
    weights: tuple[float, ...]
    width: int | None


@dataclass(frozen=True, eq=False)
class Fit:
    """One fit: a system at a penalty per sample, to one batch of labels for each of its designs."""

    system: int
    penalty: float
    batches: tuple[int, ...]


@dataclass(frozen=True)
class Outcome:
    """The fits that one stage is measured by.

    ``total``: the stage as it is; ``bias`` and ``variance``: all its samples real and of weight 1, labelled by the
    truth without noise, and by noise alone: the error of the first and the square of the second are the bias and the
    variance of the clean stage, of which the generation term is the excess.
    """

    total: int
    bias: int
    variance: int


@dataclass(frozen=True)
class Task:
    """A system and its fits, by penalty."""

    system: int
    fits: tuple[tuple[float, tuple[int, ...]], ...]

    @property
    def penalties(self) -> list[float]:
        """All penalties it is solved at."""
        return [penalty for penalty, _ in self.fits]


@dataclass(frozen=True)
class Plan:
    """Everything distinct; what a fit needs comes before it. ``outcomes``: of every process's stages, in order."""

    designs: tuple[Design, ...]
    batches: tuple[Batch, ...]
    systems: tuple[System, ...]
    fits: tuple[Fit, ...]
    outcomes: tuple[Outcome, ...]

    @cached_property
    def schedule(self) -> tuple[tuple[Task, ...], ...]:
        """For every position, in order, the systems to solve there with their fits by penalty."""
        fits: dict[int, dict[float, list[int]]] = {}
        for number, fit in enumerate(self.fits):
            fits.setdefault(fit.system, {}).setdefault(fit.penalty, []).append(number)
        positions: list[list[Task]] = [
            [] for _ in range(1 + max((system.position for system in self.systems), default=-1))
        ]
        for number, system in enumerate(self.systems):
            by_penalty = tuple((penalty, tuple(same)) for penalty, same in sorted(fits[number].items()))
            positions[system.position].append(Task(number, by_penalty))
        return tuple(tuple(tasks) for tasks in positions)

    @cached_property
    def lifetimes(self) -> dict[int, tuple[int, int]]:
        """For every design the positions at which it is needed first and last."""
        lives: dict[int, tuple[int, int]] = {}
        for system in self.systems:
            for design in system.designs:
                first, last = lives.get(design, (system.position, system.position))
                lives[design] = (min(first, system.position), max(last, system.position))
        return lives


def whole(source: Source) -> int:
    """The number of samples of a source, which ``check`` has seen to be a whole number."""
    return int(source.samples)


T = TypeVar("T")


class _Distinct:
    """A list of distinct things, each found again by its key."""

    def __init__(self) -> None:
        self.numbers: dict[Hashable, int] = {}

    def number(self, key: Hashable, kept: list[T], thing: T) -> int:
        """The number of a thing in ``kept``, where it is added if its key is new."""
        if key not in self.numbers:
            self.numbers[key] = len(kept)
            kept.append(thing)
        return self.numbers[key]


class _Planner:
    def __init__(self) -> None:
        self.designs: list[Design] = []
        self.batches: list[Batch] = []
        self.systems: list[System] = []
        self.fits: list[Fit] = []
        self._known = tuple(_Distinct() for _ in range(4))

    def design(self, place: Place, samples: int, source: Source | None) -> int:
        """Of a source's own covariance, or without a source of the population's."""
        if source is None:
            return self._known[0].number(
                (place, samples, None), self.designs, Design(place, samples, None, None)
            )
        key = (place, samples, source.covariance_key)
        design = Design(place, samples, source.eigenvalues, source.covariance)
        return self._known[0].number(key, self.designs, design)

    def batch(self, batch: Batch) -> int:
        who: Hashable = batch.labels
        if isinstance(batch.labels, Shift):
            who = ("shift", batch.labels.power.tobytes())
        key = (batch.design, batch.place, who, batch.noise_variance)
        return self._known[1].number(key, self.batches, batch)

    def fit(self, position: int, stage: Stage, batches: Sequence[int], weights: Sequence[float]) -> int:
        designs = tuple(self.batches[batch].design for batch in batches)
        width = None if stage.width is None else int(stage.width)
        # without a projection, a system has nothing random of its own that the position would select
        key = (position, designs, tuple(weights), width)
        system = self._known[2].number(key, self.systems, System(position, designs, tuple(weights), width))
        penalty = float(stage.penalty)
        return self._known[3].number(
            (system, penalty, tuple(batches)), self.fits, Fit(system, penalty, tuple(batches))
        )


def plan(processes: Sequence[Process], *, whole: bool = False) -> Plan:
    """The distinct draws, labels and fits of these processes, whose penalties are numbers.

    ``whole``: more of the designs is seen than fits.
    """
    planner = _Planner()
    outcomes = [outcome for process in processes for outcome in _outcomes(planner, process)]
    designs = planner.designs
    if not whole:
        for number, alone in _alone(planner).items():
            designs[number] = replace(designs[number], alone=alone)
    return Plan(
        tuple(designs),
        tuple(planner.batches),
        tuple(planner.systems),
        tuple(planner.fits),
        tuple(outcomes),
    )


def _alone(planner: _Planner) -> dict[int, Alone]:
    """Designs whose numbers nothing else depends on: no other fit, and no other design of their place."""
    users = Counter(design for system in planner.systems for design in system.designs)
    places = Counter(design.place for design in planner.designs)
    fits: dict[int, list[Fit]] = {}
    for fit in planner.fits:
        fits.setdefault(fit.system, []).append(fit)
    found = {}
    for number, system in enumerate(planner.systems):
        if len(system.designs) != 1 or system.weights != (1.0,) or system.width is not None:
            continue
        design = planner.designs[system.designs[0]]
        own = design.eigenvalues is not None or design.covariance is not None
        penalties = {fit.penalty for fit in fits[number]}
        if users[system.designs[0]] > 1 or places[design.place] > 1 or own or len(penalties) > 1:
            continue
        batches = [planner.batches[batch] for fit in fits[number] for batch in fit.batches]
        labels = {id(b.labels) if isinstance(b.labels, Shift) else b.labels for b in batches}
        found[system.designs[0]] = Alone(penalties.pop(), len(labels | {None}))
    return found


def _outcomes(planner: _Planner, process: Process) -> list[Outcome]:
    fitted: dict[str, int] = {}
    placed: dict[Place, int] = {}  # the batch of every source so far
    outcomes = []
    for position, stage in enumerate(process.mix.stages):
        used = [(s, source) for s, source in enumerate(stage.sources) if source.samples > 0]
        for s, source in used:
            placed[position, s] = _batch(planner, process, (position, s), source, fitted, placed)
        own = [placed[position, s] for s, _ in used]
        ones = [1.0] * len(own)
        noise = process.real_noise(stage)
        total = planner.fit(position, stage, own, [source.weight for _, source in used])
        bias = planner.fit(position, stage, [_clean(planner, b, REAL, 0.0) for b in own], ones)
        variance = planner.fit(position, stage, [_clean(planner, b, None, noise) for b in own], ones)
        outcomes.append(Outcome(total, bias, variance))
        fitted[stage.name] = total
    return outcomes


def _batch(  # noqa: PLR0917 (the state of a plan in the making)
    planner: _Planner,
    process: Process,
    place: Place,
    source: Source,
    fitted: dict[str, int],
    placed: dict[Place, int],
) -> int:
    again = process.again.get(place)
    if again is not None and again.labels:
        return placed[again.of]
    if again is not None:
        design = planner.batches[placed[again.of]].design
    else:
        design = planner.design(place, whole(source), source)
    labels: Labeller = source.labels
    if isinstance(labels, str) and labels != REAL:
        labels = fitted[labels]
    return planner.batch(Batch(design, place, labels, source.noise_variance))


def _clean(planner: _Planner, batch: int, labels: Labeller, noise_variance: float) -> int:
    """The same samples, had they the population's own covariance, with other labels and the same noise."""
    seen = planner.batches[batch]
    design = planner.designs[seen.design]
    clean = planner.design(design.place, design.samples, None)
    return planner.batch(Batch(clean, seen.place, labels, noise_variance))
