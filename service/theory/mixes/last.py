"""The last stage of many mixes as a function of its effective ridge, from sums over modes with Q² (see grid.py).

With E_vu = E[e_v e_u] of the labels and F, q = F²/T summed over the sources of each label, its bias and drive are

    c = Σ F_v F_u (S²: E_vu) − 2 Σ F_v (SU: E[e_v w]) + (U²: w²),
    Σ_s q_s E‖e_s − ē‖²_Σ = S²: Σ q_v E_vv − 2 Σ q_v F_u E_vu + φ Σ F_v F_u E_vu
        + 2 SU: Σ q_v (E_vv + E[e_v w]) − Σ q_v F_u E_vu − φ Σ F_v E[e_v w] + U²: Σ q_v (E_vv + 2 E[e_v w]) + φ w²,

each a: b a sum over modes with the test error's weight, and the error is c + s2 (Σ q noise + that)/r.
"""

import numpy as np

from service.theory.mixes.designs import Designs
from service.theory.mixes.fits import Fits
from service.theory.mixes.moments import Moments
from service.theory.mixes.scenarios import Links
from service.theory.model import Array, Mask, Population


class LastStage:
    """``links``, ``designs``, ``noise`` of the last stage; ``moments`` None where all its labels are real."""

    def __init__(
        self,
        population: Population,
        links: Links,
        designs: Designs,
        noise: Array,
        moments: Moments | None = None,
    ) -> None:
        self.population, self.links, self.designs, self.noise = population, links, designs, noise
        models, shifts = len(links.models), len(links.shifted)
        pairs = [(v, u) for v in range(models) for u in range(v + 1)]
        pairs += [(v, v) for v in range(models, models + shifts)]
        self.first = np.array([v for v, _ in pairs], dtype=np.intp)
        self.second = np.array([u for _, u in pairs], dtype=np.intp)
        self.double: Array = np.where(self.first == self.second, 1.0, 2.0)[:, None]
        self.own = np.flatnonzero(self.first == self.second)
        self.rows: Array | None = None if moments is None or not pairs else self._rows(moments, pairs)

    def _rows(self, moments: Moments, pairs: list[tuple[int, int]]) -> Array:
        """What is summed with Q²: pairs for S² and SU, E[e_v w] for SU, E_vv + 2 E[e_v w] for U²; (…, rows, modes)."""
        links, M = self.links, moments.matrix
        sigma, weight = self.population.eigenvalues, self.population.weight
        models, n, k = len(links.models), len(pairs), len(links.members)
        places = [moments.places.of[u] for u in links.models]
        rows = np.zeros((M.shape[0], 2 * n + 2 * k, sigma.size))
        for i, (v, u) in enumerate(pairs):
            rows[:, i] = M[:, places[v], places[u]] if v < models else links.powers[v - models]
        for v in range(models):
            rows[:, 2 * n + v] = M[:, 0, places[v]]
        np.multiply(rows[:, 2 * n : 2 * n + k], 2.0 * weight, out=rows[:, 2 * n + k :])
        rows[:, 2 * n + k :] += rows[:, self.own] * weight
        scaled = sigma * weight
        rows[:, n : 2 * n] = rows[:, :n] * scaled
        rows[:, :n] = rows[:, n : 2 * n] * sigma
        rows[:, 2 * n : 2 * n + k] *= scaled
        return rows

    def on_grid(self) -> tuple[Array, Mask]:
        """The error at the grid's points, shape (scenarios or 1, points), and where a penalty >= 0 leads.

        Below penalty 0 it is infinite; where all sources have one weight it goes on smoothly as far as there is room.
        """
        grid, designs = self.population.grid, self.designs
        base, (nu, g) = grid.base, designs.on_grid(grid)
        shares = designs.shares(g)
        q = shares * shares / np.where(designs.samples > 0, designs.samples, 1.0)[:, :, None]
        phi, df2 = q.sum(axis=1), base.freedom.df2
        room = 1.0 - phi * df2
        if designs.common.any():
            exact = phi * base.freedom.above_second(designs.active[:, None])
            room = np.where(designs.common[:, None], exact, room)
        products = None
        if self.rows is not None:
            products = grid.products(self.rows.reshape(-1, self.rows.shape[-1]))
            products = products.reshape(*self.rows.shape[:2], -1)
        noise = (q * self.noise[:, :, None]).sum(axis=1)
        error = self._error(base.theta, base.signal, shares, q, phi, df2 / room, noise, products)
        return np.where(room > 0, error, np.inf), (nu > 0) & (room > 0)

    def floor(self) -> Array:
        """A bound of what label noise alone makes of the error at penalty 0, shape (scenarios or 1,): 0 says nothing.

        From s2/(1 − φ s2) Σ F² noise/T where the penalty is almost 0, with the shares that make it least.
        """
        designs, base = self.designs, self.population.grid.base
        nu, _ = designs.on_grid(self.population.grid)
        first = (nu > 0).argmax(axis=1)
        room = np.atleast_2d(base.freedom.above_second(designs.active[:, None]))
        ratio = base.freedom.df2[first] / room[np.arange(len(room)), first]
        used = np.where(designs.share > 0, designs.samples, 0.0)
        spread = designs.active / np.divide(used, self.noise, out=np.full(
            np.broadcast_shapes(used.shape, self.noise.shape), np.inf
        ), where=(self.noise > 0) | (used == 0)).sum(axis=1)
        mean = (used * self.noise).sum(axis=1) / designs.active
        return np.asarray(ratio * np.where(designs.common, mean, spread))

    def at(self, fits: Fits) -> Array:
        """The error of fits of this stage, shape (fits,): some for each scenario, in order of points, then scenarios."""
        population, times = self.population, len(fits.theta) // max(len(self.designs.active), len(self.noise))
        products = None
        if self.rows is not None:
            squares, count = fits.Q * fits.Q, len(self.rows)
            if count == 1:
                products = self.rows[0].dot(squares.T).T[:, :, None]
            else:
                grouped = squares.reshape(-1, count, squares.shape[1]).swapaxes(0, 1)
                products = self.rows @ grouped.swapaxes(1, 2)  # (scenarios, rows, points)
                products = products.transpose(2, 0, 1).reshape(-1, products.shape[1], 1)
        noise = np.tile(self.noise, (times, 1)) if len(self.noise) > 1 else self.noise
        signal = fits.weighted[2].dot(population.target_power)[:, None]
        phi, drive = fits.phi[:, None], (fits.weighting * noise).sum(axis=1, keepdims=True)
        return self._error(
            fits.theta[:, None], signal, fits.shares[:, :, None], fits.weighting[:, :, None], phi,
            (fits.s2 / fits.room)[:, None], drive, products,
        )[:, 0]  # fmt: skip

    def _error(  # noqa: PLR0917
        self, theta: Array, signal: Array, shares: Array, q: Array, phi: Array, amplified: Array, noise: Array,
        products: Array | None,
    ) -> Array:  # fmt: skip
        """``amplified``: s2/r; ``noise``: Σ q noise; see the head of the file. Shapes (…, points)."""
        bias, residual = signal, phi * signal
        if products is not None:
            n, k, members = self.first.size, len(self.links.members), self.links.members
            F, w = members @ shares, members @ q
            first, second = F[:, self.first], F[:, self.second]
            FF = self.double * first * second
            qF = 0.5 * self.double * (w[:, self.first] * second + w[:, self.second] * first)
            pairs, overlaps = products[:, :n], products[:, n : 2 * n]
            cross, models = products[:, 2 * n : 2 * n + k], products[:, 2 * n + k :]
            blend, drawn = (FF * pairs).sum(axis=1), (qF * pairs).sum(axis=1)
            lost = (F * cross).sum(axis=1)
            bias = bias + blend - 2.0 * theta * lost
            overlap = (w * (overlaps[:, self.own] + cross)).sum(axis=1)
            overlap = overlap - (qF * overlaps).sum(axis=1) - phi * lost
            spread = (w * pairs[:, self.own]).sum(axis=1) - 2.0 * drawn + phi * blend
            residual = residual + np.maximum(spread, 0.0) + 2.0 * theta * overlap
            residual = residual + theta * theta * (w * models).sum(axis=1)
        return np.asarray(bias + amplified * (residual + noise))
