"""Second moments of the models' errors, forward through the stages of many mixes; see service/theory/moments.py.

The models that a later stage still uses have places in one matrix of moments per mode, M_uv = E[e_u e_v], place 0 being
the truth w; a model that no stage needs any more gives its place to the next.
"""

from collections.abc import Sequence

import numpy as np

from service.theory.mixes.fits import Fits
from service.theory.mixes.scenarios import Links
from service.theory.model import Array, Population


class Places:
    """Where each model's moments are kept, ``of`` its stage; the truth's are at 0. ``count``: of places."""

    def __init__(self, links: Sequence[Links]) -> None:
        last_use = {u: f for f, link in enumerate(links) for u in link.models}
        self.of: dict[int, int] = {}
        free: list[int] = []
        self.count = 1
        for f in range(len(links) - 1):
            # a label's own moments are read before its place is overwritten
            free += [self.of[u] for u in links[f].models if last_use[u] == f]
            if f in last_use:
                if free:
                    self.of[f] = free.pop()
                else:
                    self.of[f] = self.count
                    self.count += 1


class Moments:
    """``matrix``: M at the last stage, shape (scenarios or 1, places, places, modes); see Places."""

    def __init__(
        self, population: Population, links: Sequence[Links], fits: Sequence[Fits], noise: Sequence[Array]
    ) -> None:
        """``fits``, ``noise``: of all stages but the last."""
        self.population, self.places = population, Places(links)
        count, modes = self.places.count, population.eigenvalues.size
        used = [f for f in range(len(fits)) if f in self.places.of]
        rows = max((max(fits[f].theta.size, len(noise[f])) for f in used), default=1)
        self.matrix: Array = np.zeros((rows, count, count, modes))
        self.matrix[:, 0, 0] = population.target_power
        self._diagonal: Array = np.einsum("bllm->blm", self.matrix)
        for f in used:
            self._add(f, links[f], fits[f], noise[f])

    def _add(self, f: int, links: Links, fits: Fits, noise: Array) -> None:
        """The moments of stage f's model."""
        M, power = self.matrix, self.population.target_power
        rows, count = M.shape[0], M.shape[1]
        S, U = fits.S, fits.U
        shares, weighting = self._placed(links, fits.shares), self._placed(links, fits.weighting)
        mixed = (shares[:, None] @ M.reshape(rows, count, -1)).reshape(rows, count, -1)  # E[e_F e_u]
        both = np.stack(np.broadcast_arrays(shares, weighting), axis=1)
        blend, drawn = np.moveaxis(both @ mixed, 1, 0)  # E[e_F e_F], Σ q E[e_s e_F], q = F²/T
        square = (weighting[:, None] @ self._diagonal)[:, 0]  # Σ q E e_s²
        cross = (weighting[:, None] @ M[:, 0])[:, 0]  # Σ q E[e_s w]
        truth = mixed[:, 0]
        if links.shifted:
            F, q = fits.shares[:, links.shifted], fits.weighting[:, links.shifted]
            blend = blend + (F * F) @ links.powers
            drawn = drawn + (F * q) @ links.powers
            square = square + q @ links.powers
        # e_s − ē = S (e_s − e_F) + U (e_s + w): its square, weighted by q and summed over s
        phi, (SS, SU, UU) = fits.phi[:, None], fits.weighted
        spread = np.maximum(square - 2.0 * drawn + phi * blend, 0.0)
        overlap = square + cross - drawn - phi * truth
        model = square + 2.0 * cross + phi * power
        residual = np.vecdot(SS, spread) + 2.0 * np.vecdot(SU, overlap) + np.vecdot(UU, model)
        drive = (fits.weighting * noise).sum(axis=1) + np.maximum(residual, 0.0)
        row = S[:, None] * mixed - U[:, None] * M[:, 0]  # E[ē e_u]
        own = S * (S * blend - U * truth) - U * row[:, 0]
        place = self.places.of[f]
        M[:, place] = row
        M[:, :, place] = row
        M[:, place, place] = own + (drive / fits.room)[:, None] * fits.gain

    def _placed(self, links: Links, values: Array) -> Array:
        """Sums over the sources of each label, at its place; shape (rows, places)."""
        placed = np.zeros((len(values), self.matrix.shape[1]))
        for row, u in zip(links.members, links.models, strict=False):
            placed[:, self.places.of[u]] = values @ row
        return placed
