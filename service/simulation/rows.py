"""Real rows: samples are drawn with replacement from those of a stored data set."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, cast

import numpy as np

from service.simulation.problem import MAX_DESIGN, Streams, UnsupportedError, penalty_of, samples_of
from service.simulation.solvers import kernel_ridge, kernel_ridge_flops, ridge, ridge_flops
from service.theory.empirical import modes
from service.theory.kernels import FeatureMap, Linear, gram
from service.theory.model import REAL, Array, Shift, Source, Stage

MAX_KERNEL_SAMPLES: Final = 10_000
"""Samples of one kernel ridge fit at most (its matrix takes 800 MB)."""


@dataclass(frozen=True, eq=False)
class EmpiricalProblem:
    """Rows drawn with replacement from a stored data set; a model is its values on all rows, shape (n,).

    ``rows``: path of an NPY file, shape (n, d), float64. ``truth``: path of an NPY file, shape (n,): the
    function that labels real samples (before noise) and that test errors are measured against. Files are
    read when first needed.
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
                    value = gram(self.feature_map, X, X)
                case _:
                    basis = modes(self.feature_map, self._cached("X"), self._cached("truth"))
                    value = basis.functions * np.sqrt(basis.eigenvalues)
            self._cache[name] = value
        return self._cache[name]

    @property
    def _shape(self) -> tuple[int, int]:
        rows = np.load(self.rows, mmap_mode="r", allow_pickle=False)
        return int(rows.shape[0]), int(rows.shape[1])

    def check(self, stage: Stage) -> None:
        """Refuse covariate shift, which the rows do not have, and fits too large for memory."""
        for source in stage.sources:
            if source.eigenvalues is not None:
                raise UnsupportedError(
                    f"source {source.name!r} has a spectrum of its own; the rows of a data set have "
                    "only one: simulate covariate shift on an inline spectrum"
                )
        N = sum(samples_of(source) for source in stage.sources)
        columns = stage.width or (self._shape[1] if isinstance(self.feature_map, Linear) else None)
        if N * columns > MAX_DESIGN if columns else N > MAX_KERNEL_SAMPLES:
            limit = f"{MAX_DESIGN / columns:.3g}" if columns else f"{MAX_KERNEL_SAMPLES}"
            raise UnsupportedError(
                f"stage {stage.name!r} has {N} samples; a literal simulation here takes {limit}"
            )

    def fit(self, stage: Stage, models: Mapping[str, Array], streams: Streams) -> Array:
        """Draw rows and labels of every source, then one (kernel) ridge fit; its values on all rows."""
        truth = self._cached("truth")
        n = len(truth)
        chosen, labels, weights = [], [], []
        for s, source in enumerate(stage.sources):
            T = samples_of(source)
            rows = streams.design(s).integers(n, size=T)
            noise = streams.noise(s).standard_normal(T) * np.sqrt(source.noise_variance)
            chosen.append(rows)
            labels.append(self._labelling_model(source, models, streams.shift(s))[rows] + noise)
            weights.append(np.full(T, source.weight))
        rows, y, omega = np.concatenate(chosen), np.concatenate(labels), np.concatenate(weights)
        features = self._features(stage, streams)
        if features is not None:
            return features @ ridge(features[rows], y, omega, penalty_of(stage))
        K = self._cached("K")[rows]
        return kernel_ridge(K[:, rows], y, omega, penalty_of(stage)) @ K

    def _features(self, stage: Stage, streams: Streams) -> Array | None:
        """Explicit features of every row, where there are any: the rows, or a random projection."""
        linear = isinstance(self.feature_map, Linear)
        if stage.width is None:
            return self._cached("X") if linear else None
        # Rows in the eigenbasis have the kernel's inner products, so they can be projected in place of φ(x).
        base = self._cached("X" if linear else "features")
        m = int(stage.width)
        return cast(Array, base @ streams.projection().standard_normal((base.shape[1], m)) / np.sqrt(m))

    def _labelling_model(
        self, source: Source, models: Mapping[str, Array], generator: np.random.Generator
    ) -> Array:
        if isinstance(source.labels, Shift):
            deviation = np.sqrt(source.labels.power)
            shift = self._cached("features") @ (deviation * generator.standard_normal(len(deviation)))
            return self._cached("truth") + shift
        return self._cached("truth") if source.labels == REAL else models[source.labels]

    def test_error(self, model: Array) -> float:
        """Mean over all rows of (model − truth)²."""
        return float(np.mean((model - self._cached("truth")) ** 2))

    def fit_flops(self, stage: Stage) -> float:
        """The fit, and its values on all rows."""
        n, d = self._shape
        N = sum(samples_of(source) for source in stage.sources)
        linear = isinstance(self.feature_map, Linear)
        if stage.width is not None:
            m = int(stage.width)
            return 2.0 * n * (d if linear else n) * m + 2.0 * n * m + ridge_flops(N, m, stage.penalty)
        if linear:
            return 2.0 * n * d + ridge_flops(N, d, stage.penalty)
        return 2.0 * n * N + kernel_ridge_flops(N, stage.penalty)
