"""The engine that takes every mix of fresh samples, stage by stage and penalty by penalty.

The faster paths (plain_prediction.py, mixes/) take what is regular and are tested against it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from service.theory import several_penalties
from service.theory.chain import Chain, History, Labels, covariances_of, label_indices
from service.theory.curves import ErrorCurve
from service.theory.design import Design
from service.theory.effective_samples import effective_samples
from service.theory.errors import NotConverged, Unsupported
from service.theory.flatness import flat_range
from service.theory.model import OPTIMAL, REAL, ROUNDING, Array, Population, Stage, TrainingMix
from service.theory.moments import error_moments, history
from service.theory.one_covariance import OneCovariance, effective_ridge
from service.theory.origins import origins
from service.theory.penalty import Optimum, minimize
from service.theory.penalty_general import minimize_penalty, penalty_range
from service.theory.response import Regime, Response, empty_response, regime
from service.theory.results import (
    Baseline,
    Best,
    Decomposition,
    FlatRange,
    GenerationParts,
    Prediction,
    Regularization,
    SourceNoise,
    assemble,
)
from service.theory.stages import clean_stage, real_noise, real_stage, samples_to_spare, solve, solve_all

_INTERPOLATION = 1e-6  # a value of the interpolant this right vouches for the place of its minimum
_VANISHING = 1e-6
_INFINITE = float("inf")


def general_prediction(population: Population, mix: TrainingMix, *, flat_range: bool = True) -> Prediction:
    """The prediction of any mix of fresh samples, to order 0, see predict. Raises NotConverged, Unsupported."""
    return General(population, mix).predict(flat_range=flat_range)


def expected_relative_error(stages: Sequence[Stage], responses: Sequence[Response]) -> float:
    """A bound of the relative error of an asymptotic total that covers nearly all of them; often far too wide.

    One over the samples to spare, O(1/N): of the unpenalized variance, d/(T − d) in place of d/(T − d − 1), it is the
    error itself. At most 1; ``corrected`` knows better.
    """
    return 1.0 / max(min(samples_to_spare(*pair) for pair in zip(stages, responses, strict=True)), 1.0)


@dataclass(frozen=True, eq=False)
class _Optimal:
    """The best penalty of a stage, the error there, and the response.

    ``found``: the optimum on the grid that it was seen by; None where there is none.
    """

    penalty: float
    total: float
    response: Response
    found: Optimum | None = None


class General:
    """One mix of fresh samples; what its prediction's parts share is computed once."""

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

    def predict(self, *, flat_range: bool = True) -> Prediction:
        """Everything about the last stage at its penalty and at its best one."""
        best = self._optimum(self.final, self.design, is_mix=True)
        clean_best = self._optimum(self.clean_stage, self.clean_design, is_mix=False)
        real_only = self.real_stage
        penalty = best.penalty if self.final.penalty == OPTIMAL else float(self.final.penalty)
        given = best.response if self.final.penalty == OPTIMAL else self._response(penalty)
        total = best.total if given is best.response else self._total(given)
        error, at_best = self._decompositions(
            [_Optimal(penalty, total, given), _Optimal(best.penalty, best.total, best.response)]
        )
        responses = (*self.earlier, given)
        return Prediction(
            replace(self.mix, stages=(*self.stages[:-1], replace(self.final, penalty=penalty))),
            tuple(response.regime for response in responses),
            error,
            _baseline(self.clean_stage, (error.bias, error.variance), clean_best),
            None if real_only is None else self._real_baseline(real_only, penalty, clean_best),
            self.population.signal,
            Regularization(
                penalty,
                Best(best.penalty, at_best.total),
                self._flat_range(best) if flat_range else FlatRange(np.nan, np.nan),
                at_best,
                clean_best.penalty,
                max(self._total_at(clean_best) - at_best.total, 0.0),
                effective_samples(self.population, self.real_noise, self.final.width, at_best.total),
            ),
            self.population.noise_variance,
            min(response.openness for response in responses),
            expected_relative_error(self.stages, responses),
        )

    def total(self) -> float:
        """The test error at the last stage's penalty, the best one where it is "optimal"."""
        if self.final.penalty == OPTIMAL:
            return self._optimum(self.final, self.design, is_mix=True).total
        return self._total(self._response(float(self.final.penalty)))

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

    def _decompositions(self, points: list[_Optimal]) -> list[Decomposition]:
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

    # --- penalties ------------------------------------------------------------------------------

    def _optimum(self, stage: Stage, design: Design, *, is_mix: bool) -> _Optimal:
        """The best penalty of the mix's last stage, or of one whose labels are all real."""
        population = self.population
        if design.active == 0 or population.rank == 0 or (is_mix and self.past.diverged):
            return self._predict_zero(stage)
        covariances = self.covariances if is_mix else covariances_of(stage, population)
        if covariances is not None:
            return self._general_optimum(stage, covariances, design, is_mix=is_mix)
        noise = np.array([source.noise_variance for source in stage.sources])
        curve = self.curve if is_mix else ErrorCurve(population, design, noise)
        lowest = effective_ridge(population, design, 0.0)
        found = minimize(population.grid, curve, lowest)
        optimal = self._at(stage, design, found, lowest, is_mix=is_mix)
        if abs(optimal.total - found.value) > _INTERPOLATION * optimal.total:
            found = minimize(population.grid, curve, lowest, interpolate=False)
            optimal = self._at(stage, design, found, lowest, is_mix=is_mix)
        at_threshold = regime(design.active, population.rank, design.width, 0.0) is Regime.THRESHOLD
        if at_threshold or found.theta < _VANISHING * population.grid.theta[0]:
            # without any noise the fit at the threshold is exact, and only there does the curve not show it;
            # and where the error falls towards penalty 0 as far as numbers go, that is where it is least
            zero = self._at(stage, design, replace(found, theta=lowest), lowest, is_mix=is_mix)
            optimal = zero if zero.total <= (1.0 + ROUNDING) * optimal.total else optimal
        return self._predict_zero(stage, found) if population.is_null(optimal.total) else optimal

    def _at(self, stage: Stage, design: Design, found: Optimum, lowest: float, *, is_mix: bool) -> _Optimal:
        """A stage at an optimum; ``lowest``: the effective ridge of penalty 0."""
        population, theta = self.population, found.theta
        kind = regime(design.active, population.rank, design.width, 0.0 if theta <= lowest else 1.0)
        response = OneCovariance.at(population, design, theta, kind)
        penalty = 0.0 if theta <= lowest else response.penalty(design)
        total = self._total(response) if is_mix else sum(self._clean_parts(stage, response))
        return _Optimal(penalty, total, response, found)

    def _predict_zero(self, stage: Stage, found: Optimum | None = None) -> _Optimal:
        response = empty_response(len(stage.sources), self.population.eigenvalues.size)
        return _Optimal(_INFINITE, self.population.signal, response, found)

    def _flat_range(self, best: _Optimal) -> FlatRange:
        """The penalties of the mix's last stage whose error is within one per cent of the best one's."""
        population, design = self.population, self.design
        if design.active == 0 or population.rank == 0:
            return FlatRange(0.0, _INFINITE)
        if self.past.diverged:
            return FlatRange(_INFINITE, _INFINITE)
        if self.covariances is not None:
            least = Best(best.penalty, best.total)
            error = self._error_of(self.final, is_mix=True)
            return penalty_range(error, least, self._scale(self.covariances, design), population.signal)
        assert best.found is not None  # what else has no curve was answered above
        lowest = effective_ridge(population, design, 0.0)
        theta = lowest if best.penalty == 0 else best.found.theta if best.penalty < _INFINITE else _INFINITE

        def penalty(theta: float) -> float:
            return OneCovariance.at(population, design, theta, Regime.RIDGE).penalty(design)

        return flat_range(
            population.grid, self.curve, best.found.on_grid, penalty,
            theta=theta, least=best.total, lowest=lowest,
        )  # fmt: skip

    def _general_optimum(self, stage: Stage, covariances: Array, design: Design, *, is_mix: bool) -> _Optimal:
        error = self._error_of(stage, is_mix=is_mix)
        errors = (
            self._errors_of(stage, covariances, design, error, is_mix=is_mix) if stage.width is None else None
        )
        best = minimize_penalty(error, self._scale(covariances, design), self.population.signal, errors)
        return _Optimal(best.penalty, best.total, solve(self.population, stage, best.penalty))

    def _error_of(self, stage: Stage, *, is_mix: bool) -> Callable[[float], float]:
        """The test error of a stage by its penalty."""

        def error(penalty: float) -> float:
            try:
                response = solve(self.population, stage, penalty)
                return self._total(response) if is_mix else sum(self._clean_parts(stage, response))
            except (Unsupported, NotConverged):  # only next to penalty 0
                return _INFINITE

        return error

    def _errors_of(
        self,
        stage: Stage,
        covariances: Array,
        design: Design,
        error: Callable[[float], float],
        *,
        is_mix: bool,
    ) -> Callable[[Array], Array]:
        """The same by many positive penalties; ``error``: of one of them."""
        nothing, noise = (
            np.zeros_like(covariances),
            np.array([source.noise_variance for source in stage.sources]),
        )
        labels = self.past.labels if is_mix else Labels(nothing, np.zeros((len(nothing), *nothing.shape)))

        def errors(penalties: Array) -> Array:
            found = several_penalties.errors(self.population, covariances, design, noise, labels, penalties)
            for i in np.flatnonzero(np.isnan(found)):
                found[i] = error(float(penalties[i]))
            return found

        return errors

    def _scale(self, covariances: Array, design: Design) -> float:
        """Of the penalties that matter."""
        return float((covariances @ self.population.multiplicities).max()) / design.total

    def _total_at(self, clean: _Optimal) -> float:
        """The mix's test error at the penalty that is best for clean data."""
        if self._same_design and len(self.final.sources) == 1:
            return self._total(clean.response)
        try:
            return self._total(self._response(clean.penalty))
        except NotConverged:  # only next to penalty 0, where the limit stands for it
            return self._total(self._response(0.0))

    def _real_baseline(self, stage: Stage, penalty: float, clean_best: _Optimal) -> Baseline:
        """The real samples alone; where the mix has no others, the clean stage."""
        design = Design.of(stage)
        if self._same_design and design.total == self.design.total and len(self.real) == 1:
            best = clean_best
        else:
            best = self._optimum(stage, design, is_mix=False)
        return _baseline(stage, self._bias_and_variance(stage, penalty), best)


def _baseline(stage: Stage, parts: tuple[float, float], best: _Optimal) -> Baseline:
    bias, variance = parts
    samples = sum(source.samples for source in stage.sources)
    return Baseline(samples, bias + variance, bias, variance, Best(best.penalty, best.total))
