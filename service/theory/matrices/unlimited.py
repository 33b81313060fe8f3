"""Unlimited data with covariance matrices: unlimited.py with matrices in the place of eigenmodes.

Each stage learns L_s = p_s ω_s Q Σ_s with Q = (M + κ)^-1, M = Σ_s p_s ω_s Σ_s. In the eigenbasis of M every penalty of
the last stage takes three sums over pairs of modes: E = Σ_ij C_ij X_ij/((m_i + κ)(m_j + κ)), X quadratic in κ.
"""

from math import inf

import numpy as np

from service.theory.design import Design
from service.theory.errors import NotConverged, Unsupported
from service.theory.fixed_point import FixedPoint
from service.theory.matrices.algebra import dense
from service.theory.matrices.chain import History, LastFit
from service.theory.matrices.resolvent import total_covariance
from service.theory.matrices.response import MatrixResponse, StageSolver
from service.theory.model import Array, Population, Stage, TrainingMix
from service.theory.one_covariance import effective_ridge
from service.theory.penalty_general import minimize_penalty
from service.theory.response import Regime


def floors(population: Population, mix: TrainingMix) -> tuple[float, float]:
    """See unlimited.floors: the test error with unlimited data at the given penalties, and at the best last one.

    Cost: an eigen-decomposition for each stage. Raises NotConverged, Unsupported.
    """
    final = mix.stages[-1]
    solvers = [StageSolver(population, stage) for stage in mix.stages]
    responses = [
        _unlimited(population, stage, solver)
        for stage, solver in zip(mix.stages[:-1], solvers[:-1], strict=True)
    ]
    labels = History(population, mix.stages, responses).labels
    noise = np.zeros(len(final.sources))
    if population.signal == 0 or not solvers[-1].live:
        return population.signal, population.signal
    fit = _Fit(population, final, solvers[-1], LastFit(population, final, solvers[-1].sigma, labels, noise))
    given = population.signal if final.penalty == inf else fit.error(float(final.penalty))
    best = minimize_penalty(fit.tried, population.trace, population.signal)
    return given, min(given, best.total)


def _shares(solver: StageSolver) -> Array:
    """a_s = p_s ω_s, 0 for sources that are not used."""
    design = solver.design
    return np.asarray(np.where(solver.used, design.samples * design.weights / design.total, 0.0))


def _ridge(modes: Array, width: float | None, penalty: float) -> float:
    """κ: the effective ridge of m random features on modes of these variances; λ without them."""
    if width is None or (width == modes.size and penalty == 0):
        return penalty
    seen = Population(np.maximum(modes, 0.0), np.ones_like(modes), np.zeros_like(modes), 0.0)
    return effective_ridge(seen, Design.make([width], [1.0]), penalty)


def _room(modes: Array, width: float, kappa: float) -> float:
    """m − tr (1 − U)². Raises NotConverged."""
    room = width - float(((modes / (modes + kappa)) ** 2).sum())
    if room <= 0:
        raise NotConverged("the random features are too close to the number of modes")
    return room


def _unlimited(population: Population, stage: Stage, solver: StageSolver) -> MatrixResponse:
    """The response of a stage at its penalty."""
    penalty, size = float(stage.penalty), population.eigenvalues.size
    if not solver.live or penalty == inf:
        return solver.at(inf)
    solver.check(penalty)
    a = _shares(solver)
    modes, V = np.linalg.eigh(total_covariance(solver.sigma, a, size))
    kappa, system = _ridge(modes, stage.width, penalty), np.eye(a.size + 1)
    width = stage.width if kappa > 0 else None
    if width is not None:
        system[-1, -1] = _room(modes, width, kappa) / width
    Q = (V / (modes + kappa)) @ V.T
    products = {id(sigma): Q * sigma if sigma.ndim == 1 else Q @ sigma for sigma in solver.sigma}
    return MatrixResponse(
        Regime.RIDGE if penalty > 0 else Regime.LEAST_SQUARES,
        FixedPoint(a, kappa), Q, tuple(products[id(sigma)] for sigma in solver.sigma), solver.sigma,
        np.full(a.size, inf), system, width,
    )  # fmt: skip


class _Fit:
    """The last stage with unlimited data, by its penalty."""

    def __init__(self, population: Population, stage: Stage, solver: StageSolver, fit: LastFit) -> None:
        self.width, self.solver, size = stage.width, solver, population.eigenvalues.size
        a = _shares(solver)
        self.modes, V = np.linalg.eigh(total_covariance(solver.sigma, a, size))
        weight = V.T @ (population.eigenvalues[:, None] * V)
        second, cross = (V.T @ dense(moment, size) @ V for moment in fit.sums(a))
        target = population.target
        W = (
            V.T @ np.diag(population.target_power) @ V
            if target is None
            else np.outer(V.T @ target, V.T @ target)
        )
        # X = second − κ (cross + cross') + κ² W
        self.parts = [weight * second, -weight * (cross + cross.T), weight * W]
        self.powers = second.diagonal(), cross.diagonal(), W.diagonal()
        self.weights = weight.diagonal()

    def error(self, penalty: float) -> float:
        """The test error. Raises NotConverged, Unsupported."""
        self.solver.check(penalty)
        kappa = _ridge(self.modes, self.width, penalty)
        Q = 1.0 / (self.modes + kappa)
        total = sum(kappa**k * float(Q @ part @ Q) for k, part in enumerate(self.parts))
        if self.width is not None and kappa > 0:
            second, cross, W = self.powers
            learned = self.modes * Q  # E‖ē + w‖² = Σ Q² second + 2 Q (1 − κ Q) cross + (1 − κ Q)² W
            power = float((Q * Q) @ second + 2.0 * (Q * learned) @ cross + (learned * learned) @ W)
            total += (
                kappa**2
                * float((Q * Q) @ self.weights)
                * max(power, 0.0)
                / _room(self.modes, self.width, kappa)
            )
        return max(total, 0.0)

    def tried(self, penalty: float) -> float:
        """The test error, infinite where it is not known."""
        try:
            return self.error(penalty)
        except (NotConverged, Unsupported):
            return inf
