"""The errors of one mix, from its outcome: asymptotic, or to order 1 by the formulas for many mixes side by side."""

from typing import NamedTuple

import numpy as np

from service.theory.mixes import errors
from service.theory.mixes.adjoint import origins
from service.theory.mixes.alone.design import Design, Solved
from service.theory.mixes.alone.outcome import One, Outcome, Point
from service.theory.mixes.alone.real import RealFit, RealPoint
from service.theory.mixes.designs import Designs
from service.theory.mixes.errors import CleanParts, clean_parts
from service.theory.mixes.fits import Fits
from service.theory.plain_correction import NotSmall, corrections


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
    points = [_asymptotic(one, found, at, k) for k, at in enumerate(found.points)]
    return Errors(points[0], points[-1], found.total_at_clean, one.clean.error(found.clean), real, None)


def _asymptotic(one: One, found: Outcome, at: Point, point: int) -> Parts:
    *earlier, last = (part[point] for part in found.origins.noise)
    return Parts(
        at.total,
        at.clean.bias,
        at.clean.ratio * one.real_noise,
        [
            [response * noise for response, noise in zip(part, noises, strict=True)]
            for part, noises in zip(earlier, one.noise, strict=False)
        ],
        found.origins.shift[point],
        sum(x * (noise - one.real_noise) for x, noise in zip(last, one.noise[-1], strict=True)),
    )


def corrected(one: One, found: Outcome) -> Errors:
    """To order 1. Raises NotSmall where a correction is not small."""
    noises, real_noise = [np.array([noise]) for noise in one.noise], np.array([one.real_noise])
    points = [*found.points, found.points[-1]][:2]
    clean = _clean_parts(one.clean, [*(at.clean for at in points), found.clean])
    real = None
    if found.real is not None and one.real is not None:
        alone = _clean_parts(one.real, list(found.real))
        if not alone.small.all():
            raise NotSmall
        (bias, best), (variance, spread) = alone.bias.tolist(), (alone.by_noise * one.real.noise).tolist()
        real = bias, variance, best + spread
    earlier = {id(fit): fit for fit in one.fits}
    fits = {key: _fits(fit.design, [fit.solved]) for key, fit in earlier.items()}
    last = _fits(one.design, [*(at.fit.solved for at in points), found.at_clean])
    sweep = origins(
        one.links, [power[None] for power in one.powers], [fits[id(fit)] for fit in one.fits], last,
        points=3, orders=2,
    )  # fmt: skip
    given, at_best, at_clean = (
        errors.corrected(sweep, k, clean.part(slice(k, k + 1)), noises, real_noise) for k in range(3)
    )
    if not (given.small[0] and at_best.small[0] and at_clean.small[0]):
        raise NotSmall
    total = (clean.bias + clean.by_noise * one.real_noise)[2].item()
    return Errors(_parts(given), _parts(at_best), at_clean.total.item(), total, real, given.moved.item())


def _parts(found: errors.Errors) -> Parts:
    return Parts(
        found.total.item(),
        found.bias.item(),
        found.variance.item(),
        [part[0].tolist() for part in found.by_source],
        found.shift.item(),
        found.mismatch.item(),
    )


def _fits(design: Design, solved: list[Solved]) -> Fits:
    designs = Designs(np.array([design.samples]), np.array([design.weights]))
    return Fits(
        design.population,
        designs,
        np.array([at.theta for at in solved]),
        np.array([at.shares for at in solved]),
    )


def _clean_parts(fit: RealFit, points: list[RealPoint]) -> CleanParts:
    theta = np.array([point.theta for point in points])
    found = corrections(fit.population, np.array([fit.design.total]), theta)
    return clean_parts(np.array(found.truth), np.array(found.noise), np.array(fit.noise))
