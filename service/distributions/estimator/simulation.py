"""The entry of the estimator chains in the registry of simulations."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import exp, sqrt
from typing import Final, Literal

import numpy as np

from service.distributions.curves_by_generation import Expected, Generational, SimulatedCurve, from_prediction
from service.distributions.estimator.answer import parameters_of
from service.distributions.estimator.engine import predicted, schedule_for, walk
from service.distributions.estimator.schemas import (
    Efficient,
    EstimatorRequest,
    LeastSquares,
    Poisson,
    Pool,
    WeightedFresh,
    WeightedRetained,
)
from service.distributions.schedules import mix_of, models_of
from service.distributions.schemas import Replace
from service.errors import InvalidInput
from service.jobs.compute import Work
from service.simulation.costs import Burden
from service.simulation.distributions.estimator import (
    EstimatorWork,
    Workflow,
    burden,
    quantities_of,
)
from service.simulations.kinds import Point
from service.simulations.resource import SimulationOptions, SimulationSummary
from service.theory.distributions.estimator.families import exponential_scale

LARGEST_MEAN: Final = 1e15  # of Poisson numbers that fit an integer
_WHOLE: Final = 1e-9


class EstimatorSimulationRequest(EstimatorRequest, SimulationOptions):
    """A chain of estimators, carried out sample by sample."""


class EstimatorSimulation(SimulationSummary):
    """Estimates by generation, beside their prediction."""

    kind: Literal["estimator"] = "estimator"
    request: EstimatorSimulationRequest
    curves: list[SimulatedCurve]


class EstimatorKind(Generational[EstimatorSimulationRequest]):
    """Chains of estimators: draw, estimate, draw from the estimate."""

    name = "estimator"
    request = EstimatorSimulationRequest
    simulation = EstimatorSimulation
    y_label = "expected squared error"
    shown = ("squared_error",)

    def quantities(self, request: EstimatorSimulationRequest) -> tuple[str, ...]:
        """Those of a prediction that one estimate shows; ``error_variance`` is ``squared_error`` in other units."""
        return quantities_of(_family(request))

    def generations(self, request: EstimatorSimulationRequest) -> tuple[int, ...]:
        """As in the prediction."""
        return tuple(int(model) - 1 for model in models_of(request))

    def expected(self, request: EstimatorSimulationRequest) -> Mapping[str, Expected]:
        """The prediction's curve."""
        answer = predicted(request)
        accuracies = {one.quantity: one.expected_relative_error for one in answer.validity.quantities}
        names = {name: name for name in self.quantities(request)}
        found = from_prediction(answer.curve, names, accuracies)
        spreads = _spreads(request, found)
        if spreads:
            found["squared_error"] = replace(found["squared_error"], spreads=spreads)
        return found

    def burden(self, request: EstimatorSimulationRequest) -> Burden:
        """Of the samples that are drawn."""
        return burden(work_of(request))

    def work(self, request: EstimatorSimulationRequest, points: Sequence[Point], data: None) -> Work:  # noqa: ARG002
        """Draws of every generation up to the last reported one."""
        return work_of(request)


ESTIMATOR: Final = EstimatorKind()


def work_of(request: EstimatorSimulationRequest) -> EstimatorWork:
    """What a replicate does. Raises InvalidInput where it cannot be drawn."""
    family, workflow = _family(request), request.workflow
    schedule = schedule_for(request)
    models = np.arange(1, int(models_of(request)[-1]) + 1)
    sizes = tuple(int(size) for size in schedule.between(1, len(models)))
    real = (0,) * len(sizes)
    weights = None
    if isinstance(workflow, WeightedFresh | WeightedRetained):
        mix = mix_of(request, workflow)
        real = tuple(int(count) for count in mix.real[mix.schedule.run(models)])
        if workflow.weight != "pooled":
            whole = request.model_copy(update={"at": [int(model) - 1 for model in models]})
            weights = tuple(walk(whole, schedule).weight.tolist())
    elif isinstance(workflow, Pool):
        real = _pooled(workflow, sizes)
    if isinstance(request.family, Poisson) and request.family.mean > LARGEST_MEAN:
        raise InvalidInput.at(
            "/family/mean", "too_large", f"Poisson numbers are drawn up to a mean of {LARGEST_MEAN:.0e}."
        )
    _enough_for_least_squares(request, sizes, real)
    logs = [0.0] * len(models_of(request))
    if family == "exponential" and isinstance(workflow, Replace):
        logs = (-exponential_scale(schedule, models_of(request)).kl).tolist()
    return EstimatorWork(
        family=family, dimension=parameters_of(request),
        mean=request.family.mean if isinstance(request.family, Poisson) else 0.0,
        workflow=_workflow(request), sizes=sizes, real=real, weights=weights,
        reported=tuple(int(model) - 1 for model in models_of(request)), log_means=tuple(logs),
    )  # fmt: skip


def _family(
    request: EstimatorSimulationRequest,
) -> Literal["linear", "least_squares", "exponential", "poisson"]:
    if isinstance(request.family, Efficient):
        raise InvalidInput.at(
            "/family", "unsupported",
            'The law for "efficient" is that of every regular family, so that there is nothing to draw: choose linear, '
            "least_squares, exponential or poisson.",
        )  # fmt: skip
    return request.family.kind


def _workflow(request: EstimatorSimulationRequest) -> Workflow:
    workflow = request.workflow
    return "fixed_budget" if isinstance(workflow, Pool) and workflow.fixed_budget else workflow.kind


def _pooled(workflow: Pool, sizes: tuple[int, ...]) -> tuple[int, ...]:
    """Real samples of every batch of a pool."""
    counts = [workflow.real_fraction * size for size in sizes]
    if any(
        abs(count - round(count)) > _WHOLE * size for count, size in zip(counts[1:], sizes[1:], strict=True)
    ):
        raise InvalidInput.at(
            "/workflow/real_fraction", "not_whole",
            "A simulation draws whole numbers of real samples: choose a fraction that makes them whole.",
        )  # fmt: skip
    return tuple(round(count) for count in counts)


def _enough_for_least_squares(
    request: EstimatorSimulationRequest, sizes: tuple[int, ...], real: tuple[int, ...]
) -> None:
    """Every sample that is fitted by itself needs as many rows as there are coefficients."""
    if not isinstance(request.family, LeastSquares):
        return
    workflow, d = request.workflow, request.family.dimension
    apart = isinstance(workflow, WeightedFresh | WeightedRetained) and workflow.weight != "pooled"
    fitted = list(sizes)
    if apart:
        fitted += [m for m in real if m] + [M - m for M, m in zip(sizes, real, strict=True) if m < M]
    if min(fitted) < d:
        raise InvalidInput.at(
            "/samples", "too_few",
            f"A fit of {min(fitted):,} samples in {d:,} dimensions is not determined; each needs at least {d:,}.",
        )  # fmt: skip


def _spreads(request: EstimatorSimulationRequest, found: Mapping[str, Expected]) -> tuple[float | None, ...]:
    """Of (estimate − truth)² under replace, where rare runs may carry its mean: about.

    exponential: θ as lognormal of mean 1, E θ^k = e^(k(k−1)s²/2). poisson: what is not extinct, with probability P,
    as exponential of mean λ/P.
    """
    if not isinstance(request.workflow, Replace):
        return ()
    if "log_variance" in found:
        spreads = []
        for s in found["log_variance"].values:
            second, third, fourth = (exp(min(factor * (s or 0.0), 230.0)) for factor in (1.0, 3.0, 6.0))
            spreads.append(
                sqrt(max((fourth - 4 * third + 6 * second - 3) / (second - 1) ** 2 - 1, 2.0)) if s else None
            )
        return tuple(spreads)
    if "extinction" in found:
        return tuple(
            sqrt(max(6.0 / max(1.0 - (one or 0.0), 1e-12) - 1.0, 2.0)) for one in found["extinction"].values
        )
    return ()
