"""How one stage answers its data: the first-order fixed point and the second-order response.

A stage's model is, in every eigenmode, a shrunken mix of the models that labelled its data, minus what it could not
learn, plus a fluctuation:

    ŵ_i − w_i = Σ_s L_si (w_s − w)_i − U_i w_i + fluctuation_i,     Σ_s L_si + U_i = 1.

``learned`` L and ``unlearned`` U stay finite in every limit (penalty to 0 on both sides of the interpolation
threshold), so nothing here ever multiplies 0 by infinity. Written for errors w_s − w rather than for models w_s, the
second moments of the theory keep their full relative accuracy however small the error is.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

import numpy as np

from service.theory.model import Array


class Regime(StrEnum):
    """What decides a stage's fit, known before anything is solved."""

    EMPTY = "no data: the model is zero"
    RIDGE = "positive penalty"
    LEAST_SQUARES = "no penalty, more samples than modes: unbiased least squares"
    INTERPOLATING = "no penalty, fewer samples than modes: the smallest interpolating model"
    BOTTLENECK = "no penalty, fewer random features than samples and modes"
    THRESHOLD = "no penalty, as many samples as degrees of freedom: the error diverges"


def regime(samples: float, rank: float, width: float | None, penalty: float) -> Regime:
    """The regime of a fit on ``samples`` rows with positive weight, ``rank`` modes with positive variance.

    The error diverges where the penalty is 0 and samples = min(rank, width) (double descent's peak).
    """
    capacity = rank if width is None else min(rank, width)
    if samples == 0 or rank == 0:
        return Regime.EMPTY
    if penalty > 0:
        return Regime.RIDGE
    if samples == capacity:
        return Regime.THRESHOLD
    if samples < capacity:
        return Regime.INTERPOLATING
    return Regime.LEAST_SQUARES if capacity == rank else Regime.BOTTLENECK


@dataclass(frozen=True, eq=False)
class Response(ABC):
    """A solved stage.

    ``learned``: L, shape (sources, modes); ``unlearned``: U, shape (modes,); ``regime``: how it was solved.
    ``shares``: F_s = a_s / Σ_t a_t, shape (sources,), and ``resolvent``: (Σ_s a_s) Q, shape (modes,), so that
    L_s = F_s σ_s × it; 0 in modes that the stage does not see. ``features``: random features that limit it.
    """

    regime: Regime
    learned: Array
    unlearned: Array

    resolvent: Array
    shares: Array
    features: float | None

    @cached_property
    def learned_squared(self) -> Array:
        """L², shape (sources, modes)."""
        return self.learned**2

    @cached_property
    def unlearned_squared(self) -> Array:
        """U², shape (modes,)."""
        return self.unlearned**2

    @abstractmethod
    def fluctuation(self, residuals: Array, model_power: float) -> Array:
        """Variance of the model's fluctuation per mode, shape (modes,).

        ``residuals``: σ_s² + E‖w_s − E[ŵ|models]‖²_Σs for each source, shape (sources,);
        ``model_power``: Σ_i E[ŵ|models]_i², used where there are random features.
        Infinite at the interpolation threshold unless every residual is 0.
        """

    @property
    @abstractmethod
    def openness(self) -> float:
        """1 − (second-order degrees of freedom per sample), in [0, 1]: 0 at the interpolation threshold."""

    @abstractmethod
    def sensitivities(self, gradient: Array) -> tuple[Array, Array]:
        """The adjoint of ``fluctuation``: the derivatives of Σ_i gradient_i fluctuation_i.

        ``gradient``: shape (…, modes). Returns those by each residual, shape (…, sources), and by the model power, (…).
        """


@dataclass(frozen=True, eq=False)
class FixedResponse(Response):
    """A stage whose model does not fluctuate given its labels' models: without data, or with unlimited data."""

    @staticmethod
    def of(regime: Regime, learned: Array, unlearned: Array) -> "FixedResponse":
        """From what is learned and what is left."""
        nothing = np.zeros_like(unlearned)
        return FixedResponse(regime, learned, unlearned, nothing, np.zeros(learned.shape[0]), None)

    def fluctuation(self, residuals: Array, model_power: float) -> Array:  # noqa: ARG002
        """Zero."""
        return np.zeros_like(self.unlearned)

    @property
    def openness(self) -> float:
        """One."""
        return 1.0

    def sensitivities(self, gradient: Array) -> tuple[Array, Array]:
        """Zero."""
        return np.zeros((*gradient.shape[:-1], self.learned.shape[0])), np.zeros(gradient.shape[:-1])


def empty_response(sources: int, modes: int) -> FixedResponse:
    """The response of a stage without data."""
    return FixedResponse.of(Regime.EMPTY, np.zeros((sources, modes)), np.ones(modes))
