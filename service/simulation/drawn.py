"""Features of one design of a spectrum: kept, or drawn again from their stream block by block when they are used."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, cast

import numpy as np
from numpy.random import Generator

from service.simulation.features import Bartlett, Features, draw_rows
from service.simulation.plan import Design
from service.simulation.problem import Streams
from service.simulation.process import Place
from service.simulation.solvers import gram, gram_of_triangle, symmetric
from service.theory.model import Array

KEPT: Final = 1 << 20
"""Numbers of a design, 8 MB, up to which it is kept whatever its shape."""

BLOCK: Final = 1 << 19
"""Numbers drawn at a time: 4 MB stay in the outer cache; with 2 MB a fit takes a twentieth longer (d = 1,000)."""

ROWS: Final = 256
"""Rows drawn at a time, at least: every block adds to the whole Gram matrix."""


@dataclass(eq=False)
class Drawn:
    """Features of one design: all rows if they are few, else the stream that draws them again, block by block.

    ``scale``: what independent features are multiplied by, their standard deviations or a root of their covariance.
    ``triangle``: the rows are lower triangular. ``gram``: XᵀX, lower triangle, once it was needed.
    """

    rows: int
    samples: int
    scale: Array
    features: Features
    stream: tuple[Streams, Design]
    kept: Array | None = None
    gram: Array | None = None

    @property
    def triangle(self) -> bool:
        """Whether the rows are a lower triangular matrix."""
        return isinstance(self.features, Bartlett) and self.rows == len(self.scale) and self.scale.ndim == 1

    def blocks(self) -> Iterator[Array]:
        """Features that are not kept, before they are scaled; a block of rows is overwritten by the next."""
        streams, design = self.stream
        generator = streams.design(design.place)
        height = max(BLOCK // len(self.scale), ROWS)
        buffer = np.empty((height, len(self.scale)))
        for first in range(0, self.rows, height):
            block = buffer[: min(height, self.rows - first)]
            draw_rows(self.features, generator, block)
            yield block

    def gram_matrix(self) -> Array:
        """XᵀX, lower triangle, shape (dimension, dimension)."""
        if self.gram is None:
            if self.triangle:
                self.gram = gram_of_triangle(cast(Array, self.kept))
            elif self.kept is not None:
                self.gram = gram(self.kept)
            else:
                self.moments({})
        return cast(Array, self.gram)

    def moments(self, noises: Mapping[Place, Generator]) -> dict[Place, Array]:
        """Xᵀε for noises of variance 1, of rows that are not kept; makes XᵀX in the same pass, unless it was made."""
        d = len(self.scale)
        total = None if self.gram is not None else np.zeros((d, d), order="F")
        sums = {place: np.zeros(d) for place in noises}
        for block in self.blocks():
            for place, noise in noises.items():
                sums[place] += noise.standard_normal(len(block)) @ block
            if total is not None:
                total = gram(block, total)
        if total is not None:
            self.gram = scaled_gram(total, self.scale)
        return {place: _scaled(one, self.scale) for place, one in sums.items()}


def scaled_gram(total: Array, by: Array) -> Array:
    """XᵀX of X = Z diag(by), or Z by, from ZᵀZ: of both the lower triangle."""
    if by.ndim == 1:
        total *= by[:, None]
        total *= by
        return total
    return np.asarray(by.T @ (symmetric(total) @ by))


def _scaled(row: Array, by: Array) -> Array:
    return row * by if by.ndim == 1 else row @ by


def scale(rows: Array, by: Array) -> None:
    """Give independent features, in place, their variances or their covariance."""
    if by.ndim == 1:
        rows *= by
    else:
        rows[...] = rows @ by
