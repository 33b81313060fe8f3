"""One mix with some of its numbers varied, see service/theory/variations.py."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np

from service.theory.condensed import Condensation
from service.theory.mixes.outcomes import Outcomes, outcomes
from service.theory.mixes.scenarios import Mixes, Numbers, real_source
from service.theory.model import Array, Mask, Population, TrainingMix
from service.theory.results import generation_terms
from service.theory.slots import Slot


def side_by_side(
    population: Population,
    mix: TrainingMix,
    variations: Mapping[Slot, Array],
    order: Literal[0, 1],
    condensation: Condensation | None = None,
) -> tuple[dict[str, Array], Mask]:
    """COLUMNS of a mix that ``is_mixed`` takes with these numbers in its slots, and where they hold; (points or 1,).

    ``condensation``: of the population, where its modes are to be few.
    """
    varied = {
        slot: values[:1] if np.all(values == values[0]) else values for slot, values in variations.items()
    }
    mixes = _mixes(Mixes.of(population, mix).condensed(condensation), mix, varied)
    if condensation is not None:
        population = condensation.population
    found = outcomes(population, mixes, order)
    regular = found.regular
    if order == 1:
        regular = regular & found.small
        if all((numbers.penalty == 0).any() for numbers in mixes.numbers):  # these have exact values
            regular = regular & np.any(np.broadcast_arrays(*(n.penalty != 0 for n in mixes.numbers)), axis=0)
    return _columns(found), regular


def _mixes(base: Mixes, mix: TrainingMix, varied: Mapping[Slot, Array]) -> Mixes:
    """The mixes with these numbers in their slots."""
    stages = [
        Numbers(
            _replaced(base.numbers[k].samples, varied, "samples", k),
            _replaced(base.numbers[k].weights, varied, "weight", k),
            _replaced(base.numbers[k].noise, varied, "noise_variance", k),
            varied.get(Slot("penalty", k), base.numbers[k].penalty),
        )
        for k in range(len(mix.stages))
    ]
    powers = [
        _scaled(power, varied, k, links.shifted)
        for k, (power, links) in enumerate(zip(base.powers, base.links, strict=True))
    ]
    real = real_source(mix)
    noise = varied.get(Slot("noise_variance"), base.real_noise) if real is None else stages[-1].noise[:, real]
    return replace(base, numbers=stages, powers=powers, real_noise=noise)


def _scaled(powers: Array, varied: Mapping[Slot, Array], stage: int, shifted: Sequence[int]) -> Array:
    """Powers of a stage's shifts, shape (points or 1, shifted, modes)."""
    if all(Slot("shift", stage, s) not in varied for s in shifted):
        return powers
    factors = [varied.get(Slot("shift", stage, s), np.ones(1)) for s in shifted]
    return np.asarray(np.stack(np.broadcast_arrays(*factors), axis=1)[:, :, None] * powers)


def _replaced(
    given: Array,
    varied: Mapping[Slot, Array],
    field: Literal["samples", "noise_variance", "weight"],
    stage: int,
) -> Array:
    """Numbers of a stage's sources, shape (points or 1, sources)."""
    found = [varied.get(Slot(field, stage, s), given[:, s]) for s in range(given.shape[1])]
    return np.stack(np.broadcast_arrays(*found), axis=1)


def _columns(found: Outcomes) -> dict[str, Array]:
    """See COLUMNS."""
    error = found.given.errors
    label_noise = sum((part.sum(axis=1) for part in error.by_source), np.zeros(1))
    causes = label_noise + error.shift + error.mismatch
    sources = sum(part.shape[1] for part in error.by_source)
    generation, distortion = generation_terms(error.total, error.bias, error.variance, causes, sources)
    best = found.best.errors.total
    return {
        "penalty": found.given.penalty,
        "total": error.total,
        "bias": error.bias,
        "variance": error.variance,
        "generation": generation,
        "label_noise": label_noise,
        "distortion": distortion,
        "shift": error.shift,
        "noise_mismatch": error.mismatch,
        "recommended_penalty": found.best.penalty,
        "total_at_recommended": best,
        "clean_optimal_penalty": found.clean_penalty,
        "cost_of_clean_choice": np.maximum(found.total_at_clean - best, 0.0),
        "effective_samples": found.effective_samples,
    }
