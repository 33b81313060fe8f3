"""What can be simulated: something that draws samples, labels them, fits them, and knows the truth."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.random import SFC64, Generator, SeedSequence

from service.simulation.costs import Burden
from service.simulation.plan import Design
from service.simulation.process import Place
from service.theory.model import Array, Shift, Source, Stage


class UnsupportedError(ValueError):
    """This problem cannot be simulated; the message says why and what can."""


@dataclass(frozen=True)
class Streams:
    """Independent random streams of one replicate: they depend on the seed, its number and the place alone.

    Each source has one stream for its design, one for its noise, one for its shift, so that common random numbers
    survive a change of any one of them: the first samples of a larger source are those of a smaller one. SFC64: the
    generator of numpy that makes normal numbers fastest.
    """

    seed: int
    replicate: int

    def _generator(self, *key: int) -> Generator:
        return Generator(SFC64(SeedSequence(self.seed, spawn_key=(self.replicate, *key))))

    def design(self, place: Place) -> Generator:
        """For the features of a source's samples."""
        return self._generator(*place, 0)

    def noise(self, place: Place) -> Generator:
        """For the noise of a source's labels."""
        return self._generator(*place, 1)

    def shift(self, place: Place) -> Generator:
        """For the unknown model of a shifted source."""
        return self._generator(*place, 2)

    def signs(self) -> Generator:
        """For the signs of the target's coefficients, where they are not known."""
        return self._generator()

    def projection(self, position: int) -> Generator:
        """For a stage's random features."""
        return self._generator(position)


@dataclass(frozen=True, eq=False)
class Wanted:
    """Labels to make: ``model`` (None: zero) plus noise of this variance from the stream of ``place``."""

    model: Array | None
    noise_variance: float
    place: Place


@dataclass(frozen=True, eq=False)
class Labels:
    """Labels of one design: themselves, shape (rows,), or where the rows were not kept Xᵀy, shape (features,)."""

    values: Array | None
    moments: Array | None = None


class Solver(Protocol):
    """Designs fitted together; a penalty and labels for each design give a model."""

    def fit(self, penalty: float, labels: Sequence[Sequence[Labels]]) -> list[Array]:
        """The models of several fits at one penalty per sample; each has one ``Labels`` for each design."""
        ...


class LabelResponse(Protocol):
    """How a fit's model depends on the labels of its batches, given the designs: it is linear in them.

    Labels stand for themselves, or for their moments Xᵀy where a fit sees no more of them, as the problem has it.
    """

    def onto(self, batch: int, remembered: Any) -> Array:
        """The matrix from the labels of one of the fit's batches to those that its model gives a design."""
        ...

    def square(self, one: int, other: int) -> Array:
        """M with mean square of the model = Σ_st y_sᵀ M_st y_t, of labels y_s, y_t of two batches."""
        ...


D = TypeVar("D")


class Problem(Protocol[D]):
    """Draws designs (``D`` is what it keeps of one) and fits them; only the problem can read a model."""

    def check(self, stage: Stage) -> None:
        """Raise ``UnsupportedError`` where the stage cannot be simulated."""
        ...

    @property
    def target(self) -> Array:
        """The model that labels real samples."""
        ...

    def shifted(self, shift: Shift, generator: Generator) -> Array:
        """A model at this random distance from the truth."""
        ...

    def draw(self, design: Design, streams: Streams) -> D:
        """Features of one design."""
        ...

    def label(self, drawn: D, wanted: Sequence[Wanted], streams: Streams) -> list[Labels]:
        """Labels of a design by several models."""
        ...

    def solver(
        self,
        drawn: Sequence[D],
        weights: Sequence[float],
        projection: tuple[int, Generator] | None,
        penalties: Sequence[float],
    ) -> Solver:
        """Fits of these designs; ``projection``: width and stream; ``penalties``: all that will be asked for."""
        ...

    def fit(
        self, solvers: Sequence[Any], penalty: float, labels: Sequence[Sequence[Sequence[Labels]]]
    ) -> list[list[Array]]:
        """The models of the same fits of several replicates; see ``Solver``."""
        ...

    def gains(self, design: Design) -> bool:
        """Whether ``fit`` is faster for several replicates at once than for one after the other."""
        ...

    def test_error(self, model: Array) -> float:
        """Mean squared difference from the truth over the population."""
        ...

    def mean_square(self, model: Array) -> float:
        """Mean square over the population."""
        ...

    def response(
        self, solver: Any, weights: Sequence[float], penalty: float, drawn: Sequence[D]
    ) -> LabelResponse:
        """How the fits of a solver at a penalty depend on their labels."""
        ...

    def remembered(self, drawn: D) -> Any:
        """What ``LabelResponse.onto`` and ``noise_covariance`` need of a design."""
        ...

    def noise_covariance(self, remembered: Any) -> Array:
        """Of labels that are independent noise of variance 1."""
        ...

    def label_size(self, samples: int) -> int:
        """Of the labels of a design, as ``LabelResponse`` takes them."""
        ...

    def response_burden(self, samples: Sequence[int], width: int | None) -> Burden:
        """Of the ``response`` of fits of these designs at one penalty."""
        ...

    def draw_flops(self, design: Design) -> float:
        """Floating-point operations of drawing and labelling a design, about; so also below."""
        ...

    def solver_flops(self, designs: Sequence[Design], width: int | None, penalties: Sequence[float]) -> float:
        """Of the fits of these designs at these distinct penalties."""
        ...

    def memory(self, design: Design) -> float:
        """Numbers kept of a design while it is needed, about."""
        ...

    def system_memory(
        self, designs: Sequence[Design], width: int | None, penalties: Sequence[float]
    ) -> float:
        """Numbers held besides while these designs are fitted, about."""
        ...


def samples_of(source: Source) -> int:
    """The number of samples; raises ``UnsupportedError`` where it is not a whole number."""
    if source.samples != int(source.samples):
        raise UnsupportedError(f"source {source.name!r} has {source.samples} samples: not a whole number")
    return int(source.samples)


def stacked(arrays: Sequence[Array]) -> Array:
    """Arrays below each other; a single one is itself, not a copy."""
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
