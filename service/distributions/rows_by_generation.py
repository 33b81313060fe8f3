"""Simulated curves of a distribution beside their predictions: one flat list of quantities by generation."""

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any

import numpy as np
from pydantic import Field

from service.predictions.responses import Answer
from service.simulation.reduce import mean_and_error
from service.simulations.kinds import Cell, Figure, Point, Series
from service.theory.model import Array


class Measured(Answer):
    """A quantity of one generation: its mean over replicates beside its prediction."""

    generation: int
    quantity: str
    mean: float | None = Field(
        description="null before the first replicate is done, and where it is infinite."
    )
    standard_error: float | None = Field(description="null before the second replicate is done.")
    prediction: float | None
    expected_relative_error: float | None = Field(description="Of the prediction itself; 0: exact.")
    z_score: float | None = Field(
        description="(mean − prediction)/standard error; null where nothing is predicted, or nothing varied."
    )
    infinite: int = Field(description="Replicates in which it is infinite.")
    no_prediction: str | None = Field(description="Why there is none; null where there is one.")


class Agreement(Answer):
    """The z-scores of predictions whose own error is below a fifth of the standard error.

    A mean square of about 1, and few beyond 3, is agreement.
    """

    compared: int
    mean_square_z: float | None
    largest_z: float | None
    beyond_three: int


class Simulated(Answer):
    """What was measured so far."""

    replicates_done: int
    agreement: Agreement
    measured: list[Measured]


def expected(
    generation: int,
    quantity: str,
    prediction: float | None,
    error: float | None = None,
    reason: str | None = None,
) -> dict[str, Any]:
    """One row as it is stored at submit; ``reason``: why nothing is predicted."""
    return {
        "generation": generation,
        "quantity": quantity,
        "prediction": prediction,
        "error": error,
        "reason": reason,
    }


def compared(rows: Sequence[Mapping[str, Any]], outcomes: Array) -> Simulated:
    """Each expected row beside its outcomes, shape (rows, replicates)."""
    replicates = outcomes.shape[1]
    measured = [_measured(row, values) for row, values in zip(rows, outcomes, strict=True)]
    exact = [one.z_score for one in measured if one.z_score is not None and _is_sharp(one)]
    return Simulated(
        replicates_done=replicates,
        agreement=Agreement(
            compared=len(exact),
            mean_square_z=float(np.mean(np.square(exact))) if exact else None,
            largest_z=max(map(abs, exact), default=None),
            beyond_three=sum(abs(z) > 3.0 for z in exact),
        ),
        measured=measured,
    )


def _is_sharp(one: Measured) -> bool:
    """Whether the prediction's own error is far below what the simulation can tell."""
    assert one.prediction is not None
    assert one.standard_error is not None
    return (one.expected_relative_error or 0.0) * abs(one.prediction) <= 0.2 * one.standard_error


def _measured(row: Mapping[str, Any], values: Array) -> Measured:
    mean, error = mean_and_error(values)
    prediction, z = row["prediction"], None
    if mean is not None and prediction is not None and error:
        z = (mean - prediction) / error
    return Measured(
        generation=row["generation"],
        quantity=row["quantity"],
        mean=mean,
        standard_error=error,
        prediction=prediction,
        expected_relative_error=row["error"],
        z_score=z if z is not None and isfinite(z) else None,
        infinite=int(np.isinf(values).sum()),
        no_prediction=row["reason"],
    )


def table(measured: Sequence[Measured]) -> list[dict[str, Cell]]:
    """One row per generation and quantity."""
    return [
        {
            "generation": one.generation,
            "quantity": one.quantity,
            "simulated": one.mean,
            "standard_error": one.standard_error,
            "predicted": one.prediction,
            "expected_relative_error": one.expected_relative_error,
            "z_score": one.z_score,
            "infinite": one.infinite,
            "no_prediction": one.no_prediction,
        }
        for one in measured
    ]


def curves(measured: Sequence[Measured], quantities: Sequence[str], y_label: str) -> Figure:
    """The named quantities over generations."""
    series = []
    for name in quantities:
        mine = [one for one in measured if one.quantity == name]
        series.append(
            Series(
                name.replace("_", " "),
                tuple(float(one.generation) for one in mine),
                tuple(one.prediction for one in mine),
                tuple(one.mean for one in mine),
                tuple(one.standard_error for one in mine),
            )
        )
    return Figure("generation", y_label, tuple(series))


def stored_rows(points: Sequence[Point]) -> list[dict[str, Any]]:
    """The rows of the one point that a distribution's simulation has."""
    rows: list[dict[str, Any]] = points[0]["rows"]
    return rows
