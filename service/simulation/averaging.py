"""Averaging over the label noise: the expectation of every error given the designs (Rao-Blackwell).

Every model is linear in the noises of all labels. Given the designs, projections and shifts, labels have moments
b = G w + Xᵀε (G = XᵀX, Var Xᵀε = σ² G, w the model that labels) and models are ŵ = R Σ_s ω_s b_s, so means and
covariances follow exactly, and E‖ŵ − w_0‖²_Σ = ‖E ŵ − w_0‖²_Σ + tr(Σ Cov ŵ). The mean over replicates is the same as
without averaging; what is left of its variance is that of the designs alone.
"""

from typing import Any, cast

import numpy as np

from service.simulation.plan import Plan
from service.simulation.problem import Streams
from service.simulation.replicate import Replicate
from service.simulation.solvers import symmetric
from service.simulation.spectrum import SpectrumProblem
from service.simulation.systems import WeightSystem
from service.theory.model import Array

Node = tuple[int, int, int]
"""Position, 0 for the labels of a batch and 1 for a fit, number: whatever a node depends on is smaller."""


def averaged(problem: SpectrumProblem, planned: Plan, streams: Streams) -> list[float]:
    """The expected parts of every outcome given the designs, in the order of ``PARTS``."""
    means = Replicate(cast(Any, problem), planned, streams, noisy=False)
    moments = _Moments(planned)
    for task, solver in means.run():
        assert isinstance(solver, WeightSystem)
        for design in planned.systems[task.system].designs:
            if design not in moments.grams:
                moments.grams[design] = symmetric(means.drawn[design].gram_matrix())
        for penalty in task.penalties:
            moments.operators[task.system, penalty] = solver.operator(penalty)
    values: list[float] = []
    for outcome in planned.outcomes:
        values += (
            problem.test_error(means.models[outcome.total]) + moments.spread(problem, outcome.total),
            problem.test_error(means.models[outcome.bias]),
            moments.spread(problem, outcome.variance),
        )
    return values


class _Moments:
    """Covariances of labels and models given the designs, each computed when it is first needed."""

    def __init__(self, planned: Plan) -> None:
        self.plan = planned
        self.grams: dict[int, Array] = {}
        self.operators: dict[tuple[int, float], Array] = {}
        self._known: dict[tuple[Node, Node], Array | None] = {}

    def spread(self, problem: SpectrumProblem, fit: int) -> float:
        """tr(Σ Cov ŵ) of a fit."""
        node = self._fit(fit)
        found = self.covariance(node, node)
        return 0.0 if found is None else float(problem.variances @ found.diagonal())

    def _fit(self, fit: int) -> Node:
        return (self.plan.systems[self.plan.fits[fit].system].position, 1, fit)

    def _batch(self, batch: int) -> Node:
        return (self.plan.batches[batch].place[0], 0, batch)

    def covariance(self, one: Node, other: Node) -> Array | None:
        """Cov(one, other), shape (dimension, dimension); None: zero. The later of the two is expanded."""
        if one < other:
            found = self.covariance(other, one)
            return None if found is None else found.T
        if (one, other) not in self._known:
            expand = self._of_fit if one[1] else self._of_batch
            self._known[one, other] = expand(one[2], one, other)
        return self._known[one, other]

    def _of_batch(self, number: int, node: Node, other: Node) -> Array | None:
        """b = G w + Xᵀε, with ε new to everything before."""
        batch = self.plan.batches[number]
        G = self.grams[batch.design]
        found: Array | None = None
        if isinstance(batch.labels, int):
            if node == other:
                inner = self.covariance(self._fit(batch.labels), self._fit(batch.labels))
                found = None if inner is None else G @ inner @ G
            else:
                inner = self.covariance(self._fit(batch.labels), other)
                found = None if inner is None else G @ inner
        if node == other and batch.noise_variance > 0:
            own = batch.noise_variance * G
            found = own if found is None else found + own
        return found

    def _of_fit(self, number: int, node: Node, other: Node) -> Array | None:
        """ŵ = R Σ_s ω_s b_s; with itself, R (Σ_st ω_s ω_t Cov(b_s, b_t)) R."""
        fit = self.plan.fits[number]
        R = self.operators[fit.system, fit.penalty]
        weights = self.plan.systems[fit.system].weights
        nodes = [self._batch(batch) for batch in fit.batches]
        total: Array | None = None
        for s, weight in zip(nodes, weights, strict=True):
            for t, factor in zip(nodes, weights, strict=True) if node == other else ((other, 1.0),):
                if weight * factor == 0:
                    continue
                inner = self.covariance(s, t)
                if inner is not None:
                    total = weight * factor * inner if total is None else total + weight * factor * inner
        if total is None:
            return None
        return np.asarray(R @ total @ R if node == other else R @ total)
