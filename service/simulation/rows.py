"""Real rows: samples are drawn with replacement from those of a stored data set."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Final, cast

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from service.simulation.plan import Design
from service.simulation.problem import Labels, Streams, UnsupportedError, Wanted, samples_of
from service.simulation.solvers import PositiveSolver, gram, least_norm, least_squares
from service.simulation.systems import system_flops
from service.theory.empirical import modes
from service.theory.kernels import FeatureMap, Linear
from service.theory.kernels import gram as kernel_matrix
from service.theory.model import Array, Shift, Stage

MAX_DESIGN: Final = 20_000_000
"""Numbers in one stage's design matrix (160 MB) at most."""

MAX_KERNEL_SAMPLES: Final = 5_000
"""Samples of one kernel ridge fit at most (its matrix takes 200 MB)."""


@dataclass(frozen=True, eq=False)
class Chosen:
    """Rows of one design, by number."""

    rows: NDArray[np.int64]
    samples: int


@dataclass(frozen=True, eq=False)
class EmpiricalProblem:
    """Rows drawn with replacement from a stored data set; a model is its values on all rows, shape (n,).

    ``rows``: path of an NPY file, shape (n, d), float64. ``truth``: path of an NPY file, shape (n,): the function that
    labels real samples (before noise) and that test errors are measured against. Files are read when first needed.
    """

    rows: Path
    truth: Path
    feature_map: FeatureMap
    _cache: dict[str, Array] = field(default_factory=dict, repr=False)

    def __getstate__(self) -> dict[str, object]:
        return {"rows": self.rows, "truth": self.truth, "feature_map": self.feature_map, "_cache": {}}

    def _cached(self, name: str) -> Array:
        """Rows, truth, kernel matrix or eigenfunctions, each made once in this process."""
        if name not in self._cache:
            match name:
                case "X":
                    value = np.load(self.rows, allow_pickle=False)
                case "truth":
                    value = np.load(self.truth, allow_pickle=False)
                case "K":
                    X = self._cached("X")
                    value = kernel_matrix(self.feature_map, X, X)
                case _:
                    basis = modes(self.feature_map, self._cached("X"), self._cached("truth"))
                    value = basis.functions * np.sqrt(basis.eigenvalues)
            self._cache[name] = value
        return self._cache[name]

    @property
    def _shape(self) -> tuple[int, int]:
        rows = np.load(self.rows, mmap_mode="r", allow_pickle=False)
        return int(rows.shape[0]), int(rows.shape[1])

    @property
    def _linear(self) -> bool:
        return isinstance(self.feature_map, Linear)

    # --- limits ---------------------------------------------------------------------------------

    def check(self, stage: Stage) -> None:
        """Refuse covariate shift, which the rows do not have, and fits too large for memory."""
        for source in stage.sources:
            if source.eigenvalues is not None:
                raise UnsupportedError(
                    f"source {source.name!r} has a spectrum of its own; the rows of a data set have "
                    "only one: simulate covariate shift on an inline spectrum"
                )
        N = sum(samples_of(source) for source in stage.sources)
        columns = stage.width or (self._shape[1] if self._linear else None)
        if N * columns > MAX_DESIGN if columns else N > MAX_KERNEL_SAMPLES:
            limit = f"{MAX_DESIGN / columns:.3g}" if columns else f"{MAX_KERNEL_SAMPLES}"
            raise UnsupportedError(
                f"stage {stage.name!r} has {N} samples; a literal simulation here takes {limit}"
            )

    def memory(self, samples: int) -> float:
        """Numbers kept of a design: which rows it is."""
        return float(samples)

    # --- drawing --------------------------------------------------------------------------------

    @property
    def target(self) -> Array:
        """The truth on all rows, shape (n,)."""
        return self._cached("truth")

    def draw(self, design: Design, streams: Streams) -> Chosen:
        """Rows with replacement."""
        chosen = streams.design(design.place).integers(len(self.target), size=design.samples)
        return Chosen(chosen, design.samples)

    def label(self, drawn: Chosen, wanted: Sequence[Wanted], streams: Streams) -> list[Labels]:
        """The labelling models' values on the rows, plus noise."""
        noises = {
            one.place: streams.noise(one.place).standard_normal(drawn.samples)
            for one in wanted
            if one.noise_variance > 0
        }
        made = []
        for one in wanted:
            values = np.zeros(drawn.samples) if one.model is None else one.model[drawn.rows]
            if one.noise_variance > 0:
                values = values + np.sqrt(one.noise_variance) * noises[one.place]
            made.append(Labels(values))
        return made

    def shifted(self, shift: Shift, generator: Generator) -> Array:
        """w_0 + δ on all rows, with independent normal δ_i of variance ``shift.power`` in the eigenbasis."""
        deviation = np.sqrt(shift.power)
        return self.target + self._cached("features") @ (
            deviation * generator.standard_normal(len(deviation))
        )

    # --- fitting and measuring ------------------------------------------------------------------

    def solver(
        self,
        drawn: Sequence[Chosen],
        weights: Sequence[float],
        projection: tuple[int, Generator] | None,
        penalties: Sequence[float],
    ) -> "RowSystem":
        """Fits of these designs together."""
        N = sum(one.samples for one in drawn)
        chosen = np.concatenate([np.empty(0, np.int64), *(one.rows for one in drawn)])
        roots = np.sqrt(np.repeat(weights, [one.samples for one in drawn]))
        features = self._features(projection)
        ridges = [N * penalty for penalty in penalties]
        if features is None:
            return KernelSystem(self._cached("K"), chosen, roots, ridges)
        return FeatureSystem(features, chosen, roots, ridges)

    def _features(self, projection: tuple[int, Generator] | None) -> Array | None:
        """Explicit features of every row, where there are any: the rows, or a random projection."""
        if projection is None:
            return self._cached("X") if self._linear else None
        # Rows in the eigenbasis have the kernel's inner products, so they can be projected in place of φ(x).
        base = self._cached("X" if self._linear else "features")
        m, generator = projection
        return cast(Array, base @ generator.standard_normal((base.shape[1], m)) / np.sqrt(m))

    def test_error(self, model: Array) -> float:
        """Mean over all rows of (model − truth)²."""
        return self.mean_square(model - self.target)

    def mean_square(self, model: Array) -> float:
        """Mean over all rows."""
        return float(np.mean(model**2))

    # --- costs ----------------------------------------------------------------------------------

    def draw_flops(self, design: Design) -> float:
        """Choosing rows."""
        return 100.0 * design.samples

    def solver_flops(self, samples: Sequence[int], width: int | None, penalties: Sequence[float]) -> float:
        """Features or kernel matrix, decompositions, and the values of the fits on all rows."""
        n, d = self._shape
        N = sum(samples)
        if width is None and not self._linear:
            return 2.0 * n * N * (1 + len(penalties)) + system_flops(N, N, None, penalties, thin=True)
        columns = d if width is None else width
        projected = 0.0 if width is None else 2.0 * n * (d if self._linear else n) * width
        gram_flops = float(N) * columns * min(N, columns)
        values = 2.0 * n * columns * len(penalties)
        return projected + gram_flops + values + system_flops(columns, N, None, penalties, thin=True)


class RowSystem(ABC):
    """Ridge fits of chosen rows, one penalty after another; what a subclass fits with is its own.

    ``roots``: of the loss weights, shape (samples,); the penalty is per sample: the ridge is N times it.
    """

    def __init__(self, chosen: NDArray[np.int64], roots: Array, ridges: Sequence[float]) -> None:
        self.chosen, self.roots, self.ridges = chosen, roots, ridges

    def fit(self, penalty: float, labels: Sequence[Sequence[Labels]]) -> list[Array]:
        """The models' values on all rows; each fit has one ``Labels`` for each design."""
        Y = np.stack(
            [
                self.roots * np.concatenate([np.empty(0), *(cast(Array, one.values) for one in fit)])
                for fit in labels
            ],
            axis=1,
        )
        return list(self.values(len(self.roots) * penalty, Y).T)

    @abstractmethod
    def values(self, ridge: float, Y: Array) -> Array:
        """Values on all rows, shape (n, fits), of the fits to weighted labels ``Y``, shape (samples, fits)."""


class FeatureSystem(RowSystem):
    """With explicit features of all rows, shape (n, features)."""

    def __init__(
        self, features: Array, chosen: NDArray[np.int64], roots: Array, ridges: Sequence[float]
    ) -> None:
        super().__init__(chosen, roots, ridges)
        self.features = features

    @cached_property
    def _weighted(self) -> Array:
        return np.asarray(self.features[self.chosen] * self.roots[:, None])

    @cached_property
    def _dual(self) -> bool:
        return len(self.chosen) < int(self.features.shape[1])

    @cached_property
    def _solver(self) -> PositiveSolver:
        X = self._weighted
        return PositiveSolver(gram(np.ascontiguousarray(X.T) if self._dual else X), self.ridges)

    def values(self, ridge: float, Y: Array) -> Array:
        """By least squares on the rows, the kernel matrix or the Gram matrix."""
        if len(Y) == 0:
            W = np.zeros((self.features.shape[1], Y.shape[1]))
        elif ridge == 0:
            W = least_squares(self._weighted, Y)
        elif self._dual:
            W = self._weighted.T @ self._solver.solve(ridge, Y)
        else:
            W = self._solver.solve(ridge, self._weighted.T @ Y)
        return self.features @ W


class KernelSystem(RowSystem):
    """With the kernel matrix of all rows, shape (n, n)."""

    def __init__(self, K: Array, chosen: NDArray[np.int64], roots: Array, ridges: Sequence[float]) -> None:
        super().__init__(chosen, roots, ridges)
        self.K = K[chosen]

    @cached_property
    def _own(self) -> Array:
        """The kernel matrix of the chosen rows, with the roots of the weights on both sides."""
        return np.asarray(self.roots[:, None] * self.K[:, self.chosen] * self.roots)

    @cached_property
    def _solver(self) -> PositiveSolver:
        return PositiveSolver(self._own, self.ridges)

    def values(self, ridge: float, Y: Array) -> Array:
        """α = (K + ridge)^-1 y; penalty 0: of least norm."""
        if len(Y) == 0:
            return np.zeros((self.K.shape[1], Y.shape[1]))
        alpha = least_norm(self._own, Y) if ridge == 0 else self._solver.solve(ridge, Y)
        return self.K.T @ (self.roots[:, None] * alpha)
