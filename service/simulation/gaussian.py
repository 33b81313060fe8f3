"""Gaussian features, drawn anew for every fit."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final, cast

import numpy as np

from service.simulation.problem import MAX_DESIGN, Streams, UnsupportedError, penalty_of, samples_of
from service.simulation.solvers import ridge, ridge_flops
from service.theory.model import REAL, Array, Population, Shift, Source, Stage

MAX_DIMENSION: Final = 2_000


@dataclass(frozen=True, eq=False)
class GaussianProblem:
    """Features x ~ N(0, diag(eigenvalues)) of the population; a model is its weights, shape (dimension,).

    The truth has (w_0)_i = √target_power: signs do not matter, since those of the features are symmetric.
    """

    population: Population

    def __post_init__(self) -> None:
        dimension = float(np.sum(self.population.multiplicities))
        if dimension > MAX_DIMENSION:
            raise UnsupportedError(
                f"{dimension:.0f} features; a literal simulation takes at most {MAX_DIMENSION}"
            )

    def _per_feature(self, levels: Array) -> Array:
        return cast(Array, np.repeat(levels, self.population.multiplicities.astype(int)))

    @cached_property
    def truth(self) -> Array:
        """w_0, shape (dimension,)."""
        return np.sqrt(self._per_feature(self.population.target_power))

    @cached_property
    def variances(self) -> Array:
        """The features' variances, shape (dimension,)."""
        return self._per_feature(self.population.eigenvalues)

    def check(self, stage: Stage) -> None:
        """Refuse designs that do not fit into memory."""
        size = sum(samples_of(source) for source in stage.sources) * max(len(self.truth), stage.width or 1)
        if size > MAX_DESIGN:
            raise UnsupportedError(
                f"stage {stage.name!r} needs a design of {size:.3g} numbers; a literal simulation takes at "
                f"most {MAX_DESIGN:.3g}"
            )

    def fit(self, stage: Stage, models: Mapping[str, Array], streams: Streams) -> Array:
        """Draw every source's features and labels, then one ridge fit."""
        designs, labels, weights = [], [], []
        for s, source in enumerate(stage.sources):
            T = samples_of(source)
            variances = (
                self.variances if source.eigenvalues is None else self._per_feature(source.eigenvalues)
            )
            X = streams.design(s).standard_normal((T, len(self.truth))) * np.sqrt(variances)
            w = self._labelling_model(source, models, streams.shift(s))
            noise = streams.noise(s).standard_normal(T) * np.sqrt(source.noise_variance)
            designs.append(X)
            labels.append(X @ w + noise)
            weights.append(np.full(T, source.weight))
        X, y, omega = np.concatenate(designs), np.concatenate(labels), np.concatenate(weights)
        if stage.width is None:
            return ridge(X, y, omega, penalty_of(stage))
        m = int(stage.width)
        P = streams.projection().standard_normal((m, len(self.truth))) / np.sqrt(m)
        return cast(Array, P.T @ ridge(X @ P.T, y, omega, penalty_of(stage)))

    def _labelling_model(
        self, source: Source, models: Mapping[str, Array], generator: np.random.Generator
    ) -> Array:
        if isinstance(source.labels, Shift):
            deviation = np.sqrt(self._per_feature(source.labels.power))
            return self.truth + deviation * generator.standard_normal(len(deviation))
        return self.truth if source.labels == REAL else models[source.labels]

    def test_error(self, model: Array) -> float:
        """‖model − w_0‖² in the features' variances."""
        return float(self.variances @ (model - self.truth) ** 2)

    def fit_flops(self, stage: Stage) -> float:
        """Drawing, labels, Gram matrix and factorisation."""
        N = sum(samples_of(source) for source in stage.sources)
        return ridge_flops(N, len(self.truth), stage.penalty)
