"""From the theory's states to what a client reads."""

from collections.abc import Iterable
from dataclasses import replace
from math import inf, isinf

from service.distributions.answering import head
from service.distributions.validity import Reasons, validity
from service.distributions.vocabulary import responses
from service.distributions.vocabulary.asked import Asked
from service.distributions.vocabulary.schemas import VocabularyRequest
from service.theory.distributions.accuracy import Accuracy
from service.theory.distributions.schedule import Schedule
from service.theory.distributions.vocabulary.levels import Vocabulary
from service.theory.distributions.vocabulary.results import State, VocabularyPrediction

KIND = "vocabulary"
_FIELDS = {"divergence": "kl_fit_true"}
_NO_DIVERGENCE = (
    "It is given for plain sampling, where the entropy is known and lacks at least 1e-8 of the truth's."
)
ASSUMPTIONS = (
    (
        "Independent tokens",
        "A model's tokens are drawn independently from its frequencies, as those of a unigram model are. Tokens of "
        "running text depend on each other, so that fewer of them are independent.",
    ),
    (
        "Maximum likelihood",
        "A model's probabilities are its training frequencies. Smoothing keeps types alive that are gone here.",
    ),
)


def answer(
    request: VocabularyRequest,
    truth: Vocabulary,
    schedule: Schedule | None,
    asked: Asked,
    prediction: VocabularyPrediction,
) -> responses.VocabularyPrediction:
    """Infinities and what has no formula become null, with the reason in ``validity``."""
    states = States(truth, asked, Reasons(prediction.cautions))
    curve = [
        responses.VocabularyGeneration(
            **states.fields(one.state),
            generation=one.generation,
            model=one.generation + 1,
            samples=None if schedule is None else schedule.at(one.generation + 1),
        )
        for one in prediction.generations
    ]
    half, reasons = prediction.diversity_half_life, states.reasons
    if half == inf:
        reasons.absent("diversity_half_life", "Diversity never falls to half of what it is at first.")
    if schedule is None:
        reasons.absent("samples", "Infinitely many.")
    if isinf(truth.types):
        reasons.absent("truth/types", "Infinitely many.")
    if truth.exponent is None:
        reasons.absent("truth/exponent", "The vocabulary is a list, not a Zipf law.")
    return responses.VocabularyPrediction(
        **head(KIND, request),
        truth=responses.VocabularyTruth(
            types=None if isinf(truth.types) else int(truth.types),
            diversity=max(1.0 - truth.simpson, 0.0),
            entropy=states.reasons.value(truth.entropy, "truth/entropy"),
            exponent=truth.exponent,
        ),
        final=curve[-1],
        curve=curve,
        limit=responses.VocabularyState(**states.fields(prediction.limit)),
        diversity_half_life=None if half is None or half == inf else int(half),
        validity=validity(by_field(prediction.accuracy), states.reasons, ASSUMPTIONS),
    )


def by_field(accuracies: Iterable[Accuracy]) -> list[Accuracy]:
    """By the answer's names of quantities."""
    return [replace(one, quantity=_FIELDS.get(one.quantity, one.quantity)) for one in accuracies]


class States:
    """Turns states into fields of an answer; ``reasons`` collects why something is null."""

    def __init__(self, truth: Vocabulary, asked: Asked, reasons: Reasons) -> None:
        self._asked = [
            (rank, token, truth.of_rank(rank)) for rank, token in zip(asked.ranks, asked.tokens, strict=True)
        ]
        self.reasons = reasons
        if not all(asked.tokens):
            reasons.absent("gone/token", "The type was asked for by its rank.")

    def fields(self, state: State) -> dict[str, object]:
        """The quantities of one state."""
        if state.divergence is None:
            self.reasons.absent("kl_fit_true", _NO_DIVERGENCE)
        if state.squared_distance is None:
            self.reasons.absent("squared_distance", "It is given for plain sampling.")
        return {
            "diversity": self._value(state.diversity),
            "surviving_types": self._count("surviving_types", state.surviving_types),
            "missing_mass": self._value(state.missing_mass),
            "entropy": self._value(state.entropy),
            "kl_fit_true": self._value(state.divergence),
            "squared_distance": self._value(state.squared_distance),
            "one_type_left": self._value(state.one_type_left),
            "founders": self._count("founders", state.founders),
            "gone": [
                responses.Gone(
                    rank=rank,
                    token=token,
                    true_probability=p,
                    probability=self._value(value),
                    spread=self._value(spread),
                )
                for (rank, token, p), value, spread in zip(self._asked, state.gone, state.spread, strict=True)
            ],
        }

    def _count(self, name: str, value: float | None) -> float | None:
        if value is not None and isinf(value):
            self.reasons.absent(name, "Infinitely many.")
        return self._value(value)

    def _value(self, value: float | None) -> float | None:
        # What is unknown has its caution already; infinitely many types or founders are said to be null.
        return None if value is None or isinf(value) else max(0.0, value)
