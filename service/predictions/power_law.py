"""The closed form of power laws beside the numerical optimum: what it needs, and what it says."""

from collections.abc import Callable
from math import inf, isfinite

from service.predictions import responses, schemas
from service.theory.model import Population, TrainingMix
from service.theory.plain_prediction import is_plain
from service.theory.scaling_laws import (
    PowerLaw,
    Recursion,
    closed_form,
    crossover,
    effective_samples,
    inherited_noise,
)

Reason = Callable[[str, str, str], None]  # code, message, pointer of what is null

FEW_MODES = 10.0
MANY_MODES = 0.1  # of the modes, and of the samples, that may be learned
NEGLECTED = 0.1
NEAR_SATURATION = 0.1


def law_of(dataset: schemas.Dataset | str) -> PowerLaw | str:
    """The power law that an inline data set is, or why it is none."""
    if isinstance(dataset, str):
        return (
            "The closed form is for power laws given inline; POST /v1/scaling-laws takes the exponents that were "
            "fitted to a stored data set."
        )
    spectrum, target = dataset.spectrum, dataset.target
    if not isinstance(spectrum, schemas.PowerLawSpectrum) or spectrum.exponent <= 1:
        return "The closed form is for spectra of kind power_law with an exponent above 1."
    beta, dimension = spectrum.exponent, inf if spectrum.dimension is None else float(spectrum.dimension)
    if isinstance(target, schemas.SourceTarget):
        return PowerLaw(beta, target.exponent, dimension, spectrum.scale, spectrum.scale * target.scale)
    if isinstance(target, schemas.IsotropicTarget) and isfinite(dimension):
        # w_i² σ_i ∝ i^-β is i^(-1-2βr) with r = (β - 1)/(2β)
        power = spectrum.scale * target.squared_norm / dimension
        return PowerLaw(beta, (beta - 1.0) / (2.0 * beta), dimension, spectrum.scale, power)
    return "The closed form is for targets of kind source or isotropic."


def recursion_of(population: Population, mix: TrainingMix, dimension: float) -> Recursion | str:
    """The recursion that a compiled mix is, or why the closed form does not cover it."""
    if not is_plain(population, mix):
        return (
            "The closed form is for recursions: every stage one source of weight 1, labelled by the stage before, "
            "without random features or a spectrum of its own."
        )
    generators = tuple((float(s.sources[0].samples), s.sources[0].noise_variance) for s in mix.stages[:-1])
    if any(stage.penalty != 0 for stage in mix.stages[:-1]):
        return "The closed form is for generators without penalty."
    if any(samples <= dimension for samples, _ in generators):
        return "The closed form is for generators with more samples than there are modes."
    last = mix.stages[-1].sources[0]
    return Recursion(float(last.samples), last.noise_variance, generators)


def answer(law: PowerLaw, recursion: Recursion, pointer: str, reason: Reason) -> responses.PowerLawOptimum:
    """Exponents, effective samples, crossover and the optimum in closed form; ``reason`` explains each null."""
    effective = effective_samples(law, recursion)
    crossing = crossover(law, recursion)
    found = closed_form(law, effective)
    own = recursion.noise_variance / recursion.samples
    clean = closed_form(law, 1.0 / own) if own > 0 else None

    def finite(value: float, field: str, why: str) -> float | None:
        if isfinite(value):
            return value
        reason("no_noise" if why == _NOISELESS else "never", why, f"{pointer}/{field}")
        return None

    if found is None:
        why = _NOISELESS if effective == inf else _NO_AMPLITUDE
        for field in ("penalty", "test_error", "learned_modes"):
            reason("not_available", why, f"{pointer}/{field}")
    if clean is None:
        why = _NO_AMPLITUDE if own > 0 else _NOISELESS
        reason("not_available", why, f"{pointer}/clean_penalty")
    return responses.PowerLawOptimum(
        exponents=responses.PowerLawExponents(
            capacity=law.capacity,
            source=law.source,
            penalty=law.penalty_exponent,
            test_error=law.error_exponent,
            test_error_without_noise=law.noise_free_exponent,
        ),
        effective_samples=finite(effective, "effective_samples", _NOISELESS),
        crossover=responses.NoiseCrossover(
            ratio=finite(crossing.ratio, "crossover/ratio", "The last fit's own labels carry no noise."),
            samples=finite(crossing.samples, "crossover/samples", _NEVER),
            generations=finite(crossing.generations, "crossover/generations", _NEVER),
        ),
        penalty=None if found is None else found.penalty,
        test_error=None if found is None else found.test_error,
        clean_penalty=None if clean is None else clean.penalty,
        learned_modes=None if found is None else found.learned,
        assumptions=_assumptions(law, recursion, effective, None if found is None else found.learned),
    )


_NOISELESS = "Without any label noise the least error is that of penalty 0."
_NEVER = "The generators' labels carry no noise: there is nothing to cross over to."
_NO_AMPLITUDE = (
    "Only the exponents are known: the amplitudes are not, or the source exponent is exactly 1, where the bias has a "
    "logarithm, or the target is zero."
)


def _assumptions(
    law: PowerLaw, recursion: Recursion, effective: float, learned: float | None
) -> list[responses.Assumption]:
    most = MANY_MODES * min(law.dimension, recursion.samples)
    range_status = "unchecked" if learned is None else "met" if FEW_MODES <= learned <= most else "violated"
    # the generators' error in the modes not learned acts like further label noise of the last fit
    neglected = 0.0
    if isfinite(law.dimension) and effective < inf:
        neglected = inherited_noise(law, recursion) * law.dimension / recursion.samples * effective
    return [
        responses.Assumption(
            name="power_law_range",
            status=range_status,
            consequence="The optimum must learn many modes, but few of all modes and few against the samples "
            f"(between {FEW_MODES:g} and a tenth of either); else the spectrum's ends show and exponents do not hold.",
        ),
        responses.Assumption(
            name="enough_last_samples",
            status="met" if neglected <= NEGLECTED else "violated",
            consequence="The generators' error in modes that are not learned adds noise of Σσ_k² d/(T_k - d) to the "
            f"last fit's labels, {neglected:.2g} of 1/T_eff here; the closed form leaves it out.",
        ),
        responses.Assumption(
            name="source_away_from_saturation",
            status="met" if abs(law.source - 1.0) > NEAR_SATURATION else "violated",
            consequence="Near source exponent 1 the amplitude of the bias holds only for astronomical sample numbers.",
        ),
    ]
