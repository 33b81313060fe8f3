"""Real rows: samples are drawn with replacement from those of a stored data set."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, cast

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from service.simulation.costs import NORMAL, Burden
from service.simulation.plan import Design
from service.simulation.problem import Labels, Streams, UnsupportedError, Wanted, samples_of
from service.simulation.row_systems import FEW, FeatureSystem, KernelSystem, RowResponse, RowSystem
from service.simulation.solvers import MANY
from service.simulation.systems import least_squares_flops, system_flops
from service.theory.empirical import modes
from service.theory.kernels import FeatureMap, Linear
from service.theory.kernels import gram as kernel_matrix
from service.theory.model import Array, Shift, Stage

MAX_DESIGN: Final = 20_000_000
"""Numbers in one stage's design matrix (160 MB) at most."""

MAX_KERNEL_SAMPLES: Final = 5_000
"""Samples of one kernel ridge fit at most (its matrix takes 200 MB)."""

_GATHERING: Final = 0.3 * NORMAL  # copying one number of a row that is anywhere
_LABELLING: Final = (
    6.0 * NORMAL
)  # of a sample: which row it is, its noise, its value in every labelling model


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
            if source.covariance_key is not None:
                raise UnsupportedError(
                    f"source {source.name!r} has a covariance of its own; the rows of a data set have "
                    "only one: simulate covariate shift on an inline spectrum"
                )
        N = sum(samples_of(source) for source in stage.sources)
        columns = stage.width or (self._shape[1] if self._linear else None)
        if N * columns > MAX_DESIGN if columns else N > MAX_KERNEL_SAMPLES:
            limit = f"{MAX_DESIGN / columns:.3g}" if columns else f"{MAX_KERNEL_SAMPLES}"
            raise UnsupportedError(
                f"stage {stage.name!r} has {N} samples; a literal simulation here takes {limit}"
            )

    def memory(self, design: Design) -> float:
        """Numbers kept of a design: which rows it is."""
        return float(design.samples)

    def system_memory(
        self, designs: Sequence[Design], width: int | None, penalties: Sequence[float]
    ) -> float:
        """Of all rows their kernel matrix or features, and copies of those that were drawn."""
        n, d = self._shape
        N = float(sum(design.samples for design in designs))
        copies = 3.0 if len(set(penalties)) >= MANY else 2.0
        if width is None and not self._linear:
            return n * n + copies * N * N + (N * n if n > FEW * N else 0.0)
        m = float(d if width is None else width)
        fitted = (6.0 if 0 in penalties else 2.0) * N * m + copies * min(N, m) ** 2
        if width is None:
            return n * m + fitted
        base = float(n * d if self._linear else n * n)
        # eigenvectors of a kernel matrix are found once, and take four of its size
        return max(base + (base / n + n) * m + fitted, 0.0 if self._linear else 4.0 * base)

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
    ) -> RowSystem:
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

    def fit(
        self, solvers: Sequence[RowSystem], penalty: float, labels: Sequence[Sequence[Sequence[Labels]]]
    ) -> list[list[Array]]:
        """One replicate after the other."""
        return [solver.fit(penalty, own) for solver, own in zip(solvers, labels, strict=True)]

    def gains(self, design: Design) -> bool:  # noqa: ARG002
        """Nothing."""
        return False

    def test_error(self, model: Array) -> float:
        """Mean over all rows of (model − truth)²."""
        return self.mean_square(model - self.target)

    def mean_square(self, model: Array) -> float:
        """Mean over all rows."""
        return float(np.mean(model**2))

    # --- averaging ------------------------------------------------------------------------------

    def response(
        self,
        solver: RowSystem,
        weights: Sequence[float],  # noqa: ARG002 - the solver has them
        penalty: float,
        drawn: Sequence[Chosen],
    ) -> RowResponse:
        """Labels are themselves."""
        return solver.response(penalty, [one.samples for one in drawn])

    def remembered(self, drawn: Chosen) -> NDArray[np.int64]:
        """Which rows."""
        return drawn.rows

    def noise_covariance(self, remembered: NDArray[np.int64]) -> Array:
        """Of independent labels."""
        return np.eye(len(remembered))

    def label_size(self, samples: int) -> int:
        """One for each sample."""
        return samples

    def response_burden(self, samples: Sequence[int], width: int | None) -> Burden:
        """The operator, and its squares over all rows."""
        n, d = self._shape
        N = float(sum(samples))
        functions = width or (d if self._linear else N)
        flops = 2.0 * N * functions * (functions + 2 * N) + 2.0 * n * functions**2
        projected = 0.0 if width is None else float(n * width)
        return Burden(flops, N * functions + functions**2 + N * N + projected)

    # --- costs ----------------------------------------------------------------------------------

    def draw_flops(self, design: Design) -> float:
        """Choosing rows."""
        return _LABELLING * design.samples

    def solver_flops(self, designs: Sequence[Design], width: int | None, penalties: Sequence[float]) -> float:
        """Features or kernel matrix, decompositions, and the values of the fits on all rows."""
        n, d = self._shape
        N = float(sum(design.samples for design in designs))
        unpenalised = sum(penalty == 0 for penalty in penalties)
        if width is None and not self._linear:
            values = (_GATHERING + 2.0 * len(penalties)) * n * N + _GATHERING * N * N
            return values + system_flops(int(N), int(N), None, penalties)
        columns = float(d if width is None else width)
        projected = 0.0 if width is None else 2.0 * n * (d if self._linear else n) * width
        gram_flops = N * columns * min(N, columns) if unpenalised < len(penalties) else 0.0
        values = _GATHERING * N * columns + 2.0 * n * columns * len(penalties)
        least = int(min(N, columns))
        solved = system_flops(least, 2 * least, None, [penalty for penalty in penalties if penalty > 0])
        return projected + gram_flops + values + solved + unpenalised * least_squares_flops(N, columns)
