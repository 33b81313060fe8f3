"""The errors of any mix of fresh samples, stage by stage, at penalties of the last one; for general.py."""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from service.theory.chain import Chain, History, covariances_of, label_indices
from service.theory.curves import ErrorCurve
from service.theory.design import Design
from service.theory.errors import Unsupported
from service.theory.model import REAL, Array, Population, Stage, TrainingMix
from service.theory.moments import error_moments, history
from service.theory.one_covariance import OneCovariance
from service.theory.origins import origins
from service.theory.penalty import Optimum
from service.theory.response import Response
from service.theory.results import Decomposition, GenerationParts, SourceNoise, assemble
from service.theory.stages import clean_stage, real_noise, real_stage, solve, solve_all

_INFINITE = float("inf")


@dataclass(frozen=True, eq=False)
class Optimal:
    """The best penalty of a stage, the error there, and the response.

    ``found``: the optimum on the grid that it was seen by; None where there is none.
    """

    penalty: float
    total: float
    response: Response
    found: Optimum | None = None


class GeneralErrors:
    """One mix of fresh samples: its solved stages, and its errors at any penalty; what they share is computed once."""

    def __init__(self, population: Population, mix: TrainingMix) -> None:
        if mix.keeps_data:
            raise Unsupported("rows that are used again are not fresh samples")
        self.population, self.mix, self.stages = population, mix, mix.stages
        self.final = mix.stages[-1]
        self.design = Design.of(self.final)
        self.covariances = covariances_of(self.final, population)
        self.labels = label_indices(mix.stages)
        self.noise = np.array([source.noise_variance for source in self.final.sources])
        self.real = tuple(source for source in self.final.sources if source.labels == REAL)
        self.real_noise = real_noise(population, self.final)

    # --- stages ---------------------------------------------------------------------------------

    @cached_property
    def earlier(self) -> tuple[Response, ...]:
        """The responses of all stages but the last; equal designs are solved once."""
        return solve_all(self.population, self.stages[:-1])

    @cached_property
    def past(self) -> History:
        """The moments that the last stage is fitted on."""
        return history(Chain(self.population, self.stages, self.earlier, self.labels))

    def _response(self, penalty: float) -> Response:
        if self.covariances is None and penalty < _INFINITE:
            return OneCovariance.solve(self.population, self.design, penalty)
        return solve(self.population, self.final, penalty)

    @cached_property
    def curve(self) -> ErrorCurve:
        """The test error of the last stage by its effective ridge, where all sources have one covariance."""
        return ErrorCurve(self.population, self.design, self.noise, self.past.labels)

    @cached_property
    def clean_stage(self) -> Stage:
        """The last stage with all its samples real, of equal weight."""
        return clean_stage(self.population, self.final)

    @cached_property
    def clean_design(self) -> Design:
        """Of the clean stage."""
        return Design.of(self.clean_stage)

    @cached_property
    def _same_design(self) -> bool:
        """Whether the clean stage's response is the mix's own: one covariance, all weights 1."""
        design = self.design
        return self.covariances is None and design.common_weight == 1 and design.active == design.total

    @cached_property
    def _all_real(self) -> Stage:
        """The last stage with the real data's noise on all its sources."""
        sources = (replace(source, noise_variance=self.real_noise) for source in self.final.sources)
        return replace(self.final, sources=tuple(sources))

    @cached_property
    def real_stage(self) -> Stage | None:
        """The last stage without its synthetic sources."""
        return real_stage(self.final)

    # --- errors ---------------------------------------------------------------------------------

    def _total(self, response: Response) -> float:
        """The test error of the last stage with this response."""
        if self.past.diverged and response.unlearned.min() < 1:
            return _INFINITE
        labels = self.past.labels
        error, _ = error_moments(self.population, self.final, response, labels, self.noise)
        return self._sum(error)

    def _sum(self, error: Array) -> float:
        with np.errstate(invalid="ignore"):  # at a threshold modes without variance are 0 times infinity
            total = float(self.population.weight @ error)
        return total if np.isfinite(total) else _INFINITE

    def _bias_and_variance(self, stage: Stage, penalty: float) -> tuple[float, float]:
        """Of a stage whose labels are all real."""
        return self._clean_parts(stage, solve(self.population, stage, penalty))

    def _clean_parts(self, stage: Stage, response: Response) -> tuple[float, float]:
        """Bias and variance of a stage whose labels are all real."""
        population, count = self.population, len(stage.sources)
        covariances = covariances_of(stage, population)
        weight = population.weight if covariances is None else population.multiplicities * covariances
        left = response.unlearned_squared * population.target_power
        residual = np.broadcast_to(weight @ left, (count,))
        power = 0.0
        if stage.width is not None:
            power = float(
                population.multiplicities @ ((1.0 - response.unlearned) ** 2 * population.target_power)
            )
        noise = np.array([source.noise_variance for source in stage.sources])
        bias = left + response.fluctuation(residual, power)
        return self._sum(bias), self._sum(response.fluctuation(noise, 0.0))

    def _decompositions(self, points: list[Optimal]) -> list[Decomposition]:
        """At several penalties of the last stage, of known total."""
        clean = [self._clean_at(point.penalty, point.response) for point in points]
        finite = [i for i, point in enumerate(points) if point.total < _INFINITE]
        found: dict[int, Decomposition] = {
            i: self._divergent(point.total, *clean[i]) for i, point in enumerate(points) if i not in finite
        }
        if not finite:
            return list(found.values())
        chain = Chain(self.population, self.stages, (*self.earlier, points[0].response), self.labels)
        sources = origins(chain, [points[i].response for i in finite])
        mismatch = (sources.noise_response[-1] @ (self.noise - self.real_noise)).tolist()
        shift = [float(sum(values[row].sum() for values in sources.shift)) for row in range(len(finite))]
        for row, i in enumerate(finite):
            by_source = tuple(
                SourceNoise(stage.name, source.name, value * source.noise_variance)
                for stage, response in zip(self.stages[:-1], sources.noise_response, strict=False)
                for source, value in zip(stage.sources, response[row].tolist(), strict=True)
            )
            found[i] = assemble(
                points[i].total, *clean[i], by_source, shift=shift[row], mismatch=mismatch[row]
            )
        return [found[i] for i in range(len(points))]

    def _clean_at(self, penalty: float, response: Response) -> tuple[float, float]:
        """Bias and variance of the clean stage; ``response``: the mix's at this penalty."""
        if self._same_design:
            return self._clean_parts(self._all_real, response)
        return self._bias_and_variance(self.clean_stage, penalty)

    def _divergent(self, total: float, bias: float, variance: float) -> Decomposition:
        nothing = GenerationParts(np.nan, np.nan, np.nan, np.nan)
        by_source = tuple(
            SourceNoise(stage.name, source.name, np.nan)
            for stage in self.stages[:-1]
            for source in stage.sources
        )
        return Decomposition(total, bias, variance, np.nan, nothing, by_source)
