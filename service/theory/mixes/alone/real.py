"""Fits to real labels alone, which a mix is compared with; formulas as in mixes/real_fits.py."""

from typing import NamedTuple

import numpy as np

from service.theory.mixes.alone.design import Design, NotRegular, Sums
from service.theory.mixes.alone.minimum import regular_minimum


class RealPoint(NamedTuple):
    """At one effective ridge: the error is bias + ratio × noise."""

    theta: float
    bias: float
    ratio: float
    penalty: float


class RealFit:
    """Of label noise of variance ``noise``. Raises NotRegular unless all samples have one weight."""

    def __init__(self, design: Design, noise: float) -> None:
        if design.common is None or design.active != design.total:
            raise NotRegular
        self.design, self.population, self.weight, self.noise = (
            design,
            design.population,
            design.common,
            noise,
        )

    def ridge(self, penalty: float) -> float:
        """The effective ridge at a penalty. Raises NotRegular."""
        return self.design.solve(penalty).theta

    def at(self, theta: float) -> RealPoint:
        """At an effective ridge."""
        t = self.population.eigenvalues + theta
        sums = Sums.of(theta, self.population.grid.base_rows.dot(1.0 / (t * t)).tolist())
        ratio = sums.df2 / self.design.spare(sums)
        return RealPoint(
            theta, sums.signal * (1.0 + ratio), ratio, theta * self.weight * self.design.above(sums)
        )

    def error(self, point: RealPoint) -> float:
        """At a point."""
        return point.bias + point.ratio * self.noise

    def least(self) -> RealPoint:
        """Where the error is least. Raises NotRegular."""
        base, active = self.population.grid.base, self.design.active
        spare = base.freedom.above_second(active)
        ratio = base.freedom.df2 / spare
        curve = base.signal + ratio * (base.signal + self.noise)
        if not spare[0] > 0:
            curve[: int(spare.searchsorted(0.0, side="right"))] = np.inf
        first = int(base.freedom.above_first(active).searchsorted(0.0, side="right"))
        found = regular_minimum(self.population.grid, curve, first)
        at_zero = ratio[first].item() * self.noise  # at least
        if not at_zero > found.value:
            at_zero = self.error(self.at(self.ridge(0.0)))
        if not at_zero > found.value:
            raise NotRegular
        point = self.at(found.settled(self._slope).theta)
        found.vouched(self.error(point), self.population.signal)
        return point

    def _slope(self, theta: float) -> float:
        """The derivative of the error by ln θ."""
        population, design = self.population, self.design
        Q = 1.0 / (population.eigenvalues + theta)
        square = Q * Q
        sums = Sums.of(theta, population.grid.base_rows.dot(square).tolist())
        falls, rises = population.grid.rate_rows.dot(square * Q).tolist()
        spare = design.spare(sums)
        rises *= 2.0 * theta * theta
        grows = -2.0 * theta * falls * design.active / (spare * spare)
        return float(rises * (1.0 + sums.df2 / spare) + grows * (sums.signal + self.noise))
