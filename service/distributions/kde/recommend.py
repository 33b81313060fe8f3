"""How much fresh real data kernel density estimates need in every generation to keep their variance or drift."""

from functools import cache
from typing import Any

import numpy as np

from service.distributions.answering import head
from service.distributions.kde.engine import ASSUMPTIONS, BASIS, bandwidth_of
from service.distributions.kde.responses import KdeRecommendation
from service.distributions.kde.schemas import KdeRecommendationRequest
from service.distributions.least_real import Search, outcome, reasons
from service.distributions.validity import validity
from service.theory.distributions import kde
from service.theory.distributions.accuracy import exact
from service.theory.distributions.schedule import Mix, Schedule

KIND = "kde_recommendation"


def recommended(request: KdeRecommendationRequest) -> KdeRecommendation:
    """The first crossing of the bound: the variance need not be monotone in the real samples."""
    search, quantity = search_of(request), request.bound.quantity
    fields: Any = outcome(search, quantity, request.generations, "fresh ")
    return KdeRecommendation(
        **head(KIND, request),
        **fields,
        validity=validity([exact(quantity, BASIS)], reasons(search), ASSUMPTIONS),
    )


def search_of(request: KdeRecommendationRequest) -> Search:
    """The quantity at the last generation, or for ever, by real samples per generation."""
    schedule = Schedule.constant(request.samples, 1)
    bandwidth = bandwidth_of(request.bandwidth, schedule)
    quantity = request.bound.quantity

    @cache
    def value(real: float) -> float:
        mix = Mix(schedule, np.array([float(real)]), request.allocation == "iid")
        if request.generations is None:
            variance, drift = kde.limit(mix, bandwidth)
        else:
            found = kde.spread(mix, np.array([request.generations + 1]), bandwidth)
            variance, drift = float(found.sample_variance[0]), float(found.drift[0])
        if quantity == "drift":
            return drift
        return variance if quantity == "sample_variance" else bandwidth.of_model(variance)

    return Search(
        value, request.bound.limit, request.bound.sense == "at_least", least=0, samples=request.samples,
        whole=request.allocation == "stratified", monotone=quantity == "drift",
    )  # fmt: skip
