"""One stage whose sources have covariance matrices: the fixed point of the resolvent as a matrix.

    Q = (Σ_s a_s Σ_s + κ)^-1,   L_s = a_s Q Σ_s,   U = κ Q,   Σ_s L_s + U = 1,
    fluctuation covariance = Q (Σ_s ŷ_s a_s²/T_s Σ_s + (Y/m) κ²) Q,

with ŷ and Y from the linear system of several_covariances.py, whose entries are traces of Q Σ_s Q Σ_t. Sections 2 and 3
of the diagonal theory, unchanged but for the order of the factors; with commuting covariances the two agree. Cost: one
inverse and one product for each full covariance in every Newton step, O(d³).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import exp, inf, log, prod

import numpy as np

from service.theory.design import Design
from service.theory.errors import NotConverged, Unsupported
from service.theory.fixed_point import FixedPoint, Problem, Traces, solve
from service.theory.matrices.resolvent import Resolvent, is_definite, total_covariance, trace
from service.theory.model import Array, Mask, Population, Stage
from service.theory.response import Regime, regime

_ROUNDING = 1e-6
_SETTLED = 1e-6  # a Newton step costs seconds, and leaves an error of its square
_THROUGH = 4
_NEAR = 3.0  # in ln λ: a guess from further away is none


@dataclass(frozen=True, eq=False)
class MatrixResponse:
    """A solved stage of K sources and d modes.

    ``a``: shape (K,), 0 for sources without samples or weight; ``Q``: (d, d), symmetric; ``products``: Q Σ_s, (d, d)
    each; ``system``: of the residuals and the model's power, (K + 1, K + 1); ``width``: m or None.
    """

    regime: Regime
    point: FixedPoint
    Q: Array
    products: tuple[Array, ...]
    covariances: tuple[Array, ...]
    samples: Array
    system: Array
    width: float | None

    def learned(self, s: int) -> Array:
        """L_s, shape (d, d), not symmetric."""
        return np.asarray(self.point.a[s] * self.products[s])

    @property
    def unlearned(self) -> Array:
        """U, shape (d, d)."""
        return np.asarray(self.point.kappa * self.Q)

    @property
    def strength(self) -> Array:
        """a_s²/T_s, shape (K,)."""
        positive = self.samples > 0
        return np.divide(self.point.a**2, self.samples, out=np.zeros_like(self.samples), where=positive)

    @property
    def openness(self) -> float:
        """See Response.openness."""
        if self.regime is Regime.THRESHOLD:
            return 0.0
        feedback = np.eye(self.system.shape[0]) - self.system
        return float(1.0 - np.abs(np.linalg.eigvals(feedback)).max())

    @property
    def samples_to_spare(self) -> float:
        """See stages.samples_to_spare."""
        scale = float(self.point.a.sum())
        if scale == 0:
            return inf
        effective = scale**2 / float(self.strength.sum())
        return self.openness * min(effective, inf if self.width is None else self.width)

    def residuals(self, right: Array) -> Array:
        """ŷ and Y from the residuals of the mean and its power, shape (K + 1,); inf at the threshold, unless all 0."""
        if not right.any():
            return np.zeros_like(right)
        if self.regime is Regime.THRESHOLD:
            return np.full_like(right, np.inf)
        try:
            y = np.linalg.solve(self.system, right)
        except np.linalg.LinAlgError:
            y = np.full_like(right, -np.inf)
        if not np.all(y >= -_ROUNDING * np.abs(y).max()):
            raise NotConverged("the stage is too close to its interpolation threshold")
        return np.asarray(np.maximum(y, 0.0))

    def inner(self, y: Array) -> Array:
        """Σ_s ŷ_s a_s²/T_s Σ_s + (Y/m) κ², shape (d, d): the fluctuation's covariance is Q · Q of it."""
        size = self.Q.shape[0]
        found = np.zeros((size, size))
        diagonal = np.einsum("ii->i", found)
        for factor, covariance in zip((y[:-1] * self.strength).tolist(), self.covariances, strict=True):
            if covariance.ndim == 1:
                diagonal += factor * covariance
            elif factor > 0:
                found += factor * covariance
        if self.width is not None:
            diagonal += y[-1] * self.point.kappa**2 / self.width
        return found

    def weighed(self, weight: Array) -> tuple[Array, float]:
        """tr C Q Σ_s Q a_s²/T_s, shape (K,), and tr C U²/m, for C = diag(``weight``) or a full symmetric one."""
        left = weight[:, None] * self.Q if weight.ndim == 1 else weight @ self.Q
        by_source = np.array([float(np.vdot(left, product)) for product in self.products]) * self.strength
        if self.width is None:
            return by_source, 0.0
        return by_source, self.point.kappa**2 * float(np.vdot(left, self.Q)) / self.width


def covariances(population: Population, stage: Stage) -> tuple[Array, ...]:
    """Of each source: a vector where it is diagonal in the population's eigenbasis, else a matrix."""
    return tuple(
        source.covariance
        if source.covariance is not None
        else population.eigenvalues
        if source.eigenvalues is None
        else source.eigenvalues
        for source in stage.sources
    )


class StageSolver:
    """A stage, solved for one penalty after another: the fixed points found so far tell where to look for the next.

    Without penalty every covariance in use must be positive definite.
    """

    def __init__(self, population: Population, stage: Stage) -> None:
        self.sigma, self.design, self.width = covariances(population, stage), Design.of(stage), stage.width
        self.size = population.eigenvalues.size
        design = self.design
        self.used: Mask = (design.samples > 0) & (design.weights > 0)
        self.used &= np.array([bool(trace(covariance) > 0) for covariance in self.sigma])
        self.live = [int(s) for s in np.flatnonzero(self.used)]
        # the fixed point is found in units of the largest variance
        self.unit = max((trace(self.sigma[s]) for s in self.live), default=1.0) / self.size
        distinct = {id(self.sigma[s]): self.sigma[s] / self.unit for s in self.live}
        self.scaled = [distinct[id(self.sigma[s])] for s in self.live]
        self._known: dict[float, Array] = {}

    def at(self, penalty: float) -> MatrixResponse:
        """The response at a penalty >= 0, infinite allowed. Raises NotConverged, Unsupported."""
        design, size = self.design, self.size
        kind = regime(float(design.samples[self.used].sum()), float(size), self.width, penalty)
        a = np.zeros(self.used.size)
        if kind is Regime.EMPTY or penalty == inf:
            kind = Regime.EMPTY
            zero, system = np.zeros((size, size)), np.eye(a.size + 1)
            nothing = FixedPoint(a, 1.0)
            return MatrixResponse(
                kind, nothing, np.eye(size), (zero,) * a.size, self.sigma, design.samples, system, None
            )
        self.check(penalty)
        point = self._point(kind, penalty)
        found = Resolvent.of(self.scaled, point.a, point.kappa, size)
        a[self.used] = point.a
        # features that span all modes, unpenalized, are the modes
        width = None if kind is Regime.LEAST_SQUARES else self.width
        return MatrixResponse(
            kind,
            # a and κ in the units of the data: a Σ stays, so Q is per unit
            FixedPoint(a, point.kappa * self.unit),
            found.Q / self.unit,
            _spread(found.products, self.live, a.size, size),
            self.sigma,
            design.samples,
            _system(self.used, found.traces, point, design.samples, width, self.unit),
            width,
        )

    def check(self, penalty: float) -> None:
        """Raise Unsupported for penalty 0 where a covariance is singular."""
        if penalty == 0 and not self._definite:
            raise Unsupported(
                "without a penalty every covariance must be positive definite; "
                "give a positive penalty, however small"
            )

    @cached_property
    def _definite(self) -> bool:
        return all(is_definite(self.sigma[s]) for s in self.live)

    @cached_property
    def rank(self) -> int:
        """Of all covariances in use together."""
        if any(is_definite(self.sigma[s]) for s in self.live):
            return self.size
        total = total_covariance(self.scaled, np.ones(len(self.scaled)), self.size)
        return int(np.linalg.matrix_rank(total, hermitian=True)) if self.live else 0

    def _point(self, kind: Regime, penalty: float) -> FixedPoint:
        """In units of the largest variance."""
        design, used = self.design, self.used
        shares = design.samples[used] / design.total
        if kind is Regime.THRESHOLD:
            return FixedPoint(shares, 0.0)

        def resolve(a: Array, kappa: float) -> Traces:
            return Resolvent.of(self.scaled, a, kappa, self.size).traces

        traces = np.array([trace(one) for one in self.scaled])
        problem = Problem(traces, shares, design.weights[used], design.total, self.width, resolve)
        start = self._guess(penalty) if kind is Regime.RIDGE else None
        point = solve(problem, kind, penalty / self.unit, start, _SETTLED)
        if kind is Regime.RIDGE:
            g = shares / point.a - 1.0 / design.weights[used]
            if np.all(g > 0):
                self._known[log(penalty)] = np.log([*g, point.kappa])
        return point

    def _guess(self, penalty: float) -> FixedPoint | None:
        """ln g and ln κ as the polynomial in ln λ through the nearest points that are known."""
        x, design = log(penalty), self.design
        near = sorted(self._known, key=lambda one: abs(one - x))[:_THROUGH]
        if not near or abs(near[0] - x) > _NEAR:
            return None
        guess = np.zeros(len(self.live) + 1)
        for i, one in enumerate(near):
            others = [other for j, other in enumerate(near) if j != i]
            guess += self._known[one] * prod((x - other) / (one - other) for other in others)
        g, weights = np.exp(guess[:-1]), design.weights[self.used]
        a = design.samples[self.used] / design.total * weights / (1.0 + weights * g)
        return FixedPoint(a, exp(guess[-1]))


def respond(population: Population, stage: Stage, penalty: float) -> MatrixResponse:
    """The response of a stage at one penalty, see StageSolver."""
    return StageSolver(population, stage).at(penalty)


def _spread(products: Sequence[Array], live: Sequence[int], count: int, size: int) -> tuple[Array, ...]:
    """Q Σ_s of all sources, 0 for those that are not used; the units of Q and Σ cancel."""
    nothing = np.zeros((size, size))
    found = dict(zip(live, products, strict=True))
    return tuple(found.get(s, nothing) for s in range(count))


def _system(  # noqa: PLR0917
    used: Mask, traces: Traces, point: FixedPoint, samples: Array, m: float | None, unit: float
) -> Array:
    """As several_covariances._system, from traces in ``unit``; m random features."""
    system = np.eye(used.size + 1)
    live = np.flatnonzero(used)
    strength = point.a**2 / samples[used]
    system[np.ix_(live, live)] -= traces.gram * strength
    if m is not None:
        system[live, -1] = -(point.kappa**2) * traces.plain * unit / m
        system[-1, live] = -strength * traces.plain / unit
        system[-1, -1] = 1.0 - float(point.a @ traces.gram @ point.a) / m
    return system
