"""Curves of test errors: one request of the prediction API, and numbers of it that change along the curve."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any

from service.client.scenarios.scenario import Curve, Document, Point, Run

Number = int | float


@dataclass(frozen=True)
class Sweep:
    """A curve before it is computed.

    ``axes``: numbers of the request by JSON pointer, each with its values along the curve; they change together.
    ``x``: where the points stand. ``every``: of the points, each ``every``-th is simulated. ``published``: by x.
    ``together``: with several axes, all their combinations are simulated as one grid, so that the generators that the
    points have in common are fitted once; else each point by itself. The numbers are the same, to the last bit.
    """

    label: str
    request: Document
    x: Sequence[float]
    axes: Mapping[str, Sequence[Number]]
    every: int = 1
    published: Mapping[float, float] = field(default_factory=dict)
    method: str = "literal"
    together: bool = False

    def request_at(self, index: int) -> Document:
        """The request of one point."""
        request = self.request
        for pointer, values in self.axes.items():
            request = with_number(request, pointer, values[index])
        return request


def with_number(request: Document, pointer: str, value: Number) -> Document:
    """A copy of the request with this number at the JSON pointer (plain steps, through lists too)."""
    changed: Document = _replaced(request, pointer[1:].split("/"), value)
    return changed


def _replaced(part: Any, steps: list[str], value: Number) -> Any:
    if not steps:
        return value
    if isinstance(part, list):
        index = int(steps[0])
        return [_replaced(one, steps[1:], value) if i == index else one for i, one in enumerate(part)]
    return {**part, steps[0]: _replaced(part.get(steps[0]), steps[1:], value)}


def computed(sweeps: Sequence[Sweep], run: Run, replicates: int) -> tuple[Curve, ...]:
    """Every sweep as a curve, predicted and, if the run says so, simulated (``replicates`` unless the run differs)."""
    curves = [_predicted(sweep, run) for sweep in sweeps]
    if not run.simulate:
        return tuple(curves)
    count = run.replicates or replicates
    submitted = [_submitted(sweep, run, count) for sweep in sweeps]
    total, done = sum(len(parts) for parts in submitted) * count, 0
    for i, parts in enumerate(submitted):
        points = list(curves[i].points)
        for indices, simulation in parts:
            finished = simulation
            for finished in run.client.watch_success(simulation["id"]):
                run.on_progress(done + finished["progress"]["completed"], total)
            done += count
            for index, measured in zip(indices, finished["points"], strict=True):
                if index is None:
                    continue
                error = measured["test_error"]
                points[index] = replace(
                    points[index],
                    simulated=error["mean"],
                    standard_error=error["standard_error"],
                    p_value=measured["p_value"],
                )
        curves[i] = replace(curves[i], points=tuple(points))
    return tuple(curves)


def _predicted(sweep: Sweep, run: Run) -> Curve:
    points = []
    for index, x in enumerate(sweep.x):
        answer = run.client.predict(sweep.request_at(index))
        points.append(Point(x, answer["test_error"]["total"], sweep.published.get(x)))
    return Curve(sweep.label, tuple(points))


def _submitted(sweep: Sweep, run: Run, replicates: int) -> list[tuple[list[int | None], Document]]:
    """Simulations of the sweep, each with the indices of its points, in order; None: a point that is not asked for."""
    indices = list(range(0, len(sweep.x), sweep.every))
    options = {"replicates": replicates, "seed": run.seed, "method": sweep.method}
    if len(sweep.axes) > 1 and not sweep.together:
        return [([i], run.client.simulate({**sweep.request_at(i), **options})) for i in indices]
    grid = [{"pointer": p, "values": [values[i] for i in indices]} for p, values in sweep.axes.items()]
    # of the product of the axes the diagonal
    places = [
        indices[at[0]] if len(set(at)) == 1 else None
        for at in product(range(len(indices)), repeat=len(sweep.axes))
    ]
    return [(places, run.client.simulate({**sweep.request_at(indices[0]), **options, "grid": grid}))]
