"""Gaussian mixtures far enough apart that every sample shows its component: weights drift as tokens do, variances
shrink.

Counts are a multinomial resampling of the weights (a component can die out); within a component of N samples the
maximum- likelihood fit multiplies the expected variance by 1 − 1/N.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from scipy.stats import binom

from service.theory.distributions.accuracy import Accuracy, Caution
from service.theory.distributions.schedule import Models
from service.theory.distributions.vocabulary import ancestors
from service.theory.distributions.vocabulary.diversity import kinship, kinship_limit
from service.theory.distributions.vocabulary.levels import Vocabulary, from_weights
from service.theory.distributions.vocabulary.sampled import predict_sampled, state_after
from service.theory.distributions.vocabulary.training import FreshReal
from service.theory.model import Array

LARGEST_CHAIN: Final = 1000
"""Samples up to which the chain of counts is summed exactly, unless more are asked for."""
FEWEST: Final = 6.0
"""Expected samples of a component from which the closed form of its variance was measured."""


@dataclass(frozen=True, eq=False)
class Component:
    """Of one component, at each model, shape (models,).

    ``lost``: P(no sample left); ``weight_variance``: Var w; ``variance``: E[var 1(alive)] over the true variance.
    """

    lost: Array
    weight_variance: Array
    variance: Array


def component(weight: float, samples: int, models: Models, *, chained: bool | None = None) -> Component:
    """One component of true weight w under replacement with M samples in every fit.

    ``chained``: by the exact chain of counts, M² operations a fit; None: up to ``LARGEST_CHAIN`` samples.

    Var w_n = w(1 − w)[1 − (1 − 1/M)^n]. Beyond, E[var 1(alive)] ≈ 1 − y + (1 + y) e^{−2/y}, y = n/(M w); NaN below M w
    = ``FEWEST``, where it was never measured.
    """
    with np.errstate(divide="ignore"):
        lost_share = -np.expm1(models * np.log1p(-1.0 / samples))
    drift: Array = weight * (1 - weight) * lost_share
    if samples <= LARGEST_CHAIN if chained is None else chained:
        lost, kept = _chain(weight, samples, models)
        return Component(lost, drift, kept)
    lost = np.array(
        [
            float(founders.absent(np.array([weight]))[0])
            for founders in ancestors.by_model(samples, models.tolist())
        ]
    )
    known = samples * weight >= FEWEST
    return Component(
        lost, drift, _closure(2.0 * samples * weight / models) if known else np.full(len(models), np.nan)
    )


def _closure(x: Array) -> Array:
    """1 − y + (1 + y) e^{−2/y} with x = 2/y, as 2 + (1 + 2/x) (e^{−x} − 1); small x by its series, nothing cancels."""
    small = np.minimum(x, 0.05)
    series = small**2 * (1 / 6 + small * (-1 / 12 + small * (1 / 40 + small * (-1 / 180 + small / 1008))))
    value: Array = np.where(x < 0.05, series, 2.0 + (1.0 + 2.0 / x) * np.expm1(-x))
    return value


@dataclass(frozen=True, eq=False)
class Weights:
    """Of all components with fresh real samples in every fit, in the order of their true weights.

    ``lost``, shape (components, models): P(no sample left), NaN where there is no formula, and ``cautions`` say why.
    ``kinship``, shape (models,): Var w_n = w(1 − w) Φ.
    """

    lost: Array
    kinship: Array
    accuracy: Accuracy
    cautions: tuple[Caution, ...]


def weights_with_real(weights: Array, training: FreshReal, models: Models) -> Weights:
    """Components as types of a vocabulary, samples as tokens: P(lost) = E (1 − w)^A, Φ the tokens' kinship, exact."""
    law, ranks = _as_vocabulary(weights)
    found = predict_sampled(law, training, models, ranks)
    gone = np.array([one.state.gone for one in found.generations], dtype=float).T
    (accuracy,) = (one for one in found.accuracy if one.quantity == "gone")
    cautions = tuple(one for one in found.cautions if one.quantity == "gone")
    return Weights(gone, kinship(training, models), accuracy, cautions)


def lost_after(weights: Array, training: FreshReal, model: int | None) -> Array:
    """P(no sample left) of each component in a model, None: after infinitely many; NaN without a formula.

    Shape (components,).
    """
    law, ranks = _as_vocabulary(weights)
    return np.array(state_after(law, training, model, ranks).gone, dtype=float)


def kinship_for_ever(training: FreshReal) -> float:
    """Φ after infinitely many fits."""
    return kinship_limit(training)


def _as_vocabulary(weights: Array) -> tuple[Vocabulary, tuple[int, ...]]:
    """The law of the components, and the rank of each."""
    order = np.argsort(-weights, kind="stable")
    ranks = np.empty(weights.size, dtype=int)
    ranks[order] = np.arange(1, weights.size + 1)
    return from_weights(weights[order]), tuple(int(rank) for rank in ranks)


def closure_error(weight: float, samples: int) -> float:
    """Measured error of the closed form beyond ``LARGEST_CHAIN``: 3 % for weights up to 0.1, 10 % above, M w ≥ 15."""
    return 0.03 if weight <= 0.1 and samples * weight >= 15 else 0.1


def _chain(weight: float, samples: int, models: Models) -> tuple[Array, Array]:
    """P(lost) and E[Π(1 − 1/N_i) 1(alive)] by the binomial chain of counts N = 1 … M: a row vector times P per fit."""
    counts = np.arange(1, samples + 1)
    transition = _transition(samples)
    shrink = 1.0 - 1.0 / counts
    with np.errstate(divide="ignore"):
        dies = np.exp(samples * np.log1p(-counts / samples))
        gone = float(np.exp(samples * np.log1p(-weight)))
    first = binom.pmf(counts, samples, weight)
    # both vectors at once; repeated squaring would cost M³ where a step costs M²
    law, kept = first, first * shrink
    lost, variance = np.empty(len(models)), np.empty(len(models))
    found = 0
    for model in range(1, int(models[-1]) + 1):
        if model > 1:
            gone += float(law @ dies)
            law, kept = law @ transition, (kept @ transition) * shrink
        if model == models[found]:
            lost[found], variance[found] = gone, kept.sum()
            found += 1
    return lost, variance


@lru_cache(maxsize=2)
def _transition(samples: int) -> Array:
    """P(N → N'), of counts 1 … M: the same for every component, and not to be written to."""
    counts = np.arange(1, samples + 1)
    matrix: Array = binom.pmf(counts[None, :], samples, counts[:, None] / samples)
    matrix.setflags(write=False)
    return matrix
