"""From a request about kernel density estimates to the theory and back."""

from typing import Final

import numpy as np

from service.distributions.answering import head
from service.distributions.kde import responses
from service.distributions.kde.schemas import AnyBandwidth, FixedBandwidth, KdeRequest, SilvermanBandwidth
from service.distributions.schedules import mix_of, models_of, schedule_of
from service.distributions.schemas import Fresh
from service.distributions.validity import Reasons, validity
from service.errors import InvalidInput
from service.theory.distributions import kde
from service.theory.distributions.accuracy import Caution, exact
from service.theory.distributions.schedule import Mix, Schedule

KIND = "kde"
# Seconds of a generation, which the integrated squared error sums over, and of a list of them; of a search.
_GENERATION, _LISTED = 2e-7, 0.2
SEARCH: Final = 0.2
BASIS = "linear recursion of moments"
_ONLY_FIXED = Caution(
    "no_formula",
    "The integrated squared error is known for a fixed bandwidth, one sample size for all generations, and the "
    "workflow replace. Simulate it otherwise.",
    "integrated_squared_error",
)


def bandwidth_of(width: AnyBandwidth, schedule: Schedule) -> kde.Bandwidth:
    """The theory's bandwidth. Raises InvalidInput where a rule of thumb has several sample sizes to choose from."""
    if isinstance(width, FixedBandwidth):
        return kde.Bandwidth(fixed=width.value)
    if isinstance(width, SilvermanBandwidth):
        sizes = set(schedule.sizes)
        if len(sizes) > 1:
            raise InvalidInput.at(
                "/bandwidth", "unsupported",
                "The rule of thumb depends on the sample size: give one for all generations, or a relative bandwidth.",
            )  # fmt: skip
        return kde.Bandwidth(relative=kde.silverman(sizes.pop()), corrected=width.corrected)
    return kde.Bandwidth(relative=width.factor, corrected=width.corrected)


def mix_for(request: KdeRequest) -> Mix:
    """Sizes and real samples of all fits."""
    if isinstance(request.workflow, Fresh):
        return mix_of(request, request.workflow)
    return kde.replaced(schedule_of(request, request.workflow))


def seconds_of(request: KdeRequest) -> float:
    """About how long a prediction takes, rather too long than too short."""
    return _LISTED if isinstance(request.samples, list) else _GENERATION * request.generations


def predicted(request: KdeRequest) -> responses.KdePrediction:
    """The answer to a request."""
    mix, models = mix_for(request), models_of(request)
    bandwidth = bandwidth_of(request.bandwidth, mix.schedule)
    found, (variance, drift) = kde.spread(mix, models, bandwidth), kde.limit(mix, bandwidth)
    known = bandwidth.fixed > 0 and len(mix.schedule.sizes) == 1 and not isinstance(request.workflow, Fresh)
    error = np.full(len(models), np.nan)
    if known:
        error = kde.integrated_squared_error(mix.schedule.last, bandwidth.fixed, models)
    reasons = Reasons([] if known else [_ONLY_FIXED])
    curve = [
        responses.KdeGeneration(
            generation=int(model) - 1, model=int(model), samples=mix.schedule.at(int(model)),
            sample_variance=reasons.value(found.sample_variance[i], "sample_variance"),
            model_variance=reasons.value(found.model_variance[i], "model_variance"),
            drift=reasons.value(found.drift[i], "drift"),
            integrated_squared_error=reasons.value(error[i], "integrated_squared_error"),
        )
        for i, model in enumerate(models)
    ]  # fmt: skip
    limits = {
        "limit_variance": reasons.value(variance, "limit_variance"),
        "limit_drift": reasons.value(drift, "limit_drift"),
    }
    names = ("sample_variance", "model_variance", "drift", *(("integrated_squared_error",) if known else ()))
    return responses.KdePrediction(
        **head(KIND, request), final=curve[-1], curve=curve, **limits,
        validity=validity([exact(name, BASIS) for name in names], reasons, ASSUMPTIONS),
    )  # fmt: skip


ASSUMPTIONS = (
    (
        "Normal truth",
        "The variances hold for any truth that has one; the integrated squared error for a normal one.",
    ),
)
