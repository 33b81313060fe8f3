"""Ridge fits of chosen rows of a data set: with explicit features, or with the kernel matrix of all rows."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Final, cast

import numpy as np
from numpy.typing import NDArray

from service.simulation.problem import Labels
from service.simulation.solvers import PositiveSolver, gram, least_norm, least_squares
from service.theory.model import Array

Numbers = NDArray[np.int64]
FEW: Final = 4
"""Up to a quarter of the rows are copied to be multiplied."""


class RowSystem(ABC):
    """Ridge fits of chosen rows, one penalty after another; what a subclass fits with is its own.

    A model is a combination of functions: its values are ``basis`` times its coefficients. ``roots``: of the loss
    weights, shape (samples,); the penalty is per sample: the ridge is N times it.
    """

    def __init__(self, chosen: Numbers, roots: Array, ridges: Sequence[float]) -> None:
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
        return list(self.everywhere(self.coefficients(len(self.roots) * penalty, Y)).T)

    def response(self, penalty: float, samples: Sequence[int]) -> "RowResponse":
        """How the model depends on its labels; ``samples``: of each design."""
        operator = self.coefficients(len(self.roots) * penalty, np.diag(self.roots))
        edges = np.cumsum([0, *samples])
        parts = [slice(*ends) for ends in pairwise(edges)]
        return RowResponse(self.basis, operator, operator.T @ self.square @ operator, parts)

    @abstractmethod
    def coefficients(self, ridge: float, Y: Array) -> Array:
        """Shape (functions, fits), of the fits to weighted labels ``Y``, shape (samples, fits)."""

    @property
    @abstractmethod
    def basis(self) -> Callable[[Numbers], Array]:
        """The functions' values on some rows, shape (rows, functions); does not keep the system."""

    @abstractmethod
    def everywhere(self, coefficients: Array) -> Array:
        """The models' values on all rows, shape (n, fits)."""

    @property
    @abstractmethod
    def square(self) -> Array:
        """Mean products of the functions over all rows, shape (functions, functions)."""


@dataclass(frozen=True, eq=False)
class RowResponse:
    """``problem.LabelResponse`` of a model whose coefficients are ``operator`` times its labels.

    ``squares``: of the operator, in mean products over all rows, shape (samples, samples); ``parts``: where the labels
    of each design are.
    """

    basis: Callable[[Numbers], Array]
    operator: Array
    squares: Array
    parts: list[slice]

    def onto(self, batch: int, remembered: Numbers) -> Array:
        """The model's values on the remembered rows, by the labels of a batch."""
        return np.asarray(self.basis(remembered) @ self.operator[:, self.parts[batch]])

    def square(self, one: int, other: int) -> Array:
        """Of two batches."""
        return self.squares[self.parts[one], self.parts[other]]


class FeatureSystem(RowSystem):
    """With explicit features of all rows, shape (n, features)."""

    def __init__(self, features: Array, chosen: Numbers, roots: Array, ridges: Sequence[float]) -> None:
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

    def coefficients(self, ridge: float, Y: Array) -> Array:
        """By least squares on the rows, the kernel matrix or the Gram matrix."""
        if len(Y) == 0:
            return np.zeros((self.features.shape[1], Y.shape[1]))
        if ridge == 0:
            return least_squares(self._weighted, Y)
        if self._dual:
            return np.asarray(self._weighted.T @ self._solver.solve(ridge, Y))
        return self._solver.solve(ridge, self._weighted.T @ Y)

    @property
    def basis(self) -> Callable[[Numbers], Array]:
        """The rows' features."""
        return self.features.__getitem__

    def everywhere(self, coefficients: Array) -> Array:
        """Features times weights."""
        return np.asarray(self.features @ coefficients)

    @cached_property
    def square(self) -> Array:
        """The features' second moments."""
        return np.asarray(self.features.T @ self.features / len(self.features))


class KernelSystem(RowSystem):
    """With the kernel matrix of all rows, shape (n, n)."""

    def __init__(self, K: Array, chosen: Numbers, roots: Array, ridges: Sequence[float]) -> None:
        super().__init__(chosen, roots, ridges)
        self._all = K

    @cached_property
    def _own(self) -> Array:
        """The kernel matrix of the chosen rows, with the roots of the weights on both sides."""
        own = self._all[np.ix_(self.chosen, self.chosen)]
        own *= self.roots[:, None]
        own *= self.roots
        return own

    @cached_property
    def _solver(self) -> PositiveSolver:
        return PositiveSolver(self._own, self.ridges)

    def coefficients(self, ridge: float, Y: Array) -> Array:
        """(K + ridge)^-1 y; penalty 0: of least norm."""
        if len(Y) == 0:
            return np.zeros(Y.shape)
        alpha = least_norm(self._own, Y) if ridge == 0 else self._solver.solve(ridge, Y)
        return np.asarray(self.roots[:, None] * alpha)

    @property
    def basis(self) -> Callable[[Numbers], Array]:
        """Kernel functions of the chosen rows."""
        K, chosen = self._all, self.chosen

        def functions(rows: Numbers) -> Array:
            return np.asarray(K[np.ix_(rows, chosen)])

        return functions

    def everywhere(self, coefficients: Array) -> Array:
        """Kernel functions times coefficients; of many functions without a copy of them."""
        n = len(self._all)
        if FEW * len(self.chosen) < n:
            return np.asarray(self._all[self.chosen].T @ coefficients)
        by_row = np.zeros((n, coefficients.shape[1]))
        np.add.at(by_row, self.chosen, coefficients)
        return np.asarray(self._all @ by_row)

    @property
    def square(self) -> Array:
        """Of the kernel functions."""
        functions = self._all[self.chosen]
        return np.asarray(functions @ functions.T / len(self._all))
