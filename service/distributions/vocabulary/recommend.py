"""How much real data a vocabulary needs in every generation to keep its types, diversity, entropy or one token."""

from functools import cache
from math import isinf, nan
from typing import Any

import numpy as np

from service.distributions.answering import head
from service.distributions.least_real import Search, outcome, reasons
from service.distributions.validity import validity
from service.distributions.vocabulary import responses
from service.distributions.vocabulary.answer import ASSUMPTIONS, by_field
from service.distributions.vocabulary.asked import Text, truth_of
from service.distributions.vocabulary.schemas import Bound, VocabularyRecommendationRequest
from service.errors import InvalidInput
from service.theory.distributions.schedule import Schedule
from service.theory.distributions.vocabulary.levels import Vocabulary
from service.theory.distributions.vocabulary.sampled import predict_sampled, state_after
from service.theory.distributions.vocabulary.training import FreshReal, Retained, Training

KIND = "vocabulary_recommendation"
_COLUMN = {"kl_fit_true": "divergence"}
_AT_LEAST = {"diversity", "entropy", "surviving_types"}


def recommended(
    request: VocabularyRecommendationRequest, stored: Text | None
) -> responses.VocabularyRecommendation:
    """Bisection over the real samples. Raises InvalidInput."""
    truth, quantity = truth_of(request.vocabulary, stored), request.bound.quantity
    rank = stored.ranks[0] if stored is not None and stored.ranks else request.bound.rank
    search = search_of(request, truth, rank)
    kind = "retained " if request.workflow == "retained" else "fresh "
    fields: Any = outcome(search, quantity, request.generations, kind)
    used = fields["recommended"] or fields["all_real"]
    models = np.array([1 if request.generations is None else request.generations + 1], dtype=np.int64)
    accuracy = predict_sampled(truth, _training(request, used.real_samples), models).accuracy
    return responses.VocabularyRecommendation(
        **head(KIND, request),
        **fields,
        validity=validity(
            [one for one in by_field(accuracy) if one.quantity == quantity], reasons(search), ASSUMPTIONS
        ),
    )


def limit_of(bound: Bound, truth: Vocabulary) -> float:
    """The bound in the quantity's own units. Raises InvalidInput for a share of infinitely many types."""
    if not bound.relative:
        return bound.limit
    whole = {"diversity": 1.0 - truth.simpson, "entropy": truth.entropy, "surviving_types": truth.types}
    if isinf(whole[bound.quantity]):
        raise InvalidInput.at(
            "/bound/relative", "unsupported",
            "No sample keeps a share of infinitely many types: give a number of types, or a finite vocabulary.",
        )  # fmt: skip
    return bound.limit * whole[bound.quantity]


def search_of(request: VocabularyRecommendationRequest, truth: Vocabulary, rank: int | None) -> Search:
    """The quantity at the last generation, or for ever, by real samples per generation; ``rank``: of the type."""
    quantity = request.bound.quantity
    model = None if request.generations is None else request.generations + 1

    @cache
    def value(real: float) -> float:
        state = state_after(truth, _training(request, real), model, () if rank is None else (rank,))
        if quantity == "gone":
            found = state.gone[0]
        elif quantity == "kl_fit_true" and state.divergence is None and state.entropy is not None:
            found = 0.0  # less than rounding shows
        else:
            found = getattr(state, _COLUMN.get(quantity, quantity))
        return nan if found is None else found

    return Search(
        value, limit_of(request.bound, truth), quantity in _AT_LEAST,
        least=1 if request.workflow == "retained" else 0, samples=request.samples,
        whole=request.allocation != "iid",
    )  # fmt: skip


def _training(request: VocabularyRecommendationRequest, real: float) -> Training:
    if request.workflow == "retained":
        return Retained(request.samples, int(real), 1)
    return FreshReal(Schedule.constant(request.samples, 1), (float(real),), request.allocation == "iid")
