"""How much fresh real data a mixture needs in every generation to keep its components, or their weights."""

from functools import cache
from typing import Any

import numpy as np

from service.distributions.answering import head
from service.distributions.least_real import Search, outcome, reasons
from service.distributions.mixture.engine import ASSUMPTIONS, check_separation
from service.distributions.mixture.responses import MixtureRecommendation
from service.distributions.mixture.schemas import MixtureRecommendationRequest
from service.distributions.validity import validity
from service.theory.distributions.accuracy import Accuracy, exact
from service.theory.distributions.mixture import kinship_for_ever, lost_after, weights_with_real
from service.theory.distributions.schedule import Schedule
from service.theory.distributions.vocabulary.diversity import kinship
from service.theory.distributions.vocabulary.training import FreshReal
from service.theory.model import Array

KIND = "mixture_recommendation"


def recommended(request: MixtureRecommendationRequest) -> MixtureRecommendation:
    """Bisection over the real samples. Raises InvalidInput where components overlap."""
    check_separation(request.separation)
    search, quantity = search_of(request), request.bound.quantity
    fields: Any = outcome(search, quantity, request.generations, "fresh ")
    used = fields["recommended"] or fields["all_real"]
    return MixtureRecommendation(
        **head(KIND, request),
        **fields,
        validity=validity([_accuracy(request, used.real_samples)], reasons(search), ASSUMPTIONS),
    )


def search_of(request: MixtureRecommendationRequest) -> Search:
    """The quantity at the last generation, or for ever, by real samples per generation."""
    bound = request.bound

    @cache
    def value(real: float) -> float:
        if bound.quantity == "weight_variance":
            weight = request.weights[(bound.component or 1) - 1]
            return weight * (1.0 - weight) * _kinship(request, real)
        lost = _lost(request, real)
        return float((1.0 - lost).sum()) if bound.component is None else float(lost[bound.component - 1])

    return Search(
        value, bound.limit, bound.quantity == "surviving_components", least=0, samples=request.samples,
        whole=request.allocation == "stratified",
    )  # fmt: skip


def _training(request: MixtureRecommendationRequest, real: float) -> FreshReal:
    return FreshReal(Schedule.constant(request.samples, 1), (float(real),), request.allocation == "iid")


def _last(request: MixtureRecommendationRequest) -> Any:
    return np.array([1 if request.generations is None else request.generations + 1], dtype=np.int64)


def _kinship(request: MixtureRecommendationRequest, real: float) -> float:
    training = _training(request, real)
    if request.generations is None:
        return kinship_for_ever(training)
    return float(kinship(training, _last(request))[0])


def _lost(request: MixtureRecommendationRequest, real: float) -> Array:
    weights, training = np.array(request.weights), _training(request, real)
    return lost_after(weights, training, None if request.generations is None else request.generations + 1)


def _accuracy(request: MixtureRecommendationRequest, real: float) -> Accuracy:
    quantity = request.bound.quantity
    if quantity == "weight_variance":
        return exact(quantity, "multinomial resampling")
    found = weights_with_real(np.array(request.weights), _training(request, real), _last(request)).accuracy
    return Accuracy(quantity, found.method, found.expected_relative_error, found.basis)
