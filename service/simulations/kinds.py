"""A kind of simulation: what the queue, the resource and its results need to know of what is simulated."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

from service.database.engine import Connection
from service.jobs.compute import Work
from service.predictions.responses import Answer
from service.simulations.resource import SimulationEstimate, SimulationOptions, SimulationSummary
from service.theory.model import Array
from service.web.tables import Cell

__all__ = ["Cell", "Figure", "Kind", "Planned", "Point", "Series"]

Request = TypeVar("Request", bound=SimulationOptions)
Data = TypeVar("Data")

Point = dict[str, Any]
"""What is stored of one point of a request: a JSON object."""


@dataclass(frozen=True)
class Planned:
    """A request whose every check has passed.

    ``points``: stored, one per point of its grid (at least one): whatever of it is computed once, at submit, such
    as the predictions; ``outcomes``: numbers kept of one replicate, all points together; ``flops``: of one
    replicate, about (see simulation/costs.py: what is no multiplication is counted as those that take as long);
    ``numbers``: held in memory at once, about, where a kind does not limit them itself.
    """

    points: list[Point]
    outcomes: int
    flops: float
    numbers: float = 0.0


@dataclass(frozen=True)
class Series:
    """One prediction curve with the simulated points on it; None where there is none.

    ``parts``: the same curve's predicted components, by name, which add up to it; stacked in a panel of their own.
    """

    label: str
    x: tuple[float, ...]
    predicted: tuple[float | None, ...]
    measured: tuple[float | None, ...]
    standard_error: tuple[float | None, ...]
    parts: tuple[tuple[str, tuple[float | None, ...]], ...] = ()


@dataclass(frozen=True)
class Figure:
    """What ``plot.svg`` draws: series over a common axis."""

    x_label: str
    y_label: str
    series: tuple[Series, ...]


class Kind(ABC, Generic[Request, Data]):
    """One entry of the registry; stateless."""

    name: ClassVar[str]
    """Stored with every simulation; the discriminator of the answers."""
    request: ClassVar[type[SimulationOptions]]
    """The body of the POST that creates one."""
    simulation: ClassVar[type[SimulationSummary]]
    """The answer: the summary's fields, ``request``, and those of ``result``."""
    estimate: ClassVar[type[SimulationEstimate]] = SimulationEstimate
    """The answer to validate_only: the cost, and those of ``result``'s fields that it names."""

    async def load(
        self,
        connection: Connection,  # noqa: ARG002 - for kinds that have some
        request: Request,  # noqa: ARG002
        rows_dir: Path,  # noqa: ARG002
    ) -> Data | None:
        """Stored data that the request names. Raises NotFound, RowsDeleted."""
        return None

    def seconds(self, request: Request) -> float:  # noqa: ARG002 - for kinds that can take long
        """About how long ``plan`` takes, rather too long than too short: which decides where it is computed."""
        return 0.0

    @abstractmethod
    def plan(self, request: Request, data: Data | None) -> Planned:
        """Check a request and predict it. Raises InvalidInput."""

    @abstractmethod
    def work(self, request: Request, points: Sequence[Point], data: Data | None) -> Work:
        """What is computed: small to pickle, quick to import; ``points``: as planned."""

    @abstractmethod
    def result(self, request: Mapping[str, Any], points: Sequence[Point], outcomes: Array) -> Answer:
        """What is reported: a model whose fields are those of ``simulation`` beyond the summary's and ``request``.

        ``outcomes``: shape (outcomes, replicates), of the replicates done so far: none at first, all in the end.
        """

    @abstractmethod
    def rows(self, simulation: Any) -> list[dict[str, Cell]]:
        """The result as a flat table, for CSV and Parquet: equal keys in equal order in every row."""

    @abstractmethod
    def figure(self, simulation: Any) -> Figure:
        """The result as curves."""

    def wanted(self, points: Sequence[Point]) -> Sequence[int]:  # noqa: ARG002 - for kinds that choose
        """The outcomes whose means have to reach a ``relative_standard_error``; empty: all of them."""
        return ()
