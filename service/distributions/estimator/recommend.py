"""How much fresh real data an estimator needs in every generation to keep its error bounded."""

from functools import cache
from math import inf
from typing import Any

import numpy as np

from service.distributions.answering import head
from service.distributions.estimator.answer import ASSUMPTIONS
from service.distributions.estimator.responses import EstimatorRecommendation
from service.distributions.estimator.schemas import EstimatorRecommendationRequest
from service.distributions.least_real import Search, outcome, reasons
from service.distributions.validity import validity
from service.theory.distributions.accuracy import exact
from service.theory.distributions.estimator.law import fresh
from service.theory.distributions.schedule import Mix, Schedule

KIND = "estimator_recommendation"


def recommended(request: EstimatorRecommendationRequest) -> EstimatorRecommendation:
    """Bisection over the real samples."""
    search = search_of(request)
    fields: Any = outcome(search, request.bound.quantity, request.generations)
    return EstimatorRecommendation(
        **head(KIND, request),
        **fields,
        validity=validity(
            [
                exact(
                    request.bound.quantity,
                    "linear recursion; to first order for estimators that are not linear",
                )
            ],
            reasons(search),
            ASSUMPTIONS,
        ),
    )


def search_of(request: EstimatorRecommendationRequest) -> Search:
    """V or 1/V at the last generation, or for ever, by real samples per generation."""
    effective, parameters = request.bound.quantity == "effective_samples", request.parameters

    @cache
    def value(real: float) -> float:
        mix = Mix(Schedule.constant(request.samples, 1), np.array([float(real)]))
        if request.generations is None:
            V = fresh(mix, np.array([1]), request.weight).limit
        else:
            V = float(fresh(mix, np.array([request.generations + 1]), request.weight).spread[0])
        if effective:
            return 0.0 if inf == V else 1.0 / V
        return 0.5 * parameters * V if request.bound.quantity == "kl" else V

    return Search(value, request.bound.limit, effective, least=0, samples=request.samples)
