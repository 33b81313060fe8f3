"""One stage whose sources have covariance matrices: the fixed point of the resolvent as a matrix.

    Q = (Σ_s a_s Σ_s + κ)^-1,   L_s = a_s Q Σ_s,   U = κ Q,   Σ_s L_s + U = 1,
    fluctuation covariance = Q (Σ_s ŷ_s a_s²/T_s Σ_s + (Y/m) κ²) Q,

with ŷ and Y from the linear system of several_covariances.py, whose entries are traces of Q Σ_s Q Σ_t. Sections 2 and 3
of the diagonal theory, unchanged but for the order of the factors; with commuting covariances the two agree. Cost: one
inverse and one product for each full covariance in every Newton step, O(d³).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

import numpy as np
from scipy.linalg import lapack

from service.theory.design import Design
from service.theory.errors import NotConverged, Unsupported
from service.theory.fixed_point import FixedPoint, Problem, Traces, solve
from service.theory.model import Array, Mask, Population, Stage
from service.theory.response import Regime, regime

_ROUNDING = 1e-6
_DEFINITE = 1e-12
_SETTLED = 1e-6  # a Newton step costs seconds, and leaves an error of its square


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


def respond(
    population: Population, stage: Stage, penalty: float, start: FixedPoint | None = None
) -> MatrixResponse:
    """The response of a stage at a finite penalty >= 0; ``start``: the fixed point of a penalty nearby.

    Without penalty every covariance in use must be positive definite. Raises NotConverged, Unsupported.
    """
    sigma, design = covariances(population, stage), Design.of(stage)
    size = population.eigenvalues.size
    used = (design.samples > 0) & (design.weights > 0)
    used &= np.array([bool(_trace(covariance) > 0) for covariance in sigma])
    kind = regime(float(design.samples[used].sum()), float(size), stage.width, penalty)
    nothing = np.zeros(used.size)
    if kind is Regime.EMPTY:
        zero, system = np.zeros((size, size)), np.eye(used.size + 1)
        return MatrixResponse(
            kind,
            FixedPoint(nothing, 1.0),
            np.eye(size),
            (zero,) * used.size,
            sigma,
            design.samples,
            system,
            None,
        )
    live = [int(s) for s in np.flatnonzero(used)]
    if penalty == 0 and not all(_definite(sigma[s]) for s in live):
        raise Unsupported(
            "without a penalty every covariance must be positive definite; give a positive penalty, however small"
        )
    unit = (
        max(_trace(sigma[s]) for s in live) / size
    )  # the fixed point is found in units of the largest variance
    distinct = {id(sigma[s]): sigma[s] / unit for s in live}
    scaled = [distinct[id(sigma[s])] for s in live]
    last: dict[str, tuple[Array, list[Array], Traces]] = {}

    def resolve(a: Array, kappa: float) -> Traces:
        Q = _inverse(scaled, a, kappa, size)
        products = _products(Q, scaled)
        traces = Traces(
            np.array([float(np.trace(product)) for product in products]),
            np.array([[float(np.vdot(one, other.T)) for other in products] for one in products]),
            np.array([float(np.vdot(product, Q)) for product in products]),
        )
        last["at"] = Q, products, traces
        return traces

    shares = design.samples / design.total
    if kind is Regime.THRESHOLD:
        point = FixedPoint(shares[used], 0.0)
    else:
        problem = Problem(
            np.array([_trace(one) for one in scaled]), shares[used], design.weights[used], design.total,
            stage.width, resolve,
        )  # fmt: skip
        if start is not None:
            start = FixedPoint(start.a[used], start.kappa / (1.0 if kind is Regime.INTERPOLATING else unit))
        point = solve(problem, kind, penalty / unit, start, _SETTLED)
    traces = resolve(point.a, point.kappa)
    Q, products, _ = last["at"]
    a = nothing.copy()
    a[used] = point.a
    return MatrixResponse(
        kind,
        # a and κ in the units of the data: a Σ stays, so Q is per unit
        FixedPoint(a, point.kappa * unit),
        Q / unit,
        _spread(products, live, used.size, size),
        sigma,
        design.samples,
        _system(used, traces, point, design, unit),
        stage.width,
    )


def _trace(covariance: Array) -> float:
    return float(covariance.sum() if covariance.ndim == 1 else covariance.trace())


def _definite(covariance: Array) -> bool:
    """Whether all eigenvalues are positive beyond rounding."""
    if covariance.ndim == 1:
        return bool(np.all(covariance > 0))
    shifted = covariance - _DEFINITE * covariance.trace() / len(covariance) * np.eye(len(covariance))
    _, info = lapack.dpotrf(shifted, lower=1)
    return bool(info == 0)


def _inverse(covariances: Sequence[Array], a: Array, kappa: float, size: int) -> Array:
    total = np.zeros((size, size))
    diagonal = np.einsum("ii->i", total)
    for factor, covariance in zip(a.tolist(), covariances, strict=True):
        if covariance.ndim == 1:
            diagonal += factor * covariance
        else:
            total += factor * covariance
    diagonal += kappa
    factor_, info = lapack.dpotrf(total, lower=1, overwrite_a=1)
    if info == 0:
        lower, info = lapack.dpotri(factor_, lower=1, overwrite_c=1)
    if info != 0:
        raise NotConverged("the covariances are too close to singular for this penalty")
    lower = np.tril(lower)
    return np.asarray(lower + np.tril(lower, -1).T)


def _products(Q: Array, covariances: Sequence[Array]) -> list[Array]:
    """Q Σ_s; the same covariance once."""
    known: dict[int, Array] = {}
    for covariance in covariances:
        if id(covariance) not in known:
            known[id(covariance)] = Q * covariance if covariance.ndim == 1 else Q @ covariance
    return [known[id(covariance)] for covariance in covariances]


def _spread(products: Sequence[Array], live: Sequence[int], count: int, size: int) -> tuple[Array, ...]:
    """Q Σ_s of all sources, 0 for those that are not used; the units of Q and Σ cancel."""
    nothing = np.zeros((size, size))
    found = dict(zip(live, products, strict=True))
    return tuple(found.get(s, nothing) for s in range(count))


def _system(used: Mask, traces: Traces, point: FixedPoint, design: Design, unit: float) -> Array:
    """As several_covariances._system, from traces in ``unit``."""
    system = np.eye(used.size + 1)
    live, m = np.flatnonzero(used), design.width
    strength = point.a**2 / design.samples[used]
    system[np.ix_(live, live)] -= traces.gram * strength
    if m is not None:
        system[live, -1] = -(point.kappa**2) * traces.plain * unit / m
        system[-1, live] = -strength * traces.plain / unit
        system[-1, -1] = 1.0 - float(point.a @ traces.gram @ point.a) / m
    return system
