"""How much real data a Gaussian recursion needs in every generation to keep its variance, drift or divergence
bounded.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from service.distributions.answering import head
from service.distributions.gaussian.answer import ASSUMPTIONS, by_field
from service.distributions.gaussian.engine import truth_of
from service.distributions.gaussian.responses import GaussianRecommendation
from service.distributions.gaussian.schemas import GaussianRecommendationRequest
from service.distributions.least_real import Search, outcome, reasons
from service.distributions.validity import validity
from service.errors import InvalidInput
from service.theory.distributions.gaussian.model import Gaussian, GaussianPrediction, Limit
from service.theory.distributions.gaussian.predict import predict_fresh, predict_limit, predict_retained
from service.theory.distributions.schedule import Mix, Schedule

KIND = "gaussian_recommendation"
_COLUMN = {
    "variance": "variance",
    "typical_variance": "log_mean",
    "drift": "drift",
    "kl_fit_true": "kl_fit_true",
    "kl_true_fit": "kl_true_fit",
    "wasserstein2_squared": "w2",
}
_AT_LEAST = {"variance", "typical_variance"}


def recommended(request: GaussianRecommendationRequest) -> GaussianRecommendation:
    """Bisection over the real samples. Raises InvalidInput where the estimator does not exist."""
    if request.estimator == "unbiased" and request.samples < 2:
        raise InvalidInput.at(
            "/samples",
            "too_few",
            'The unbiased variance needs at least 2 samples; or choose the estimator "mle".',
        )
    quantity = request.bound.quantity
    search = search_of(request)
    fields: Any = outcome(search, quantity, request.generations)
    used = fields["recommended"] or fields["all_real"]
    accuracies = _predicted(request, truth_of(request.spectrum), used.real_samples).accuracies
    return GaussianRecommendation(
        **head(KIND, request),
        **fields,
        validity=validity(
            by_field(one for one in accuracies if one.quantity == _COLUMN[quantity]),
            reasons(search),
            ASSUMPTIONS,
        ),
    )


def search_of(request: GaussianRecommendationRequest) -> Search:
    """The quantity at the last generation, or for ever, by real samples per generation."""
    quantity, truth = request.bound.quantity, truth_of(request.spectrum)

    @cache
    def value(real: float) -> float:
        found = float(getattr(_predicted(request, truth, real).curve, _COLUMN[quantity])[-1])
        return float(np.exp(found)) if quantity == "typical_variance" else found

    return Search(
        value, request.bound.limit, quantity in _AT_LEAST,
        least=_fewest(request), samples=request.samples, whole=request.workflow != "fresh_iid",
    )  # fmt: skip


def _fewest(request: GaussianRecommendationRequest) -> int:
    """A retained set is what generation 0 is fitted to: the unbiased variance takes two."""
    if request.workflow != "retained":
        return 0
    return 2 if request.estimator == "unbiased" else 1


def _predicted(
    request: GaussianRecommendationRequest, truth: Gaussian, real: float
) -> GaussianPrediction | Limit:
    samples, retained = request.samples, request.workflow == "retained"
    unbiased, none = request.estimator == "unbiased", np.empty(0)
    if retained:
        mix = Mix(Schedule((int(real), samples), (1, 1)), np.full(2, float(real)))
    else:
        mix = Mix(Schedule.constant(samples, 1), np.array([float(real)]), request.workflow == "fresh_iid")
    if request.generations is None:
        return predict_limit(truth, mix, retained=retained, unbiased=unbiased)
    predict: Callable[..., GaussianPrediction] = predict_retained if retained else predict_fresh
    models = np.array([request.generations + 1])
    return predict(truth, mix, models, unbiased=unbiased, thresholds=none)
