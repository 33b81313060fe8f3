"""What a scenario is, and what it tells: panels of curves of points, predicted, published and simulated."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from math import copysign
from pathlib import Path
from statistics import NormalDist
from typing import Any

from service.client.api import Client

Document = dict[str, Any]

LEVEL = 0.01  # chance that agreement is denied although theory and simulation are one


class MissingDataError(Exception):
    """A scenario needs files that are not there."""


@dataclass(frozen=True)
class Run:
    """How a scenario is carried out; ``replicates``: instead of the scenario's own number."""

    client: Client
    simulate: bool = False
    replicates: int | None = None
    seed: int = 0
    data: Path | None = None
    on_progress: Callable[[int, int], None] = lambda _done, _total: None


@dataclass(frozen=True)
class Point:
    """One place of a curve; what does not exist is None (an infinite error has no number).

    ``p_value``: of the difference, where the service tells it: it has seen how the single runs are distributed.
    ``replicates``: how many runs the standard error is from; few of them do not know it well.
    """

    x: float
    predicted: float | None
    published: float | None = None
    simulated: float | None = None
    standard_error: float | None = None
    p_value: float | None = None
    replicates: int | None = None

    @property
    def relative_difference(self) -> float | None:
        """Simulated minus predicted, by the predicted."""
        if self.simulated is None or not self.predicted:
            return None
        return self.simulated / self.predicted - 1

    @property
    def z_score(self) -> float | None:
        """Simulated minus predicted in standard errors, as a normal number of the same probability.

        That is the p-value's, or Student's of so many replicates.
        """
        if self.simulated is None or self.predicted is None or not self.standard_error:
            return None
        difference = self.simulated - self.predicted
        probability = self.p_value
        if not probability and self.replicates and self.replicates > 1:
            from scipy.special import stdtr  # slow to import

            probability = 2 * float(stdtr(self.replicates - 1, -abs(difference) / self.standard_error))
        if not probability:
            return difference / self.standard_error
        return copysign(NormalDist().inv_cdf(probability / 2), difference)


@dataclass(frozen=True)
class Curve:
    """Points in the order of x."""

    label: str
    points: tuple[Point, ...]


@dataclass(frozen=True)
class Axis:
    """What an axis shows."""

    label: str
    logarithmic: bool = False


@dataclass(frozen=True)
class Panel:
    """Curves over one x axis."""

    title: str
    x: Axis
    y: Axis
    curves: tuple[Curve, ...]


@dataclass(frozen=True)
class Scenario:
    """A published experiment.

    ``settings``: name and value as people read them; ``reports``: what the paper found; ``panels``: carries it out.
    """

    name: str
    title: str
    source: str
    settings: Mapping[str, str]
    reports: str
    panels: Callable[[Run], tuple[Panel, ...]]


def tell(scenario: Scenario, run: Run) -> Document:
    """The scenario carried out, as one JSON document.

    Raises MissingDataError, SimulationEndedError and the client's errors.
    """
    panels = scenario.panels(run)
    return {
        "name": scenario.name,
        "title": scenario.title,
        "source": scenario.source,
        "settings": dict(scenario.settings),
        "reports": scenario.reports,
        "panels": [_document(panel) for panel in panels],
        "agreement": agreement([p for panel in panels for curve in panel.curves for p in curve.points]),
    }


def agreement(points: list[Point]) -> Document | None:
    """Whether simulation and prediction are one, all points judged together; None without a simulation.

    ``agree``: no point is further off than ``threshold`` standard errors, which happens by chance with
    probability 1 % at most over all the points (Bonferroni's bound: points may share random numbers).
    """
    scores = [point.z_score for point in points if point.z_score is not None]
    if not scores:
        return None
    threshold = NormalDist().inv_cdf(1 - LEVEL / (2 * len(scores)))
    differences = [p.relative_difference for p in points if p.relative_difference is not None]
    return {
        "points": len(scores),
        "mean_squared_z": sum(z * z for z in scores) / len(scores),
        "largest_z": max(map(abs, scores)),
        "threshold": threshold,
        "largest_relative_difference": max(map(abs, differences)),
        "agree": all(abs(z) <= threshold for z in scores),
    }


def _document(panel: Panel) -> Document:
    document = asdict(panel)
    for curve, told in zip(panel.curves, document["curves"], strict=True):
        told["points"] = [
            asdict(point) | {"relative_difference": point.relative_difference, "z_score": point.z_score}
            for point in curve.points
        ]
    return document
