"""Vocabularies drawn count by count, beside what is predicted of them."""

from collections.abc import Mapping, Sequence
from math import isfinite
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from pydantic import Field

from service.database.engine import Connection
from service.distributions import rows_by_generation
from service.distributions.rows_by_generation import Agreement, Measured
from service.distributions.schedules import mix_of, schedule_of
from service.distributions.schemas import Fresh, Replace, Retained
from service.distributions.vocabulary.answer import by_field
from service.distributions.vocabulary.asked import Asked, Text, asked_of, text_of, truth_of
from service.distributions.vocabulary.engine import decoding_of, models_of, seconds_of, training_of
from service.distributions.vocabulary.schemas import VocabularyRequest
from service.errors import InvalidInput
from service.jobs.compute import Work
from service.predictions.responses import Answer
from service.simulation.costs import MICROSECOND, NORMAL
from service.simulation.distributions.vocabulary import QUANTITIES, VocabularyWork, Workflow
from service.simulations.kinds import Cell, Figure, Kind, Planned, Point
from service.simulations.resource import MAX_OUTCOMES, SimulationOptions, SimulationSummary
from service.theory.distributions.vocabulary.levels import Vocabulary
from service.theory.distributions.vocabulary.prediction import Question, predict
from service.theory.distributions.vocabulary.results import State
from service.theory.errors import Unsupported
from service.theory.model import Array

MAX_TYPES: Final = 1_000_000
MAX_GENERATIONS: Final = 10_000
MAX_TOKENS: Final = 10**17
_UNKNOWN: Final = "The theory does not say here; the prediction's warnings tell why."
_DRAW: Final = 6 * NORMAL  # of one count of a multinomial
_SORT: Final = 2 * NORMAL  # of one type, where decoding keeps the most probable


class VocabularySimulationRequest(SimulationOptions, VocabularyRequest):
    """A vocabulary, how its models are trained and sampled, and how often the whole is repeated."""


class VocabularySimulation(SimulationSummary):
    """A simulated vocabulary; ``measured`` holds the replicates done so far."""

    kind: Literal["vocabulary"] = "vocabulary"
    request: VocabularySimulationRequest
    replicates_done: int
    agreement: Agreement
    measured: list[Measured] = Field(
        description="diversity, surviving_types, missing_mass, entropy, one_type_left, kl_fit_true, squared_distance "
        'and gone:RANK or gone:"TOKEN", by generation.'
    )


class VocabularyKind(Kind[VocabularySimulationRequest, Text]):
    """Multinomial models of a vocabulary, each trained on samples of the one before."""

    name = "vocabulary"
    request = VocabularySimulationRequest
    simulation = VocabularySimulation

    async def load(
        self,
        connection: Connection,
        request: VocabularySimulationRequest,
        rows_dir: Path,
    ) -> Text | None:
        """The stored text that the request names."""
        return await text_of(connection, request.vocabulary, rows_dir, request.tokens, "/tokens/#")

    def seconds(self, request: VocabularySimulationRequest) -> float:
        """Of its prediction."""
        return seconds_of(request)

    def plan(self, request: VocabularySimulationRequest, data: Text | None) -> Planned:
        """The predictions of every reported generation, where there are any."""
        truth = truth_of(request.vocabulary, data)
        _check(request, truth)
        rows = _expected(request, truth, asked_of(request, data))
        replicates = request.replicates or 1  # the cap of a precision adapts itself
        if len(rows) * replicates > MAX_OUTCOMES:
            raise InvalidInput.at(
                "/replicates", "too_large",
                f"{len(rows):,} quantities of {replicates:,} replicates are more than the {MAX_OUTCOMES:,} "
                "numbers that are kept: fewer replicates, generations in `at`, or ranks.",
            )  # fmt: skip
        flops = _flops(request, truth.types)
        return Planned([{"rows": rows}], len(rows), flops, 10.0 * truth.types)

    def work(
        self,
        request: VocabularySimulationRequest,
        points: Sequence[Point],  # noqa: ARG002 - nothing of it was computed at submit
        data: Text | None,
    ) -> Work:
        """The probabilities of all types, and the sizes of all generations."""
        truth = truth_of(request.vocabulary, data)
        if truth.exponent is not None:
            p = np.arange(1.0, truth.types + 1.0) ** -truth.exponent
        else:
            p = np.repeat(truth.probabilities, np.rint(truth.multiplicities).astype(np.int64))
        sizes, real = _sizes(request)
        return VocabularyWork(
            probabilities=p / p.sum(),
            workflow=_workflow(request),
            sizes=sizes,
            real=real,
            reported=tuple(int(n) - 1 for n in models_of(request)),
            ranks=asked_of(request, data).ranks,
            temperature=request.decoding.temperature,
            top_k=request.decoding.top_k,
            top_p=request.decoding.top_p,
        )

    def result(self, request: Mapping[str, Any], points: Sequence[Point], outcomes: Array) -> Answer:  # noqa: ARG002
        """Every quantity of every reported generation beside its prediction."""
        return rows_by_generation.compared(rows_by_generation.stored_rows(points), outcomes)

    def rows(self, simulation: VocabularySimulation) -> list[dict[str, Cell]]:
        """One row per generation and quantity."""
        return rows_by_generation.table(simulation.measured)

    def figure(self, simulation: VocabularySimulation) -> Figure:
        """Missing mass and diversity over generations."""
        return rows_by_generation.curves(simulation.measured, ("missing_mass", "diversity"), "probability")

    def wanted(self, points: Sequence[Point]) -> Sequence[int]:
        """Diversity, surviving types and entropy of the last generation: what is never 0 but by its own collapse."""
        rows = rows_by_generation.stored_rows(points)
        last = rows[-1]["generation"]
        names = {"diversity", "surviving_types", "entropy"}
        return [i for i, row in enumerate(rows) if row["generation"] == last and row["quantity"] in names]


VOCABULARY: Final = VocabularyKind()


def _check(request: VocabularySimulationRequest, truth: Vocabulary) -> None:
    if request.samples is None:
        raise InvalidInput.at(
            "/samples", "unsupported", "Infinitely many samples cannot be drawn: give a number of them."
        )
    if truth.types > MAX_TYPES:
        raise InvalidInput.at(
            "/vocabulary", "too_large",
            f"At most {MAX_TYPES:,} types are drawn one by one; give a smaller vocabulary, or cut an endless law at a "
            "number of types.",
        )  # fmt: skip
    if request.generations > MAX_GENERATIONS:
        raise InvalidInput.at(
            "/generations", "too_large", f"At most {MAX_GENERATIONS:,} generations are drawn one by one."
        )
    sizes, _ = _sizes(request)
    if sum(sizes) > MAX_TOKENS:
        raise InvalidInput.at(
            "/samples", "too_large", f"At most {MAX_TOKENS:.0e} tokens are drawn in all generations together."
        )


def _sizes(request: VocabularySimulationRequest) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """Samples of every generation, and the real ones among them."""
    workflow = request.workflow
    models = range(1, request.generations + 2)
    if not isinstance(workflow, Fresh | Retained):
        schedule = schedule_of(request, workflow)
        return tuple(schedule.at(n) for n in models), (0.0,) * len(models)
    training_of(request)  # which checks that they fit
    mix = mix_of(request, workflow)
    real = np.repeat(mix.real, np.array(mix.schedule.repetitions))
    return tuple(mix.schedule.at(n) for n in models), tuple(real.tolist())


def _workflow(request: VocabularySimulationRequest) -> Workflow:
    workflow = request.workflow
    if isinstance(workflow, Fresh):
        return workflow.allocation
    if isinstance(workflow, Replace):
        return "replace"
    return "retained" if isinstance(workflow, Retained) else "accumulate"


def _flops(request: VocabularySimulationRequest, types: float) -> float:
    """Of one replicate, about: every type is looked at in every generation, and those drawn that may be left."""
    generations, reported = request.generations + 1, len(models_of(request))
    decoding, (sizes, _) = request.decoding, _sizes(request)
    living = min(types, max(sizes), decoding.top_k or types)
    draw = _DRAW * (2 if isinstance(request.workflow, Fresh) else 1)
    look = 0.5 * NORMAL + 2 * NORMAL * (decoding.temperature != 1.0)
    look += _SORT * (decoding.top_k is not None or decoding.top_p < 1.0)
    if decoding.temperature < 1.0 or decoding.top_k is not None or decoding.top_p < 1.0:
        draw *= 0.2  # few types are left after the first generations
    calls = 5 * generations + 30 * reported
    return calls * MICROSECOND + generations * (living * draw + types * look) + 3 * NORMAL * types * reported


def _expected(request: VocabularySimulationRequest, truth: Vocabulary, asked: Asked) -> list[dict[str, Any]]:
    models, ranks = models_of(request), asked.ranks
    names = (
        *QUANTITIES,
        *(f"gone:{rank}" if token is None else f'gone:"{token}"'
          for rank, token in zip(ranks, asked.tokens, strict=True)),
    )  # fmt: skip
    try:
        found = predict(Question(truth, training_of(request), decoding_of(request.decoding), models, ranks))
    except Unsupported as error:
        reason = f"No formula: {error}."
        return [
            rows_by_generation.expected(int(n) - 1, name, None, None, reason)
            for n in models
            for name in names
        ]
    errors = {one.quantity: one.expected_relative_error for one in by_field(found.accuracy)}
    rows = []
    for one in found.generations:
        for name, value in zip(names, _values(one.state), strict=True):
            own = errors.get(name.partition(":")[0])
            if value is None or not isfinite(value):
                reason = _UNKNOWN if value is None else "Infinite."
                rows.append(rows_by_generation.expected(one.generation, name, None, None, reason))
            else:
                rows.append(rows_by_generation.expected(one.generation, name, value, own))
    return rows


def _values(state: State) -> tuple[float | None, ...]:
    return (
        state.diversity,
        state.surviving_types,
        state.missing_mass,
        state.entropy,
        state.one_type_left,
        state.divergence,
        state.squared_distance,
        *state.gone,
    )
