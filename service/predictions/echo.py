"""The compiled stages of a mix, as a client would have written them."""

import numpy as np

from service.predictions import responses
from service.theory.model import OPTIMAL, Population, Shift, Source, Stage, TrainingMix

_ROUNDING = 1e-12  # relative, of errors that are one in theory


def echo(mix: TrainingMix, population: Population) -> list[responses.CompiledStage]:
    """The stages of a compiled mix on this population."""
    return [_stage(stage, population, keeps_data=mix.keeps_data) for stage in mix.stages]


def _stage(stage: Stage, population: Population, *, keeps_data: bool) -> responses.CompiledStage:
    penalty = None if stage.penalty != OPTIMAL and not np.isfinite(stage.penalty) else stage.penalty
    passes = [
        responses.CompiledPass(
            penalty=one.penalty, noise_variance=one.noise_share * stage.sources[0].noise_variance
        )
        for one in stage.passes
    ]
    return responses.CompiledStage(
        name=stage.name,
        penalty=penalty,
        keeps_data=keeps_data,
        width=None if stage.width is None else int(stage.width),
        passes=passes,
        sources=[_source(source, population) for source in stage.sources],
    )


def _source(source: Source, population: Population) -> responses.CompiledSource:
    return responses.CompiledSource(
        name=source.name,
        labels=_shift(source.labels, population) if isinstance(source.labels, Shift) else source.labels,
        samples=int(source.samples),
        noise_variance=source.noise_variance,
        weight=source.weight,
        own_spectrum=source.eigenvalues is not None or source.covariance is not None,
    )


def _shift(shift: Shift, population: Population) -> responses.CompiledShift:
    """In the one of its two sizes that is spread evenly over the modes; in both where neither is."""
    evenly = np.ptp(shift.power) == 0
    errors = (population.eigenvalues * shift.power)[population.eigenvalues > 0]
    by_error = not evenly and errors.size > 0 and bool(np.ptp(errors) <= _ROUNDING * errors.max())
    return responses.CompiledShift(
        kind="shift",
        squared_norm=None if by_error else float(population.multiplicities @ shift.power),
        test_error=None if evenly else float(population.weight @ shift.power),
    )
