"""A prediction to order 1: every error in it with its finite-size correction (finite_size.py).

The recommended penalties stay where the asymptotic error is least: moving them by O(1/N) would change the error there
by O(1/N²) only. Limits and effective samples are asymptotic too.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf, isfinite

import numpy as np

from service.theory.chain import Chain, label_indices
from service.theory.errors import NotConverged, Unsupported
from service.theory.finite_size import Contributions, contributions
from service.theory.model import REAL, Array, Population, Source, Stage, TrainingMix
from service.theory.response import Regime, Response
from service.theory.results import Baseline, Best, Decomposition, Prediction, SourceNoise, assemble
from service.theory.solve import solve

MAX_WORK = 20_000_000  # modes × Σ over stages of (sources + 1)³: beyond it a correction would take seconds
LARGEST = 0.5  # share of a contribution from which on its correction is none


class NotSmall(Exception):
    """A correction that is not small beside what it corrects, so that neither can be trusted."""


def corrected(population: Population, prediction: Prediction) -> Prediction:
    """The prediction to order 1, or as it is where the correction is not available or not small (``order`` says it)."""
    try:
        return _Corrector(population, prediction).apply()
    except (NotSmall, NotConverged, Unsupported, np.linalg.LinAlgError):
        return prediction


@dataclass(frozen=True, eq=False)
class _Errors:
    """What the final error consists of, to order 1.

    ``noise[f][s]``: by the noise variance of source s of stage f; ``shift``: by all shifts together.
    """

    truth: float
    noise: list[Array]
    shift: float
    total: float


def continued(value: float, correction: float) -> float:
    """value + correction, continued as a geometric series.

    Exact for an unpenalized fit's variance: d/(T−d) and its correction d/(T−d)² give d/(T−d−1).
    Raises NotSmall.
    """
    if correction == 0:
        return value
    if abs(correction) > LARGEST * abs(value):
        raise NotSmall
    return value / (1.0 - correction / value)


def _errors(mix: TrainingMix, found: Contributions) -> _Errors:
    truth = continued(*found.truth.tolist())
    noise = [np.array([continued(*pair) for pair in parts.T.tolist()]) for parts in found.noise]
    shift = sum(continued(*pair) for parts in found.shift for pair in parts.T.tolist())
    variances = ([source.noise_variance for source in stage.sources] for stage in mix.stages)
    total = truth + shift + sum(float(part @ v) for part, v in zip(noise, variances, strict=True))
    return _Errors(truth, noise, shift, total)
