"""From a compiled recursion to its scaling laws."""

from dataclasses import replace
from math import exp, inf, isfinite, log
from typing import Literal

from service import __version__
from service.datasets.schemas import Exponents as FittedExponents
from service.errors import InvalidInput
from service.predictions import power_law
from service.predictions.engine import predicted
from service.predictions.responses import ValidityWarning
from service.scaling_laws import responses, schemas
from service.theory import scaling_laws
from service.theory.model import OPTIMAL, Population, TrainingMix
from service.theory.prediction import predict

_STEP = 0.05  # of ln T_eff, for the local exponents

Origin = Literal["exact", "fitted", "given"]


def law(
    request: schemas.ScalingLawsRequest, population: Population, fitted: FittedExponents | None
) -> tuple[scaling_laws.PowerLaw, Origin]:
    """The power law of the request, and where its exponents come from. Raises InvalidInput where there is none."""
    if request.exponents is not None:
        given = request.exponents
        return scaling_laws.PowerLaw(given.capacity, given.source, population.rank), "given"
    if fitted is not None:
        beta, source = fitted.capacity, fitted.source
        if beta.value is None or source.value is None:
            raise _no_law(f"no power law was fitted to this data set ({beta.reason or source.reason})")
        if beta.value <= 1 or source.value <= 0:
            raise _no_law(
                f"the fitted exponents, capacity {beta.value:.3g} and source {source.value:.3g}, are outside the "
                "theory's range (capacity above 1, source above 0)"
            )
        return scaling_laws.PowerLaw(beta.value, source.value, population.rank), "fitted"
    found = power_law.law_of(request.dataset)
    if isinstance(found, str):
        raise _no_law(found)
    return found, "exact"


def _no_law(why: str) -> InvalidInput:
    return InvalidInput.at(
        "/dataset", "needs_power_law", f"{why.rstrip('.')}; give exponents to state the power law yourself"
    )


def answer(
    request: schemas.ScalingLawsRequest,
    population: Population,
    mix: TrainingMix,
    fitted: FittedExponents | None,
) -> responses.ScalingLaws:
    """The scaling laws of a compiled request. Raises InvalidInput where they do not apply."""
    found, origin = law(request, population, fitted)
    recursion = power_law.recursion_of(population, mix, found.dimension)
    if isinstance(recursion, str):
        raise InvalidInput.at("/training_mix", "needs_recursion", recursion)
    prediction = predicted(request, population, mix, order=0)  # as asymptotic as the closed form
    warnings: list[ValidityWarning] = []

    def reason(code: str, message: str, pointer: str) -> None:
        warnings.append(ValidityWarning(code=code, message=message, pointer=pointer))

    closed_form = power_law.answer(found, recursion, "/power_law", reason)
    best = prediction.regularization
    noisy = scaling_laws.effective_samples(found, recursion) < inf
    penalty_exponent, error_exponent = _local_exponents(population, mix) if noisy else (None, None)
    numerical = responses.NumericalOptimum(
        penalty=best.recommended_penalty,
        test_error=best.test_error_at_recommended.total,
        clean_penalty=best.clean_optimal_penalty,
        cost_of_clean_choice=best.cost_of_clean_choice,
        penalty_exponent=penalty_exponent,
        test_error_exponent=error_exponent,
    )
    for name in ("penalty", "clean_penalty"):
        if getattr(numerical, name) is None:
            reason("predict_zero", "No penalty does better than predicting zero.", f"/numerical/{name}")
    if numerical.cost_of_clean_choice is None:
        reason(
            "divergent", "The error at the clean-data optimum is infinite.", "/numerical/cost_of_clean_choice"
        )
    no_slope = "No label noise, or an optimum at penalty 0 or infinity: it has no power of T_eff."
    for name in ("penalty_exponent", "test_error_exponent"):
        if getattr(numerical, name) is None:
            reason("no_slope", no_slope, f"/numerical/{name}")
    schedule = _schedule(request, found, recursion)
    if schedule is None:
        reason("no_generators", "There are no noisy generators to grow with the samples.", "/schedule")
    return responses.ScalingLaws(
        engine_version=__version__,
        origin=origin,
        power_law=closed_form,
        numerical=numerical,
        schedule=schedule,
        validity=prediction.validity.model_copy(update={"warnings": warnings}),
    )


def _schedule(
    request: schemas.ScalingLawsRequest, found: scaling_laws.PowerLaw, recursion: scaling_laws.Recursion
) -> responses.Schedule | None:
    growth = scaling_laws.implied_growth(found, recursion)
    if request.growth is not None:
        growth = scaling_laws.Growth(request.growth.noise, request.growth.samples)
    if growth is None:
        return None
    made = scaling_laws.schedule(found, growth, noisy=recursion.noise_variance > 0)
    return responses.Schedule(
        noise_growth=growth.noise,
        samples_growth=growth.samples,
        given=request.growth is not None,
        optimal=made.optimal,
        clean=made.clean,
        test_error=made.error,
        test_error_of_clean_choice=made.error_of_clean_choice,
    )


def _local_exponents(population: Population, mix: TrainingMix) -> tuple[float | None, float | None]:
    """-d ln λ*/d ln T_eff and -d ln E*/d ln T_eff: all noises scaled together scale T_eff alone."""
    ends = [
        predict(_scaled_noise(population, factor), _scaled_mix(mix, factor)).regularization.recommended
        for factor in (exp(_STEP), exp(-_STEP))
    ]

    def slope(more: float, less: float) -> float | None:
        if not (0 < more < inf and 0 < less < inf):
            return None
        found = log(more / less) / (2.0 * _STEP)
        return found if isfinite(found) else None

    penalty = slope(ends[0].penalty, ends[1].penalty)
    if penalty is None:
        return None, None
    return penalty, slope(ends[0].total, ends[1].total)


def _scaled_noise(population: Population, factor: float) -> Population:
    return replace(population, noise_variance=population.noise_variance * factor)


def _scaled_mix(mix: TrainingMix, factor: float) -> TrainingMix:
    stages = tuple(
        replace(
            stage,
            sources=tuple(replace(s, noise_variance=s.noise_variance * factor) for s in stage.sources),
        )
        for stage in mix.stages
    )
    last = replace(stages[-1], penalty=OPTIMAL)
    return replace(mix, stages=(*stages[:-1], last))
