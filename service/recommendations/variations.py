"""One thing of a mix varied, everything else as given."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from service.predictions import schemas
from service.theory.model import REAL, Population, Source, Stage, TrainingMix

Compile = Callable[[schemas.TrainingMix], TrainingMix]


def synthetic(stage: Stage) -> list[int]:
    """Indices of a stage's synthetic sources."""
    return [i for i, source in enumerate(stage.sources) if source.labels != REAL]


def real(stage: Stage) -> list[int]:
    """Indices of a stage's real sources."""
    return [i for i, source in enumerate(stage.sources) if source.labels == REAL]


def samples_of(stage: Stage, sources: Sequence[int]) -> int:
    """Their samples, together."""
    return int(sum(stage.sources[i].samples for i in sources))


def with_samples(stage: Stage, sources: Sequence[int], total: int) -> Stage:
    """The stage with ``total`` samples on these sources, in their proportions (largest remainders)."""
    given = [int(stage.sources[i].samples) for i in sources]
    whole = sum(given) or len(given)
    shares = given if sum(given) else [1] * len(given)
    counts = [total * share // whole for share in shares]
    remainders = sorted(range(len(shares)), key=lambda j: -(total * shares[j] % whole))
    for j in remainders[: total - sum(counts)]:
        counts[j] += 1
    changed = list(stage.sources)
    for i, count in zip(sources, counts, strict=True):
        changed[i] = replace(changed[i], samples=float(count))
    return replace(stage, sources=tuple(changed))


def with_stage(mix: TrainingMix, index: int, stage: Stage) -> TrainingMix:
    """The mix with another stage in this place."""
    stages = list(mix.stages)
    stages[index] = stage
    return replace(mix, stages=tuple(stages))


def with_synthetic(mix: TrainingMix, count: int) -> TrainingMix:
    """The last stage with so many synthetic samples, its real ones as given."""
    last = mix.stages[-1]
    return with_stage(mix, -1, with_samples(last, synthetic(last), count))


def with_share(mix: TrainingMix, population: Population, count: int) -> TrainingMix:
    """The last stage with so many synthetic samples out of all it has, the others real, fresh ones if need be."""
    last = mix.stages[-1]
    total = samples_of(last, range(len(last.sources)))
    if not real(last):
        name = REAL if all(source.name != REAL for source in last.sources) else f"{REAL} data"
        fresh = Source(name, REAL, 0.0, population.noise_variance)
        last = replace(last, sources=(fresh, *last.sources))
    last = with_samples(last, synthetic(last), count)
    return with_stage(mix, -1, with_samples(last, real(last), total - count))


def with_real(mix: TrainingMix, index: int, count: int) -> TrainingMix:
    """The stage at ``index`` with so many real samples."""
    stage = mix.stages[index]
    return with_stage(mix, index, with_samples(stage, real(stage), count))


def without(mix: TrainingMix, source: int) -> TrainingMix:
    """The last stage without one source."""
    last = mix.stages[-1]
    return with_stage(mix, -1, with_samples(last, [source], 0))


def scaled(mix: TrainingMix, factor: float) -> TrainingMix:
    """All samples of all stages times a factor."""
    return replace(
        mix,
        stages=tuple(
            replace(stage, sources=tuple(replace(s, samples=s.samples * factor) for s in stage.sources))
            for stage in mix.stages
        ),
    )


# --- what the presets say themselves --------------------------------------------------------------


def most_generations(mix: schemas.TrainingMix) -> int | None:
    """How many generations the mix can be asked for: as many as its lists name; None where it has none to vary."""
    match mix:
        case schemas.RecursiveMix(generator=generator):
            given = [generator.samples, generator.noise_variance, generator.penalty]
            return min([len(x) for x in given if isinstance(x, list)], default=schemas.MAX_STAGES - 1)
        case schemas.AccumulateMix(samples=samples):
            return len(samples) - 1 if isinstance(samples, list) else schemas.MAX_STAGES - 1
        case schemas.ReplaceWithRealMix():
            return schemas.MAX_STAGES - 1
        case _:
            return None


def with_generations(mix: schemas.TrainingMix, generations: int) -> schemas.TrainingMix:
    """A preset with so many generations; of lists, the first entries."""

    def cut(value: Any, count: int) -> Any:
        return value[:count] if isinstance(value, list) else value

    match mix:
        case schemas.RecursiveMix(generator=g):
            if generations == 0:  # a list for no generation is no list
                generator = schemas.Generator(samples=0)
            else:
                fields = {
                    name: cut(getattr(g, name), generations)
                    for name in ("samples", "noise_variance", "penalty")
                }
                generator = g.model_copy(update=fields)
            return mix.model_copy(update={"generations": generations, "generator": generator})
        case schemas.AccumulateMix():
            rows = cut(mix.samples, generations + 1)
            return mix.model_copy(update={"generations": generations, "samples": rows})
        case _:
            return mix.model_copy(update={"generations": generations})


def with_first_rows(mix: schemas.AccumulateMix, count: int) -> schemas.AccumulateMix:
    """Accumulated data that begin with so many real rows."""
    rows = mix.samples if isinstance(mix.samples, list) else [mix.samples] * (mix.generations + 1)
    return mix.model_copy(update={"samples": [count, *rows[1:]]})


def with_real_fraction(mix: schemas.ReplaceWithRealMix, count: int) -> schemas.ReplaceWithRealMix:
    """So many synthetic samples of each generation's."""
    return mix.model_copy(update={"real_fraction": (mix.samples - count) / mix.samples})
