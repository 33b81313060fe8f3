"""Chains of n-gram models: what the queue computes, and which of it is predicted."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from service.database.engine import Connection
from service.datasets import store as datasets
from service.distributions import rows_by_generation
from service.distributions.ngram.schemas import (
    Histogram,
    NgramResult,
    NgramSimulation,
    NgramSimulationRequest,
    ReplaceCorpus,
)
from service.errors import InvalidInput
from service.jobs.compute import Work
from service.predictions.responses import Answer
from service.simulation.costs import MICROSECOND
from service.simulation.distributions.ngram import BINS, BY_LENGTH, LOWEST, NgramWork
from service.simulation.distributions.ngrams import NgramModel, layout, whole
from service.simulations.kinds import Cell, Figure, Kind, Planned, Point
from service.simulations.resource import MAX_OUTCOMES
from service.theory.distributions.schedule import Schedule
from service.theory.distributions.vocabulary.levels import from_counts
from service.theory.distributions.vocabulary.sampled import predict_sampled
from service.theory.distributions.vocabulary.training import Replace
from service.theory.model import Array

MAX_TRAINING: Final = 5_000_000
MIN_TRAINING: Final = 100
_TOKEN: Final = 0.4 * MICROSECOND  # per order and generation: sorts and searches
_STEP: Final = 20 * MICROSECOND  # per order: one token more in every passage

NO_PERPLEXITY: Final = "Back-off and smoothing decide the perplexity; there is no formula for it."
NO_BACK_OFF: Final = (
    "With a discount, words also come from shorter histories: there is no formula. Discount 0 has one."
)
NO_LONG: Final = (
    "For n-grams of three and more words the independence that the formula needs was never checked."
)
NO_SHORTER: Final = "Words of a chain of pairs depend on each other: only the pairs themselves are predicted."
NO_KEPT: Final = (
    "With original text kept or accumulated, whole passages come back: there is no formula for n-grams."
)
NO_ENTROPY: Final = (
    "Entropy of n-grams of a running text: tokens depend on each other, and no error is known."
)


@dataclass(frozen=True)
class StoredTokens:
    """A stored text: where its token numbers are, how many, and of how many types."""

    path: Path
    count: int
    types: int


class NgramKind(Kind[NgramSimulationRequest, StoredTokens]):
    """n-gram language models with back-off, each trained on text of the one before."""

    name = "ngram"
    request = NgramSimulationRequest
    simulation = NgramSimulation

    async def load(
        self, connection: Connection, request: NgramSimulationRequest, rows_dir: Path
    ) -> StoredTokens:
        """The stored text that the request names. Raises NotFound, RowsDeleted, InvalidInput."""
        path = await datasets.tokens(connection, request.text, rows_dir, "/text")
        text = await datasets.fetch_text(connection, request.text, "/text")
        return StoredTokens(path, text.count, text.types)

    def plan(self, request: NgramSimulationRequest, data: StoredTokens | None) -> Planned:
        """The predictions of surviving n-grams, where the model is maximum likelihood of one or two words."""
        assert data is not None
        work = _work(request, data)
        if work.training < MIN_TRAINING or work.held_out < request.order:
            raise InvalidInput.at(
                "/held_out", "too_small",
                f"{work.training:,} tokens would be trained on and {work.held_out:,} held out; at least "
                f"{MIN_TRAINING} and {request.order} are needed: a longer text, or another share.",
            )  # fmt: skip
        if work.training > MAX_TRAINING:
            raise InvalidInput.at(
                "/text", "too_large",
                f"{work.training:,} tokens would be trained on; at most {MAX_TRAINING:,} are: upload a part of the "
                "text, or hold out more of it.",
            )  # fmt: skip
        if work.rows * (request.replicates or 1) > MAX_OUTCOMES:
            raise InvalidInput.at(
                "/replicates",
                "too_large",
                f"More than {MAX_OUTCOMES:,} numbers would be kept: fewer replicates.",
            )
        models = request.generations + 1
        counted = work.training * models
        corpora = 1 if isinstance(request.workflow, ReplaceCorpus) else models
        counted *= (corpora + 1) // 2  # all of them are counted again
        steps = sum(
            layout(work.training)[1] for _ in range(request.generations)
        )  # of all passages side by side
        flops = request.order * (_TOKEN * counted + _STEP * steps)
        held = 6.0 * work.training * (corpora + 1)
        return Planned([{"rows": _expected(request, work)}], work.rows, flops, held)

    def work(
        self,
        request: NgramSimulationRequest,
        points: Sequence[Point],  # noqa: ARG002 - nothing of it was computed at submit
        data: StoredTokens | None,
    ) -> Work:
        """The text's path and what is done with it."""
        assert data is not None
        return _work(request, data)

    def result(self, request: Mapping[str, Any], points: Sequence[Point], outcomes: Array) -> Answer:
        """Every generation's quantities beside their predictions, and the histograms."""
        asked = NgramSimulationRequest.model_validate(request)
        replicates, generations = outcomes.shape[1], asked.generations + 1
        each = outcomes.reshape(generations, len(outcomes) // generations, replicates)
        shown = len(BY_LENGTH) * asked.order + 1
        losses = each[:, shown - 1 : shown]
        # Perplexity is measured per replicate, then averaged: e to a mean is not the mean of e to it.
        measured = np.concatenate([each[:, :shown], np.exp(losses)], axis=1)
        rows = rows_by_generation.stored_rows(points)
        found = rows_by_generation.compared(rows, measured.reshape(len(rows), replicates))
        return NgramResult(
            replicates_done=found.replicates_done,
            agreement=found.agreement,
            measured=found.measured,
            histograms=_histograms(each[:, shown:]) if replicates else [],
        )

    def rows(self, simulation: NgramSimulation) -> list[dict[str, Cell]]:
        """One row per generation and quantity."""
        return rows_by_generation.table(simulation.measured)

    def figure(self, simulation: NgramSimulation) -> Figure:
        """Perplexity on the held-out real text over generations."""
        return rows_by_generation.curves(
            simulation.measured, ("perplexity",), "perplexity on held-out real text"
        )

    def wanted(self, points: Sequence[Point]) -> Sequence[int]:
        """The number of different n-grams of the last generation, n the order."""
        rows = rows_by_generation.stored_rows(points)
        generations = rows[-1]["generation"] + 1
        shown = len(rows) // generations
        order = (shown - 2) // len(BY_LENGTH)
        kept = len(BY_LENGTH) * order + 1 + 2 * BINS  # outcomes of a generation
        return [(generations - 1) * kept + len(BY_LENGTH) * (order - 1)]


NGRAM: Final = NgramKind()


def _work(request: NgramSimulationRequest, data: StoredTokens) -> NgramWork:
    held_out = round(request.held_out * data.count)
    workflow = request.workflow
    return NgramWork(
        path=data.path,
        types=data.types,
        training=data.count - held_out,
        held_out=held_out,
        order=request.order,
        discount=request.discount,
        generations=request.generations,
        kept=workflow.kept if isinstance(workflow, ReplaceCorpus) else 0.0,
        workflow=workflow.kind,
    )


def _expected(request: NgramSimulationRequest, work: NgramWork) -> list[dict[str, Any]]:
    """Rows in the order of the outcomes, with perplexity after each generation's log-loss."""
    predicted = _Predicted(request, work)
    rows = []
    for generation in range(request.generations + 1):
        for length in range(1, request.order + 1):
            for name in BY_LENGTH:
                value, error, reason = predicted(generation, length, name)
                rows.append(rows_by_generation.expected(generation, f"{name}:{length}", value, error, reason))
        rows += [
            rows_by_generation.expected(generation, name, None, None, NO_PERPLEXITY)
            for name in ("log_loss", "perplexity")
        ]
    return rows


_Row = tuple[float | None, float | None, str | None]


class _Predicted:
    """k-grams of generation g are, nearly, g multinomial samples after the text's own frequencies."""

    def __init__(self, request: NgramSimulationRequest, work: NgramWork) -> None:
        self._request = request
        workflow = request.workflow
        self._reason: str | None = None
        if request.discount > 0:
            self._reason = NO_BACK_OFF
        elif not isinstance(workflow, ReplaceCorpus) or workflow.kept > 0:
            self._reason = NO_KEPT
        text = np.load(work.path, mmap_mode="r")[: work.training].astype(np.int64)
        model = NgramModel([whole(text, request.order)], request.order, work.types, 0.0)
        passages, length_of_one = layout(work.training)
        size = passages * length_of_one
        self._states: dict[tuple[int, int], Any] = {}
        for length in (request.order,) if self._reason is None and request.order <= 2 else ():
            truth = from_counts(model.frequencies(length).astype(float))
            models = np.arange(1, max(request.generations, 1) + 1)
            found = predict_sampled(truth, Replace(Schedule.constant(size, len(models))), models)
            # The text is the truth: generation 0 has all of it, generation g is the g-th sample.
            self._states[length, 0] = found.truth
            for one in found.generations:
                self._states[length, one.generation + 1] = one.state

    def __call__(self, generation: int, length: int, name: str) -> _Row:
        if self._reason is not None:
            return None, None, self._reason
        if self._request.order > 2:
            return None, None, NO_LONG
        if length < self._request.order:
            return None, None, NO_SHORTER
        if name == "entropy" and self._request.order > 1:
            return None, None, NO_ENTROPY
        state = self._states[length, generation]
        value = {
            "distinct": state.surviving_types,
            "missing_mass": state.missing_mass,
            "entropy": state.entropy,
        }[name]
        if generation == 0:
            return value, 0.0, None
        if self._request.order == 1:
            return value, 0.005 if name == "entropy" else 0.0, None
        return value, 0.006 if name == "distinct" else 0.005, None


def _histograms(shares: Array) -> list[Histogram]:
    edges = np.linspace(LOWEST, 0.0, BINS + 1).tolist()
    mean = shares.mean(axis=2)
    return [
        Histogram(generation=g, tokens=tokens, edges=edges, shares=mean[g, start : start + BINS].tolist())
        for g in range(mean.shape[0])
        for tokens, start in (("held_out", 0), ("generated", BINS))
    ]
