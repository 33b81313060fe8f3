"""One mix with some of its numbers varied: many predictions, as columns of numbers.

Plain recursions go side by side through plain_chain.py, some 30 µs each; other mixes of one covariance through mixes/,
some 100 µs; every other mix, and what is not regular there, through ``predict`` one by one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from service.theory.condensed import Condensation
from service.theory.errors import NotConverged, Unsupported
from service.theory.mixes.scenarios import is_mixed
from service.theory.mixes.varied import side_by_side
from service.theory.model import OPTIMAL, Array, Mask, Population, Shift, Source, Stage, TrainingMix
from service.theory.plain_batch_correction import corrected_outcomes
from service.theory.plain_chain import condensed_outcomes, outcomes
from service.theory.plain_prediction import is_plain
from service.theory.prediction import predict
from service.theory.results import Prediction, generation_terms
from service.theory.scenarios import Outcomes, Scenarios
from service.theory.slots import COLUMNS, Columns, Slot

_CHUNK: Final = 32_000  # modes × points that mixes are computed for at a time


def predictions(
    population: Population,
    mix: TrainingMix,
    variations: Mapping[Slot, Array],
    points: int,
    *,
    order: Literal[0, 1] = 0,
) -> Columns:
    """Predictions of ``mix`` with the numbers in some slots replaced, point by point; arrays of shape (points,).

    ``order``: see predict.
    """
    table = {name: np.full(points, np.nan) for name in COLUMNS}
    problems: dict[int, str] = {}
    left = np.arange(points)
    unweighted = all(slot.field != "weight" for slot in variations)
    # what is not regular on few modes may be on all of them
    for condensation in dict.fromkeys((population.condensation, None)):
        if unweighted and left.size > 0 and is_plain(population, mix):
            left = _side_by_side(population, mix, variations, left, table, order, condensation)
        if is_mixed(population, mix):
            own = population if condensation is None else condensation.population
            step = max(1, _CHUNK // own.eigenvalues.size)
            rest = [
                _by_chunk(population, mix, variations, left[i : i + step], table, order, condensation)
                for i in range(0, left.size, step)
            ]
            left = np.concatenate([left[:0], *rest])
    for i in left.tolist():
        own_population, own_mix = _at(population, mix, variations, i)
        try:
            found = _row(predict(own_population, own_mix, order=order, flat_range=False))
        except (NotConverged, Unsupported) as error:
            problems[i] = str(error)
            continue
        for name, value in zip(COLUMNS, found, strict=True):
            table[name][i] = value
    return Columns(table, problems)


def _by_chunk(  # noqa: PLR0917
    population: Population,
    mix: TrainingMix,
    variations: Mapping[Slot, Array],
    rows: NDArray[np.intp],
    table: dict[str, Array],
    order: Literal[0, 1],
    condensation: Condensation | None,
) -> NDArray[np.intp]:
    """Fill these rows of the table, all at once, where the mixes are regular; returns the others."""
    varied = {slot: values[rows] for slot, values in variations.items()}
    columns, regular = side_by_side(population, mix, varied, order, condensation)
    return _filled(table, rows, columns, regular)


def _filled(
    table: dict[str, Array], rows: NDArray[np.intp], columns: Mapping[str, Array], regular: Mask
) -> NDArray[np.intp]:
    """Fill these rows of the table where ``regular``; returns the others."""
    regular = np.broadcast_to(regular, rows.size)
    for name, values in columns.items():
        table[name][rows[regular]] = np.broadcast_to(values, rows.size)[regular]
    return rows[~regular]


def _row(prediction: Prediction) -> tuple[float, ...]:
    error, regularization = prediction.test_error, prediction.regularization
    parts = error.parts
    return (
        regularization.penalty, error.total, error.bias, error.variance, error.generation,
        parts.label_noise, parts.distortion, parts.shift, parts.noise_mismatch,
        regularization.recommended.penalty, regularization.recommended.total,
        regularization.clean_optimal_penalty, regularization.cost_of_clean_choice,
        regularization.effective_samples,
    )  # fmt: skip


def _at(
    population: Population, mix: TrainingMix, variations: Mapping[Slot, Array], i: int
) -> tuple[Population, TrainingMix]:
    """The population and the mix of one point."""
    stages: list[Stage] = list(mix.stages)
    for slot, values in variations.items():
        value = float(values[i])
        if slot.stage is None:
            population = population.with_noise(value)
            continue
        stage = stages[slot.stage]
        if slot.source is None:
            stages[slot.stage] = replace(stage, penalty=value)
            continue
        sources: list[Source] = list(stage.sources)
        labels = sources[slot.source].labels
        if slot.field == "shift" and isinstance(labels, Shift):
            sources[slot.source] = replace(sources[slot.source], labels=Shift(value * labels.power))
        elif slot.field == "samples":
            sources[slot.source] = replace(sources[slot.source], samples=value)
        elif slot.field == "noise_variance":
            sources[slot.source] = replace(sources[slot.source], noise_variance=value)
        else:
            sources[slot.source] = replace(sources[slot.source], weight=value)
        stages[slot.stage] = replace(stage, sources=tuple(sources))
    return population, replace(mix, stages=tuple(stages))


# --- plain recursions -----------------------------------------------------------------------------


def _side_by_side(  # noqa: PLR0917
    population: Population,
    mix: TrainingMix,
    variations: Mapping[Slot, Array],
    rows: NDArray[np.intp],
    table: dict[str, Array],
    order: Literal[0, 1],
    condensation: Condensation | None,
) -> NDArray[np.intp]:
    """Fill these rows of the table where the scenarios are regular; returns the others."""
    varied = {slot: values[rows] for slot, values in variations.items()}
    scenarios, empty = _scenarios(population, mix, varied)
    if condensation is None:
        found = outcomes(population, scenarios)
    else:
        found, population = condensed_outcomes(population, scenarios), condensation.population
    if order == 1:
        found = corrected_outcomes(population, scenarios, found)
    return _filled(table, rows, _columns(scenarios, found), found.regular & ~empty)


def _scenarios(
    population: Population, mix: TrainingMix, variations: Mapping[Slot, Array]
) -> tuple[Scenarios, Mask]:
    """The scenarios, with every varied number that is the same everywhere as one; and where some stage has no data."""
    varied = {
        slot: values[:1] if np.all(values == values[0]) else values for slot, values in variations.items()
    }

    def numbers(slot: Slot, given: float) -> Array:
        found = varied.get(slot)
        return np.array([given]) if found is None else found

    stages = mix.stages
    samples = [numbers(Slot("samples", k, 0), stage.sources[0].samples) for k, stage in enumerate(stages)]
    noise = [
        numbers(Slot("noise_variance", k, 0), stage.sources[0].noise_variance)
        for k, stage in enumerate(stages)
    ]
    penalty = [
        numbers(Slot("penalty", k), np.nan if stage.penalty == OPTIMAL else float(stage.penalty))
        for k, stage in enumerate(stages)
    ]
    empty: Mask = np.zeros(1, dtype=bool)
    for k, values in enumerate(samples):
        if (values == 0).any():
            empty = empty | (values == 0)
            samples[k] = np.where(values == 0, 1.0, values)
    runs, firsts = _runs(samples[:-1], penalty[:-1])
    # without generations the last stage's labels are real
    real_noise = numbers(Slot("noise_variance"), population.noise_variance) if runs else noise[-1]
    run_samples, run_penalties = _table([samples[k] for k in firsts], [penalty[k] for k in firsts])
    (generator_noise,) = _table(noise[:-1])
    scenarios = Scenarios(
        runs, run_samples, run_penalties, generator_noise, samples[-1], noise[-1], real_noise, penalty[-1]
    )
    return scenarios, empty


def _runs(samples: Sequence[Array], penalty: Sequence[Array]) -> tuple[tuple[int, ...], list[int]]:
    """Lengths of the runs of equal fits, and the first of each."""
    firsts = [
        k
        for k in range(len(samples))
        if k == 0
        or not (np.array_equal(samples[k], samples[k - 1]) and np.array_equal(penalty[k], penalty[k - 1]))
    ]
    ends = [*firsts[1:], len(samples)]
    return tuple(b - a for a, b in zip(firsts, ends, strict=True)) if samples else (), firsts


def _table(*groups: Sequence[Array]) -> tuple[Array, ...]:
    """Each group of columns as one array of shape (points or 1, columns), of the same number of rows in all groups."""
    rows = max((values.size for group in groups for values in group), default=1)
    return tuple(
        np.stack([np.broadcast_to(values, rows) for values in group], axis=1)
        if group
        else np.empty((rows, 0))
        for group in groups
    )


def _columns(scenarios: Scenarios, found: Outcomes) -> dict[str, Array]:
    """See COLUMNS; shapes (points,) or (1,)."""
    given, best = found.given, found.best
    label_noise = (given.noise_responses * scenarios.generator_noise).sum(axis=1)
    causes, generations = label_noise + given.mismatch, scenarios.generator_noise.shape[1]
    generation, distortion = generation_terms(given.total, given.bias, given.variance, causes, generations)
    return {
        "penalty": given.penalty,
        "total": given.total,
        "bias": given.bias,
        "variance": given.variance,
        "generation": generation,
        "label_noise": label_noise,
        "distortion": distortion,
        "shift": np.zeros(1),
        "noise_mismatch": given.mismatch,
        "recommended_penalty": best.penalty,
        "total_at_recommended": best.total,
        "clean_optimal_penalty": found.clean_penalty,
        "cost_of_clean_choice": np.maximum(found.total_at_clean - best.total, 0.0),
        "effective_samples": found.effective_samples,
    }
