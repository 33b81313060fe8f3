"""The value of one number that keeps a learner's error within a bound, verified on both sides."""

from collections.abc import Callable
from dataclasses import dataclass
from math import exp, isnan, log, sqrt
from typing import Final

from scipy.optimize import minimize_scalar

from service.distributions.answering import head
from service.distributions.schemas import MAX_GENERATIONS
from service.distributions.tail import responses, schemas
from service.distributions.tail.answer import ASSUMPTIONS, unknown
from service.distributions.tail.engine import bigram_of, floor_of, memory_of, training_of
from service.distributions.validity import Reasons, validity
from service.predictions.schemas import MAX_SAMPLES
from service.theory.distributions.accuracy import Accuracy, Caution, approximate, exact
from service.theory.distributions.schedule import Schedule
from service.theory.distributions.tail.bigram import bigram_error
from service.theory.distributions.tail.generations import Recursive
from service.theory.distributions.tail.training import CLEAN, Counts, Mixed, Training, unseen_mass
from service.theory.distributions.tail.zipf import Zipf

KIND = "tail_recommendation"
ENDLESS: Final = 10**12  # generations after which nothing changes any more
_LEAST_FRACTION: Final = 1e-18
_TOLERANCE: Final = 1e-9  # relative, of a fraction


@dataclass(frozen=True)
class Found:
    """``value`` keeps the bound (None: no value does), ``beyond`` is next to it and does not; ``best``: least error."""

    value: float | None
    beyond: float | None
    best: float


def recommended(request: schemas.TailRecommendationRequest) -> responses.TailRecommendation:
    """Bisection, or for the real fraction of a mixture, where the error is convex, from its minimum down."""
    error = error_of(request)
    limit = limit_of(request)
    found = _search(request, error, lambda value: error(value) <= limit)

    reasons = Reasons(_cautions(request, found, error))

    def tried(value: float) -> responses.TailTried:
        return responses.TailTried(value=value, test_error=reasons.value(error(value), "test_error"))

    return responses.TailRecommendation(
        **head(KIND, request),
        vary=request.vary,
        limit=limit,
        reachable=found.value is not None,
        recommended=None if found.value is None else tried(found.value),
        just_beyond=None if found.beyond is None else tried(found.beyond),
        best=tried(found.best),
        sentence=_sentence(request, found, limit, error),
        validity=validity([_accuracy(request, found)], reasons, ASSUMPTIONS),
    )


def error_of(request: schemas.TailRecommendationRequest) -> Callable[[float], float]:
    """The test error as a function of what is varied."""
    floor, samples = floor_of(request.memory), float(request.samples)
    varied = request.vary
    if isinstance(request.law, schemas.BigramLaw):
        pairs, rank = bigram_of(request.law, request.training)
        return lambda value: min(bigram_error(pairs, value, rank) + floor, 1.0)
    law = Zipf(request.law.exponent, request.law.types)
    memory = memory_of(request.memory).items

    def error(value: float) -> float:
        T = value if varied == "samples" else samples
        return min(unseen_mass(law, varied_training(request, value), T, memory) + floor, 1.0)

    return error


def varied_training(request: schemas.TailRecommendationRequest, value: float) -> Training:
    """The training of the problem with this value of what is varied."""
    training, varied = request.training, request.vary
    if isinstance(training, schemas.CountsTraining):
        real = value if varied == "real_samples" else float(training.real_samples)
        return Counts(real, float(training.rank))
    if isinstance(training, schemas.MixedTraining):
        return Mixed(value if varied == "real_fraction" else training.real_fraction, float(training.rank))
    if isinstance(training, schemas.RecursiveTraining):
        assert isinstance(training.generator_samples, int)
        generations = ENDLESS if request.for_ever else training.generations
        if varied == "generations":
            generations = int(value)
        if generations == 0:
            return CLEAN
        share = value if varied == "real_fraction" else training.real_fraction
        schedule = Schedule.constant(training.generator_samples, generations)
        return Recursive(schedule, share, training.allocation == "stratified")
    return training_of(training)


def limit_of(request: schemas.TailRecommendationRequest) -> float:
    """The bound as a test error."""
    bound = request.bound
    if not bound.relative:
        return bound.limit
    samples = float(request.samples)
    if isinstance(request.law, schemas.BigramLaw):
        return bound.limit * bigram_error(bigram_of(request.law, request.training)[0], samples)
    return bound.limit * unseen_mass(Zipf(request.law.exponent, request.law.types), CLEAN, samples)


def _search(
    request: schemas.TailRecommendationRequest,
    error: Callable[[float], float],
    keeps: Callable[[float], bool],
) -> Found:
    if request.vary == "generations":
        return _most_whole(keeps, 0, MAX_GENERATIONS)
    if request.vary == "real_fraction":
        best = 1.0
        if isinstance(request.training, schemas.MixedTraining):
            best = _best_fraction(error)
        return _least_fraction(keeps, best)
    least = 1 if request.vary == "samples" else 0
    return _least_whole(keeps, least, MAX_SAMPLES)


def _least_whole(keeps: Callable[[float], bool], low: int, high: int) -> Found:
    """The least whole number that keeps the bound, which every larger one does too."""
    if keeps(float(low)):
        return Found(float(low), None, float(high))
    if not keeps(float(high)):
        return Found(None, float(high), float(high))
    best = float(high)
    while high - low > 1:
        middle = (low + high) // 2 if high < 4 * low + 4 else max(int(sqrt(max(low, 1) * high)), low + 1)
        low, high = (low, middle) if keeps(float(middle)) else (middle, high)
    return Found(float(high), float(low), best)


def _most_whole(keeps: Callable[[float], bool], low: int, high: int) -> Found:
    """The largest whole number that keeps the bound, which every smaller one does too."""
    if not keeps(float(low)):
        return Found(None, float(low), float(low))
    if keeps(float(high)):
        return Found(float(high), None, float(low))
    best = float(low)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if keeps(float(middle)) else (low, middle)
    return Found(float(low), float(high), best)


def _best_fraction(error: Callable[[float], float]) -> float:
    """The minimum of an error that is convex in the fraction, as sums of powers of 1 − linear are."""
    inner = float(minimize_scalar(error, bounds=(0.0, 1.0), method="bounded", options={"xatol": 1e-12}).x)
    return min((0.0, inner, 1.0), key=error)


def _least_fraction(keeps: Callable[[float], bool], best: float) -> Found:
    """The least fraction that keeps the bound; between it and ``best`` every one does."""
    if keeps(0.0):
        return Found(0.0, None, best)
    if not keeps(best):
        return Found(None, best, best)
    low, high = log(_LEAST_FRACTION), log(best)
    if keeps(_LEAST_FRACTION):
        return Found(_LEAST_FRACTION, 0.0, best)
    while high - low > _TOLERANCE:
        middle = 0.5 * (low + high)
        low, high = (low, middle) if keeps(exp(middle)) else (middle, high)
    value = min(exp(high), best)
    return Found(value, exp(low), best)


def _accuracy(request: schemas.TailRecommendationRequest, found: Found) -> Accuracy:
    value = found.best if found.value is None else found.value
    if isinstance(request.memory, schemas.AssociativeMemory):
        return approximate(
            "test_error", 1.0, "a memory whose law is given, not derived: the order of magnitude"
        )
    if isinstance(request.training, schemas.RecursiveTraining):
        training = varied_training(request, value)
        T = value if request.vary == "samples" else float(request.samples)
        assert not isinstance(request.law, schemas.BigramLaw)  # has no recursion
        law = Zipf(request.law.exponent, request.law.types)
        off = training.expected_error(law, T) if isinstance(training, Recursive) else 0.0
        if off > 0.0:
            return approximate("test_error", off, "the exact sum; the founders' law from its first moments")
    return exact("test_error", "sum over all items of their probability times that of never being seen")


def _cautions(
    request: schemas.TailRecommendationRequest, found: Found, error: Callable[[float], float]
) -> list[Caution]:
    """Whether the error beside the answer, or of everything, is not known."""
    tried = [one for one in (found.value, found.beyond, found.best) if one is not None]
    return [unknown(request.training, "test_error")] if any(isnan(error(one)) for one in tried) else []


def _sentence(
    request: schemas.TailRecommendationRequest, found: Found, limit: float, error: Callable[[float], float]
) -> str:
    name = request.vary.replace("_", " ")
    bound = f"a test error of at most {limit:.6g}"
    if request.for_ever:
        bound += " after any number of generations"
    if found.value is None:
        if isnan(error(found.best)):
            return f"Nothing is known of {bound}: the error has no formula here, even at {found.best:.6g} {name}."
        return f"No {name} reach {bound}: the least possible is {error(found.best):.6g}, at {found.best:.6g}."
    sense = "at most" if request.vary == "generations" else "at least"
    fraction = request.vary == "real_fraction"
    if found.beyond is None:
        return (
            f"Every {'' if fraction else 'number of '}{name} from {found.value:.6g} on keeps {bound}."
            if sense == "at least"
            else (f"Up to {found.value:,.0f} generations, the largest number considered, keep {bound}.")
        )
    if fraction:
        return f"{bound[0].upper()}{bound[1:]} needs a {name} of {sense} {found.value:.12g}; with less it is exceeded."
    other = "more" if sense == "at most" else "fewer"
    needed = "holds for" if sense == "at most" else "needs"
    return f"{bound[0].upper()}{bound[1:]} {needed} {sense} {found.value:.12g} {name}; with {other} it is exceeded."
