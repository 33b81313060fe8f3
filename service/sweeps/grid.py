"""The points of a sweep, and their predictions by the chunk."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil, prod

import numpy as np

from service.errors import InvalidInput
from service.predictions.fields import Variant, holds_whole_numbers
from service.predictions.variants import Family, family
from service.sweeps.schemas import Axis, RangeAxis, SweepRequest
from service.theory.model import Array, Population

MAX_SECONDS = 900.0
_CHUNK_SECONDS = 0.1  # between two looks at whether the client is still there
_LARGEST_CHUNK = 512
_MODES = 100_000  # points × modes that are taken at once: what stays in the processor's cache


@dataclass(frozen=True, eq=False)
class Grid:
    """Every combination of the axes' values, the last axis running fastest.

    ``chunk``: points that are predicted at once, in about ``chunk_seconds``.
    """

    axes: tuple[Array, ...]
    family: Family
    chunk: int
    chunk_seconds: float

    @property
    def size(self) -> int:
        """Number of points."""
        return prod(axis.size for axis in self.axes)

    def chunks(self) -> Iterator[Array]:
        """Values of the axes, shape (points, axes), in order, for ``family.table`` to predict."""
        # along the last axis where it is long: then the other fields are single numbers in a chunk
        length = self.axes[-1].size
        row = length if length >= 32 else self.size
        for begin in range(0, self.size, row):
            for start in range(begin, begin + row, self.chunk):
                stop = min(start + self.chunk, begin + row)
                places = np.unravel_index(np.arange(start, stop), [axis.size for axis in self.axes])
                yield np.stack([axis[place] for axis, place in zip(self.axes, places, strict=True)], axis=1)


def grid(request: SweepRequest, stored: Population | None) -> Grid:
    """The grid of a request; ``stored``: the population of the data set it names. Raises InvalidInput."""
    base = request.base.model_dump(mode="json", exclude_unset=True)
    axes, variants = [], []
    for i, axis in enumerate(request.axes):
        at = f"/axes/{i}"
        whole = holds_whole_numbers(base, axis.pointer)
        values = _values(axis, at, whole=whole)
        axes.append(values)
        variants.append(Variant.of(axis.pointer, values, at, whole=whole))
    found = family(base, variants, stored, request.order)
    points = prod(axis.size for axis in axes)
    combinations = prod(axes[i].size for i in found.slow)
    seconds = found.seconds(points, combinations)
    if seconds > MAX_SECONDS:
        raise InvalidInput.at(
            "/axes", "too_large",
            f"this sweep would take about {seconds:.0f} seconds; at most {MAX_SECONDS:.0f} are spent on one. "
            "Give fewer points, or vary fewer of the fields that change more than a number of the mix.",
        )  # fmt: skip
    most = max(1, min(_LARGEST_CHUNK, _MODES // found.modes))
    chunk = max(1, min(most, ceil(points * _CHUNK_SECONDS / seconds)))
    return Grid(tuple(axes), found, chunk, seconds * chunk / points)


def _values(axis: Axis, at: str, *, whole: bool) -> Array:
    if not isinstance(axis, RangeAxis):
        listed = np.array(axis.values, dtype=np.float64)
        if whole and np.any(listed != np.round(listed)):
            raise InvalidInput.at(f"{at}/values", "int_type", "The values of this field are integers.")
        return listed
    space = np.geomspace if axis.scale == "log" else np.linspace
    values = np.asarray(space(float(axis.start), float(axis.stop), axis.points))
    if not whole:
        return values
    rounded = np.round(values)
    return np.asarray(rounded[np.concatenate([[True], rounded[1:] != rounded[:-1]])])
