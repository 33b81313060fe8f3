"""Gaussian mixtures on a line, refitted by expectation maximization (scikit-learn) to samples of each other."""

import warnings
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from service.simulation.distributions.streams import replicate_generator
from service.theory.model import Array

QUANTITIES: Final = ("weight", "weight_variance", "lost", "variance", "drift")
"""Of each component."""


@dataclass(frozen=True, eq=False)
class _Fit:
    """The components that are left: which of the true ones, their weights, means and variances."""

    origin: NDArray[np.intp]
    weights: Array
    means: Array
    variances: Array


@dataclass(frozen=True, eq=False)
class MixtureWork:
    """Components N(k × separation, 1); every refit starts from the model that drew the samples.

    A component without samples of its own is lost. Rows: for each component QUANTITIES at every reported generation,
    variance and drift counted 0 once lost.
    """

    weights: tuple[float, ...]
    separation: float
    samples: int
    reported: tuple[int, ...]

    @property
    def rows(self) -> int:
        """How many numbers a replicate comes to."""
        return len(self.weights) * len(QUANTITIES) * len(self.reported)

    def outcomes(self, seed: int, first: int, last: int) -> Array:
        """Of the replicates first <= r < last, shape (rows, last - first)."""
        return np.stack([self._replicate(replicate_generator(seed, r)) for r in range(first, last)], axis=1)

    def _replicate(self, rng: Generator) -> Array:
        count = len(self.weights)
        means: Array = self.separation * np.arange(count, dtype=float)
        truth = _Fit(np.arange(count), np.array(self.weights), means, np.ones(count))
        model, wanted = truth, set(self.reported)
        found = np.zeros((count, len(QUANTITIES), len(self.reported)))
        column = 0
        for generation in range(self.reported[-1] + 1):
            model = self._refitted(rng, model)
            if generation in wanted:
                found[:, :, column] = self._measured(model, truth)
                column += 1
        return found.ravel()

    def _measured(self, model: _Fit, truth: _Fit) -> Array:
        row = np.zeros((len(self.weights), len(QUANTITIES)))
        row[:, 1], row[:, 2] = truth.weights**2, 1.0
        left = model.origin
        row[left, 0], row[left, 1] = model.weights, (model.weights - truth.weights[left]) ** 2
        row[left, 2], row[left, 3] = 0.0, model.variances
        row[left, 4] = (model.means - truth.means[left]) ** 2
        return row

    def _refitted(self, rng: Generator, model: _Fit) -> _Fit:
        from sklearn.mixture import (
            GaussianMixture,  # slow to import, and needed in this kind's children alone
        )

        counts = rng.multinomial(self.samples, model.weights)
        owner = np.repeat(np.arange(len(counts)), counts)
        x = model.means[owner] + np.sqrt(model.variances[owner]) * rng.standard_normal(self.samples)
        # what no sample is nearest to is gone; a component needs two samples for a variance
        nearest = np.argmin((x[:, None] - model.means) ** 2 / np.maximum(model.variances, 1e-12), axis=1)
        alive = np.flatnonzero(np.bincount(nearest, minlength=len(counts)) > 0)
        weights = model.weights[alive] / model.weights[alive].sum()
        em = GaussianMixture(
            len(alive), covariance_type="spherical", tol=1e-5, max_iter=300, reg_covar=1e-10,
            weights_init=weights, means_init=model.means[alive, None],
            precisions_init=1.0 / np.maximum(model.variances[alive], 1e-10), random_state=0,
        )  # fmt: skip
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # not converged: as far as 300 steps go
            em.fit(x[:, None])
        return _Fit(model.origin[alive], em.weights_ / em.weights_.sum(), em.means_[:, 0], em.covariances_)


def flops(components: int, samples: int, generations: int) -> float:
    """Of one replicate, about: some fifty steps of EM in each fit, and scikit-learn's start."""
    return float((generations + 1) * (50 * samples * components * 60 + 30_000_000))
