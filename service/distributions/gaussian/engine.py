"""From a request about Gaussian fits to the theory and back, without the database."""

import numpy as np

from service.distributions.gaussian.answer import answer
from service.distributions.gaussian.responses import GaussianPrediction
from service.distributions.gaussian.schemas import (
    MAX_DIMENSION,
    GaussianRecommendationRequest,
    GaussianRequest,
)
from service.distributions.schedules import mix_of, models_of, schedule_of
from service.distributions.schemas import Accumulate, Fresh, Replace
from service.errors import InvalidInput
from service.predictions.schemas import EigenvaluesSpectrum, IsotropicSpectrum, LevelsSpectrum, Spectrum
from service.theory.distributions.gaussian.model import Gaussian
from service.theory.distributions.gaussian.predict import predict_accumulate, predict_fresh, predict_retained
from service.theory.distributions.gaussian.replace import predict_replace

# Seconds per work, and per dimension of a search, rather too many.
_PER_WORK, _PER_DIMENSION = 2e-6, 2e-3
_POOL = 500  # what an accumulated pool takes at least
MAX_WORK = 20_000_000.0
_PROBABILITY = 100
_STEP = 100


def truth_of(spectrum: Spectrum) -> Gaussian:
    """The true Gaussian. Raises InvalidInput where it is too large or singular."""
    dimension = dimension_of(spectrum)
    if dimension is None or dimension > MAX_DIMENSION:
        raise InvalidInput.at(
            "/spectrum", "too_large",
            f"There are {'infinitely many' if dimension is None else f'{dimension:,}'} dimensions; "
            f"at most {MAX_DIMENSION:,} are fitted.",
        )  # fmt: skip
    if isinstance(spectrum, IsotropicSpectrum):
        values, counts = [spectrum.variance], [dimension]
    elif isinstance(spectrum, LevelsSpectrum):
        values, counts = spectrum.values, spectrum.multiplicities
    elif isinstance(spectrum, EigenvaluesSpectrum):
        values, counts = spectrum.values, [1] * dimension
    else:
        values = [spectrum.scale * i**-spectrum.exponent for i in range(1, dimension + 1)]
        counts = [1] * dimension
    if min(values) <= 0:
        raise InvalidInput.at(
            "/spectrum", "singular",
            "Every eigenvalue must be positive; leave the zeros out: no fit ever leaves the truth's support.",
        )  # fmt: skip
    return Gaussian(np.array(values, dtype=float), np.array(counts, dtype=float))


def dimension_of(spectrum: Spectrum) -> int | None:
    """How many dimensions there are; None: infinitely many."""
    if isinstance(spectrum, EigenvaluesSpectrum):
        return len(spectrum.values)
    if isinstance(spectrum, LevelsSpectrum):
        return sum(spectrum.multiplicities)
    return spectrum.dimension


def work_of(request: GaussianRequest) -> float:
    """A measure of a prediction's cost. Raises InvalidInput where it would take more than seconds."""
    runs, reported = len(schedule_of(request, request.workflow).sizes), len(models_of(request))
    if isinstance(request.workflow, Fresh) and isinstance(request.workflow.real_samples, list):
        runs = max(runs, len(request.workflow.real_samples))
    work = float(runs * (dimension_of(request.spectrum) or 0))
    if isinstance(request.workflow, Replace):
        dimension = dimension_of(request.spectrum) or 0
        asked = len(request.thresholds) + dimension * len(request.determinant_thresholds)
        work += _PROBABILITY * asked * reported * runs
    elif isinstance(request.workflow, Accumulate):
        work += request.generations + _PROBABILITY * reported * len(request.thresholds) + _POOL
    else:
        work += _STEP * (runs + reported)
    if work > MAX_WORK:
        raise InvalidInput.at(
            "/samples", "too_large",
            f"Distinct sample sizes × (dimensions + {_PROBABILITY} × thresholds × reported generations), thresholds of "
            f"the determinant counted once per dimension, is {work:.2g}; at most {MAX_WORK:.2g} is computed. Use fewer "
            "sample sizes, thresholds, or generations in `at`.",
        )  # fmt: skip
    return work


def seconds_of(request: GaussianRequest) -> float:
    """About how long a prediction takes, rather too long than too short. Raises InvalidInput."""
    return _PER_WORK * work_of(request)


def seconds_of_search(request: GaussianRecommendationRequest) -> float:
    """The same of a recommendation: some tens of predictions, of every distinct eigenvalue."""
    levels = 1 if isinstance(request.spectrum, IsotropicSpectrum) else dimension_of(request.spectrum) or 0
    return _PER_DIMENSION * min(levels, MAX_DIMENSION)


def predicted(request: GaussianRequest) -> GaussianPrediction:
    """The answer to a request. Raises InvalidInput where there is none."""
    truth, workflow, unbiased = truth_of(request.spectrum), request.workflow, request.estimator == "unbiased"
    schedule, models = schedule_of(request, workflow), models_of(request)
    fewest = schedule.sizes[0] if isinstance(workflow, Accumulate) else min(schedule.sizes)
    if unbiased and fewest < 2:
        raise InvalidInput.at(
            "/samples",
            "too_few",
            'The unbiased variance needs at least 2 samples; or choose the estimator "mle".',
        )
    thresholds = np.array(request.thresholds, dtype=float)
    if isinstance(workflow, Replace):
        found = predict_replace(truth, schedule, models, unbiased=unbiased, thresholds=thresholds)
    elif isinstance(workflow, Accumulate):
        found = predict_accumulate(truth, schedule, models, unbiased=unbiased, thresholds=thresholds)
    elif isinstance(workflow, Fresh):
        mix = mix_of(request, workflow)
        found = predict_fresh(truth, mix, models, unbiased=unbiased, thresholds=thresholds)
    else:
        mix = mix_of(request, workflow)
        found = predict_retained(truth, mix, models, unbiased=unbiased, thresholds=thresholds)
    return answer(request, truth, schedule, found)
