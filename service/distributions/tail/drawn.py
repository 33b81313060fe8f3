"""A tail that is drawn item by item: what may be asked, what a replicate draws, and what is predicted of it."""

from itertools import pairwise
from math import isnan, log2, nan
from typing import Annotated, Final

from pydantic import Field, model_validator

from service.distributions.schemas import Count
from service.distributions.tail import schemas
from service.distributions.tail.answer import unknown
from service.distributions.tail.engine import POINTS, bigram_of, memory_of, training_of
from service.errors import InvalidInput
from service.simulation.costs import MICROSECOND, NORMAL
from service.simulation.tail import LEAST_ENDLESS, MAX_TABLE
from service.simulations.kinds import Point
from service.simulations.resource import SimulationOptions
from service.theory.distributions.schedule import reported_models
from service.theory.distributions.tail.bigram import bigram_error
from service.theory.distributions.tail.generations import Recursive
from service.theory.distributions.tail.prediction import by_generation
from service.theory.distributions.tail.training import CLEAN, unseen_mass
from service.theory.distributions.tail.zipf import Zipf

MAX_CURVE: Final = 50
MAX_REPLICATE_ITEMS: Final = 100_000_000
_SORT: Final = 8 * NORMAL  # of one item among many different ones
_DIFFERENT: Final = 100_000


class TailSimulationRequest(schemas.TailProblem, SimulationOptions):
    """A learner that is shown items one by one; the same problem as a prediction's."""

    curve: Annotated[list[Count], Field(min_length=1, max_length=MAX_CURVE)] | None = Field(
        None,
        description="Numbers of samples to look at, rising, the last instead of `samples`; null: `samples` alone. "
        "Not with kind recursive, where the learner is looked at after every generation.",
    )

    @model_validator(mode="after")
    def _curve_rises(self) -> "TailSimulationRequest":
        if self.curve is not None and any(b <= a for a, b in pairwise(self.curve)):
            raise ValueError("curve needs each number of samples above the one before")
        if self.curve is not None and isinstance(self.training, schemas.RecursiveTraining):
            raise ValueError("with kind recursive the curve is over the generations: leave curve out")
        return self


def check(request: TailSimulationRequest) -> None:
    """Raises InvalidInput for what cannot be drawn item by item."""
    law = request.law
    exponents = (
        (law.context_exponent, law.token_exponent) if isinstance(law, schemas.BigramLaw) else (law.exponent,)
    )
    endless = isinstance(law, schemas.BigramLaw) or law.types is None
    if endless and min(exponents) < LEAST_ENDLESS:
        raise InvalidInput.at(
            "/law", "cannot_be_simulated",
            f"Items of an endless law are drawn as 64-bit ranks, which needs an exponent of at least {LEAST_ENDLESS}: "
            f"give the number of types (at most {MAX_TABLE:,}).",
        )  # fmt: skip
    if isinstance(law, schemas.ZipfLaw) and law.types is not None and law.types > MAX_TABLE:
        raise InvalidInput.at(
            "/law/types",
            "cannot_be_simulated",
            f"At most {MAX_TABLE:,} types are drawn; or null for endlessly many.",
        )
    if isinstance(request.memory, schemas.AssociativeMemory):
        raise InvalidInput.at(
            "/memory",
            "cannot_be_simulated",
            "An associative memory is a law, not a process that could be carried out.",
        )


def items_of(request: TailSimulationRequest) -> float:
    """Items that one replicate draws or sorts."""
    training = request.training
    if isinstance(training, schemas.RecursiveTraining):
        sizes = training.generator_samples
        drawn = sizes * training.generations if isinstance(sizes, int) else sum(sizes)
        return float(drawn + 2 * request.samples * (min(training.generations, POINTS) + 1))
    looked_at = request.curve or [request.samples]
    real = training.real_samples if isinstance(training, schemas.CountsTraining) else 0
    # of pairs two items each, and sorting them takes longer
    weight = 6 if isinstance(request.law, schemas.BigramLaw) else 1
    return float(weight * (looked_at[-1] + sum(looked_at) + real * (1 + len(looked_at))))


def flops_of(request: TailSimulationRequest, learners: int) -> float:
    """Of one replicate, about: items drawn, copied, and sorted, which takes the longer the more of them differ."""
    law, training = request.law, request.training
    if isinstance(law, schemas.BigramLaw):
        return 15 * MICROSECOND * learners + _SORT * items_of(request)
    draw = 6 * NORMAL if law.types is None else 2 * NORMAL
    if isinstance(training, schemas.RecursiveTraining):
        sizes = training.generator_samples
        copied = sizes * training.generations if isinstance(sizes, int) else sum(sizes)
        calls = 15 * MICROSECOND * (learners + training.generations)
        return (
            calls
            + (1.5 * NORMAL + training.real_fraction * draw) * copied
            + _SORT * learners * request.samples
        )
    looked_at = request.curve or [request.samples]
    real = training.real_samples if isinstance(training, schemas.CountsTraining) else 0
    known = _DIFFERENT
    if isinstance(training, schemas.Cut):
        known = training.rank
        draw *= 3 if law.types is None else 1  # unknown ones again and again
    distinct = min(known, law.types or _DIFFERENT, _DIFFERENT)
    sort = _SORT * log2(1.0 + distinct) / log2(_DIFFERENT)
    return (
        15 * MICROSECOND * learners
        + draw * (looked_at[-1] + real)
        + sort * (sum(looked_at) + real * learners)
    )


def held_by(request: TailSimulationRequest) -> float:
    """Numbers that one replicate holds at once, about: samples, copies of them, and all that sorting takes."""
    training, last = request.training, (request.curve or [request.samples])[-1]
    if isinstance(training, schemas.RecursiveTraining):
        sizes = training.generator_samples
        return 7.0 * (last + (sizes if isinstance(sizes, int) else max(sizes, default=0)))
    real = training.real_samples if isinstance(training, schemas.CountsTraining) else 0
    return (14.0 if isinstance(request.law, schemas.BigramLaw) else 7.0) * (last + real)


def planned(request: TailSimulationRequest) -> list[Point]:
    """Where the learner is looked at, with the prediction there."""
    looked_at = [float(T) for T in request.curve or [request.samples]]
    if isinstance(request.law, schemas.BigramLaw):
        pairs, rank = bigram_of(request.law, request.training)
        return [_point(request, T, None, bigram_error(pairs, T, rank)) for T in looked_at]
    law, memory = Zipf(request.law.exponent, request.law.types), memory_of(request.memory)
    training = training_of(request.training)
    if isinstance(request.training, schemas.RecursiveTraining):
        [T] = looked_at
        if not isinstance(training, Recursive):
            return [_point(request, T, 0, unseen_mass(law, CLEAN, T, memory.items))]
        reported = [0, *map(int, reported_models(training.generators.fits, POINTS))]
        way = by_generation(law, training, T, reported, memory.reach(law, training, T))
        offs = [0.0, *(training.first(g).expected_error(law, T) for g in reported[1:])]
        return [
            _point(request, T, one.generation, one.test_error, off)
            for one, off in zip(way, offs, strict=True)
        ]
    points = []
    for T in looked_at:
        reach = memory.reach(law, training, T)
        error = nan if isnan(reach) else unseen_mass(law, training, T, reach)
        points.append(_point(request, T, None, error, memory.expected_error(law, training, T)))
    return points


def _point(
    request: TailSimulationRequest, samples: float, generation: int | None, error: float, off: float = 0.0
) -> Point:
    known = not isnan(error)
    return {
        "samples": int(samples),
        "generation": generation,
        "prediction": error if known else None,
        "prediction_missing": None if known else unknown(request.training, "prediction").message,
        "expected_relative_error": off if known else 0.0,
    }
