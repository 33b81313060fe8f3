"""The entry of the Gaussian recursions in the registry of simulations."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import exp, log1p, sqrt
from typing import Final, Literal

import numpy as np

from service.distributions.curves_by_generation import Expected, Generational, SimulatedCurve, from_prediction
from service.distributions.gaussian.engine import predicted, seconds_of, truth_of, work_of
from service.distributions.gaussian.schemas import GaussianRequest
from service.distributions.schedules import mix_of, models_of, schedule_of
from service.distributions.schemas import Accumulate, Fresh, Retained
from service.simulation.costs import Burden
from service.simulation.distributions.gaussian import QUANTITIES, GaussianWork, Workflow, burden
from service.simulations.kinds import Point
from service.simulations.resource import SimulationOptions, SimulationSummary
from service.theory.model import Array


class GaussianSimulationRequest(GaussianRequest, SimulationOptions):
    """A recursion of Gaussian fits, carried out sample by sample."""


class GaussianSimulation(SimulationSummary):
    """Gaussian fits by generation, beside their prediction."""

    kind: Literal["gaussian"] = "gaussian"
    request: GaussianSimulationRequest
    curves: list[SimulatedCurve]


class GaussianKind(Generational[GaussianSimulationRequest]):
    """Gaussian fits: draw, fit, draw from the fit."""

    name = "gaussian"
    request = GaussianSimulationRequest
    simulation = GaussianSimulation
    y_label = "variance and squared drift of the mean, over the true variance"
    shown = ("variance", "drift")

    def seconds(self, request: GaussianSimulationRequest) -> float:
        """Of its prediction."""
        return seconds_of(request)

    def quantities(self, request: GaussianSimulationRequest) -> tuple[str, ...]:
        """Those of a prediction, then P(v < t) and P(det Σ < t det Σ_0) for each threshold."""
        return (
            *QUANTITIES,
            *(_below(threshold) for threshold in request.thresholds),
            *(_determinant_below(threshold) for threshold in request.determinant_thresholds),
        )

    def generations(self, request: GaussianSimulationRequest) -> tuple[int, ...]:
        """As in the prediction."""
        return tuple(int(model) - 1 for model in models_of(request))

    def expected(self, request: GaussianSimulationRequest) -> Mapping[str, Expected]:
        """The prediction's curve."""
        work_of(request)
        answer = predicted(request)
        accuracies = {one.quantity: one.expected_relative_error for one in answer.validity.quantities}
        found = from_prediction(answer.curve, {name: name for name in QUANTITIES}, accuracies)
        # relative variances of v, of what is of order v², as of a lognormal v, and of e⁴, as of a normal e besides
        c = [(row.variance_relative_spread or 0.0) ** 2 for row in answer.curve]
        for name, power, normal in _SPREADS:
            spreads = tuple(sqrt(normal * exp(min(power * log1p(one), 700.0)) - 1.0) for one in c)
            found[name] = replace(found[name], spreads=spreads)
        for index, threshold in enumerate(request.thresholds):
            values = tuple(row.below[index].probability for row in answer.curve)
            found[_below(threshold)] = Expected(values, accuracies["below"])
        for index, threshold in enumerate(request.determinant_thresholds):
            values = tuple(row.determinant_below[index].probability for row in answer.curve)
            found[_determinant_below(threshold)] = Expected(values)
        return found

    def burden(self, request: GaussianSimulationRequest) -> Burden:
        """Of the samples that are drawn."""
        return burden(self.work(request, (), None))

    def work(
        self,
        request: GaussianSimulationRequest,
        points: Sequence[Point],  # noqa: ARG002
        data: None,  # noqa: ARG002
    ) -> GaussianWork:
        """Draws of every generation up to the last reported one."""
        truth, workflow = truth_of(request.spectrum), request.workflow
        sizes = _sizes(request)
        real: Array = np.zeros(len(sizes))
        if isinstance(workflow, Fresh | Retained):
            mix = mix_of(request, workflow)
            real = mix.real[mix.schedule.run(np.arange(1, len(sizes) + 1))]
        return GaussianWork(
            eigenvalues=np.repeat(truth.eigenvalues, truth.multiplicities.astype(int)), sizes=sizes,
            real=tuple(real.tolist()), workflow=_workflow(request), unbiased=request.estimator == "unbiased",
            reported=self.generations(request), thresholds=tuple(request.thresholds),
            determinant_thresholds=tuple(request.determinant_thresholds),
        )  # fmt: skip


_SPREADS: Final = (
    ("variance", 1, 1.0),
    ("variance_second_moment", 4, 1.0),
    ("standard_deviation", 0.25, 1.0),
    ("kl_true_fit", 2, 1.0),  # of 1/v, which is heavier than a lognormal one
    ("total_variance_second_moment", 4, 1.0),
    ("covariance_square_trace", 4, 1.0),
    ("variance_drift_moment", 4, 35.0 / 3.0),
    ("drift_fourth_moment", 4, 35.0 / 3.0),
)
"""Whose rare runs carry the mean: the power of 1 + Var v/(E v)² in its own, and E z⁸/(E z⁴)² of a normal factor z."""

GAUSSIAN: Final = GaussianKind()


def _below(threshold: float) -> str:
    return f"below_{threshold:g}"


def _determinant_below(threshold: float) -> str:
    return f"determinant_below_{threshold:g}"


def _sizes(request: GaussianSimulationRequest) -> tuple[int, ...]:
    """Of the generations up to the last reported one."""
    last = int(models_of(request)[-1])
    schedule = schedule_of(request, request.workflow)
    return tuple(int(size) for size in schedule.between(1, last))


def _workflow(request: GaussianSimulationRequest) -> Workflow:
    workflow = request.workflow
    if isinstance(workflow, Fresh):
        return workflow.allocation
    if isinstance(workflow, Retained):
        return "retained"
    return "accumulate" if isinstance(workflow, Accumulate) else "replace"
