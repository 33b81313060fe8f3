"""From the theory's curves to what a client reads."""

from collections.abc import Iterable
from dataclasses import replace
from math import exp, sqrt

import numpy as np

from service.distributions.answering import head
from service.distributions.gaussian import responses
from service.distributions.gaussian.schemas import GaussianRequest
from service.distributions.schemas import Replace
from service.distributions.validity import Reasons, validity
from service.theory.distributions.accuracy import Accuracy, Caution, exact
from service.theory.distributions.gaussian.model import Gaussian, GaussianPrediction
from service.theory.distributions.gaussian.replace import determinant_below, lyapunov_exponents
from service.theory.distributions.schedule import Schedule
from service.theory.model import Array

KIND = "gaussian"
ASSUMPTIONS = (
    (
        "Gaussian data",
        "The formulas are identities for Gaussian samples; other data have other fluctuations of their variance.",
    ),
)


_FIELDS = {
    "second_moment": "variance_second_moment",
    "relative_variance": "variance_relative_spread",
    "log_mean": "log_variance_mean",
    "log_variance": "log_variance_spread",
    "deviation": "standard_deviation",
    "log_det_mean": "log_determinant_mean",
    "log_det_variance": "log_determinant_spread",
    "w2": "wasserstein2_squared",
    "w2_lower": "wasserstein2_squared_lower_bound",
    "variance_drift": "variance_drift_moment",
    "drift_fourth": "drift_fourth_moment",
    "trace_squared": "total_variance_second_moment",
    "square_trace": "covariance_square_trace",
}


def field_of(quantity: str) -> str:
    """What the answer calls a quantity of the theory's curve."""
    return _FIELDS.get(quantity, quantity)


def by_field(accuracies: Iterable[Accuracy]) -> list[Accuracy]:
    """The same, of the answer's fields."""
    return [replace(one, quantity=field_of(one.quantity)) for one in accuracies]


def answer(
    request: GaussianRequest, truth: Gaussian, schedule: Schedule, prediction: GaussianPrediction
) -> responses.GaussianPrediction:
    """Infinities become null, with the reason in ``validity``."""
    rows = _Rows(request, truth, schedule, prediction)
    curve = [rows.generation(index) for index in range(len(prediction.curve.models))]
    reasons, point, half = rows.reasons, prediction.fixed_point, prediction.half_life
    fixed_point = responses.GaussianFixedPoint(
        variance=reasons.value(point.variance, "fixed_point/variance"),
        drift=reasons.value(point.drift, "fixed_point/drift"),
        stable=point.stable,
        relaxation_generations=point.relaxation,
    )
    rates = _rates(request, truth, schedule, reasons)
    if point.relaxation is None:
        reasons.absent(
            "fixed_point/relaxation_generations",
            "It is not approached at a rate: pools come to rest like "
            "1/generation, and unbiased replacing never does.",
        )
    for name, given in (("mean_generation", half.mean), ("typical_generation", half.typical)):
        if given is None:
            reasons.absent(f"half_life/{name}", "The variance never falls to half the true one.")
    for name, fits in (("mean_fits", half.mean_fits), ("typical_fits", half.typical_fits)):
        if fits is None:
            reasons.absent(
                f"half_life/{name}",
                "Real numbers of fits are given for replacing at one sample size, where the variance falls.",
            )
    return responses.GaussianPrediction(
        **head(KIND, request),
        dimension=truth.dimension,
        final=curve[-1],
        curve=curve,
        fixed_point=fixed_point,
        half_life=responses.GaussianHalfLife(
            mean_generation=None if half.mean is None else half.mean - 1,
            typical_generation=None if half.typical is None else half.typical - 1,
            mean_fits=half.mean_fits,
            typical_fits=half.typical_fits,
        ),
        eigenvalue_rates=rates,
        validity=validity(by_field((*prediction.accuracies, *rows.accuracies)), reasons, ASSUMPTIONS),
    )


def _rates(
    request: GaussianRequest, truth: Gaussian, schedule: Schedule, reasons: Reasons
) -> responses.GaussianEigenvalueRates:
    """Of replacement; elsewhere there are none."""
    if not isinstance(request.workflow, Replace):
        why = "Eigenvalues vanish at a rate only where every model replaces the one before."
        for name in ("largest", "smallest"):
            reasons.absent(f"eigenvalue_rates/{name}", why)
        return responses.GaussianEigenvalueRates(largest=None, smallest=None)
    unbiased = request.estimator == "unbiased"
    largest, smallest = lyapunov_exponents(truth, float(schedule.last), unbiased=unbiased)
    return responses.GaussianEigenvalueRates(
        largest=reasons.value(largest, "eigenvalue_rates"),
        smallest=reasons.value(smallest, "eigenvalue_rates"),
    )


_NO_DETERMINANT = Caution(
    "no_formula",
    "The law of det Σ is known under replacement alone, and after one fit to real samples. Simulate it; in one "
    "dimension it is the variance: ask for thresholds.",
    "determinant_below",
)


def _determinant_below(
    request: GaussianRequest, truth: Gaussian, schedule: Schedule, prediction: GaussianPrediction
) -> Array:
    """P(det Σ < t det Σ_0), shape (thresholds, models); NaN where there is no formula."""
    models, thresholds = prediction.curve.models, np.array(request.determinant_thresholds, dtype=float)
    found = np.full((thresholds.size, models.size), np.nan)
    known = np.ones(models.size, dtype=bool) if isinstance(request.workflow, Replace) else models == 1
    if thresholds.size and known.any():
        unbiased = request.estimator == "unbiased"
        found[:, known] = determinant_below(truth, schedule, models[known], thresholds, unbiased=unbiased)
    return found


class _Rows:
    """The curve, row by row; ``reasons`` collects why something is null."""

    def __init__(
        self, request: GaussianRequest, truth: Gaussian, schedule: Schedule, prediction: GaussianPrediction
    ) -> None:
        self._thresholds, self._trace, self._schedule = request.thresholds, truth.trace, schedule
        self._curve = prediction.curve
        self._determinant_thresholds = request.determinant_thresholds
        self._determinant = _determinant_below(request, truth, schedule, prediction)
        unknown = (_NO_DETERMINANT,) if np.isnan(self._determinant).any() else ()
        basis = "inversion of the characteristic function, absolute accuracy 1e-11"
        self.accuracies = (exact("determinant_below", basis),) if request.determinant_thresholds else ()
        cautions = (replace(one, quantity=field_of(one.quantity)) for one in (*prediction.cautions, *unknown))
        self.reasons = Reasons(cautions)

    def generation(self, index: int) -> responses.GaussianGeneration:
        """One row."""
        curve, reasons = self._curve, self.reasons
        model = int(curve.models[index])

        def value(name: str, scale: float = 1.0) -> float | None:
            return reasons.value(scale * getattr(curve, name)[index], field_of(name))

        if np.isnan(curve.log_mean[index]):
            reasons.absent(
                "typical_variance", "It is the exponential of log_variance_mean: see the warning there."
            )

        def spread(name: str) -> float | None:
            return reasons.value(sqrt(getattr(curve, name)[index]), field_of(name))

        return responses.GaussianGeneration(
            generation=model - 1,
            model=model,
            samples=self._schedule.at(model),
            variance=value("variance"),
            total_variance=value("variance", self._trace),
            drift=value("drift"),
            mean_drift=value("drift", self._trace),
            variance_second_moment=value("second_moment"),
            variance_drift_moment=value("variance_drift"),
            drift_fourth_moment=value("drift_fourth"),
            total_variance_second_moment=value("trace_squared"),
            covariance_square_trace=value("square_trace"),
            variance_relative_spread=spread("relative_variance"),
            typical_variance=reasons.value(exp(curve.log_mean[index]), "log_variance_mean"),
            log_variance_mean=value("log_mean"),
            log_variance_spread=spread("log_variance"),
            standard_deviation=value("deviation"),
            log_determinant_mean=value("log_det_mean"),
            log_determinant_spread=spread("log_det_variance"),
            kl_fit_true=value("kl_fit_true"),
            kl_true_fit=value("kl_true_fit"),
            wasserstein2_squared=value("w2"),
            wasserstein2_squared_lower_bound=value("w2_lower"),
            below=[
                responses.Below(
                    threshold=threshold, probability=reasons.value(curve.below[row, index], "below")
                )
                for row, threshold in enumerate(self._thresholds)
            ],
            determinant_below=[
                responses.Below(
                    threshold=threshold,
                    probability=reasons.value(self._determinant[row, index], "determinant_below"),
                )
                for row, threshold in enumerate(self._determinant_thresholds)
            ],
        )
