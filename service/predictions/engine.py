"""From a request to an answer, without the database."""

from typing import Final, Literal

from pydantic import ValidationError

from service.errors import InvalidInput
from service.predictions import responses, schemas
from service.predictions.answer import answer
from service.predictions.compile import compile_mix
from service.predictions.identity import identifier, input_hash
from service.predictions.populations import (
    has_listed_shifts,
    has_matrices,
    own_spectra,
    population,
    single_modes,
    with_levels_of,
)
from service.remembered import Remembered
from service.theory.condensed import most_nodes
from service.theory.corrected import with_expected_error
from service.theory.errors import NotConverged, Unsupported
from service.theory.joint_penalties import evaluations
from service.theory.leverage import with_rows_error
from service.theory.limits import limits
from service.theory.matrices.prediction import MAX_PRODUCTS, products
from service.theory.mixes.scenarios import is_mixed
from service.theory.model import Population, Stage, TrainingMix
from service.theory.plain_prediction import is_plain
from service.theory.prediction import predict
from service.theory.shared_design import expected_seconds

# Modes × sources × stages up to which a prediction takes about a millisecond and may run on the event loop.
INLINE_WORK = 20_000
# A stage with several covariances is solved anew for every penalty that is tried.
_SHIFTED = 1000
# Every fit on accumulated data has its own number of rows, so it is solved by itself for every penalty that is tried,
# in few modes; condensing them and the plain fits of the baselines look at all.
_KEPT, _KEPT_ONCE = 100, 70
# The finite-size correction of a mix without a closed form for it, of one covariance and of any other kind.
_CORRECTED_MIX, _CORRECTED = 4, 15
# What a stage of such a mix takes however few its modes are: some 0.2 milliseconds.
_STAGE = 1_000
# However small, each of the penalties that are tried takes its time: some 10 and 50 milliseconds together.
_LEAST_KEPT = 200_000.0
_LEAST_MATRICES = 0.005
_LAWS: Final = Remembered[Population](64 * 2**20)  # by the data set without its noise
# Seconds per work, per product of matrices of 2,000 modes, of the smallest matrices: the slowest on a cloud machine.
_SECONDS, _KEPT_SECONDS, _SHIFTED_SECONDS, _RANDOM_SECONDS = 1e-6, 1e-7, 5e-8, 4e-6
_PRODUCT_SECONDS, _LEAST_SECONDS = 0.6, 0.1
# Beyond this a prediction would take minutes or not fit in memory.
MAX_WORK = 200_000_000


def compiled(request: schemas.PredictionRequest, stored: Population | None) -> tuple[Population, TrainingMix]:
    """The population and the mix of a request; ``stored``: that of the data set it names. Raises InvalidInput."""
    dataset, mix = request.dataset, request.training_mix
    if isinstance(dataset, schemas.Dataset):
        found = described(dataset, mix)
        training = compile_mix(mix, found, dataset)
    else:
        assert stored is not None
        found = with_levels_of(single_modes(stored) if has_matrices(mix) else stored, own_spectra(mix))
        training = compile_mix(mix, found)
    if training.has_matrices and (cost := products(found, training)) > MAX_PRODUCTS:
        raise InvalidInput.at(
            "/training_mix", "too_large",
            f"this takes about {cost:.0f} products of matrices of 2,000 modes; at most {MAX_PRODUCTS} are computed. "
            "Take fewer modes, stages or sources with a covariance.",
        )  # fmt: skip
    work = work_of(found, training)
    if work > MAX_WORK:
        raise InvalidInput.at(
            "/training_mix", "too_large",
            f"modes × sources × stages is {work:.2g}; at most {MAX_WORK:.2g} is computed. "
            "Give the spectrum as levels with multiplicities, or fewer stages.",
        )  # fmt: skip
    return found, training


def described(dataset: schemas.Dataset, mix: schemas.TrainingMix) -> Population:
    """The population of an inline data set. Raises InvalidInput.

    Laws are remembered with the sums over modes that predictions made of them: pipelines ask about one data set again
    and again.
    """
    lists = not isinstance(dataset.spectrum, schemas.PowerLawSpectrum | schemas.IsotropicSpectrum)
    lists |= not isinstance(dataset.target, schemas.SourceTarget | schemas.IsotropicTarget)
    if lists or own_spectra(mix) or has_matrices(mix) or has_listed_shifts(mix):
        return population(dataset, mix)
    silent = dataset.model_copy(update={"noise_variance": 0.0})
    name = silent.model_dump_json()
    known = _LAWS.get(name)
    if known is None:
        known = population(silent)
        if known.rank > 0:
            known.grid.base  # noqa: B018 (made here, so that every copy has it)
        _LAWS.put(name, known, known.bytes)
    return known.with_noise(dataset.noise_variance)


def work_of(population: Population, mix: TrainingMix) -> float:
    """A measure of a prediction's cost: modes × Σ over stages of sources², times the searches for joint optima."""
    modes = population.eigenvalues.size
    if mix.has_matrices:
        return MAX_WORK * max(products(population, mix) / MAX_PRODUCTS, _LEAST_MATRICES)
    if mix.keeps_data:
        return float(most_nodes(population) * len(mix.stages) * _KEPT + modes * _KEPT_ONCE) + _LEAST_KEPT
    once = sum(
        expected_seconds(population, s.sources[0].samples, s.passes) / _SECONDS
        if s.passes
        else modes * len(s.sources) ** 2 * (_SHIFTED if _shifted(s) else 1)
        for s in mix.stages
    )
    return float(once * evaluations(mix))


def is_quick(population: Population, mix: TrainingMix, order: Literal[0, 1]) -> bool:
    """Whether a prediction takes about a millisecond and may run on the event loop."""
    again = mix.next_generation
    if again is not None and again.passes:  # other numbers of fits on the design are looked at
        return False
    work = work_of(population, mix)
    if mix.keeps_data or is_plain(population, mix):
        return work <= INLINE_WORK
    correction = _CORRECTED_MIX if is_mixed(population, mix) else _CORRECTED
    return (work + _STAGE * len(mix.stages)) * (correction if order else 1) <= INLINE_WORK


def seconds_of(population: Population, mix: TrainingMix) -> float:
    """About how long a prediction takes, rather too long than too short: which decides where it is computed."""
    if mix.has_matrices:
        return max(_PRODUCT_SECONDS * products(population, mix), _LEAST_SECONDS)
    work = work_of(population, mix)
    if mix.keeps_data:
        return work * _KEPT_SECONDS
    if any(_shifted(stage) for stage in mix.stages):
        return work * _SHIFTED_SECONDS
    if any(stage.width is not None for stage in mix.stages):
        return work * _RANDOM_SECONDS
    return work * _SECONDS


def _shifted(stage: Stage) -> bool:
    return any(source.eigenvalues is not None for source in stage.sources)


def prediction_id(digest: str, order: Literal[0, 1]) -> str:
    """What the answer to the request of this hash is called."""
    return identifier("prd", digest, f"order={order}")


def predicted(
    request: schemas.PredictionRequest, population: Population, mix: TrainingMix, order: Literal[0, 1] = 1
) -> responses.Prediction:
    """The answer to a compiled request. Raises InvalidInput where there is no formula for it.

    ``order``: 0 for the asymptotic value, 1 for finite samples where that is known.
    """
    digest = input_hash(request)
    try:
        prediction = predict(population, mix, order=order)
        if order == 0 and not mix.keeps_data:
            prediction = with_expected_error(population, prediction)
        prediction = with_rows_error(population, prediction)
        bounds = limits(population, prediction.mix, order=order)
    except Unsupported as error:
        raise InvalidInput.at("/training_mix", "unsupported", str(error)) from error
    except NotConverged as error:
        raise InvalidInput.at("/training_mix", "not_converged", f"{error}; no value is returned") from error
    try:
        return answer(
            prediction,
            bounds,
            population,
            prediction_id=prediction_id(digest, order),
            input_hash=digest,
            dataset=request.dataset,
        )
    except ValidationError as error:
        if any(one["type"] != "finite_number" for one in error.errors()):
            raise  # a defect of ours
        message = (
            "The numbers of this request lie too many orders of magnitude apart for double precision: "
            "the answer would overflow. Give them in other units, or closer together."
        )
        raise InvalidInput.at("", "overflow", message) from error
