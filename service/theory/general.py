"""The engine that takes every mix of fresh samples, stage by stage and penalty by penalty.

The faster paths (plain_prediction.py, mixes/) take what is regular and are tested against it.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from service.theory import several_penalties
from service.theory.chain import Labels, covariances_of
from service.theory.curves import ErrorCurve
from service.theory.design import Design
from service.theory.effective_samples import effective_samples
from service.theory.errors import NotConverged, Unsupported
from service.theory.flatness import flat_range
from service.theory.general_errors import GeneralErrors, Optimal
from service.theory.model import OPTIMAL, ROUNDING, Array, Population, Stage, TrainingMix
from service.theory.one_covariance import OneCovariance, effective_ridge
from service.theory.penalty import Optimum, minimize
from service.theory.penalty_general import minimize_penalty, penalty_range
from service.theory.response import Regime, Response, empty_response, regime
from service.theory.results import (
    Baseline,
    Best,
    FlatRange,
    Prediction,
    Regularization,
)
from service.theory.stages import samples_to_spare, solve

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


class General(GeneralErrors):
    """One mix of fresh samples: its prediction, with the best penalties."""

    def predict(self, *, flat_range: bool = True) -> Prediction:
        """Everything about the last stage at its penalty and at its best one."""
        best = self._optimum(self.final, self.design, is_mix=True)
        clean_best = self._optimum(self.clean_stage, self.clean_design, is_mix=False)
        real_only = self.real_stage
        penalty = best.penalty if self.final.penalty == OPTIMAL else float(self.final.penalty)
        given = best.response if self.final.penalty == OPTIMAL else self._response(penalty)
        total = best.total if given is best.response else self._total(given)
        error, at_best = self._decompositions(
            [Optimal(penalty, total, given), Optimal(best.penalty, best.total, best.response)]
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

    # --- penalties ------------------------------------------------------------------------------

    def _optimum(self, stage: Stage, design: Design, *, is_mix: bool) -> Optimal:
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

    def _at(self, stage: Stage, design: Design, found: Optimum, lowest: float, *, is_mix: bool) -> Optimal:
        """A stage at an optimum; ``lowest``: the effective ridge of penalty 0."""
        population, theta = self.population, found.theta
        kind = regime(design.active, population.rank, design.width, 0.0 if theta <= lowest else 1.0)
        response = OneCovariance.at(population, design, theta, kind)
        penalty = 0.0 if theta <= lowest else response.penalty(design)
        total = self._total(response) if is_mix else sum(self._clean_parts(stage, response))
        return Optimal(penalty, total, response, found)

    def _predict_zero(self, stage: Stage, found: Optimum | None = None) -> Optimal:
        response = empty_response(len(stage.sources), self.population.eigenvalues.size)
        return Optimal(_INFINITE, self.population.signal, response, found)

    def _flat_range(self, best: Optimal) -> FlatRange:
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

    def _general_optimum(self, stage: Stage, covariances: Array, design: Design, *, is_mix: bool) -> Optimal:
        error = self._error_of(stage, is_mix=is_mix)
        errors = (
            self._errors_of(stage, covariances, design, error, is_mix=is_mix) if stage.width is None else None
        )
        best = minimize_penalty(error, self._scale(covariances, design), self.population.signal, errors)
        return Optimal(best.penalty, best.total, solve(self.population, stage, best.penalty))

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

    def _total_at(self, clean: Optimal) -> float:
        """The mix's test error at the penalty that is best for clean data."""
        if self._same_design and len(self.final.sources) == 1:
            return self._total(clean.response)
        try:
            return self._total(self._response(clean.penalty))
        except NotConverged:  # only next to penalty 0, where the limit stands for it
            return self._total(self._response(0.0))

    def _real_baseline(self, stage: Stage, penalty: float, clean_best: Optimal) -> Baseline:
        """The real samples alone; where the mix has no others, the clean stage."""
        design = Design.of(stage)
        if self._same_design and design.total == self.design.total and len(self.real) == 1:
            best = clean_best
        else:
            best = self._optimum(stage, design, is_mix=False)
        return _baseline(stage, self._bias_and_variance(stage, penalty), best)


def _baseline(stage: Stage, parts: tuple[float, float], best: Optimal) -> Baseline:
    bias, variance = parts
    samples = sum(source.samples for source in stage.sources)
    return Baseline(samples, bias + variance, bias, variance, Best(best.penalty, best.total))
