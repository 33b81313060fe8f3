"""The fits' first order for many designs at once: effective ridges, and how differently weighted sources share them.

With h(g) = Σ_s p_s/(1 + ω_s g), A(g) = Σ_s p_s ω_s/(1 + ω_s g) over the active sources, p_s = T_s/N, and
ν(θ) = (active samples − df1(θ))/N, a fit's g and θ solve

    h(g) = ν(θ),   θ A(g) = λ,   and source s learns the share F_s = p_s ω_s/(1 + ω_s g)/A(g).

For one common weight h = A/ω, F_s = T_s/active. Where few of very many samples are used, what is left of them is no
number to solve from; with u(g) = g A(g) = active/N − h the same is

    u(g) = df1/N.

Sources and regimes: one_covariance.py, which finds the same roots one
by one; penalty 0 with fewer samples than modes is the limit g -> ∞, where weights drop out.
"""

from functools import cached_property
from typing import Final

import numpy as np

from service.theory.grid import STEP, Grid
from service.theory.mixes.scenarios import Indices
from service.theory.model import Array, Mask, Population
from service.theory.ridges import effective_ridges

_STEPS: Final = 30
_QUADRATIC: Final = 1e-7  # a relative Newton step, or residual, this small leaves an error of its square


class Designs:
    """Sources of many stages; shapes (designs, sources). Designs without active samples have nan everywhere."""

    def __init__(self, samples: Array, weights: Array) -> None:
        self.samples, self.weights = samples, weights
        used = samples * (weights > 0)
        total, self.active = samples.sum(axis=1), used.sum(axis=1)
        self.total, self.share = total, used / total[:, None]
        most = np.where(used > 0, weights, 0.0).max(axis=1)
        self.common: Mask = np.where(used > 0, weights, np.inf).min(axis=1) == most
        self.largest = most
        self._on_grid: tuple[Array, Array] | None = None

    def on_grid(self, grid: Grid) -> tuple[Array, Array]:
        """ν and g at the grid's points, shapes (designs, points)."""
        if self._on_grid is None:
            freedom, total = grid.base.freedom, self.total[:, None]
            nu = np.atleast_2d(freedom.above_first(self.active[:, None])) / total
            self._on_grid = nu, self.response(nu, freedom.df1 / total)
        return self._on_grid

    @cached_property
    def active_shares(self) -> Array:
        """T_s/active of the active sources."""
        return np.asarray(self.share * (self.total / self.active)[:, None])

    def response(self, nu: Array, used: Array) -> Array:
        """g at ν, shapes (designs, points): positive for ν > 0, next to it on the other side of infinity for ν < 0.

        ``used``: df1/N there, ν = active/N − used.

        1/h is nearly linear in g, and concave for g > 0, where it lies below its asymptote: Newton's method climbs from
        there to the root. nan where it is not found, far below ν = 0.
        """
        with np.errstate(all="ignore"):
            if self.common.all():
                return np.asarray((self.share.sum(axis=1)[:, None] / nu - 1.0) / self.largest[:, None])
            w, (slope, offset, pole, products) = self.weights[:, :, None], self._asymptote
            g = slope / nu - offset
            g = np.where(nu > 0, np.maximum(g, 0.0), np.where(g < 1.5 * pole, g, np.nan))
            target, little = 1.0 / nu, used < nu
            for _ in range(_STEPS):
                inverse = 1.0 / (1.0 + w * g[:, None])
                h, A = (products @ inverse).swapaxes(0, 1)
                error = np.where(little, (used - g * A) * target, h * target - 1.0)
                step = error * h / (products[:, 1:] @ (inverse * inverse))[:, 0]
                g = g + step
                unsettled = np.where(little, np.abs(step) > _QUADRATIC * g, np.abs(error) > _QUADRATIC)
                if not unsettled.any():
                    break
            return np.where(unsettled | ((nu < 0) & (g > pole)), np.nan, g)

    @cached_property
    def _asymptote(self) -> tuple[Array, Array, Array, Array]:
        """a and b of g ~ a/ν − b, its last pole, shapes (designs, 1); p and p ω, shape (designs, 2, sources)."""
        weights = np.where(self.share > 0, self.weights, np.inf)
        by_weight = self.share / weights
        slope = by_weight.sum(axis=1, keepdims=True)
        offset = (by_weight / weights).sum(axis=1, keepdims=True) / slope
        pole = -1.0 / weights.min(axis=1, keepdims=True)
        return slope, offset, pole, np.array([self.share, self.share * self.weights]).swapaxes(0, 1)

    def scale(self, g: Array) -> Array:
        """A, shapes (designs, points)."""
        w = self.weights[:, :, None]
        return np.asarray((self.share[:, :, None] * w / (1.0 + w * g[:, None])).sum(axis=1))

    def shares(self, g: Array) -> Array:
        """F_s, shape (designs, sources, points), from g, shape (designs, points)."""
        if self.common.all():
            return np.broadcast_to(self.active_shares[:, :, None], (*self.share.shape, g.shape[1]))
        w = self.weights[:, :, None]
        a = self.share[:, :, None] * w / (1.0 + w * g[:, None])
        return np.asarray(a / a.sum(axis=1, keepdims=True))

    def rows(self, rows: Mask | Indices | slice, sources: int | None = None) -> "Designs":
        """Some of them, of their first ``sources``: the others are empty."""
        part = Designs.__new__(Designs)
        for name in ("samples", "weights", "share"):
            setattr(part, name, getattr(self, name)[rows, :sources])
        for name in ("total", "active", "common", "largest"):
            setattr(part, name, getattr(self, name)[rows])
        known = self._on_grid
        part._on_grid = None if known is None else (known[0][rows], known[1][rows])
        return part

    def repeated(self, times: int) -> "Designs":
        """All of them, as often."""
        return self if times == 1 else self.rows(np.tile(np.arange(self.active.size), times))

    def above(self, df1: Array, left: Array, rank: float) -> Array:
        """ν of fits with these degrees of freedom, ``left``: rank − df1; shapes (designs,)."""
        room = np.where(rank > 2 * self.active, self.active - df1, (self.active - rank) + left)
        return np.asarray(room / self.total)


def solve(population: Population, designs: Designs, penalties: Array) -> tuple[Array, Array]:
    """Effective ridges, shape (designs,), and shares, shape (designs, sources); nan where no regular root was found.

    Every mode has variance.
    """
    rank, count = population.rank, designs.active.size
    theta, shares = np.full(count, np.nan), np.full(designs.share.shape, np.nan)
    ridge = (penalties > 0) & (designs.active > 0)
    if ridge.all():
        return _ridge(population, designs, penalties)
    if ridge.any():
        theta[ridge], shares[ridge] = _ridge(population, designs.rows(ridge), penalties[ridge])
    free = (penalties == 0) & (designs.active > rank)
    if free.any():
        own = designs.rows(free)
        theta[free] = 0.0
        nu, used = (own.active - rank) / own.total, rank / own.total
        shares[free] = own.shares(own.response(nu[:, None], used[:, None]))[:, :, 0]
    few = (penalties == 0) & (designs.active > 0) & (designs.active < rank)
    if few.any():
        own = designs.rows(few)
        theta[few] = effective_ridges(population, own.active, np.zeros_like(own.active))
        shares[few] = own.active_shares
    return theta, shares


def _ridge(population: Population, designs: Designs, penalties: Array) -> tuple[Array, Array]:
    """Newton's method on g in ν(λ/A(g)) = h(g), from the population's grid."""
    p, w, m = designs.share, designs.weights, population.multiplicities
    g = _start(population.grid, designs, penalties)
    settled = np.zeros(g.shape, dtype=bool)
    pw, rows = p * w, np.array([population.weight, m])
    for _ in range(_STEPS):
        q = 1.0 / (1.0 + w * g[:, None])
        a = pw * q
        A = a.sum(axis=1)
        theta = penalties / A
        Q = 1.0 / (population.eigenvalues + theta[:, None])
        df1, left = rows.dot(Q.T)
        spread = theta * (Q * Q).dot(population.weight)  # Σ S U
        nu = designs.above(df1, theta * left, population.rank)
        slope = spread / designs.total * np.vecdot(a, w * q) / A + np.vecdot(a, q)
        used = df1 / designs.total
        left_over = np.where(used < nu, used - g * A, np.vecdot(p, q) - nu)
        step = left_over / slope
        settled = np.abs(step) <= _QUADRATIC * g
        proposal = g + step
        g = np.where(proposal > 0, proposal, g / 8.0)
        if settled.all():
            break
    a = pw / (1.0 + w * g[:, None])
    A = a.sum(axis=1)
    return np.where(settled, penalties / A, np.nan), np.where(settled[:, None], a / A[:, None], np.nan)


def _start(grid: Grid, designs: Designs, penalties: Array) -> Array:
    """g next to its root, from λ on the grid: between neighbours both are nearly powers."""
    _, on_grid = designs.on_grid(grid)
    table = grid.theta * designs.scale(on_grid)  # nan below the interpolation threshold
    rows = np.arange(penalties.size)
    above = (~(table > penalties[:, None])).sum(axis=1)
    high = np.minimum(np.maximum(above, 1), grid.theta.size - 1)
    below, beyond = table[rows, high - 1], table[rows, high]
    low_g, high_g = on_grid[rows, high - 1], on_grid[rows, high]
    share = np.log(penalties / below) / np.log(beyond / below)
    inside = low_g * (high_g / low_g) ** np.minimum(np.maximum(share, -1.0), 60.0 / STEP)
    return np.where(np.isfinite(inside) & (inside > 0), inside, np.where(high_g > 0, 2.0 * high_g, 1.0))
