"""From a request about estimators to the random-walk law and back, without the database."""

from math import pi

import numpy as np

from service.distributions.estimator.answer import answer
from service.distributions.estimator.cost import combined_cost, cost_of, refits_jointly
from service.distributions.estimator.responses import EstimatorPrediction
from service.distributions.estimator.schemas import (
    EstimatorRecommendationRequest,
    EstimatorRequest,
    LeastSquares,
    Poisson,
    Pool,
    WeightedFresh,
    WeightedRetained,
)
from service.distributions.schedules import mix_of, models_of, schedule_of
from service.distributions.schemas import Replace
from service.errors import InvalidInput
from service.theory.distributions.estimator.law import (
    Walk,
    accumulated,
    fixed_budget,
    fresh,
    per_sample,
    replaced,
    retained,
)
from service.theory.distributions.schedule import Schedule

_STEP = 3e-6  # seconds of a step of a recursion, rather too many
_KALMAN = 1e-5  # of a generation whose weight is searched for
MAX_WORK = 20_000_000


def work_of(request: EstimatorRequest) -> int:
    """Steps of the recursions. Raises InvalidInput where they would take more than seconds."""
    runs = len(request.samples) if isinstance(request.samples, list) else 1
    listed = isinstance(request.workflow, WeightedFresh) and isinstance(request.workflow.real_samples, list)
    work = request.generations if isinstance(request.workflow, Pool) or listed else runs
    if isinstance(request.workflow, WeightedFresh) and request.workflow.weight == "kalman":
        work += request.generations
    if isinstance(request.family, Poisson):
        work += request.generations * (1 if runs == 1 else len(models_of(request)))
    if work > MAX_WORK:
        raise InvalidInput.at(
            "/generations", "too_large",
            f"Generations × reported generations is {work:.2g} for varying sample sizes; at most "
            f"{MAX_WORK:.2g} steps are computed. Report fewer generations in `at`.",
        )  # fmt: skip
    return work


def seconds_of(request: EstimatorRequest) -> float:
    """About how long a prediction takes, rather too long than too short. Raises InvalidInput."""
    return _STEP * work_of(request)


def seconds_of_search(request: EstimatorRecommendationRequest) -> float:
    """The same of a recommendation: the best weights are found generation by generation."""
    return _KALMAN * (request.generations or 0 if request.weight == "kalman" else 1000)


def predicted(request: EstimatorRequest) -> EstimatorPrediction:
    """The answer to a request. Raises InvalidInput where there is none."""
    schedule = schedule_for(request)
    return answer(request, schedule, walk(request, schedule))


def walk(request: EstimatorRequest, schedule: Schedule) -> Walk:
    """The law of the request's workflow."""
    workflow, models = request.workflow, models_of(request)
    if isinstance(workflow, WeightedFresh):
        return fresh(mix_of(request, workflow), models, workflow.weight, combined_cost(request))
    if isinstance(workflow, WeightedRetained):
        return retained(mix_of(request, workflow), models, workflow.weight, combined_cost(request))
    if isinstance(workflow, Replace):
        return replaced(schedule, models, cost_of(request))
    if workflow.fixed_budget:
        if len(set(schedule.sizes)) > 1:
            raise InvalidInput.at(
                "/samples", "unsupported", "A fixed budget is known for batches of one size; give one number."
            )
        return fixed_budget(schedule.last, models)
    found = accumulated(schedule, models, workflow.real_fraction)
    if isinstance(request.family, LeastSquares) and not workflow.real_fraction:
        return _least_squares_pool(request.family.dimension, schedule, found)
    return found


def schedule_for(request: EstimatorRequest) -> Schedule:
    """The sizes of all fits. Raises InvalidInput where the law does not cover them."""
    workflow = request.workflow
    fits = mix_of(request, workflow) if isinstance(workflow, WeightedFresh | WeightedRetained) else None
    schedule = fits.schedule if fits else schedule_of(request, workflow)
    if isinstance(workflow, WeightedRetained) and schedule.sizes[0] != workflow.real_samples:
        raise InvalidInput.at(
            "/samples", "unsupported",
            f"Generation 0 has the {workflow.real_samples:,} retained samples alone here: give one number "
            "of samples, or a list that begins with that one.",
        )  # fmt: skip
    if isinstance(request.family, LeastSquares) and refits_jointly(request):
        needed = 3 * (request.family.dimension + 1)
        if min(schedule.sizes) < needed:
            raise InvalidInput.at(
                "/samples", "too_few",
                f"Least squares on pooled data is known to first order in dimension/samples; that needs at least "
                f"{needed:,} samples in every generation. Give more, or a weight other than pooled.",
            )  # fmt: skip
    return schedule


def _least_squares_pool(d: int, schedule: Schedule, found: Walk) -> Walk:
    """1/(M_0 − d − 1) + Σ M_i/N_i² (1 + (d + 1)/N_i): the finite-size correction of the accumulated fit."""
    sizes = schedule.between(1, int(found.models[-1]))
    pool = np.cumsum(sizes)
    terms = sizes / pool**2 * (1.0 + (d + 1) / pool)
    terms[0] = per_sample(sizes[0] - d - 1)
    spread = np.cumsum(terms)[found.models - 1]
    later = (pi**2 / 6 - 1) / schedule.last
    limit = float(terms[0] + later) if len(schedule.sizes) == 1 else found.limit
    return Walk(found.models, spread, found.weight, limit)
