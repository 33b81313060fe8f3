"""The first-order fixed point of a stage whose sources differ in covariance, from traces of its resolvent alone.

Unknowns g_s > 0 and, with m random features, s = 1/κ > 0:

    a_s = p_s ω_s/(1 + ω_s g_s),   M = Σ_s a_s Σ_s,   Q = (M + κ)^-1,
    g_s = F_s = (1/N) tr Σ_s Q,    s = H = 1/(λ + (1/m) tr M (s M + 1)^-1)   (κ = λ without random features),

the second being κ = λ + (κ/m)(d − κ tr Q). Written for (g, s) all of it is increasing and jointly concave: M^-1, a
parallel sum, is concave in 1 + ωg; s + M^-1 too; X -> 1/tr X^-1 is concave and increasing, and so is t -> t/(1 + λt).
So the positive fixed point is unique, and Newton's method from above it, where (F, H) <= (g, s), descends to it: in all
unknowns together. Penalty 0 with fewer samples than modes is the limit κ -> 0 with κ g finite, where a_s/κ = p_s/ĝ_s
and the weights drop out. Sources: as several_covariances.py.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from service.theory.errors import NotConverged
from service.theory.model import Array
from service.theory.response import Regime

_STEPS = 500
_QUADRATIC = 1e-9  # a Newton step this small leaves an error of its square
_ROUNDING = 1e-6  # a step this small that does not shrink any more is rounding, close to a threshold
_FAR = 1e100


@dataclass(frozen=True, eq=False)
class Traces:
    """Of a resolvent Q: ``first`` tr Σ_s Q and ``plain`` tr Q Σ_s Q, shape (sources,); ``gram`` tr Σ_s Q Σ_t Q,
    shape (sources, sources)."""

    first: Array
    gram: Array
    plain: Array


Resolve = Callable[[Array, float], Traces]
"""From (a, κ), a of shape (sources,), to the traces of (Σ_s a_s Σ_s + κ)^-1."""


@dataclass(frozen=True, eq=False)
class FixedPoint:
    """``a``: shape (sources,), and ``kappa``; in the limit of interpolation a/κ, and 1."""

    a: Array
    kappa: float


@dataclass(frozen=True, eq=False)
class Problem:
    """What is solved.

    ``trace``: tr Σ_s; ``shares``: p_s > 0; ``weights``: ω_s > 0, all of shape (sources,); ``total``: N; ``width``: m;
    ``resolve``: where all the cost is.
    """

    trace: Array
    shares: Array
    weights: Array
    total: float
    width: float | None
    resolve: Resolve


def solve(
    problem: Problem,
    kind: Regime,
    penalty: float,
    start: FixedPoint | None = None,
    settled: float = _QUADRATIC,
) -> FixedPoint:
    """The fixed point in a regime that has one, relative accuracy about 1e-15 away from thresholds.

    ``start``: a guess, as the fixed point of a penalty nearby; ``settled``: the relative step that ends the descent,
    the square of which is the error. Raises NotConverged.
    """
    joint = problem.width is not None and kind in (Regime.RIDGE, Regime.BOTTLENECK)
    interpolating = kind is Regime.INTERPOLATING
    descent = _Descent(problem, penalty, settled, joint=joint, interpolating=interpolating)
    if start is not None:
        guess = descent.coordinates(start)
        if guess is not None:
            try:
                return descent.descend(guess, patience=12)
            except NotConverged:
                pass  # from above it is certain
    return descent.descend(descent.above())


class _Descent:
    """Newton's method in relative steps on x = (g, s)."""

    def __init__(
        self, problem: Problem, penalty: float, settled: float, *, joint: bool, interpolating: bool
    ) -> None:
        self.settled = settled
        self.problem, self.joint, self.interpolating = problem, joint, interpolating
        self.penalty = 1.0 if interpolating else penalty

    def signal(self, g: Array) -> Array:
        """a_s."""
        p, omega = self.problem.shares, self.problem.weights
        return p / g if self.interpolating else p * omega / (1.0 + omega * g)

    def point(self, x: Array) -> FixedPoint:
        """The fixed point at these unknowns."""
        g = x[:-1] if self.joint else x
        return FixedPoint(self.signal(g), float(1.0 / x[-1]) if self.joint else self.penalty)

    def coordinates(self, point: FixedPoint) -> Array | None:
        """The unknowns of a fixed point; None where they are out of range."""
        p, omega = self.problem.shares, self.problem.weights
        g = p / point.a if self.interpolating else p / point.a - 1.0 / omega
        x = np.append(g, 1.0 / point.kappa) if self.joint and point.kappa > 0 else g
        usable = np.all(x > 0) and np.all(np.isfinite(x)) and (point.kappa > 0 or not self.joint)
        return x if usable else None

    def image(self, x: Array) -> tuple[Array, Array]:
        """(F, H) and its Jacobian."""
        problem, at = self.problem, self.point(x)
        a, kappa = at.a, at.kappa
        found = problem.resolve(a, kappa)
        b = a * a / problem.shares  # −da/dg
        value, jacobian = found.first / problem.total, found.gram * b / problem.total
        if not self.joint or problem.width is None:
            return value, jacobian
        m = problem.width
        H = 1.0 / (self.penalty + kappa * float(a @ found.first) / m)
        factor = (H * kappa) ** 2 / m
        by_g, by_s = factor * b * found.plain, factor * float(a @ found.gram @ a)
        both = np.empty((x.size, x.size))
        both[:-1, :-1], both[:-1, -1] = jacobian, found.plain * kappa**2 / problem.total
        both[-1, :-1], both[-1, -1] = by_g, by_s
        return np.append(value, H), both

    def above(self) -> Array:
        """A point that its image does not exceed."""
        problem = self.problem
        if self.penalty > 0:
            g = problem.trace / (self.penalty * problem.total)
            return np.append(g, 1.0 / self.penalty) if self.joint else g
        # more samples than modes, or features than needed: the image grows more slowly than the point
        if self.joint and problem.width is not None:
            s = problem.width / float((problem.shares * problem.weights) @ problem.trace)
            x = np.append(problem.trace * s / problem.total, s)
        else:
            x = problem.resolve(self.signal(np.zeros_like(problem.trace)), 0.0).first / problem.total
        while np.any((value := self.image(x)[0]) > x):
            # further out, in the direction of the image: far out the map is linear, and this its power iteration
            x = 2.0 * value * max(1.0, float((x / value).max()))
            if not np.all(x < _FAR):
                raise NotConverged("the stage is too close to its interpolation threshold")
        return x

    def descend(self, x: Array, patience: int = _STEPS) -> FixedPoint:
        """Newton's method from x."""
        size = np.inf
        for _ in range(patience):
            value, jacobian = self.image(x)
            try:
                step = np.linalg.solve(np.eye(x.size) - jacobian * x / x[:, None], value / x - 1.0)
            except np.linalg.LinAlgError:
                break
            last, size = size, float(np.abs(step).max())
            if size <= self.settled or (size <= _ROUNDING and size >= last):
                return self.point(x * (1.0 + step))
            proposal = x * (1.0 + step)
            x = proposal if np.all(proposal > 0) and np.all(np.isfinite(proposal)) else value
        raise NotConverged("the fixed point of the stage was not found")
