"""The penalty of kept data: its best value, and the range around it where the error is nearly as small."""

from functools import cached_property
from math import exp, inf, log

import numpy as np
from scipy.optimize import minimize_scalar

from service.theory.flatness import EXCESS, crossing
from service.theory.model import Array, Population
from service.theory.results import Best, FlatRange
from service.theory.ridge_fits import effective_ridges, fits, rates, ridge_sums, room_above

_CHUNK = 1_000_000
_STEP = log(10.0) / 3.0
_BEYOND = log(10.0) * 3.0
_SEEN = 48
_NODES = 9
_CLOSE = (
    1e-5  # of the half interval: a step this small from the polynomial's root leaves an error of its square
)


class SumPenalties:
    """The asymptotic test error of kept data by λ_u, the penalty on the sum of all losses; see accumulate.py.

    ``added``, ``noise``: of each batch, shape (fits,).
    """

    def __init__(self, population: Population, added: Array, noise: Array) -> None:
        self.population, self.added, self.noise = population, added, noise
        self.rows = np.cumsum(added)
        self.shares = np.divide(added, self.rows, out=np.zeros_like(self.rows), where=self.rows > 0)

    def total(self, penalty_sum: float) -> float:
        """The error."""
        return self._totals(penalty_sum)[0]

    def _totals(self, *penalty_sums: float) -> list[float]:
        count = len(penalty_sums)
        rows, penalties = np.tile(self.rows, count), np.repeat(penalty_sums, self.rows.size)
        return [
            float(at.bias[0]) + float(products(self.noise * self.shares, at.variance).sum())
            for at in fits(self.population, rows, penalties, 0).parts(count)
        ]

    @cached_property
    def best(self) -> Best:
        """The least error over λ_u >= 0: seen at three points a decade, then where its slope is 0; see _scan."""
        signal = self.population.signal
        if self.rows[-1] == 0 or self.population.rank == 0:
            return Best(inf, signal)
        low, high = self._range()
        points = np.arange(low, high + _STEP, _STEP)
        i = int(np.argmin(self._scan(np.exp(points))))
        bounds = (float(points[max(i - 1, 0)]), float(points[min(i + 1, points.size - 1)]))
        x = self._level(*bounds)
        if x is None:
            found = minimize_scalar(
                lambda x: self.total(exp(x)), bounds=bounds, method="bounded", options={"xatol": 1e-6}
            )
            x = float(found.x)
        least, at_zero = self._totals(exp(x), 0.0)
        best = Best(exp(x), least)
        if at_zero <= best.total:
            best = Best(0.0, at_zero)
        return best if best.total < signal else Best(inf, signal)

    def _level(self, low: float, high: float) -> float | None:
        """ln λ_u between these where the slope of the error passes 0 upwards; None where it does not.

        Analytic in ln λ_u within a strip of half-width π or so: a polynomial through nine points of so short an
        interval carries the slope to about 1e-7, and one more step from its root does the rest.
        """
        middle, half = (low + high) / 2.0, (high - low) / 2.0
        nodes = np.cos(np.pi * (np.arange(_NODES) + 0.5) / _NODES)
        values = self._slopes(middle + half * nodes)
        if not np.isfinite(values).all():
            return None
        slope = np.polynomial.chebyshev.Chebyshev.fit(nodes, values, _NODES - 1, domain=[-1, 1])
        roots = slope.roots()
        roots = roots[(np.abs(roots.imag) < 1e-9) & (np.abs(roots.real) <= 1)].real
        rising = slope.deriv()
        roots = roots[rising(roots) > 0]
        if roots.size != 1:
            return None
        root = float(roots[0])
        step = float(self._slopes(np.array([middle + half * root]))[0]) / float(rising(root))
        return middle + half * (root - step) if abs(step) < _CLOSE else None

    def _slopes(self, logs: Array) -> Array:
        """Derivatives by ln λ_u of the error, shape (points,)."""
        live = np.flatnonzero(self.rows > 0)
        rows, penalties = np.tile(self.rows[live], logs.size), np.repeat(np.exp(logs), live.size)
        theta = effective_ridges(self.population, rows, penalties)
        bias, variance = (part.reshape(logs.size, -1) for part in rates(self.population, rows, theta))
        first = bias[:, 0] if live[0] == 0 else 0.0
        return np.asarray(first + variance @ (self.noise * self.shares)[live])

    def flat_range(self) -> FlatRange:
        """λ_u around the best between which the error stays within one per cent of the least."""
        best = self.best
        if best.total == 0 or self.rows[-1] == 0 or self.population.rank == 0:
            return FlatRange(0.0 if best.total > 0 else best.penalty, best.penalty)
        limit = (1.0 + EXCESS) * best.total
        first, last = self._range()
        # a best penalty of 0 or infinity is approached from where nothing changes any more
        at = log(best.penalty) if best.penalty > 0 else -inf
        low = self._crossing(min(at, last + _BEYOND), -1.0, limit)
        high = self._crossing(max(at, first - _BEYOND), 1.0, limit)
        return FlatRange(0.0 if best.penalty == 0 or low is None else low, inf if high is None else high)

    def _crossing(self, x: float, direction: float, limit: float) -> float | None:
        """The first λ_u from e^x downwards or upwards where the error is ``limit``; None where it never is."""
        first, last = self._range()
        if self.total(exp(x)) > limit:
            return exp(x)
        while x > first - _BEYOND if direction < 0 else x < last + _BEYOND:
            y = x + direction * _STEP
            if self.total(exp(y)) > limit:
                return exp(crossing(lambda z: self.total(exp(z)), x, y, limit))
            x = y
        return None

    def _range(self) -> tuple[float, float]:
        """ln λ_u between which the error changes: the grid's θ, times rows, and what little or much noise asks for.

        With equal eigenvalues the best λ_u is σ² d/‖w‖² (the Bayes estimate), whatever they are. To first order in
        1/λ_u only Σ σ² w² is learned, and the error least at Σ σ² (Σ_k T_k σ_k²)/(T_1 Σ σ² w²) of it, where that is
        far above the spectrum.
        """
        grid, live = self.population.grid.log_theta, self.rows[self.rows > 0]
        low, high = float(grid[0]) + log(live[0]), float(grid[-1]) + log(live[-1])
        power = float(self.population.multiplicities @ self.population.target_power)
        if power > 0 and (noise := float(self.noise[self.noise > 0].min(initial=inf))) < inf:
            bayes = log(noise) + log(self.population.rank) - log(power)
            low = min(low, bayes - _BEYOND)
        squares = self.population.eigenvalues * self.population.weight
        learned = float(self.rows[0]) * float(squares @ self.population.target_power)
        drive = float(self.noise @ self.added) * float(squares.sum())
        if learned > 0 and 0 < drive < inf:
            high = max(high, log(drive) - log(learned) + _BEYOND)
        return low, high

    def _scan(self, penalties: Array) -> Array:
        """The error at these λ_u > 0, shape (points,); of very many fits some stand for their neighbours."""
        noise = self.noise * self.shares
        live = np.flatnonzero(self.rows > 0)
        groups = (
            live
            if live.size <= _SEEN
            else np.unique(np.geomspace(1, live.size, _SEEN).astype(int) - 1) + live[0]
        )
        weights = np.add.reduceat(noise, groups)
        rows = np.tile(self.rows[groups], penalties.size)
        theta = effective_ridges(self.population, rows, np.repeat(penalties, groups.size))
        df2, left2, signal = (np.concatenate(parts) for parts in zip(*self._summed(theta), strict=True))
        room = room_above(self.population, rows, df2, left2)
        shape = (penalties.size, groups.size)
        bias = (rows * signal / room).reshape(shape)[:, 0] if groups[0] == 0 else self.population.signal
        return np.asarray(bias + (df2 / room).reshape(shape) @ weights)

    def _summed(self, theta: Array) -> list[tuple[Array, Array, Array]]:
        step = max(1, _CHUNK // self.population.eigenvalues.size)
        return [ridge_sums(self.population, theta[i : i + step]) for i in range(0, theta.size, step)]


def products(noise: Array, variance: Array) -> Array:
    """noise × variance, 0 where there is no noise."""
    return np.multiply(
        noise, variance, out=np.zeros(np.broadcast_shapes(noise.shape, variance.shape)), where=noise > 0
    )
