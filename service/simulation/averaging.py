"""Averaging over the label noise: the expectation of every error given the designs (Rao-Blackwell).

Every model is linear in the noises of all labels. Given the designs, projections and shifts, labels are those of the
model before plus independent noise, and a model is a linear map of its labels; so means and covariances follow exactly,
and E‖ŵ − w_0‖² = ‖E ŵ − w_0‖² + E‖ŵ − E ŵ‖². The mean over replicates is the same as without averaging; what is left
of its variance is that of the designs alone.
"""

from typing import Any

import numpy as np

from service.simulation.costs import Burden
from service.simulation.plan import Plan
from service.simulation.problem import LabelResponse, Problem, Streams
from service.simulation.replicate import Replicate, run
from service.theory.model import Array


def averaged(problem: Problem[Any], planned: Plan, streams: Streams) -> list[float]:
    """The expected parts of every outcome given the designs, in the order of ``PARTS``."""
    means = Replicate(problem, planned, streams, noisy=False)
    moments = _Moments(problem, planned)
    for task, (solver,) in run([means]):
        system = planned.systems[task.system]
        drawn = [means.drawn[design] for design in system.designs]
        for design, features in zip(system.designs, drawn, strict=True):
            if design not in moments.remembered:
                moments.remembered[design] = problem.remembered(features)
        for penalty in task.penalties:
            response = problem.response(solver, system.weights, penalty, drawn)
            moments.responses[task.system, penalty] = response
    values: list[float] = []
    for outcome in planned.outcomes:
        values += (
            problem.test_error(means.models[outcome.total]) + moments.spread(outcome.total),
            problem.test_error(means.models[outcome.bias]),
            moments.spread(outcome.variance),
        )
    return values


def burden(problem: Problem[Any], planned: Plan) -> Burden:
    """Of averaging, beside the replicate itself."""
    samples = [design.samples for design in planned.designs]
    size = float(max(map(problem.label_size, samples), default=0))
    responses = []
    for task in (task for tasks in planned.schedule for task in tasks):
        system = planned.systems[task.system]
        one = problem.response_burden([samples[design] for design in system.designs], system.width)
        responses += [one] * len(task.penalties)
    totals = {outcome.total for outcome in planned.outcomes}
    fitted = [planned.fits[fit].batches for fit in totals]
    batches = {batch for one in fitted for batch in one}
    pairs = min(sum(len(one) ** 2 for one in fitted), len(batches) ** 2) + len(batches)
    parents = max(map(len, fitted), default=0)
    return Burden(
        sum(one.flops for one in responses) + 2.0 * pairs * parents * size**3,
        sum(one.numbers for one in responses) + (pairs + len(batches) * parents) * size**2,
    )


class _Moments:
    """Covariances of labels given the designs, each computed when it is first needed."""

    def __init__(self, problem: Problem[Any], planned: Plan) -> None:
        self.problem, self.plan = problem, planned
        self.remembered: dict[int, Any] = {}
        self.responses: dict[tuple[int, float], LabelResponse] = {}
        self._onto: dict[tuple[int, int, int], Array] = {}
        self._known: dict[tuple[int, int], Array | None] = {}

    def spread(self, fit: int) -> float:
        """E‖ŵ − E ŵ‖² of a fit."""
        response, batches = self._response(fit), self.plan.fits[fit].batches
        handed = [isinstance(self.plan.batches[batch].labels, int) for batch in batches]
        total = 0.0
        for s, one in enumerate(batches):
            for t, other in enumerate(batches[: s + 1]):
                if s != t and not handed[s] and not handed[t]:
                    continue  # independent
                found = self.covariance(one, other)
                if found is not None:
                    total += (1.0 if s == t else 2.0) * float(np.vdot(response.square(s, t), found))
        return total

    def covariance(self, one: int, other: int) -> Array | None:
        """Of the labels of two batches, None where it is zero: the later one's are expanded in those of its model."""
        if (self.plan.batches[one].place, one) < (self.plan.batches[other].place, other):
            found = self.covariance(other, one)
            return None if found is None else found.T
        if (one, other) not in self._known:
            self._known[one, other] = self._expanded(one, other)
        return self._known[one, other]

    def _expanded(self, one: int, other: int) -> Array | None:
        batch = self.plan.batches[one]
        total: Array | None = None
        if one == other and batch.noise_variance > 0:
            noise = self.problem.noise_covariance(self.remembered[batch.design])
            total = batch.noise_variance * noise
        if isinstance(batch.labels, int):
            for s, before in enumerate(self.plan.fits[batch.labels].batches):
                inner = self.covariance(before, other)
                if inner is not None:
                    part = self._handed(batch.labels, s, batch.design) @ inner
                    total = part if total is None else total + part
        return total

    def _handed(self, fit: int, batch: int, design: int) -> Array:
        """The matrix from the labels of a fit's batch to those that its model gives a design."""
        key = (fit, batch, design)
        if key not in self._onto:
            self._onto[key] = self._response(fit).onto(batch, self.remembered[design])
        return self._onto[key]

    def _response(self, fit: int) -> LabelResponse:
        return self.responses[self.plan.fits[fit].system, self.plan.fits[fit].penalty]
