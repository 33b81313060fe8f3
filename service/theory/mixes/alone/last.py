"""The last stage as a function of its effective ridge; formulas and names as in mixes/last.py."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from service.theory.freedom import Number
from service.theory.mixes.alone.chain import ROOM, by_label
from service.theory.mixes.alone.design import Design, NotRegular, Solved, Sums
from service.theory.mixes.scenarios import Links
from service.theory.model import Array

_BASE = 4  # rows of sums that all fits need


class LastPoint(NamedTuple):
    """The last stage at one effective ridge."""

    solved: Solved
    error: float


class LastStage:
    """``noise``: label noise of the sources; ``M``: moments of the models before, see moments.py."""

    def __init__(self, design: Design, links: Links, noise: list[float], M: Array, powers: Array) -> None:
        self.design, self.links, self.population, self.noise = design, links, design.population, noise
        self.rows = self._rows(M, powers)

    def _rows(self, M: Array, powers: Array) -> Array:
        """What is summed with Q²: the base sums; pairs for S² and SU, E[e_v w] for SU, E_vv + 2 E[e_v w] for U²."""
        links, sigma, weight = self.links, self.population.eigenvalues, self.population.weight
        base = self.population.grid.base_rows
        models, k, n = len(links.models), len(links.members), len(links.pairs)
        if not k:
            return base
        between = n - len(links.shifted)  # pairs of models
        rows = np.empty((_BASE + 2 * n + 2 * k, sigma.size))
        rows[:_BASE] = base
        pairs, overlaps = rows[_BASE : _BASE + n], rows[_BASE + n : _BASE + 2 * n]
        crosses, squares = rows[_BASE + 2 * n : _BASE + 2 * n + k], rows[_BASE + 2 * n + k :]
        places = links.places.tolist()
        for i, (v, u) in enumerate(links.pairs[:between]):
            pairs[i] = M[places[v], places[u]]
        pairs[between:] = powers
        crosses[models:] = 0.0
        for v, place in enumerate(places):
            crosses[v] = M[0, place]
        np.multiply(crosses, 2.0, out=squares)
        squares += pairs.take(links.own, axis=0)
        squares *= weight
        scaled = base[0]
        np.multiply(pairs, scaled, out=overlaps)
        np.multiply(overlaps, sigma, out=pairs)
        crosses *= scaled
        return rows

    def on_grid(self) -> tuple[Array, int]:
        """The error at the grid's points, and from which on a penalty >= 0 leads.

        Below that it goes on smoothly as far as there is room, and is infinite further down.
        """
        grid, design, base = self.population.grid, self.design, self.population.grid.base
        freedom = base.freedom
        sums = Sums(freedom.df2, freedom.left2 - freedom.left1, freedom.left2, base.signal)
        nu = design.above(sums)
        shares = design.on_grid(nu, freedom.df1 / design.total)
        samples = np.array(design.samples)
        q = shares * shares * np.divide(1.0, samples, out=np.zeros_like(samples), where=samples > 0)[:, None]
        phi, noise = np.add.reduce(q), np.array(self.noise).dot(q)
        room = design.room(phi, sums)
        members = self.links.members
        error = self._error(
            base.theta, sums, members.dot(shares), members.dot(q), phi, room, noise,
            list(grid.products(self.rows[_BASE:])) if len(members) else [],
        )  # fmt: skip
        if not room.min() > 0:
            error[~(room > 0)] = np.inf
        return error, int(nu.searchsorted(0.0, side="right"))

    def at(self, theta: Sequence[float | Solved]) -> list[LastPoint]:
        """At effective ridges that a penalty > 0 leads to, or any that are solved. Raises NotRegular."""
        values = [x.theta if isinstance(x, Solved) else x for x in theta]
        t = self.population.eigenvalues + np.array(values)[:, None]
        found = []
        for x, products in zip(theta, (1.0 / (t * t)).dot(self.rows.T).tolist(), strict=True):
            if isinstance(x, Solved):
                solved, sums = x, Sums.of(x.theta, products)
            else:
                sums = Sums.of(x, products)
                solved = self.design.at(x, sums)
            shares = solved.shares
            q = [F * F / T if F > 0 else 0.0 for F, T in zip(shares, self.design.samples, strict=True)]
            phi = sum(q)
            room = self.design.room(phi, sums)
            if not room > ROOM:
                raise NotRegular
            noise = sum(x * y for x, y in zip(q, self.noise, strict=True))
            F, w = by_label(self.links, shares), by_label(self.links, q)
            error = self._error(solved.theta, sums, F, w, phi, room, noise, products[_BASE:])
            found.append(LastPoint(solved, float(error)))
        return found

    def _error(  # noqa: PLR0917
        self,
        theta: Number,
        sums: Sums[Number],
        F: Sequence[Number],
        w: Sequence[Number],
        phi: Number,
        room: Number,
        noise: Number,
        products: Sequence[Number],
    ) -> Number:
        """``F``, ``w``: F and q of each label; ``noise``: Σ q noise; ``products``: the sums with Q² of its rows."""
        pairs = self.links.pairs
        n, k = len(pairs), len(F)
        blend = drawn = spread = overlap = lost = models = 0.0 * theta
        for (v, u), a, b in zip(pairs, products, products[n:], strict=False):
            if v == u:
                both, FF = w[v] * F[v], F[v] * F[v]
                spread, overlap = spread + w[v] * a, overlap + w[v] * b
            else:
                both, FF = w[v] * F[u] + w[u] * F[v], 2.0 * F[v] * F[u]
            blend, drawn, overlap = blend + FF * a, drawn + both * a, overlap - both * b
        for x, y, a, b in zip(F, w, products[2 * n :], products[2 * n + k :], strict=False):
            lost, overlap, models = lost + x * a, overlap + y * a, models + y * b
        spread = spread - 2.0 * drawn + phi * blend
        spread = 0.5 * (spread + abs(spread))  # below 0 it is rounding
        residual = (
            noise + phi * sums.signal + spread + 2.0 * theta * (overlap - phi * lost) + theta * theta * models
        )
        found: Number = sums.signal + blend - 2.0 * theta * lost + sums.df2 / room * residual
        return found
