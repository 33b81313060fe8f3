"""Ridge fits of features in weight space: designs stacked or their Gram matrices added, one decomposition for all."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, cast

import numpy as np

from service.simulation.costs import MICROSECOND
from service.simulation.problem import Labels, stacked
from service.simulation.solvers import MANY, PositiveSolver, gram, least_squares, solve_triangle, symmetric
from service.theory.model import Array


class Rows(Protocol):
    """Features of one design, as far as a fit needs them; see ``drawn.Drawn``."""

    rows: int
    samples: int
    kept: Array | None

    @property
    def triangle(self) -> bool:
        """Whether the rows are a lower triangular matrix."""
        ...

    def gram_matrix(self) -> Array:
        """XᵀX, lower triangle."""
        ...


class WeightSystem:
    """argmin_w (1/N) Σ_s ω_s ‖X_s w − y_s‖² + λ ‖w‖², for one penalty after another.

    ``projection`` P, shape (m, dimension): w = Pᵀv with v the fit on features P x. N counts all samples, of weight 0
    too. The solvers are LAPACK's: Cholesky or tridiagonal form of the smaller of Gram and kernel matrix; at penalty 0
    with fewer than two rows for a feature, where the Gram matrix would square the condition, QR of the rows.
    """

    def __init__(
        self,
        dimension: int,
        designs: Sequence[Rows],
        weights: Sequence[float],
        projection: Array | None,
        penalties: Sequence[float],
    ) -> None:
        self.dimension, self.P = dimension, projection
        self.N = sum(design.samples for design in designs)
        self.used = [
            (i, design, w) for i, (design, w) in enumerate(zip(designs, weights, strict=True)) if w > 0
        ]
        self.columns = dimension if projection is None else len(projection)
        self._ridges = [self.N * penalty for penalty in penalties]
        count = sum(design.rows for _, design, _ in self.used)
        self._kept = all(design.kept is not None for _, design, _ in self.used)
        self._dual = self._kept and count < self.columns
        self._near = self._kept and count < 2 * self.columns

    # --- what is decomposed ---------------------------------------------------------------------

    @cached_property
    def _rows(self) -> Array:
        """All rows, each times the root of its weight, projected: shape (rows, columns)."""
        X = stacked([_times(cast(Array, design.kept), np.sqrt(w)) for _, design, w in self.used])
        return X if self.P is None else X @ self.P.T

    def gram(self) -> Array:
        """Σ ω_s X_sᵀX_s in the original features, lower triangle, shape (dimension, dimension)."""
        total: Array | None = None
        for _, design, w in self.used:
            one = _times(design.gram_matrix(), w)
            total = one if total is None else total + one
        return np.zeros((self.dimension, self.dimension)) if total is None else total

    @cached_property
    def primal(self) -> PositiveSolver:
        """Of the Gram matrix of the fitted features."""
        if self._kept and (self._dual or (self.P is not None and len(self._rows) < self.dimension)):
            return PositiveSolver(gram(self._rows), self._ridges)
        if self.P is None:
            return PositiveSolver(self.gram(), self._ridges)
        return PositiveSolver(self.P @ symmetric(self.gram()) @ self.P.T, self._ridges)

    @cached_property
    def _kernel(self) -> PositiveSolver:
        return PositiveSolver(gram(np.ascontiguousarray(self._rows.T)), self._ridges)

    # --- fits -----------------------------------------------------------------------------------

    def fit(self, penalty: float, labels: Sequence[Sequence[Labels]]) -> list[Array]:
        """The models, shape (dimension,), of several fits; each has one ``Labels`` for each design."""
        if not self.used:
            return [np.zeros(self.dimension) for _ in labels]
        V = self._fitted(penalty, labels)
        return list((V if self.P is None else self.P.T @ V).T)

    def _fitted(self, penalty: float, labels: Sequence[Sequence[Labels]]) -> Array:
        ridge = self.N * penalty
        if ridge == 0 and self._near:
            return self._interpolated(labels)
        if self._dual:
            return self._rows.T @ self._kernel.solve(ridge, self._values(labels))
        return self.primal.solve(ridge, self._moments(labels))

    def _interpolated(self, labels: Sequence[Sequence[Labels]]) -> Array:
        """Penalty 0: least squares of least norm on the rows themselves."""
        return self._least_squares(self._values(labels))

    def _least_squares(self, Y: Array) -> Array:
        triangle = len(self.used) == 1 and self.P is None and self.used[0][1].triangle
        if triangle and np.all(self._rows.diagonal() != 0):
            return solve_triangle(self._rows, Y)
        return least_squares(self._rows, Y)

    def _values(self, labels: Sequence[Sequence[Labels]]) -> Array:
        """Labels as columns, each times the root of its weight."""
        columns = [
            np.concatenate([np.sqrt(w) * cast(Array, one[i].values) for i, _, w in self.used])
            for one in labels
        ]
        return np.stack(columns, axis=1)

    def _moments(self, labels: Sequence[Sequence[Labels]]) -> Array:
        """Σ ω_s X_sᵀy_s as columns, projected."""
        B = np.zeros((self.dimension, len(labels)))
        for i, design, w in self.used:
            found = [one[i] for one in labels]
            if design.kept is None:
                B += w * np.stack([cast(Array, one.moments) for one in found], axis=1)
            else:
                B += w * (design.kept.T @ np.stack([cast(Array, one.values) for one in found], axis=1))
        return B if self.P is None else self.P @ B

    def operator(self, penalty: float) -> Array:
        """The matrix that takes Σ ω_s X_sᵀy_s to the model, shape (dimension, dimension)."""
        identity = np.eye(self.columns)
        if not self.used:
            return np.zeros((self.dimension, self.dimension))
        if penalty == 0 and self._near:
            inverse = self._least_squares(np.eye(len(self._rows)))
            inner = inverse @ inverse.T
        else:
            inner = self.primal.solve(self.N * penalty, identity)
        return inner if self.P is None else self.P.T @ inner @ self.P


@dataclass(frozen=True, eq=False)
class WeightResponse:
    """``problem.LabelResponse`` of a model ŵ = R Σ_s ω_s b_s, where b_s = X_sᵀy_s stand for the labels.

    ``operator``: R, shape (dimension, dimension); ``variances``: of the features, shape (dimension,).
    """

    operator: Array
    weights: tuple[float, ...]
    variances: Array

    def onto(self, batch: int, remembered: Array) -> Array:
        """ω_s G R for a design of Gram matrix G."""
        return _times(remembered @ self.operator, self.weights[batch])

    @cached_property
    def _squares(self) -> Array:
        return np.asarray((self.operator * self.variances) @ self.operator)

    def square(self, one: int, other: int) -> Array:
        """ω_s ω_t R Σ R."""
        return _times(self._squares, self.weights[one] * self.weights[other])


def _times(matrix: Array, factor: float) -> Array:
    return matrix if factor == 1.0 else factor * matrix


def system_flops(
    dimension: int, rows: int, width: int | None, penalties: Sequence[float], *, triangle: bool = False
) -> float:
    """Operations of a ``WeightSystem`` of so many ``rows``: projections, QR, kernel matrix, decompositions.

    ``triangle``: the rows are triangular, so that a fit without penalty needs no QR.
    """
    d, m = float(dimension), float(dimension if width is None else width)
    least = min(rows, m)
    flops = 0.0 if width is None else 2.0 * m * d * min(rows, d + m)
    if rows < m:
        flops += rows * rows * m
    if rows < 2 * m and not triangle:
        flops += least_squares_flops(rows, m) * sum(penalty == 0 for penalty in penalties)
    positive = sum(penalty > 0 for penalty in penalties)
    return flops + (4.0 if positive >= MANY else positive / 3.0) * least**3 + 4.0 * least**2 * len(penalties)


def least_squares_flops(rows: float, columns: float) -> float:
    """Of ``solvers.least_squares``: of few columns a QR is as slow as memory."""
    least, most = min(rows, columns), max(rows, columns)
    return 100 * MICROSECOND + 4.0 * most * least * (least + 300.0)


def system_numbers(
    dimension: int, rows: int | None, width: int | None, penalties: Sequence[float], *, stacked: bool
) -> float:
    """Numbers that a ``WeightSystem`` holds; ``rows``: of its designs, None where they are not kept.

    ``stacked``: the rows are those of several designs.
    """
    d, m = float(dimension), float(dimension if width is None else width)
    copies = 4.0 if len(set(penalties)) >= MANY else 2.0
    held = 0.0 if width is None else m * d
    if rows is None:
        return held + (d * d if width is None else m * d + d * d) + copies * m * m
    near, dual = rows < 2 * m and 0 in penalties, rows < m
    if width is not None or (stacked and (near or dual)):
        held += rows * m  # projected, or below each other
    if near:
        held += 5.0 * rows * m
    if dual:
        held += rows * m
    return held + copies * min(rows, m) ** 2
