"""The errors of one mix, from its outcome: asymptotic, or to order 1."""

from collections.abc import Sequence
from math import inf
from typing import NamedTuple

import numpy as np

from service.theory.mixes.alone.chain import Fit
from service.theory.mixes.alone.corrections import Corrections
from service.theory.mixes.alone.origins import Origins
from service.theory.mixes.alone.outcome import One, Outcome, Point
from service.theory.mixes.alone.real import RealFit, RealPoint
from service.theory.plain_correction import NEGLIGIBLE, added, continued, corrections


class Parts(NamedTuple):
    """An error; ``by_source``: what the label noise of each source of each earlier stage adds to it."""

    total: float
    bias: float
    variance: float
    by_source: list[list[float]]
    shift: float
    mismatch: float


class Errors(NamedTuple):
    """At the given penalty, at the ``best`` one and at that of clean labels; ``clean``: of those, at their best.

    ``real``: bias and variance of the real samples alone at the given penalty, total at their best; None where there
    are none. ``moved``: see results.Prediction, None in order 0.
    """

    given: Parts
    best: Parts
    total_at_clean: float
    clean: float
    real: tuple[float, float, float] | None
    moved: float | None


def asymptotic(one: One, found: Outcome) -> Errors:
    """To order 0."""
    real = None
    if found.real is not None and one.real is not None:
        given, best = found.real
        real = given.bias, given.ratio * one.real.noise, one.real.error(best)
    fits = [point.fit for point in found.points]
    origins = Origins(one.links, one.powers, one.fits, fits)
    points = [_asymptotic(one, origins, at, k) for k, at in enumerate(found.points)]
    return Errors(points[0], points[-1], found.total_at_clean, one.clean.error(found.clean), real, None)


def _asymptotic(one: One, origins: Origins, at: Point, k: int) -> Parts:
    *earlier, last = [part[k].tolist() for part in origins.noise]
    return Parts(
        at.total,
        at.clean.bias,
        at.clean.ratio * one.real_noise,
        _times(earlier, one.noise),
        origins.shift[k].item(),
        _mismatch(one, last),
    )


def corrected(one: One, found: Outcome) -> Errors:
    """To order 1. Raises NotSmall where a correction is not small."""
    fits = [point.fit for point in found.points]
    sweep = Corrections(one.links, one.powers, one.fits, [*fits, Fit(one.design, found.at_clean)])
    real, wanted = None, [(one.clean, at) for at in (*(point.clean for point in found.points), found.clean)]
    if one.real is None or found.real is None:
        clean = _clean(wanted)
    else:
        *clean, (bias, variance), (least, spread) = _clean(wanted + [(one.real, at) for at in found.real])
        real = bias, variance, least + spread
    *points, (at_clean, _) = [_corrected(one, sweep, k, *parts) for k, parts in enumerate(clean)]
    (given, moved), (best, _) = points[0], points[-1]
    return Errors(given, best, at_clean.total, sum(clean[-1]), real, moved)


def _corrected(one: One, sweep: Corrections, k: int, bias: float, variance: float) -> tuple[Parts, float]:
    """At point ``k``, and how far it has moved. Label noise follows a geometric series, see continued."""
    truth, shift = sweep.truth[k].tolist(), sweep.shift[k].tolist()
    parts = [part[k].T.tolist() for part in sweep.noise]
    total, moved = truth[0] + shift[0], abs(truth[1]) + abs(shift[1])
    for pairs, noises in zip(parts, one.noise, strict=True):
        for (value, correction), noise in zip(pairs, noises, strict=True):
            total, moved = total + value * noise, moved + abs(correction) * noise
    least = NEGLIGIBLE * total
    *earlier, last = [
        [
            continued(value, correction, least / noise if noise else inf)
            for (value, correction), noise in zip(pairs, noises, strict=True)
        ]
        for pairs, noises in zip(parts, one.noise, strict=True)
    ]
    by_source = _times(earlier, one.noise)
    shifted = added(shift[0], shift[1], least)
    own = sum([x * noise for x, noise in zip(last, one.noise[-1], strict=True)])
    found = Parts(
        added(truth[0], truth[1], least) + shifted + sum([sum(part) for part in by_source]) + own,
        bias,
        variance,
        by_source,
        shifted,
        _mismatch(one, last),
    )
    return found, moved / total if total > 0 else 0.0


def _times(responses: Sequence[list[float]], noises: Sequence[list[float]]) -> list[list[float]]:
    """What label noise makes of these derivatives by it."""
    return [
        [response * noise for response, noise in zip(part, own, strict=True)]
        for part, own in zip(responses, noises, strict=False)
    ]


def _mismatch(one: One, responses: list[float]) -> float:
    """Of the last stage's label noise, other than that of real labels."""
    return sum([x * (noise - one.real_noise) for x, noise in zip(responses, one.noise[-1], strict=True)])


def _clean(points: Sequence[tuple[RealFit, RealPoint]]) -> list[tuple[float, float]]:
    """Bias and variance to order 1."""
    samples, theta = np.array([(fit.design.total, at.theta) for fit, at in points]).T
    truth, noise, _ = corrections(points[0][0].population, samples, theta)
    rows, found = zip(*(part.tolist() for part in (*truth, *noise)), strict=True), []
    for (fit, _), (bias, change, by_noise, more) in zip(points, rows, strict=True):
        least = NEGLIGIBLE * (bias + by_noise * fit.noise)
        variance = continued(by_noise, more, least / fit.noise if fit.noise else inf) * fit.noise
        found.append((added(bias, change, least), variance))
    return found
