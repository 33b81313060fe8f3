"""The errors that a prediction to order 1 consists of, and what their corrections leave where random features are few.

Corrections are judged by the whole: a small part may have a correction larger than itself, as what hardly more random
features than modes do not learn has, and the total, to which both are small, be right.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

import numpy as np

from service.theory.finite_size import Contributions
from service.theory.matrices.response import MatrixResponse
from service.theory.model import Array, Population, Stage
from service.theory.plain_correction import LARGEST, NEGLIGIBLE, NotSmall, continued, near_threshold
from service.theory.response import Response

Answer = Response | MatrixResponse
_FOLLOWING = 0.6  # calibrated on random features about as many as modes, see left_over


def _never_negative(value: float, correction: float) -> float:
    """value + correction, of what cannot be negative: as a geometric series where little would be left."""
    if correction >= -LARGEST * value:
        return value + correction
    return value / (1.0 - correction / value) if value > 0 else 0.0


def _following(value: float, correction: float) -> float:
    """About what follows a value and its correction: as in a geometric series, at most a share of the correction."""
    return _FOLLOWING * min(correction**2 / abs(value) if value else inf, abs(correction))


@dataclass(frozen=True, eq=False)
class Errors:
    """What a final error consists of.

    ``truth``: what is not learned; ``noise[f][s]``: its derivative by the noise variance of source s of stage f;
    ``shift``: of all shifts together; ``moved``: see Prediction; ``hidden``: what is left of the corrections where
    random features are hardly more than modes, which samples to spare do not show, as a share of the total.
    """

    truth: float
    noise: list[Array]
    shift: float
    moved: float
    hidden: float

    @staticmethod
    def of(
        population: Population, stages: Sequence[Stage], responses: Sequence[Answer], found: Contributions
    ) -> "Errors":
        """To order 1. Raises NotSmall."""
        variances = [[source.noise_variance for source in stage.sources] for stage in stages]
        truth = found.truth.sum(axis=0)
        shift = sum((parts.sum(axis=1) for parts in found.shift), np.zeros(2))
        noise = sum((part @ v for part, v in zip(found.noise, variances, strict=True)), np.zeros(2))
        total = float(truth[0] + shift[0] + noise[0])
        least = NEGLIGIBLE * total
        moved_noise = np.cumsum([abs(part[1]) @ v for part, v in zip(found.noise, variances, strict=True)])
        moved = abs(truth[1]) + abs(shift[1]) + float(moved_noise[-1])
        hidden = 0.0
        for stage, response, (value, correction), lost, of_noise in zip(
            stages, responses, found.truth.tolist(), found.lost.tolist(), moved_noise.tolist(), strict=True
        ):
            if stage.width is not None:
                room = features_to_spare(population, stage.width, response)
                if room < 1 and abs(correction) > max(LARGEST * abs(value), least):
                    raise NotSmall
                hidden += _following(value, correction) + lost_in_features(stage.width, room) * max(
                    lost - value, 0.0
                )
                # with none to spare a small penalty undoes the correction of the noises that pass through
                hidden += max(1.0 - room, 0.0) * of_noise

        def by_noise(part: Array, variance: list[float]) -> Array:
            return np.array([
                continued(value, correction, least / s2 if s2 else inf)
                for value, correction, s2 in zip(*part.tolist(), variance, strict=True)
            ])  # fmt: skip

        return Errors(
            _never_negative(*truth.tolist()),
            [by_noise(part, v) for part, v in zip(found.noise, variances, strict=True)],
            _never_negative(*shift.tolist()),
            float(moved) / total if total > 0 else 0.0,
            hidden / total if total > 0 else 0.0,
        )

    def variance(self, noise: float) -> float:
        """Of a single fit to labels of this noise."""
        return noise * float(self.noise[-1].sum())

    def total(self, stages: tuple[Stage, ...]) -> float:
        """The test error."""
        variances = ([source.noise_variance for source in stage.sources] for stage in stages)
        return self.truth + self.shift + sum(float(p @ v) for p, v in zip(self.noise, variances, strict=True))


def lost_in_features(width: float, room: float) -> float:
    """Share of what could be lost in whole modes that next to a threshold of random features is; see left_over."""
    return near_threshold((1.0 - room / width) / max(room, 1.0))


def features_to_spare(population: Population, width: float, response: Answer) -> float:
    """Random features beyond their second-order degrees of freedom, m − Σ_i (1 − U_i)²."""
    U = response.unlearned
    if isinstance(response, MatrixResponse):
        learned = np.eye(U.shape[0]) - U
        return width - float(np.vdot(learned, learned.T))
    return width - float(population.multiplicities @ (1.0 - U) ** 2)
