"""From a training mix to the process that is simulated, and to what the theory says of each of its stages."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate

import numpy as np

from service.predictions import schemas
from service.simulation.process import Process, accumulated, shared_design
from service.theory.model import REAL, Pass, Population, Shift, Source, Stage, TrainingMix


def process(asked: schemas.TrainingMix, population: Population, mix: TrainingMix) -> Process:
    """The literal process of a mix; ``mix``: as the theory takes it, with numbers for penalties."""
    if mix.keeps_data:
        return accumulated(population, mix)
    if _shares_design(asked, mix):
        return shared_design(population, _one_by_one(asked, mix))
    return Process.fresh(population, mix)


def stage_mixes(asked: schemas.TrainingMix, population: Population, mix: TrainingMix) -> list[TrainingMix]:
    """For every stage of the process the mix of which it is the last stage, as the theory takes it."""
    if _shares_design(asked, mix):
        return [*_generators(population, _one_by_one(asked, mix), mix.stages[0].passes), mix]
    count = len(mix.stages)
    return [replace(mix, stages=mix.stages[: k + 1], next_generation=None) for k in range(count - 1)] + [mix]


def _shares_design(asked: schemas.TrainingMix, mix: TrainingMix) -> bool:
    """Whether the theory has put the generators on one design into one stage."""
    return (
        isinstance(asked, schemas.RecursiveMix) and asked.generator.design == "shared" and len(mix.stages) > 1
    )


def _one_by_one(asked: schemas.TrainingMix, mix: TrainingMix) -> TrainingMix:
    """Every generator of a recursion on one shared design as a stage of its own."""
    assert isinstance(asked, schemas.RecursiveMix)
    together, final = mix.stages
    noises = _noises(asked, together.sources[0].noise_variance)
    penalties = [one.penalty for one in together.passes] or [float(together.penalty)] * len(noises)
    stages: list[Stage] = []
    for k, (noise, penalty) in enumerate(zip(noises, penalties, strict=True)):
        label = stages[-1].name if stages else REAL
        source = Source(label, label, together.sources[0].samples, noise)
        stages.append(Stage(f"generation-{k + 1}", (source,), penalty))
    label = stages[-1].name
    source = replace(final.sources[0], name=label, labels=label)
    return TrainingMix((*stages, replace(final, sources=(source,))))


def _noises(asked: schemas.RecursiveMix, total: float) -> list[float]:
    given = asked.generator.noise_variance
    return list(given) if isinstance(given, list) else [total / asked.generations] * asked.generations


def _generators(population: Population, mix: TrainingMix, passes: tuple[Pass, ...]) -> list[TrainingMix]:
    """The first k generators on one design are one fit whose labels have the noise of all of them, or k passes.

    Its labels are the truth's, but count as synthetic from the second on: what is compared with it is a fit to real
    labels.
    """
    same = Shift(np.zeros(population.eigenvalues.size))
    generators = mix.stages[:-1]
    totals = accumulate(stage.sources[0].noise_variance for stage in generators)
    found = []
    for k, (stage, noise) in enumerate(zip(generators, totals, strict=True)):
        labels = REAL if k == 0 else same
        one = replace(stage, sources=(_labelled(stage.sources, noise, labels),))
        if k > 0 and any(each.penalty > 0 for each in passes[: k + 1]):
            one = _first_passes(one, generators[: k + 1], noise)
        found.append(TrainingMix((one,)))
    return found


def _first_passes(stage: Stage, generators: Sequence[Stage], noise: float) -> Stage:
    """Several generators as the passes of a stage, whose labels are real."""
    own = [one.sources[0].noise_variance for one in generators]
    shares = [each / noise if noise > 0 else 1 / len(own) for each in own]
    passes = tuple(Pass(float(one.penalty), share) for one, share in zip(generators, shares, strict=True))
    sources = (replace(stage.sources[0], labels=REAL),)
    least = min(one.penalty for one in passes if one.penalty > 0)
    return replace(stage, sources=sources, penalty=least, passes=passes)


def _labelled(sources: Sequence[Source], noise: float, labels: str | Shift) -> Source:
    return replace(sources[0], labels=labels, noise_variance=noise)
