"""The sources of one stage: its effective ridge, and how they share what is learned; equations in mixes/designs.py."""

from collections.abc import Sequence
from math import exp, log
from typing import Final, Generic, NamedTuple

import numpy as np

from service.theory.freedom import Number
from service.theory.grid import STEP
from service.theory.model import Array, Population, Source
from service.theory.ridges import one_effective_ridge

_STEPS: Final = 30
_QUADRATIC: Final = 1e-7  # a Newton step this small, of 1 + ω g, leaves an error of its square
_ROUGH: Final = 1e-5  # enough for a curve that is interpolated
_LITTLE: Final = 1e-4  # share of the samples that the sum of all has still twelve digits of


class NotRegular(Exception):
    """Something that only the general engine can find."""


class Sums(NamedTuple, Generic[Number]):
    """At one effective ridge or many: Σ S², Σ S U, rank − Σ S² and Σ σ U² w²."""

    df2: Number
    spread: Number
    left2: Number
    signal: Number

    @staticmethod
    def of(theta: Number, sums: Sequence[Number] | Array) -> "Sums[Number]":
        """From the sums of grid.base_rows with Q², and others after them."""
        df2, spread, left, signal, *_ = sums
        spread, square = theta * spread, theta * theta
        return Sums(df2, spread, 2.0 * spread + square * left, square * signal)


class Solved(NamedTuple):
    """Effective ridge, penalty and shares."""

    theta: float
    penalty: float
    shares: list[float]


class Design:
    """``samples``, ``weights`` of the sources; ``total``: N, ``active``: of positive weight; ``common``: their weight
    where they have one, else None; ``parts``: p_s and ω_s, p_s = 0 for weight 0. Raises NotRegular without any.
    """

    def __init__(self, population: Population, sources: Sequence[Source]) -> None:
        self.population, self.samples = population, [float(source.samples) for source in sources]
        self.weights = [source.weight for source in sources]
        used = [T if w > 0 else 0.0 for T, w in zip(self.samples, self.weights, strict=True)]
        self.total, self.active = sum(self.samples), sum(used)
        if self.active <= 0:
            raise NotRegular
        self.few = population.rank > 2 * self.active  # see freedom.py
        self.excess = self.active - population.rank
        self.active_shares = [T / self.active for T in used]
        self.parts = [(T / self.total, w) for T, w in zip(used, self.weights, strict=True)]
        present = {w for p, w in self.parts if p > 0}
        self.common = present.pop() if len(present) == 1 else None
        if self.common is None:
            # bounds of g from below, 1/h(g) being concave: by its tangent at 0 and by its asymptote
            self.part, self.most = self.active / self.total, max(present)
            self.tangent = self.part * self.part / sum(p * w for p, w in self.parts)
            self.slope = sum(p / w for p, w in self.parts if p > 0)
            self.offset = sum(p / (w * w) for p, w in self.parts if p > 0) / self.slope

    # --- what sums say ----------------------------------------------------------------------------------

    def above(self, sums: Sums[Number]) -> Number:
        """ν."""
        room = (
            self.active - (sums.df2 + sums.spread) if self.few else self.excess + (sums.left2 - sums.spread)
        )
        return room / self.total

    def room(self, phi: Number, sums: Sums[Number]) -> Number:
        """1 − φ Σ S², without cancellation next to the threshold where there is one weight."""
        if self.common is None:
            return 1.0 - phi * sums.df2
        return phi * self.spare(sums)

    def spare(self, sums: Sums[Number]) -> Number:
        """active − Σ S²."""
        return self.active - sums.df2 if self.few else self.excess + sums.left2

    # --- shares from ν ----------------------------------------------------------------------------------

    def at(self, theta: float, sums: Sums[float]) -> Solved:
        """At an effective ridge that a penalty > 0 leads to. Raises NotRegular."""
        nu, used = self.above(sums), (sums.df2 + sums.spread) / self.total
        if self.common is not None:
            return Solved(theta, theta * self.common * nu, self.active_shares)
        if not nu > 0:
            raise NotRegular
        target = 1.0 / nu
        g = max(self.slope * target - self.offset, (target - 1.0 / self.part) * self.tangent)
        for _ in range(_STEPS):
            h = A = falls = 0.0
            for p, w in self.parts:
                q = 1.0 / (1.0 + w * g)
                a = p * w * q
                h, A, falls = h + p * q, A + a, falls + a * q
            step = (used - g * A if used < nu else h - nu) * target * h / falls
            g += step
            if abs(step) * self.most <= _QUADRATIC * (1.0 + self.most * g):
                A, shares = self._shares(g)
                return Solved(theta, theta * A, shares)
        raise NotRegular

    def on_grid(self, nu: Array, used: Array) -> Array:
        """Shares where ν is increasing, shape (sources, points or 1), as good as an interpolated curve needs them.

        ``used``: df1/N. nan far below ν = 0, see Designs.response.
        """
        if self.common is not None:
            return np.array(self.active_shares)[:, None]
        p, w = np.array(self.parts).T
        column, pw = w[:, None], p * w
        target = 1.0 / nu
        g = self.slope * target - self.offset
        nearer = np.maximum(g, (target - 1.0 / self.part) * self.tangent)
        first = 0
        if nu[0] > 0:
            g = nearer
        else:
            pole = -1.0 / min(w for p, w in self.parts if p > 0)
            first = int(((nu > 0) | (g < 1.5 * pole)).argmax())
            g = np.where(nu > 0, nearer, g)[first:]
            target = target[first:]
        little = (used < nu)[first:] if min(x for x in p.tolist() if x > 0) < _LITTLE else None
        for _ in range(_STEPS):
            q = 1.0 / (1.0 + column * g)
            h = p.dot(q)
            error = h * target - 1.0
            if little is not None:
                error = np.where(little, (used[first:] - g * pw.dot(q)) * target, error)
            step = error * h / pw.dot(q * q)
            g += step
            if not np.fmax.reduce(np.abs(step / (g + 1.0 / self.most))) > _ROUGH:
                break
        a = pw[:, None] / (1.0 + column * g)
        a /= np.add.reduce(a)
        if not first and nu[0] > 0:
            return np.asarray(a)
        a[:, (target < 0) & (g > pole)] = np.nan
        return np.concatenate([np.full((len(a), first), np.nan), a], axis=1)

    def _shares(self, g: float) -> tuple[float, list[float]]:
        """A and F_s."""
        a = [p * w / (1.0 + w * g) for p, w in self.parts]
        A = sum(a)
        return A, [x / A for x in a]

    # --- from a penalty ---------------------------------------------------------------------------------

    def solve(self, penalty: float) -> Solved:
        """At a penalty. Raises NotRegular."""
        if penalty == 0 and self.excess <= 0:
            if self.excess == 0:
                raise NotRegular
            return self._of_one_weight(0.0, penalty)
        if self.common is not None:
            return self._of_one_weight(penalty * self.total / (self.active * self.common), penalty)
        if penalty == 0:
            rank = self.population.rank
            return self.at(0.0, Sums(rank, 0.0, 0.0, 0.0))
        return self._ridge(penalty)

    def _of_one_weight(self, own: float, penalty: float) -> Solved:
        """As the active samples alone, of weight 1, at a penalty of their ``own``."""
        theta = one_effective_ridge(self.population, self.active, own)
        if not theta >= 0:
            raise NotRegular
        return Solved(theta, penalty, self.active_shares)

    def _ridge(self, penalty: float) -> Solved:
        """Newton's method on g in ν(λ/A(g)) = h(g)."""
        sigma, base = self.population.eigenvalues, self.population.grid.base_rows
        g = self._start(penalty)
        for _ in range(_STEPS):
            h = A = falls = twice = 0.0
            for p, w in self.parts:
                q = 1.0 / (1.0 + w * g)
                a = p * w * q
                h, A, falls, twice = h + p * q, A + a, falls + a * q, twice + a * w * q
            theta = penalty / A
            t = sigma + theta
            sums = Sums.of(theta, base.dot(1.0 / (t * t)).tolist())
            nu, used = self.above(sums), (sums.df2 + sums.spread) / self.total
            left_over = used - g * A if used < nu else h - nu
            step = left_over / (sums.spread / self.total * twice / A + falls)
            proposal = g + step
            if abs(step) * self.most <= _QUADRATIC * (1.0 + self.most * g):
                A, shares = self._shares(proposal)
                return Solved(penalty / A, penalty, shares)
            g = proposal if proposal > 0 else g / 8.0
        raise NotRegular

    def _start(self, penalty: float) -> float:
        """g from the grid, as if all sources had one weight."""
        grid = self.population.grid
        # means of the weights: of A/h at g = 0, and where g is large
        weight: float = self.part / (self.tangent * self.slope) ** 0.5
        scaled = penalty * self.total / weight
        table = grid.theta * grid.base.freedom.above_first(self.active)  # negative, then increasing
        high = min(max(int(table.searchsorted(scaled)), 1), grid.theta.size - 1)
        below, beyond = table[high - 1 : high + 1].tolist()
        share = log(scaled / below) / log(beyond / below) if below > 0 else 0.5
        theta = grid.theta[high - 1].item() * exp(STEP * min(max(share, -30.0), 30.0))
        target = theta * weight / penalty  # 1/ν
        nearer = max(self.slope * target - self.offset, (target - 1.0 / self.part) * self.tangent)
        return float(max(nearer, 1e-3 / self.most))
