"""Errors put together from their origins, to order 0 or 1, side by side; see corrected.py for one by one."""

from dataclasses import dataclass

import numpy as np

from service.theory.mixes.adjoint import Origins
from service.theory.model import Array, Mask
from service.theory.plain_correction import LARGEST, NEGLIGIBLE


@dataclass(frozen=True, eq=False)
class CleanParts:
    """Of fits to real labels: ``bias``, ``by_noise`` (variance per noise) and where all corrections are ``small``."""

    bias: Array
    by_noise: Array
    small: Mask

    def part(self, rows: int | slice) -> "CleanParts":
        """Some of them, by the first axis."""
        return CleanParts(self.bias[rows], self.by_noise[rows], self.small[rows])


@dataclass(frozen=True, eq=False)
class Errors:
    """Decompositions, shape (scenarios,); see results.Decomposition.

    ``by_source``: label noise of each source of each earlier stage, shapes (scenarios, sources); ``moved``: see
    results.Prediction, 0 in order 0; ``small``: whether all corrections are.
    """

    total: Array
    bias: Array
    variance: Array
    by_source: list[Array]
    shift: Array
    mismatch: Array
    moved: Array
    small: Mask


def asymptotic(  # noqa: PLR0917
    found: Origins, point: int, total: Array, clean: CleanParts, noises: list[Array], real_noise: Array
) -> Errors:
    """To order 0; ``noises``: label noise of every source of every stage, shapes (scenarios or 1, sources)."""
    parts = [part[0, point] for part in found.noise]
    return Errors(
        total,
        clean.bias,
        clean.by_noise * real_noise,
        [part * noise for part, noise in zip(parts[:-1], noises, strict=False)],
        found.shift[0, point],
        (parts[-1] * (noises[-1] - real_noise[:, None])).sum(axis=1),
        np.zeros(1),
        clean.small,
    )


def corrected(
    found: Origins, point: int, clean: CleanParts, noises: list[Array], real_noise: Array
) -> Errors:
    """To order 1: label noise follows a geometric series, see plain_correction.continued."""
    parts = [part[:, point] for part in found.noise]
    truth, shift = found.truth[:, point], found.shift[:, point]
    by_noise = [(part * noise).sum(axis=-1) for part, noise in zip(parts, noises, strict=True)]
    total = truth[0] + shift[0] + sum(part[0] for part in by_noise)
    moved = np.abs(truth[1]) + np.abs(shift[1])
    moved = moved + sum(
        (np.abs(part[1]) * noise).sum(axis=-1) for part, noise in zip(parts, noises, strict=True)
    )
    least = NEGLIGIBLE * total
    small = clean.small & _is_small(truth, least) & _is_small(shift, least)
    response = []
    for part, noise in zip(parts, noises, strict=True):
        with np.errstate(divide="ignore", invalid="ignore"):
            value, fine = _continued(part, least[:, None] / noise)
        response.append(value)
        small = small & fine.all(axis=1)
    contributions = [value * noise for value, noise in zip(response, noises, strict=True)]
    return Errors(
        truth.sum(axis=0) + shift.sum(axis=0) + sum(part.sum(axis=1) for part in contributions),
        clean.bias,
        clean.by_noise * real_noise,
        contributions[:-1],
        shift.sum(axis=0),
        (response[-1] * (noises[-1] - real_noise[:, None])).sum(axis=1),
        np.divide(moved, total, out=np.zeros_like(total), where=total > 0),
        small,
    )


def asymptotic_parts(bias: Array, by_noise: Array) -> CleanParts:
    """To order 0."""
    return CleanParts(bias, by_noise, np.ones(bias.shape, dtype=bool))


def clean_parts(truth: Array, noise: Array, variance: Array) -> CleanParts:
    """Of fits to real labels of this noise ``variance``, to order 1; ``truth``, ``noise``: value and correction."""
    least = NEGLIGIBLE * (truth[0] + noise[0] * variance)
    with np.errstate(divide="ignore", invalid="ignore"):
        by_noise, fine = _continued(noise, least / variance)
    return CleanParts(truth[0] + truth[1], by_noise, fine & _is_small(truth, least))


def _is_small(pair: Array, least: Array) -> Mask:
    """Whether the correction is small beside the value or ``least``."""
    return np.asarray(np.abs(pair[1]) <= np.maximum(LARGEST * np.abs(pair[0]), least))


def _continued(pair: Array, least: Array) -> tuple[Array, Mask]:
    """See plain_correction.continued, and where it is small."""
    value, correction = pair
    least = np.where(np.isnan(least), np.inf, least)
    ratio = np.divide(correction, value, out=np.full_like(value, np.inf), where=value != 0)
    series = np.abs(ratio) <= LARGEST
    return np.where(series, value / (1.0 - np.where(series, ratio, 0.0)), value + correction), _is_small(
        pair, least
    )
