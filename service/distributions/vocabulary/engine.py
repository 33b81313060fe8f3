"""From a request about a vocabulary to the theory and back, without the database."""

import numpy as np

from service.distributions.schedules import mix_of, schedule_of
from service.distributions.schemas import Accumulate, Fresh, Replace, Retained
from service.distributions.vocabulary import schemas
from service.distributions.vocabulary.answer import answer
from service.distributions.vocabulary.asked import Text, asked_of, truth_of
from service.distributions.vocabulary.responses import VocabularyPrediction
from service.errors import InvalidInput
from service.theory.distributions.schedule import Models, Schedule, reported_models
from service.theory.distributions.vocabulary import training as theory
from service.theory.distributions.vocabulary.cuts import MAX_MOVES
from service.theory.distributions.vocabulary.decoding import Decoding
from service.theory.distributions.vocabulary.levels import MAX_LEVELS
from service.theory.distributions.vocabulary.nucleus import MAX_LISTED, MAX_WORK
from service.theory.distributions.vocabulary.prediction import Question, predict, predict_plentiful
from service.theory.distributions.vocabulary.tempered import MAX_STEPS
from service.theory.errors import Unsupported

POINTS = 31
MAX_RUNS = 200
# Seconds of a reported generation, of one after so many changes of the sample size, of a search: rather too many.
_REPORTED, _CHANGE, SEARCH = 5e-3, 2e-4, 5.0
_OWN_WAY = 2e-2  # of a reported generation where sizes change: each takes its own way back
_STEP = 3e-4  # of a generation at a temperature, at most
_MOVE, _PROBABILITY = (
    1e-4,
    3e-8,
)  # of a move of a cut, of a probability of a generation without sampling noise


def seconds_of(request: schemas.VocabularyRequest) -> float:
    """About how long a prediction takes, rather too long than too short."""
    if request.samples is None:
        return len(models_of(request)) * _REPORTED + _seconds_of_decoding(request)
    changes = min(len(request.samples), MAX_RUNS) if isinstance(request.samples, list) else 1
    reported = _REPORTED if changes == 1 else _OWN_WAY
    steps = min(request.generations, MAX_STEPS) if request.decoding.temperature != 1.0 else 0
    return len(models_of(request)) * (reported + _CHANGE * changes) + _STEP * steps


def _seconds_of_decoding(request: schemas.VocabularyRequest) -> float:
    """Of generations without sampling noise: moves of a cut, or every probability again."""
    how = request.decoding
    if how.temperature == 1.0:
        return _MOVE * min(request.generations, MAX_MOVES) if how.top_p < 1.0 else 0.0
    types = MAX_LISTED if how.top_p < 1.0 else MAX_LEVELS
    if isinstance(request.vocabulary, schemas.ZipfVocabulary):
        types = min(types, request.vocabulary.types or types)
    return _PROBABILITY * min(request.generations * types, MAX_WORK)


def predicted(request: schemas.VocabularyRequest, stored: Text | None) -> VocabularyPrediction:
    """The answer to a request. Raises InvalidInput where there is none."""
    truth = truth_of(request.vocabulary, stored)
    asked, how = asked_of(request, stored), decoding_of(request.decoding)
    models = models_of(request)
    try:
        if request.samples is None:
            generations = tuple(int(n) - 1 for n in models)
            found = predict_plentiful(truth, how, _plentiful_share(request), generations, asked.ranks)
            return answer(request, truth, None, asked, found)
        schedule = schedule_of(request, request.workflow)
        trained = training_of(request)
        found = predict(Question(truth, trained, how, models, asked.ranks))
        return answer(request, truth, schedule, asked, found)
    except Unsupported as error:
        where = " (POST /v1/distributions/vocabulary/simulations)" if "simulate" in str(error) else ""
        raise InvalidInput.at("/decoding", "unsupported", f"{error}{where}.") from error


def decoding_of(decoding: schemas.Decoding) -> Decoding:
    """How tokens are drawn."""
    return Decoding(decoding.temperature, decoding.top_k, decoding.top_p)


def training_of(request: schemas.VocabularyRequest) -> theory.Training:
    """How the models are trained. Raises InvalidInput where sizes do not fit together or are too many."""
    workflow = request.workflow
    match workflow:
        case Accumulate():
            return theory.Accumulate(schedule_of(request, workflow))
        case Retained():
            mix = mix_of(request, workflow)  # which checks that they fit
            sizes = mix.schedule.sizes
            later = sizes[1:] if mix.schedule.repetitions[0] == 1 else sizes
            if len(later) > 1:
                raise InvalidInput.at(
                    "/samples", "unsupported",
                    "With retained real samples all generations from 1 on have the same number of samples; give one "
                    "number, or a list whose first entry says how many real samples generation 0 had.",
                )  # fmt: skip
            return theory.Retained(
                sizes[-1], workflow.real_samples, request.generations + 1, first=mix.schedule.at(1)
            )
        case Fresh():
            mix = mix_of(request, workflow)
            _check_runs(mix.schedule)
            return theory.FreshReal(mix.schedule, tuple(mix.real.tolist()), mix.independent)
        case Replace():
            schedule = schedule_of(request, workflow)
            _check_runs(schedule)
            return theory.Replace(schedule)


def models_of(request: schemas.VocabularyRequest) -> Models:
    """The model indices to report: generation + 1."""
    if request.at is None:
        return reported_models(request.generations + 1, POINTS)
    return np.array(request.at, dtype=np.int64) + 1


def _plentiful_share(request: schemas.VocabularyRequest) -> float:
    workflow = request.workflow
    if isinstance(workflow, Replace):
        return 0.0
    if isinstance(workflow, Fresh) and workflow.real_fraction is not None:
        return workflow.real_fraction
    raise InvalidInput.at(
        "/workflow", "unsupported",
        "Infinitely many samples (samples null) go with the workflow replace, or fresh with a real_fraction.",
    )  # fmt: skip


def _check_runs(schedule: Schedule) -> None:
    if len(schedule.sizes) > MAX_RUNS:
        raise InvalidInput.at(
            "/samples", "too_many",
            f"There are {len(schedule.sizes):,} changes of the sample size or of its real part; with this workflow at "
            f"most {MAX_RUNS} are computed. Use runs of equal generations.",
        )  # fmt: skip
