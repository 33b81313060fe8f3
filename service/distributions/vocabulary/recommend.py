"""The least real data per generation that keeps a vocabulary within a bound, verified on both sides."""

from collections.abc import Callable
from dataclasses import dataclass
from math import isinf

import numpy as np

from service.distributions.answering import head
from service.distributions.validity import Reasons, validity
from service.distributions.vocabulary import responses
from service.distributions.vocabulary.answer import ASSUMPTIONS
from service.distributions.vocabulary.asked import Text, truth_of
from service.distributions.vocabulary.schemas import Bound, VocabularyRecommendationRequest
from service.errors import InvalidInput
from service.theory.distributions.accuracy import Caution
from service.theory.distributions.schedule import Models, Schedule
from service.theory.distributions.vocabulary.levels import Vocabulary
from service.theory.distributions.vocabulary.results import State
from service.theory.distributions.vocabulary.sampled import predict_sampled, state_after
from service.theory.distributions.vocabulary.training import FreshReal, Retained, Training

KIND = "vocabulary_recommendation"
_AT_LEAST = {"diversity", "entropy", "surviving_types"}
_FRACTION_STEP = 1e-9


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


@dataclass(frozen=True)
class _Search:
    """The quantity as a function of the real samples per generation (iid: of their chance), rising or falling."""

    request: VocabularyRecommendationRequest
    truth: Vocabulary
    limit: float
    rank: int | None

    @property
    def iid(self) -> bool:
        return self.request.allocation == "iid"

    def training(self, real: float) -> Training:
        samples = self.request.samples
        if self.request.workflow == "retained":
            return Retained(samples, int(real), 1)
        schedule = Schedule.constant(samples, 1)
        return FreshReal(schedule, (real * samples if self.iid else real,), self.iid)

    def value(self, real: float) -> float | None:
        """The quantity; None where the theory does not know."""
        generations = self.request.generations
        model = None if generations is None else generations + 1
        state: State = state_after(
            self.truth, self.training(real), model, () if self.rank is None else (self.rank,)
        )
        quantity = self.request.bound.quantity
        found: float | None = state.gone[0] if quantity == "gone" else getattr(state, quantity)
        return found

    def keeps(self, real: float) -> bool:
        found = self.value(real)
        if found is None:
            return False
        return found >= self.limit if self.request.bound.quantity in _AT_LEAST else found <= self.limit

    def tried(self, real: float) -> responses.Tried:
        samples = self.request.samples
        share = real if self.iid else real / samples
        return responses.Tried(real_samples=share * samples if self.iid else real, real_fraction=share,
                               value=self.value(real))  # fmt: skip


def recommended(
    request: VocabularyRecommendationRequest, stored: Text | None
) -> responses.VocabularyRecommendation:
    """Bisection over the real samples: more of them never lose what fewer keep. Raises InvalidInput."""
    truth = truth_of(request.vocabulary, stored)
    rank = stored.ranks[0] if stored is not None and stored.ranks else request.bound.rank
    search = _Search(request, truth, limit_of(request.bound, truth), rank)
    least = 1.0 if request.workflow == "retained" else 0.0
    most = 1.0 if search.iid else float(request.samples)
    found, below = _least(search.keeps, least, most, whole=not search.iid)
    cautions = _cautions(search, found, below)
    accuracy = predict_sampled(
        truth, search.training(found if found is not None else most), _models(request)
    ).accuracy
    quantity = request.bound.quantity
    return responses.VocabularyRecommendation(
        **head(KIND, request),
        quantity=quantity,
        limit=search.limit,
        reachable=found is not None,
        recommended=None if found is None else search.tried(found),
        just_below=None if below is None else search.tried(below),
        without_real_data=search.tried(0.0) if least == 0.0 else None,
        all_real=search.tried(most),
        sentence=_sentence(search, found, most),
        validity=validity(
            [one for one in accuracy if one.quantity == quantity], Reasons(cautions), ASSUMPTIONS
        ),
    )


def _models(request: VocabularyRecommendationRequest) -> Models:
    return np.array([1 if request.generations is None else request.generations + 1], dtype=np.int64)


def _least(
    keeps: Callable[[float], bool], least: float, most: float, *, whole: bool
) -> tuple[float | None, float | None]:
    """The smallest amount that keeps the bound, and the largest tried that does not."""
    if keeps(least):
        return least, None
    if not keeps(most):
        return None, most
    low, high = least, most
    step = 1.0 if whole else _FRACTION_STEP
    while high - low > step:
        middle = float((int(low) + int(high)) // 2) if whole else 0.5 * (low + high)
        if middle in (low, high):
            break
        low, high = (low, middle) if keeps(middle) else (middle, high)
    return high, low


def _cautions(search: _Search, found: float | None, below: float | None) -> list[Caution]:
    if found is not None and below is not None and search.value(below) is None:
        message = (
            "Below the recommended amount there are too few founders for the theory to say: less might do. Simulate "
            "to see."
        )
        return [Caution("few_founders", message, "just_below/value")]
    return []


def _sentence(search: _Search, found: float | None, most: float) -> str:
    request, quantity = search.request, search.request.bound.quantity.replace("_", " ")
    when = (
        "for ever" if request.generations is None else f"after {request.generations:,} synthetic generations"
    )
    sense = "at least" if request.bound.quantity in _AT_LEAST else "at most"
    bound = f"{quantity} {sense} {search.limit:.6g} {when}"
    if found is None:
        best = search.value(most)
        reason = "is unknown" if best is None else f"is {best:.6g}"
        return (
            f"Nothing keeps {bound}: even with all {request.samples:,} samples real it {reason}. Only more samples "
            "per generation, or a weaker bound, can."
        )
    if found == 0.0:
        return f"No real data are needed: recursion alone keeps {bound}."
    kind = "the same" if request.workflow == "retained" else "fresh"
    amount = (
        f"a chance of {found:.6g} for each sample to be real"
        if search.iid
        else f"{found:,.0f} {kind} real samples"
    )
    return f"{amount[0].upper()}{amount[1:]} among {request.samples:,} per generation keep {bound}; any fewer do not."
