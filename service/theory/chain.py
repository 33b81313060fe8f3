"""Stages with their responses, and what is passed along them: the vocabulary of moments.py and origins.py."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from service.theory.errors import Unsupported
from service.theory.model import REAL, Array, Population, Shift, Stage
from service.theory.response import Response

TRUTH = -1  # the label of real data: its error is zero


@dataclass(frozen=True, eq=False)
class Chain:
    """Stages with their responses, in order; ``labels[f][s]``: index of the stage that labels source s, or TRUTH."""

    population: Population
    stages: Sequence[Stage]
    responses: Sequence[Response]
    labels: Sequence[tuple[int, ...]]


@dataclass(frozen=True, eq=False)
class Labels:
    """Second moments of the models that label a stage's sources, per mode.

    ``cross``: E[e_s w], shape (sources, modes); ``second``: E[e_s e_t], shape (sources, sources, modes).
    """

    cross: Array
    second: Array


@dataclass(frozen=True, eq=False)
class History:
    """What the last stage of a chain is fitted on.

    ``labels``: moments of the models that label it; ``diverged``: whether a source that it uses is labelled by a model
    whose error is infinite.
    """

    labels: Labels
    diverged: bool


@dataclass(frozen=True, eq=False)
class Origins:
    """Where the final test error comes from, for each source of each stage; shapes (points, sources).

    ``noise_response``: its derivative by the source's noise variance (it is linear in it); ``shift``: what the shift
    of its labels adds.
    """

    noise_response: list[Array]
    shift: list[Array]  # empty where no labels are shifted


def label_indices(stages: Sequence[Stage]) -> list[tuple[int, ...]]:
    """For each stage and source the index of the labelling stage, or TRUTH for real and shifted labels."""
    index = {stage.name: position for position, stage in enumerate(stages)}
    return [
        tuple(
            TRUTH if isinstance(source.labels, Shift) or source.labels == REAL else index[source.labels]
            for source in stage.sources
        )
        for stage in stages
    ]


def covariances_of(stage: Stage, population: Population) -> Array | None:
    """Eigenvalues of each source's features, shape (sources, modes), or None where all are the population's.

    Raises Unsupported for a covariance matrix: only service.theory.matrices may evaluate it.
    """
    if any(source.covariance is not None for source in stage.sources):
        raise Unsupported("sources with covariance matrices are available in predictions alone")
    if all(source.eigenvalues is None for source in stage.sources):
        return None
    return np.array(
        [population.eigenvalues if s.eigenvalues is None else s.eigenvalues for s in stage.sources]
    )
