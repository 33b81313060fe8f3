"""Simulations of a distribution by generation, beside its prediction: what the kinds' entries of the registry share."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite, sqrt
from typing import Any, ClassVar, Generic, TypeVar

from pydantic import Field

from service.predictions.responses import Answer, Value
from service.simulation.costs import Burden
from service.simulation.reduce import mean_and_error
from service.simulations.kinds import Cell, Figure, Kind, Planned, Point, Series
from service.simulations.resource import SimulationOptions
from service.theory.model import Array

LARGEST_ERROR = 0.25
Request = TypeVar("Request", bound=SimulationOptions)


class Compared(Answer):
    """One quantity at one generation: predicted, and the mean over the replicates so far."""

    generation: int
    predicted: Value
    mean: Value
    standard_error: Value = Field(description="Of the mean; null before the second replicate.")
    z_score: Value = Field(
        description="(mean − predicted)/standard_error; null where one of them is missing."
    )
    replicates: int


class SimulatedCurve(Answer):
    """One quantity by generation."""

    quantity: str
    expected_relative_error: Value = Field(
        description="Of the prediction: 0 is an identity, whose z-scores are standard normal; null: no prediction."
    )
    no_prediction: str | None = Field(description="Why there is no prediction, where there is none.")
    points: list[Compared]


class SimulatedCurves(Answer):
    """Every quantity by generation."""

    curves: list[SimulatedCurve]


@dataclass(frozen=True)
class Expected:
    """The prediction of one quantity at the reported generations; or why there is none.

    ``spreads``: standard deviations of one replicate over the mean, where they are known.
    """

    values: tuple[float | None, ...] = ()
    expected_relative_error: float | None = None
    reason: str | None = None
    spreads: tuple[float | None, ...] = ()


class Generational(Kind[Request, None], Generic[Request]):
    """A kind whose outcomes are quantities at reported generations, rows quantity by quantity."""

    y_label: ClassVar[str]
    shown: ClassVar[tuple[str, ...]]
    """The quantities in the plot."""

    @abstractmethod
    def quantities(self, request: Request) -> tuple[str, ...]:
        """Their names, in the order of the outcomes."""

    @abstractmethod
    def generations(self, request: Request) -> tuple[int, ...]:
        """The reported ones, rising."""

    @abstractmethod
    def expected(self, request: Request) -> Mapping[str, Expected]:
        """Predictions by quantity; a missing one has no formula. Raises InvalidInput."""

    @abstractmethod
    def burden(self, request: Request) -> Burden:
        """Of one replicate. Raises InvalidInput where it cannot be simulated."""

    def plan(self, request: Request, data: None) -> Planned:  # noqa: ARG002 - nothing is stored beforehand
        """The prediction, and the cost."""
        burden = self.burden(request)
        generations, expected = self.generations(request), self.expected(request)
        none = Expected(reason="There is no formula for this quantity.")
        curves = []
        for quantity in self.quantities(request):
            known = expected.get(quantity, none)
            curves.append({
                "quantity": quantity,
                "predicted": list(known.values or [None] * len(generations)),
                "spreads": list(known.spreads or [None] * len(generations)),
                "expected_relative_error": known.expected_relative_error,
                "reason": known.reason,
            })  # fmt: skip
        points = [{"generations": list(generations), "curves": curves}]
        return Planned(points, len(curves) * len(generations), burden.flops, burden.numbers)

    def result(self, request: Mapping[str, Any], points: Sequence[Point], outcomes: Array) -> SimulatedCurves:  # noqa: ARG002
        """Means, standard errors and z-scores."""
        generations, curves = points[0]["generations"], points[0]["curves"]
        shaped = outcomes.reshape(len(curves), len(generations), outcomes.shape[1])
        return SimulatedCurves(
            curves=[
                SimulatedCurve(
                    quantity=curve["quantity"],
                    expected_relative_error=curve["expected_relative_error"],
                    no_prediction=curve["reason"],
                    points=[
                        compared(generation, predicted, sample, spread)
                        for generation, predicted, spread, sample in zip(
                            generations, curve["predicted"], curve["spreads"], rows, strict=True
                        )
                    ],
                )
                for curve, rows in zip(curves, shaped, strict=True)
            ]
        )

    def rows(self, simulation: Any) -> list[dict[str, Cell]]:
        """One row per quantity and generation."""
        return [
            {"quantity": curve.quantity, **point.model_dump()}
            for curve in simulation.curves
            for point in curve.points
        ]

    def figure(self, simulation: Any) -> Figure:
        """The chosen quantities over the generations."""
        return Figure(
            "generation of synthetic data",
            self.y_label,
            tuple(_series(curve) for curve in simulation.curves if self.is_shown(curve.quantity)),
        )

    def wanted(self, points: Sequence[Point]) -> Sequence[int]:
        """A precision is about the quantities of the plot at the last generation."""
        last = len(points[0]["generations"])
        curves = enumerate(points[0]["curves"], start=1)
        return [k * last - 1 for k, curve in curves if self.is_shown(curve["quantity"])]

    def is_shown(self, quantity: str) -> bool:
        """Whether the plot has this quantity."""
        return quantity in self.shown


def compared(
    generation: int, predicted: float | None, sample: Array, spread: float | None = None
) -> Compared:
    """Mean and standard error of the replicates so far; nothing of a sample with infinite values but its number.

    ``spread``: predicted standard deviation of one replicate over the mean. Where it leaves a relative standard
    error above ``LARGEST_ERROR`` the sample's own one is far too small (the runs that carry the mean are missing):
    no z-score.
    """
    n = len(sample)
    mean, error = mean_and_error(sample)
    z = None
    shown = spread is None or spread <= LARGEST_ERROR * sqrt(n)
    if mean is not None and predicted is not None and error and shown:
        z = (mean - predicted) / error
    return Compared(
        generation=generation, predicted=predicted, mean=mean, standard_error=error,
        z_score=z if z is not None and isfinite(z) else None, replicates=n,
    )  # fmt: skip


def _series(curve: SimulatedCurve) -> Series:
    return Series(
        curve.quantity,
        tuple(float(point.generation) for point in curve.points),
        predicted=tuple(point.predicted for point in curve.points),
        measured=tuple(point.mean for point in curve.points),
        standard_error=tuple(point.standard_error for point in curve.points),
    )


def from_prediction(
    rows: Sequence[Any], names: Mapping[str, str], accuracies: Mapping[str, float | None]
) -> dict[str, Expected]:
    """``names``: the rows' field → the quantity in the validity; a column without any number has no prediction."""
    found = {}
    for name, accuracy in names.items():
        values = tuple(getattr(row, name) for row in rows)
        if all(value is None for value in values):
            found[name] = Expected(reason="The theory does not say here; the prediction's warnings tell why.")
        else:
            found[name] = Expected(values, accuracies.get(accuracy))
    return found
