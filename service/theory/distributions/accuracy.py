"""How far each quantity of a distribution's prediction can be trusted, and what must be said beside it."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Accuracy:
    """Of one quantity: an identity of the stated model, or an approximation with its measured relative error."""

    quantity: str
    method: Literal["exact", "approximate"]
    expected_relative_error: float
    basis: str


def exact(quantity: str, basis: str) -> Accuracy:
    """An identity: accurate to rounding."""
    return Accuracy(quantity, "exact", 0.0, basis)


def approximate(quantity: str, expected_relative_error: float, basis: str) -> Accuracy:
    """A closure or an asymptotic law; the error is what was measured against simulation in its range."""
    return Accuracy(quantity, "approximate", expected_relative_error, basis)


@dataclass(frozen=True)
class Caution:
    """Why a value is missing or must not be extrapolated; ``quantity`` names it."""

    code: str
    message: str
    quantity: str | None = None
