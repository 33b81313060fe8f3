"""From a request about a tail to the theory and back, without the database."""

from math import inf

import numpy as np

from service.distributions.tail import schemas
from service.distributions.tail.answer import answer
from service.distributions.tail.responses import TailPrediction
from service.predictions.schemas import MAX_SAMPLES
from service.theory.distributions.schedule import Schedule, reported_models
from service.theory.distributions.tail.bigram import Bigram, predict_bigram
from service.theory.distributions.tail.generations import EXACT_FRESH, Recursive
from service.theory.distributions.tail.memory import UNLIMITED, Memory
from service.theory.distributions.tail.prediction import Generation, by_generation, predict_tail
from service.theory.distributions.tail.training import CLEAN, Counts, Mixed, Narrowed, Training
from service.theory.distributions.tail.zipf import Zipf
from service.theory.model import Array

POINTS = 33
_DECADES = 4
_PAIRS, _ITEMS = 0.03, 2e-3  # seconds of one error of pairs and of items, rather too many
_LINEAGES = 0.01  # and where lineages of few samples are followed exactly
SEARCHED = 100  # errors of a search


def seconds_of(problem: schemas.TailProblem, errors: int) -> float:
    """About how long so many errors take, rather too long than too short."""
    if isinstance(problem.law, schemas.BigramLaw):
        return errors * _PAIRS
    training = problem.training
    fresh = isinstance(training, schemas.RecursiveTraining) and training.real_fraction > 0.0
    return errors * (_LINEAGES if fresh and problem.samples <= EXACT_FRESH else _ITEMS)


def predicted(request: schemas.TailRequest) -> TailPrediction:
    """The answer to a request."""
    curve = curve_of(request)
    floor = floor_of(request.memory)
    samples = float(request.samples)
    generations: tuple[Generation, ...] = ()
    approximation = 0.0
    if isinstance(request.law, schemas.BigramLaw):
        pairs, rank = bigram_of(request.law, request.training)
        prediction = predict_bigram(pairs, samples, curve.astype(float), rank)
    else:
        law = Zipf(request.law.exponent, request.law.types)
        training, memory = training_of(request.training), memory_of(request.memory)
        prediction = predict_tail(law, training, samples, curve.astype(float), memory)
        approximation = memory.expected_error(law, training, samples)
        if isinstance(training, Recursive):
            way = [0, *map(int, reported_models(training.generators.fits, POINTS))]
            reach = memory.reach(law, training, samples)
            generations = by_generation(law, training, samples, way, reach)
            approximation = max(training.expected_error(law, T) for T in (samples, float(curve[-1])))
    return answer(request, prediction, curve, generations, floor=floor, approximation=approximation)


def bigram_of(law: schemas.BigramLaw, training: schemas.Training) -> tuple[Bigram, float]:
    """The law of pairs, and the rank at which every context's tail is cut (inf: nowhere)."""
    rank = float(training.rank) if isinstance(training, schemas.Cut) else inf
    return Bigram(Zipf(law.context_exponent), Zipf(law.token_exponent)), rank


def training_of(training: schemas.Training) -> Training:
    """What the theory calls it."""
    match training:
        case schemas.Real():
            return CLEAN
        case schemas.Cut():
            return Mixed(0.0, float(training.rank))
        case schemas.NarrowedTraining():
            return Narrowed(training.exponent)
        case schemas.MixedTraining():
            return Mixed(training.real_fraction, float(training.rank))
        case schemas.CountsTraining():
            return Counts(float(training.real_samples), float(training.rank))
        case schemas.RecursiveTraining():
            return _recursive(training)


def _recursive(training: schemas.RecursiveTraining) -> Training:
    if training.generations == 0:
        return CLEAN
    sizes = training.generator_samples
    schedule = (
        Schedule.constant(sizes, training.generations) if isinstance(sizes, int) else Schedule.of(sizes)
    )
    return Recursive(schedule, training.real_fraction, training.allocation == "stratified")


def memory_of(memory: schemas.Memory | None) -> Memory:
    """The rank that a memory reaches; an associative one has none."""
    if isinstance(memory, schemas.ItemMemory):
        return Memory(float(memory.items), noisy=memory.keeps == "most_frequent")
    return UNLIMITED


def floor_of(memory: schemas.Memory | None) -> float:
    """What an associative memory adds to every error: width^-exponent."""
    return float(memory.width) ** -memory.exponent if isinstance(memory, schemas.AssociativeMemory) else 0.0


def curve_of(request: schemas.TailRequest) -> Array:
    """The numbers of samples to report, whole, rising."""
    if request.curve is not None:
        return np.array(request.curve, dtype=np.int64)
    low = max(request.samples / 10**_DECADES, 1.0)
    high = min(request.samples * 10.0**_DECADES, float(MAX_SAMPLES))
    spread = np.rint(np.geomspace(low, high, POINTS))
    return np.unique(np.clip(spread, 1, MAX_SAMPLES).astype(np.int64))
