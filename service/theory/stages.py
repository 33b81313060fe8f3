"""Solving the stages of a mix, and the stages that its last one is compared with."""

from collections.abc import Sequence
from math import inf

from service.theory.chain import covariances_of
from service.theory.design import Design
from service.theory.model import REAL, Population, Source, Stage
from service.theory.one_covariance import OneCovariance
from service.theory.response import Response, empty_response
from service.theory.several_covariances import SeveralCovariances
from service.theory.shared_design import shared_design


def solve(population: Population, stage: Stage, penalty: float) -> Response:
    """The response of one stage at a penalty, infinite allowed. Raises NotConverged, Unsupported."""
    if penalty == inf:
        return empty_response(len(stage.sources), population.eigenvalues.size)
    if stage.passes:
        return shared_design(population, stage.sources[0], stage.passes)
    covariances = covariances_of(stage, population)
    if covariances is None:
        return OneCovariance.solve(population, Design.of(stage), penalty)
    return SeveralCovariances.solve(population, covariances, Design.of(stage), penalty)


def solve_all(population: Population, stages: Sequence[Stage]) -> tuple[Response, ...]:
    """The responses of these stages, equal designs solved once. Raises NotConverged, Unsupported."""
    known: dict[tuple[object, ...], Response] = {}
    responses = []
    for stage in stages:
        key = (
            stage.penalty,
            stage.width,
            tuple((source.samples, source.weight, id(source.eigenvalues)) for source in stage.sources),
            # the variance of several fits in a row is known by the noise of all of them alone
            stage.passes and (stage.passes, stage.sources[0].noise_variance),
        )
        if key not in known:
            known[key] = solve(population, stage, float(stage.penalty))
        responses.append(known[key])
    return tuple(responses)


def real_noise(population: Population, final: Stage) -> float:
    """Label noise of the real samples of a stage; the population's where it has none."""
    return next((s.noise_variance for s in final.sources if s.labels == REAL), population.noise_variance)


def clean_stage(population: Population, final: Stage) -> Stage:
    """A stage with all its samples real, of equal weight."""
    samples = sum(source.samples for source in final.sources)
    source = Source(REAL, REAL, samples, real_noise(population, final))
    return Stage("clean", (source,), final.penalty, final.width)


def real_stage(final: Stage) -> Stage | None:
    """A stage without its synthetic sources; None where nothing is left."""
    real = tuple(source for source in final.sources if source.labels == REAL)
    if not any(source.samples > 0 for source in real):
        return None
    return Stage("real only", real, final.penalty, final.width)


def samples_to_spare(stage: Stage, response: Response) -> float:
    """How many samples, or random features where those are fewer, a fit has beyond its degrees of freedom.

    Differently weighted sources count as (Σ F_s²/T_s)^-1 samples. Infinite where nothing is fitted.
    """
    used = zip(response.shares.tolist(), stage.sources, strict=True)
    weighting = sum(share**2 / source.samples for share, source in used if share)
    effective = 1.0 / weighting if weighting else inf
    return response.openness * min(effective, inf if response.features is None else response.features)


def crowding(stage: Stage, response: Response) -> float:
    """(1 − openness)/(samples to spare): how near a fit is to its interpolation threshold, O(1/N) away from it."""
    return (1.0 - response.openness) / room if (room := samples_to_spare(stage, response)) > 0 else inf
