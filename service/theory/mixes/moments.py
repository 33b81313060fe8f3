"""Second moments of the models' errors, forward through the stages of many mixes; see service/theory/moments.py.

The models that a later stage still uses have places in one matrix of moments per mode, M_uv = E[e_u e_v], place 0 being
the truth w (see scenarios.Links). With e_F = Σ F_s e_s and q = F²/T, all that a fit needs are five vectors,

    E e_F², Σ q E[e_s e_F], Σ q E e_s², Σ q E[e_s w], E[e_F w],

for e_s − ē = S (e_s − e_F) + U (e_s + w), and their sums with σ m S², σ m S U and σ m U².
"""

from collections.abc import Sequence

import numpy as np

from service.theory.mixes.fits import Fits
from service.theory.mixes.scenarios import Links
from service.theory.model import Array, Population


def moments(
    population: Population,
    links: Sequence[Links],
    powers: Sequence[Array],
    fits: Sequence[Fits],
    noise: Sequence[Array],
) -> Array:
    """M at the last stage, shape (scenarios or 1, places, places, modes). ``fits``, ``noise``: of the stages before."""
    needed = [f for f in range(len(fits)) if links[f].place is not None]
    rows = max((max(fits[f].theta.size, len(noise[f]), len(powers[f])) for f in needed), default=1)
    count, modes = links[0].placed.shape[1], population.eigenvalues.size
    M = np.zeros((rows, count, count, modes))
    M[:, 0, 0] = population.target_power
    diagonal: Array = np.einsum("bllm->blm", M)  # a view
    vectors = np.empty((rows, 5, modes))
    for f in needed:
        _add(M, diagonal, vectors, links[f], powers[f], fits[f], noise[f])
    return M


def _add(  # noqa: PLR0917
    M: Array, diagonal: Array, vectors: Array, links: Links, powers: Array, fits: Fits, noise: Array
) -> None:
    """Write the moments of one more model."""
    rows, count, S, U = M.shape[0], M.shape[1], fits.S, fits.U
    placed = fits.shares_and_weighting @ links.placed
    mixed = (placed[:, :1] @ M.reshape(rows, count, -1)).reshape(rows, count, -1)  # E[e_F e_u]
    drawn = placed[:, 1:]
    np.matmul(placed, mixed, out=vectors[:, :2])
    np.matmul(drawn, diagonal, out=vectors[:, 2:3])
    np.matmul(drawn, M[:, 0], out=vectors[:, 3:4])
    vectors[:, 4] = mixed[:, 0]
    if links.shifted:
        F, q = fits.shares[:, links.shifted], fits.weighting[:, links.shifted]
        vectors[:, :3] += np.array([F * F, F * q, q]).swapaxes(0, 1) @ powers
    (bb, dd, ss, _, _), (_, d, s, c, t), (_, _, own, cross, _) = (
        vectors @ fits.weighted.swapaxes(1, 2)
    ).T  # by S², SU, U²
    phi = fits.phi
    residual = np.maximum(ss - 2.0 * dd + phi * bb, 0.0) + 2.0 * (s + c - d - phi * t)
    residual = residual + own + 2.0 * cross + phi * fits.unlearned_signal
    drive = (fits.weighting * noise).sum(axis=1) + np.maximum(residual, 0.0)
    row = S[:, None] * mixed
    row -= U[:, None] * M[:, 0]  # E[ē e_u]
    square = S * vectors[:, 0]
    square -= U * vectors[:, 4]
    square *= S
    square -= U * row[:, 0]
    place = links.place
    M[:, place] = row
    M[:, :, place] = row
    M[:, place, place] = square + (drive / fits.room)[:, None] * fits.gain
