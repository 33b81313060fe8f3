"""The test error of a training mix: total, exact decomposition, baselines, and the penalty to use."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from math import isnan
from typing import Literal

from service.theory.accumulate import accumulated_error, accumulated_prediction
from service.theory.corrected import correctable, corrected
from service.theory.errors import NotConverged, Unsupported
from service.theory.exact import off_the_threshold, refined
from service.theory.general import General, general_prediction
from service.theory.joint_penalties import with_best_penalties
from service.theory.matrices.prediction import matrix_error, matrix_prediction
from service.theory.mixes.prediction import mixed_prediction
from service.theory.mixes.scenarios import is_mixed
from service.theory.mixes.totals import totals
from service.theory.model import Population, TrainingMix
from service.theory.plain_prediction import is_plain, plain_prediction
from service.theory.results import Decomposition, Prediction

_INFINITE = float("inf")


def predict(
    population: Population, mix: TrainingMix, *, order: Literal[0, 1] = 0, flat_range: bool = True
) -> Prediction:
    """Predict the test error of the last stage of ``mix``, its decomposition and its best penalty.

    ``order`` 0: deterministic equivalents throughout; 1: with their finite-size correction where it is available
    (corrected.py), exact values where they are known (exact.py). ``flat_range``: without it the penalties around the
    best one may be nan, and of kept data the real rows alone are not looked at, for searches over many mixes: with
    several covariances, and of kept data, they cost as much as all the rest.

    Excess test error E‖ŵ − w_0‖²_Σ under the population's covariance, label noise of the test not included; first-order
    deterministic equivalents (Gaussian features, error O(1/N)). Sources: Dohmatob, Feng, Kempe (arXiv 2402.07712) for
    chains, Dohmatob, Feng, Subramonian, Kempe (arXiv 2410.04840) for mixtures and random features. Reduces to plain
    ridge regression without synthetic data. Values are infinite at an interpolation threshold. "optimal" penalties of
    earlier stages are found jointly. Raises NotConverged, Unsupported.
    """
    if mix.keeps_data:
        return accumulated_prediction(
            population, mix, partial(predict, population, flat_range=False), order, flat_range=flat_range
        )
    if mix.has_matrices:
        found = matrix_prediction(population, mix, partial(predict, population))
        return found if order == 0 else corrected(population, found)
    mix = with_best_penalties(population, mix, partial(test_errors, population))
    prediction = _refined(population, mix, order, flat_range=flat_range)
    if order == 0 or prediction.regularization.recommended.total < _INFINITE:
        return prediction

    def at(penalty: float) -> Decomposition:
        stages = (*mix.stages[:-1], replace(mix.stages[-1], penalty=penalty))
        terms: Literal[0, 1] = order if penalty < _INFINITE else 0
        return _refined(population, replace(mix, stages=stages), terms, flat_range=False).test_error

    return off_the_threshold(population, prediction, at)


def test_error(population: Population, mix: TrainingMix) -> float:
    """The total of ``predict`` alone: of the last stage at its penalty, or at its best one where that is "optimal"."""
    if mix.keeps_data:
        return accumulated_error(population, mix)
    if mix.has_matrices:
        return matrix_error(population, mix, partial(predict, population))
    mix = with_best_penalties(population, mix, partial(test_errors, population))
    return General(population, mix).total()


def test_errors(population: Population, mixes: Sequence[TrainingMix]) -> list[float]:
    """The same of many mixes, side by side where they are regular; infinite where there is none."""

    def alone(mix: TrainingMix) -> float:
        try:
            return test_error(population, mix)
        except (NotConverged, Unsupported):  # next to a threshold
            return _INFINITE

    found = totals(population, mixes, 0).tolist()
    return [alone(mix) if isnan(value) else value for mix, value in zip(mixes, found, strict=True)]


def _refined(
    population: Population, mix: TrainingMix, order: Literal[0, 1], *, flat_range: bool
) -> Prediction:
    """The prediction of a mix of fresh samples, exact where that is known and wanted."""
    prediction = _by_the_fastest(population, mix, order, flat_range=flat_range)
    return (refined(population, prediction) or prediction) if order else prediction


def _by_the_fastest(
    population: Population, mix: TrainingMix, order: Literal[0, 1], *, flat_range: bool
) -> Prediction:
    """The prediction of a mix of fresh samples by the first way that takes it; of ``order`` where that is available."""
    prediction = None
    if is_plain(population, mix):
        prediction = plain_prediction(population, mix, order)
    elif is_mixed(population, mix) and (order == 0 or correctable(population, mix)):
        prediction = mixed_prediction(population, mix, order)
    if prediction is None:
        prediction = general_prediction(population, mix, flat_range=flat_range)
    return corrected(population, prediction) if prediction.order < order else prediction
