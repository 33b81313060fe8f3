"""From a request about Gaussian mixtures to the theory and back."""

import numpy as np

from service.distributions.answering import head
from service.distributions.mixture import responses
from service.distributions.mixture.schemas import MAX_WORK, MixtureRequest
from service.distributions.validity import Reasons, validity
from service.errors import InvalidInput
from service.theory.distributions.accuracy import Accuracy, Caution, approximate, exact
from service.theory.distributions.mixture import LARGEST_CHAIN, closure_error, component
from service.theory.distributions.schedule import Models, reported_models

KIND = "mixture"
CLEAR = 6.0
"""Separation from which the hard assignment stands for EM refits."""
TRUSTED = 8.0
"""Separation from which even the drift of the means does."""


def models_of(request: MixtureRequest) -> Models:
    """The model indices to report: generation + 1."""
    if request.at is None:
        return reported_models(request.generations + 1)
    return np.array(request.at, dtype=np.int64) + 1


def predicted(request: MixtureRequest) -> responses.MixturePrediction:
    """The answer to a request. Raises InvalidInput where components overlap: those refits can only be simulated."""
    _check(request)
    models = models_of(request)
    known = {weight: component(weight, request.samples, models) for weight in set(request.weights)}
    reasons = Reasons(_cautions(request))

    def state(weight: float, index: int) -> responses.ComponentState:
        found = known[weight]
        return responses.ComponentState(
            weight=weight,
            weight_variance=reasons.value(found.weight_variance[index], "weight_variance"),
            lost=reasons.value(min(max(found.lost[index], 0.0), 1.0), "lost"),
            variance=reasons.value(found.variance[index], "variance"),
        )

    curve = [
        responses.MixtureGeneration(
            generation=int(model) - 1,
            model=int(model),
            components=[state(weight, index) for weight in request.weights],
            surviving_components=sum(1.0 - float(known[weight].lost[index]) for weight in request.weights),
        )
        for index, model in enumerate(models)
    ]
    return responses.MixturePrediction(
        **head(KIND, request), final=curve[-1], curve=curve,
        validity=validity(_accuracies(request), reasons, ASSUMPTIONS),
    )  # fmt: skip


def _check(request: MixtureRequest) -> None:
    if request.separation < CLEAR:
        raise InvalidInput.at(
            "/separation", "overlap",
            f"Components closer than {CLEAR:g} standard deviations exchange samples, and no formula for their refits "
            "holds. Simulate it: POST /v1/distributions/mixture/simulations.",
        )  # fmt: skip
    if request.samples <= LARGEST_CHAIN:
        work = (request.generations + 1) * request.samples**2 * len(set(request.weights))
        if work > MAX_WORK:
            raise InvalidInput.at(
                "/generations", "too_large",
                f"Generations × samples² × distinct weights is {work:.2g}; at most {MAX_WORK:.2g} is computed. "
                "Ask for fewer generations.",
            )  # fmt: skip


def _accuracies(request: MixtureRequest) -> list[Accuracy]:
    found = [exact("weight_variance", "multinomial resampling")]
    if request.samples <= LARGEST_CHAIN:
        return [
            *found,
            exact("lost", "binomial chain of counts"),
            exact("variance", "binomial chain of counts"),
        ]
    worst = max(closure_error(weight, request.samples) for weight in request.weights)
    return [
        *found,
        approximate("lost", 2e-6, "founders; the error is absolute"),
        approximate("variance", worst, "closed form in generations/(samples × weight)"),
    ]


def _cautions(request: MixtureRequest) -> list[Caution]:
    if request.separation >= TRUSTED:
        return []
    return [Caution(
        "separation",
        f"Below a separation of {TRUSTED:g} the fitted means wander up to twice as far as separate components would.",
        "separation",
    )]  # fmt: skip


ASSUMPTIONS = (
    (
        "Hard assignment",
        "Every sample shows its component; EM refits come close from a separation of six on.",
    ),
)
