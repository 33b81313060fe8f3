"""Stages whose sources differ in covariance (jointly diagonal): one unknown per source, Newton, a small linear system.

    a_s = p_s ω_s/(1 + ω_s g_s),   Q_i = 1/(Σ_s a_s σ_si + κ),   g_s = F_s(g) = (1/N) Σ_i σ_si Q_i,
    κ = λ + (κ/m)(d − κ Σ Q).

F is positive, increasing and concave (Q is a harmonic mean of 1 + ω g), so its positive fixed point is unique and
Newton's method from above, where F(g) <= g, descends to it. Penalty 0 with fewer samples than modes is the limit
κ -> 0 with κ g finite, where a_s/κ = p_s/ĝ_s and the weights drop out.
"""

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from service.theory.design import Design
from service.theory.errors import NotConverged, Unsupported
from service.theory.fixed_point import Problem, Traces, solve
from service.theory.model import Array, Population
from service.theory.response import Regime, Response, empty_response, regime

_ROUNDING = 1e-6  # a step this small that does not shrink any more is rounding, close to a threshold
_MAX_SUBSETS = 12


@dataclass(frozen=True, eq=False)
class SeveralCovariances(Response):
    """A solved stage. ``variance``: v_s = (a_s Q)² σ_s/T_s, shape (sources, modes); ``system``: the linear system of
    the expected squared residuals and the model power, shape (sources + 1, sources + 1)."""

    multiplicities: Array
    variance: Array
    system: Array

    @classmethod
    def solve(cls, population: Population, covariances: Array, design: Design, penalty: float) -> Response:
        """The response; ``covariances``: shape (sources, modes). Raises NotConverged, Unsupported."""
        multiplicity = population.multiplicities
        used = (design.samples > 0) & (design.weights > 0)
        seen = np.any(covariances[used] > 0, axis=0) if used.any() else np.zeros(multiplicity.size, bool)
        rank = float(multiplicity[seen].sum())
        kind = regime(design.active, rank, design.width, penalty)
        if kind is Regime.EMPTY:
            return empty_response(design.samples.size, multiplicity.size)
        if penalty == 0 and not _supports_agree(multiplicity, covariances, design, used):
            raise Unsupported(
                "with penalty 0 some modes are seen by too few samples of the sources that cover them; "
                "give a positive penalty, however small"
            )
        unit = float(covariances[used].max())  # the fixed point is found in units of the largest variance
        # modes that no used source covers never enter, and sources that are not used learn nothing
        sigma, weight = np.where(used[:, None], covariances, 0.0)[:, seen] / unit, multiplicity[seen]
        coefficient, unlearned = _first_order(sigma, weight, design, kind, penalty / unit)
        resolvent = np.zeros_like(multiplicity)
        resolvent[seen] = coefficient.sum(axis=0) / unit
        L = np.zeros_like(covariances)
        L[:, seen] = coefficient * sigma
        U = np.ones_like(multiplicity)
        U[seen] = unlearned
        # features that span all modes, unpenalized, are the modes
        width = None if kind is Regime.LEAST_SQUARES else design.width
        v = np.zeros_like(covariances)
        v[:, seen] = np.divide(
            coefficient**2 * sigma,
            design.samples[:, None] * unit,
            out=np.zeros_like(sigma),
            where=used[:, None],
        )
        return cls(
            kind, L, U, resolvent, coefficient[:, 0] / coefficient[:, 0].sum(), width, multiplicity, v,
            _system(multiplicity, covariances, v, U, width),
        )  # fmt: skip

    def fluctuation(self, residuals: Array, model_power: float) -> Array:
        """See Response.fluctuation."""
        if not residuals.any() and self.features is None:
            return np.zeros_like(self.unlearned)
        if self.regime is Regime.THRESHOLD:
            return np.full_like(self.unlearned, np.inf)
        y = self._residuals(np.append(residuals, model_power))
        spread = np.asarray(y[:-1] @ self.variance)
        return spread if self.features is None else spread + (y[-1] / self.features) * self.unlearned_squared

    def _residuals(self, right: Array) -> Array:
        """The solution of the system, positive as long as the stage is resolved from its threshold."""
        try:
            y = np.asarray(np.linalg.solve(self.system, right), dtype=np.float64)
        except np.linalg.LinAlgError:
            y = np.full_like(right, -np.inf)
        if not np.all(y >= -_ROUNDING * np.abs(y).max()):
            raise NotConverged("the stage is too close to its interpolation threshold")
        return np.maximum(y, 0.0)

    @property
    def openness(self) -> float:
        """1 − the largest eigenvalue of the residuals' feedback, see Response.openness."""
        if self.regime is Regime.THRESHOLD:
            return 0.0
        return float(1.0 - np.abs(np.linalg.eigvals(np.eye(self.system.shape[0]) - self.system)).max())

    def sensitivities(self, gradient: Array) -> tuple[Array, Array]:
        """See Response.sensitivities; 0 at the threshold, where only residuals of 0 leave a finite error."""
        nothing = np.zeros((*gradient.shape[:-1], self.learned.shape[0])), np.zeros(gradient.shape[:-1])
        if self.regime is Regime.THRESHOLD:
            return nothing
        by_width = (
            gradient @ self.unlearned_squared / self.features
            if self.features
            else np.zeros(gradient.shape[:-1])
        )
        right = np.concatenate([gradient @ self.variance.T, by_width[..., None]], axis=-1)
        try:
            z = right @ np.linalg.inv(self.system)
        except np.linalg.LinAlgError:  # a penalty so small that rounding puts the stage at its threshold
            return nothing
        return z[..., :-1], z[..., -1]


def _system(multiplicity: Array, covariances: Array, v: Array, U: Array, width: float | None) -> Array:
    count = v.shape[0]
    system = np.eye(count + 1)
    system[:count, :count] -= (multiplicity * covariances) @ v.T
    if width is not None:
        system[:count, count] = -(covariances @ (multiplicity * U**2)) / width
        system[count, :count] = -(v @ multiplicity)
        system[count, count] = 1.0 - float(multiplicity @ (1.0 - U) ** 2) / width
    return system


def _supports_agree(multiplicity: Array, covariances: Array, design: Design, used: NDArray[np.bool_]) -> bool:
    """Whether penalty 0 has one limit in every mode: all sources cover the same modes, or enough samples do."""
    active = np.flatnonzero(used)
    supports = covariances[active] > 0
    if bool(np.all(supports == supports[0])):
        return True
    if active.size > _MAX_SUBSETS:
        return False
    # generic rank of the samples (König): least over subsets of sources of their samples plus what the others cover
    rank = float(multiplicity[supports.any(axis=0)].sum())
    if design.active <= rank:
        return False
    for size in range(1, active.size + 1):
        for subset in combinations(range(active.size), size):
            others = [s for s in range(active.size) if s not in subset]
            covered = float(multiplicity[supports[others].any(axis=0)].sum()) if others else 0.0
            if float(design.samples[active[list(subset)]].sum()) + covered <= rank:
                return False
    return True


def _first_order(
    sigma: Array, weight: Array, design: Design, kind: Regime, penalty: float
) -> tuple[Array, Array]:
    """a_s Q_i per unit variance, shape (sources, modes), and U = κ Q, shape (modes,)."""
    p = design.samples / design.total
    if kind is Regime.THRESHOLD:
        mean = p @ sigma
        return np.broadcast_to((p[:, None]) / mean, sigma.shape), np.zeros(sigma.shape[1])
    used = design.samples * design.weights > 0
    seen = sigma[used]

    def resolve(a: Array, kappa: float) -> Traces:
        Q = 1.0 / (a @ seen + kappa)
        once, twice = weight * Q, weight * Q * Q
        return Traces(seen @ once, (seen * twice) @ seen.T, seen @ twice)

    problem = Problem(seen @ weight, p[used], design.weights[used], design.total, design.width, resolve)
    found = solve(problem, kind, penalty)
    a = np.zeros_like(p)
    a[used] = found.a
    Q = 1.0 / (a @ sigma + found.kappa)
    return a[:, None] * Q, found.kappa * Q
