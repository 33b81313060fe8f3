"""From a request about Gaussian mixtures to the theory and back."""

from dataclasses import replace
from typing import Final

import numpy as np

from service.distributions.answering import head
from service.distributions.mixture import responses
from service.distributions.mixture.schemas import MAX_WORK, MixtureRequest
from service.distributions.schedules import Sized, mix_of
from service.distributions.schemas import Fresh, Replace
from service.distributions.validity import Reasons, validity
from service.errors import InvalidInput
from service.theory.distributions.accuracy import Accuracy, Caution, approximate, exact
from service.theory.distributions.mixture import (
    FEWEST,
    LARGEST_CHAIN,
    Component,
    closure_error,
    component,
    weights_with_real,
)
from service.theory.distributions.schedule import Models, reported_models
from service.theory.distributions.vocabulary.training import FreshReal

KIND = "mixture"
MAX_RUNS = 200
# Seconds per work of the exact chain, of one component at one generation, of fresh samples, of a search; too many.
_PER_WORK, _STATE, _FRESH = 1e-9, 1e-4, 1.0
_MATRIX: Final = 3e-7  # of an entry of the chain's matrix
SEARCH: Final = 4.0
_LONGEST_CHAIN: Final = 2000
"""Samples up to which the exact chain is taken where its work is affordable, beyond ``LARGEST_CHAIN``."""
CLEAR = 6.0
"""Separation from which the hard assignment stands for EM refits."""
TRUSTED = 8.0
"""Separation from which even the drift of the means does."""


def models_of(request: MixtureRequest) -> Models:
    """The model indices to report: generation + 1."""
    if request.at is None:
        return reported_models(request.generations + 1)
    return np.array(request.at, dtype=np.int64) + 1


def seconds_of(request: MixtureRequest) -> float:
    """About how long a prediction takes, rather too long than too short."""
    fresh = _FRESH if isinstance(request.workflow, Fresh) else 0.0  # the exact law of the founders
    chain = _chain_work(request)
    matrix = _MATRIX * request.samples**2 if chain else 0.0
    return matrix + _PER_WORK * chain + _STATE * len(models_of(request)) * len(request.weights) + fresh


def predicted(request: MixtureRequest) -> responses.MixturePrediction:
    """The answer to a request. Raises InvalidInput where components overlap: those refits can only be simulated."""
    _check(request)
    models = models_of(request)
    known, accuracies, cautions = _components(request, models)
    reasons = Reasons((*_cautions(request), *cautions))

    def state(place: int, index: int) -> responses.ComponentState:
        found = known[place]
        return responses.ComponentState(
            weight=request.weights[place],
            weight_variance=reasons.value(found.weight_variance[index], "weight_variance"),
            lost=reasons.value(np.clip(found.lost[index], 0.0, 1.0), "lost"),
            variance=reasons.value(found.variance[index], "variance"),
        )

    curve = [
        responses.MixtureGeneration(
            generation=int(model) - 1,
            model=int(model),
            components=[state(place, index) for place in range(len(known))],
            surviving_components=reasons.value(sum(1.0 - float(one.lost[index]) for one in known), "lost"),
        )
        for index, model in enumerate(models)
    ]
    return responses.MixturePrediction(
        **head(KIND, request), final=curve[-1], curve=curve,
        validity=validity(accuracies, reasons, ASSUMPTIONS),
    )  # fmt: skip


def _components(
    request: MixtureRequest, models: Models
) -> tuple[list[Component], list[Accuracy], tuple[Caution, ...]]:
    """Every component, in the order of the request."""
    workflow = request.workflow
    if isinstance(workflow, Replace):
        chained = _chain_work(request) > 0
        known = {
            weight: component(weight, request.samples, models, chained=chained)
            for weight in set(request.weights)
        }
        few = not chained and request.samples * min(request.weights) < FEWEST
        return [known[weight] for weight in request.weights], _accuracies(request), (_FEW,) if few else ()
    weights = np.array(request.weights)
    found = weights_with_real(weights, training_of(request, workflow), models)
    unknown = np.full(len(models), np.nan)
    components = [
        Component(lost, weight * (1.0 - weight) * found.kinship, unknown)
        for weight, lost in zip(request.weights, found.lost, strict=True)
    ]
    accuracies = [
        exact("weight_variance", "multinomial resampling"),
        replace(found.accuracy, quantity="lost"),
    ]
    cautions = (*(replace(one, quantity="lost") for one in found.cautions), _NO_VARIANCE)
    return components, accuracies, cautions


def training_of(request: Sized, workflow: Fresh) -> FreshReal:
    """How the weights are trained. Raises InvalidInput where sizes do not fit together or are too many."""
    mix = mix_of(request, workflow)
    if len(mix.schedule.sizes) > MAX_RUNS:
        raise InvalidInput.at(
            "/workflow/real_samples", "too_many",
            f"The real samples change {len(mix.schedule.sizes):,} times; at most {MAX_RUNS} changes are computed.",
        )  # fmt: skip
    return FreshReal(mix.schedule, tuple(mix.real.tolist()), mix.independent)


def check_separation(separation: float) -> None:
    """Raises InvalidInput where components overlap."""
    if separation < CLEAR:
        raise InvalidInput.at(
            "/separation", "overlap",
            f"Components closer than {CLEAR:g} standard deviations exchange samples, and no formula for their refits "
            "holds. Simulate it: POST /v1/distributions/mixture/simulations.",
        )  # fmt: skip


def _check(request: MixtureRequest) -> None:
    check_separation(request.separation)
    work = _chain_work(request)
    if work > MAX_WORK:
        raise InvalidInput.at(
            "/generations", "too_large",
            f"Generations × samples² × distinct weights is {work:.2g}; at most {MAX_WORK:.2g} is computed. "
            "Ask for fewer generations.",
        )  # fmt: skip


def _chain_work(request: MixtureRequest) -> int:
    """Of the exact chain of counts, where it is taken."""
    if request.samples > _LONGEST_CHAIN or not isinstance(request.workflow, Replace):
        return 0
    work = (request.generations + 1) * request.samples**2 * len(set(request.weights))
    return work if request.samples <= LARGEST_CHAIN or work <= MAX_WORK else 0


def _accuracies(request: MixtureRequest) -> list[Accuracy]:
    found = [exact("weight_variance", "multinomial resampling")]
    if _chain_work(request):
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


_NO_VARIANCE = Caution(
    "no_formula",
    "The variance within a component has no formula with fresh real samples. Simulate it.",
    "variance",
)
_FEW = Caution(
    "simulate",
    f"The variance of a component of which fewer than {FEWEST:g} samples are expected, among more than "
    f"{LARGEST_CHAIN:,}, has no formula. Simulate it.",
    "variance",
)
ASSUMPTIONS = (
    (
        "Hard assignment",
        "Every sample shows its component; EM refits come close from a separation of six on.",
    ),
)
