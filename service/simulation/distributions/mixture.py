"""Gaussian mixtures on a line, refitted by expectation maximization (scikit-learn) to samples of each other."""

import warnings
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from service.simulation.costs import MICROSECOND, NORMAL, Burden
from service.simulation.distributions.streams import replicate_generator
from service.theory.model import Array

QUANTITIES: Final = ("weight", "weight_variance", "lost", "variance", "drift")
"""Of each component."""
_STEPS: Final = 300  # of EM, at most


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

    ``real``: how many samples of each generation are real; ``independent``: each with that chance. A component without
    samples of its own is lost, until real samples bring it back. Rows: for each component QUANTITIES at every reported
    generation, variance and drift counted 0 while it is lost.
    """

    weights: tuple[float, ...]
    separation: float
    samples: int
    reported: tuple[int, ...]
    real: tuple[float, ...]
    independent: bool

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
            real = (
                self._real_samples(rng, generation) if generation else 0
            )  # generation 0 draws from the truth
            model = self._refitted(rng, model, truth, real)
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

    def _real_samples(self, rng: Generator, generation: int) -> int:
        expected = self.real[generation]
        return int(rng.binomial(self.samples, expected / self.samples)) if self.independent else int(expected)

    def _refitted(self, rng: Generator, model: _Fit, truth: _Fit, real: int) -> _Fit:
        from sklearn.mixture import (
            GaussianMixture,  # slow to import, and needed in this kind's children alone
        )

        x = _drawn(rng, model, self.samples - real)
        if real:
            x = np.concatenate([x, _drawn(rng, truth, real)])
            model = _with_the_lost(model, truth)
        # what no sample is nearest to is gone; a component needs two samples for a variance
        nearest = np.argmin((x[:, None] - model.means) ** 2 / np.maximum(model.variances, 1e-12), axis=1)
        alive = np.flatnonzero(np.bincount(nearest, minlength=len(model.origin)) > 0)
        weights = model.weights[alive] / model.weights[alive].sum()
        em = GaussianMixture(
            len(alive), covariance_type="spherical", tol=1e-5, max_iter=_STEPS, reg_covar=1e-10,
            weights_init=weights, means_init=model.means[alive, None],
            precisions_init=1.0 / np.maximum(model.variances[alive], 1e-10), random_state=0,
        )  # fmt: skip
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # not converged: as far as so many steps go
            em.fit(x[:, None])
        return _Fit(model.origin[alive], em.weights_ / em.weights_.sum(), em.means_[:, 0], em.covariances_)


def _drawn(rng: Generator, model: _Fit, count: int) -> Array:
    """Samples of a mixture, shape (count,), component by component."""
    owner = np.repeat(np.arange(len(model.weights)), rng.multinomial(count, model.weights))
    drawn: Array = model.means[owner] + np.sqrt(model.variances[owner]) * rng.standard_normal(count)
    return drawn


def _with_the_lost(model: _Fit, truth: _Fit) -> _Fit:
    """The model, and at the truth's places whatever it has lost: where EM starts when real samples are among others."""
    weights, means, variances = truth.weights.copy(), truth.means.copy(), truth.variances.copy()
    left = model.origin
    weights[left], means[left], variances[left] = model.weights, model.means, model.variances
    return _Fit(truth.origin, weights / weights.sum(), means, variances)


def burden(components: int, samples: int, generations: int, *, apart: bool) -> Burden:
    """Of one replicate: scikit-learn's calls and EM's steps.

    ``apart``: components that share no samples, for which few steps are enough. Else the more, up to 300, the fewer
    samples there are, since the models of two generations are further from each other then.
    """
    steps = 3 if apart else min(5 + 5e4 / samples, _STEPS)
    step = 25 * MICROSECOND + 3 * NORMAL * samples * components
    return Burden((generations + 1) * (700 * MICROSECOND + steps * step), 8.0 * samples * components)
