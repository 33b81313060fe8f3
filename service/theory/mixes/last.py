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
from service.theory.mixes.scenarios import Mixes
from service.theory.model import Array, Mask, Population


class LastStage:
    """Of mixes with these ``designs`` of their last stage, and ``moments`` of the models before it, see moments.py."""

    def __init__(self, population: Population, mixes: Mixes, designs: Designs, moments: Array) -> None:
        self.population, self.designs = population, designs
        self.links, self.noise = mixes.links[-1], mixes.numbers[-1].noise
        self.double: Array = (2.0 - self.links.same)[:, None]
        self.rows = self._rows(moments, mixes.powers[-1]) if len(self.links.members) else None

    def _rows(self, M: Array, powers: Array) -> Array:
        """What is summed with Q²: pairs for S² and SU, E[e_v w] for SU, E_vv + 2 E[e_v w] for U²; (…, rows, modes)."""
        links, sigma, weight = self.links, self.population.eigenvalues, self.population.weight
        models, k, n = len(links.models), len(links.members), len(links.first)
        between = n - len(links.shifted)  # pairs of models
        rows = np.zeros((max(len(M), len(powers)), 2 * n + 2 * k, sigma.size))
        pairs, overlaps = rows[:, :n], rows[:, n : 2 * n]
        crosses, squares = rows[:, 2 * n : 2 * n + k], rows[:, 2 * n + k :]
        pairs[:, :between] = M[:, links.places[links.first[:between]], links.places[links.second[:between]]]
        pairs[:, between:] = powers
        crosses[:, :models] = M[:, 0, links.places]
        np.multiply(crosses, 2.0, out=squares)
        squares += pairs[:, links.own]
        squares *= weight
        scaled = sigma * weight
        np.multiply(pairs, scaled, out=overlaps)
        np.multiply(overlaps, sigma, out=pairs)
        crosses *= scaled
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
        reached = np.broadcast_to((nu > 0) & (room > 0), error.shape)
        return np.where(room > 0, error, np.inf), reached

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
        spread = designs.active / np.divide(
            used,
            self.noise,
            out=np.full(np.broadcast_shapes(used.shape, self.noise.shape), np.inf),
            where=(self.noise > 0) | (used == 0),
        ).sum(axis=1)
        mean = (used * self.noise).sum(axis=1) / designs.active
        return np.asarray(ratio * np.where(designs.common, mean, spread))

    def at(self, fits: Fits) -> Array:
        """The error of fits of this stage, shape (fits,): some for each scenario, in order of points and scenarios."""
        times = len(fits.theta) // max(len(self.designs.active), len(self.noise))
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
        signal = fits.unlearned_signal[:, None]
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
            n, k, members = len(self.links.first), len(self.links.members), self.links.members
            F, w = members @ shares, members @ q
            first, second = F[:, self.links.first], F[:, self.links.second]
            FF = self.double * first * second
            qF = 0.5 * self.double * (w[:, self.links.first] * second + w[:, self.links.second] * first)
            pairs, overlaps = products[:, :n], products[:, n : 2 * n]
            cross, models = products[:, 2 * n : 2 * n + k], products[:, 2 * n + k :]
            blend, drawn = _summed(FF, pairs), _summed(qF, pairs)
            lost = _summed(F, cross)
            bias = bias + blend - 2.0 * theta * lost
            overlap = _summed(w, overlaps[:, self.links.own] + cross)
            overlap = overlap - _summed(qF, overlaps) - phi * lost
            spread = _summed(w, pairs[:, self.links.own]) - 2.0 * drawn + phi * blend
            residual = residual + np.maximum(spread, 0.0) + 2.0 * theta * overlap
            residual = residual + theta * theta * _summed(w, models)
        return np.asarray(bias + amplified * (residual + noise))


def _summed(a: Array, b: Array) -> Array:
    """Σ a b over the second of three axes."""
    return np.asarray(np.vecdot(a.swapaxes(1, 2), b.swapaxes(1, 2)))
