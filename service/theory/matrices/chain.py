"""Chaining stages with covariance matrices: second moments of the models' errors as matrices, and the adjoint.

With ē = Σ_s L_s e_s − U w the error of a stage's model given its labels' models,

    E[ē e_s'] = Σ_t L_t E[e_t e_s'] − U E[w e_s'],     E[ē w'] = Σ_s L_s E[e_s w'] − U W,
    E[ē ē']   = Σ_s E[ē e_s'] L_s' − E[ē w'] U,         W = E w w',

and the fluctuation adds Q (…) Q (response.py). The pass backward carries derivatives of the final error by E[e_u e_v'].
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from service.theory.chain import TRUTH, label_indices
from service.theory.matrices.algebra import Moment, added, between, dense, times, traced
from service.theory.matrices.response import MatrixResponse
from service.theory.model import Array, Population, Shift, Stage
from service.theory.moments import needed_pairs
from service.theory.response import Regime


@dataclass(frozen=True, eq=False)
class Labels:
    """Moments of the models that label a stage: ``cross`` E[e_s w'], ``second`` E[e_s e_t']; lists over sources."""

    cross: list[Moment]
    second: list[list[Moment]]


@dataclass(frozen=True, eq=False)
class Mean:
    """Moments of ē: ``truth`` E[ē w'] and ``square`` E[ē ē'], shape (d, d); ``residuals``: E‖e_s − ē‖²_Σs and the
    model's power, shape (K + 1,)."""

    truth: Array
    square: Array
    residuals: Array


def truth_moment(population: Population) -> Array:
    """W = E w w': full where the coefficients are known, else diagonal (independent coefficients of mean 0)."""
    if population.target is None:
        return population.target_power
    return np.outer(population.target, population.target)


def mean_moments(response: MatrixResponse, labels: Labels, W: Array) -> Mean:
    """See Mean."""
    U, count = response.unlearned, len(labels.cross)
    live = [s for s in range(count) if response.point.a[s] > 0]
    learned = {
        s: response.learned(s) for s in live if labels.cross[s] is not None or labels.second[s][s] is not None
    }
    truth: Moment = times(-U, W)
    mixed: list[Moment] = [None] * count
    for t, L in learned.items():
        truth = added(truth, times(L, labels.cross[t]))
        for s in range(count):
            mixed[s] = added(mixed[s], times(L, labels.second[t][s]))
    for s in range(count):
        cross = labels.cross[s]
        mixed[s] = added(mixed[s], times(-U, cross if cross is None or cross.ndim == 1 else cross.T))
    assert truth is not None
    square = -(truth @ U)
    for s, L in learned.items():
        moment = mixed[s]
        if moment is not None:
            square = square + moment @ L.T
    residuals = np.zeros(count + 1)
    for s in live:
        sigma, own, cross = response.covariances[s], labels.second[s][s], mixed[s]
        twice = None if cross is None else 0.5 * (cross + cross.T)
        residuals[s] = traced(sigma, own) + traced(sigma, square) - 2.0 * traced(sigma, twice)
    if response.width is not None:
        trace_w = float(W.sum() if W.ndim == 1 else W.trace())
        residuals[-1] = float(square.trace()) + 2.0 * float(truth.trace()) + trace_w
    return Mean(truth, square, np.maximum(residuals, 0.0))


class LastFit:
    """The test error of a stage for labels of these moments, at one response after another.

    With X = Σ_st a_s a_t Σ_s E[e_s e_t'] Σ_t − κ Σ_s a_s (Σ_s E[e_s w'] + …') + κ² W, E[ē ē'] = Q X Q: the sums in it
    do not depend on the penalty, so that each one costs a product with Q, and none where X is diagonal.
    """

    def __init__(
        self, population: Population, stage: Stage, sigma: Sequence[Array], labels: Labels, noise: Array
    ) -> None:
        """``sigma``: covariances of the sources; ``noise``: variances of their labels."""
        self.population, self.width = population, stage.width
        count = len(labels.cross)
        self.noise = noise
        self.cross = [between(sigma[s], labels.cross[s], None) for s in range(count)]  # Σ_s E[e_s w']
        self.second = {
            (s, t): between(sigma[s], labels.second[s][t], sigma[t])
            for s in range(count)
            for t in range(s + 1)
        }
        self.own = np.array([traced(sigma[s], labels.second[s][s]) for s in range(count)])
        # where the coefficients are known W has rank one, which is left out of X
        self.W = None if population.target is not None else population.target_power

    def sums(self, a: Array) -> tuple[Moment, Moment]:
        """Σ_st a_s a_t Σ_s E[e_s e_t'] Σ_t and Σ_s a_s Σ_s E[e_s w']."""
        second: Moment = None
        crossed: Moment = None
        for (s, t), moment in self.second.items():
            if a[s] * a[t] > 0:
                second = added(second, moment, a[s] * a[t])
                if s != t:
                    second = added(second, _transposed(moment), a[s] * a[t])
        for s, moment in enumerate(self.cross):
            if a[s] > 0:
                crossed = added(crossed, moment, a[s])
        return second, crossed

    def error(self, response: MatrixResponse) -> float:
        """Σ σ_i E e_i² of the stage's model; infinite at its threshold."""
        population, Q, kappa = self.population, response.Q, response.point.kappa
        a, count = response.point.a, len(self.cross)
        second, crossed = self.sums(a)
        X = added(added(None, self.W, kappa**2), second)
        X = added(added(X, crossed, -kappa), _transposed(crossed), -kappa)
        XQ = None if X is None else X[:, None] * Q if X.ndim == 1 else X @ Q
        w = population.target
        v = None if w is None else kappa * (Q @ w)

        def mean(product: Array | None, sigma: Array | None) -> float:
            """tr Σ E[ē ē'] from Q Σ (None: Q itself, Σ = 1)."""
            found = 0.0
            if XQ is not None:
                found = float(np.vdot(Q if product is None else product, XQ))
            if v is not None:
                found += float(v @ (v if sigma is None else sigma * v if sigma.ndim == 1 else sigma @ v))
            return found

        right = np.zeros(count + 1)
        for s in range(count):
            if a[s] > 0:
                pulled = kappa * traced(Q, self.cross[s])
                for t in range(count):
                    pulled -= a[t] * traced(Q, self.second[max(s, t), min(s, t)])
                right[s] = self.own[s] + mean(response.products[s], response.covariances[s]) + 2.0 * pulled
        right[:count] += self.noise
        if self.width is not None:
            # E‖ē + w‖²
            truth = sum(float(a[s]) * traced(Q, self.cross[s]) for s in range(count))
            truth -= kappa * traced(Q, self.W) if v is None or w is None else float(v @ w)
            power = float(population.target_power.sum())
            right[-1] = mean(None, None) + 2.0 * truth + power
        y = response.residuals(np.maximum(right, 0.0))
        if not np.all(np.isfinite(y)):
            return float("inf")
        weight = population.eigenvalues
        by_source, by_power = response.weighed(weight)
        total = mean(Q * weight, weight)
        return max(total, 0.0) + float(y[:-1] @ by_source) + float(y[-1]) * by_power


def _transposed(moment: Moment) -> Moment:
    return moment if moment is None or moment.ndim == 1 else moment.T


class History:
    """The moments of every stage's model but the last, made once; ``labels``: of the last stage."""

    def __init__(
        self, population: Population, stages: Sequence[Stage], responses: Sequence[MatrixResponse]
    ) -> None:
        self.population, self.stages, self.W = population, stages, truth_moment(population)
        self.cross: dict[int, Moment] = {}
        self.second: dict[tuple[int, int], Moment] = {}
        self.indices = label_indices(stages)
        self.diverged: set[int] = set()
        needed = needed_pairs(self.indices)
        used = {u for labels in self.indices for u in labels}
        for f, (stage, response) in enumerate(zip(stages[:-1], responses, strict=True)):
            if f in used:
                self._fit(f, stage, response, needed[f])
        self.labels = self._labels(len(stages) - 1)
        self.spoilt = self._spoilt(len(stages) - 1)

    def _spoilt(self, f: int) -> bool:
        """Whether a source that stage f uses is labelled by a model of infinite error."""
        return any(
            u in self.diverged and source.samples > 0 and source.weight > 0
            for u, source in zip(self.indices[f], self.stages[f].sources, strict=True)
        )

    def _fit(self, f: int, stage: Stage, response: MatrixResponse, partners: set[int]) -> None:
        mean = mean_moments(response, self._labels(f), self.W)
        noise = np.array([*(source.noise_variance for source in stage.sources), 0.0])
        y = response.residuals(mean.residuals + noise)
        error = mean.square
        if self._spoilt(f) or not np.all(np.isfinite(y)):
            self.diverged.add(f)
        else:
            error = error + response.Q @ response.inner(y) @ response.Q
        self.cross[f] = mean.truth
        self.second[f, f] = 0.5 * (error + error.T)
        for u in partners:
            cross = self.cross[u]
            moment: Moment = times(-response.unlearned, None if cross is None else cross.T)
            for s, v in enumerate(self.indices[f]):
                if v != TRUTH and response.point.a[s] > 0:
                    moment = added(moment, times(response.learned(s), self._pair(v, u)))
            self.second[f, u] = moment

    def _pair(self, u: int, v: int) -> Moment:
        """E[e_u e_v']."""
        if (u, v) in self.second:
            return self.second[u, v]
        moment = self.second.get((v, u))
        return moment if moment is None or moment.ndim == 1 else moment.T

    def _labels(self, f: int) -> Labels:
        labels, sources = self.indices[f], self.stages[f].sources
        cross: list[Moment] = [None if u == TRUTH else self.cross[u] for u in labels]
        second: list[list[Moment]] = [
            [None if TRUTH in (u, v) else self._pair(u, v) for v in labels] for u in labels
        ]
        for s, source in enumerate(sources):
            if isinstance(source.labels, Shift):
                second[s][s] = source.labels.power
        return Labels(cross, second)


@dataclass(frozen=True, eq=False)
class Origins:
    """``noise``: derivatives of the final error by each source's noise variance; ``shift``: what each shift adds."""

    noise: list[Array]
    shift: float


def origins(population: Population, stages: Sequence[Stage], responses: Sequence[MatrixResponse]) -> Origins:
    """Derivatives of the final test error, one pass backward; finite chains only."""
    final, indices = len(stages) - 1, label_indices(stages)
    pending: dict[int, dict[int, Moment]] = {final: {final: population.eigenvalues}}
    noise = [np.zeros(len(stage.sources)) for stage in stages]
    shift = 0.0
    for f in range(final, -1, -1):
        gradients = pending.pop(f, None)
        if gradients is None:
            continue
        noise[f], more = _step_back(stages[f], responses[f], indices[f], f, gradients, pending)
        shift += more
    return Origins(noise, shift)


def _step_back(  # noqa: PLR0917
    stage: Stage,
    response: MatrixResponse,
    labels: tuple[int, ...],
    f: int,
    gradients: dict[int, Moment],
    pending: dict[int, dict[int, Moment]],
) -> tuple[Array, float]:
    """From derivatives by E[e_f e_u'] to those of its labels' models; returns those by noises, and the shifts' part."""
    size = response.Q.shape[0]
    own = gradients.pop(f, None)
    z, G = np.zeros(len(labels) + 1), np.zeros((size, size))
    if own is not None:
        by_source, by_power = response.weighed(own)
        if response.regime is not Regime.THRESHOLD:  # finite there only without any residual
            z = np.linalg.solve(response.system.T, np.append(by_source, by_power))
        G = dense(own, size) + sum(
            (z[s] * dense(sigma, size) for s, sigma in enumerate(response.covariances) if z[s] != 0),
            z[-1] * np.eye(size) if response.width is not None else np.zeros((size, size)),
        )
    shift = 0.0
    learned = {s: response.learned(s) for s in range(len(labels)) if response.point.a[s] > 0}

    def add(u: int, v: int, gradient: Array) -> None:
        """By E[e_u e_v'], kept under the later of both."""
        row = pending.setdefault(max(u, v), {})
        row[min(u, v)] = added(row.get(min(u, v)), gradient if u >= v else gradient.T)

    for s, L in learned.items():
        source, u = stage.sources[s], labels[s]
        if u == TRUTH and not isinstance(source.labels, Shift):
            continue
        sigma = response.covariances[s]
        pulled = G @ L
        crossed = z[s] * (sigma[:, None] * L if sigma.ndim == 1 else sigma @ L)  # Σ_s L_s
        gradient = L.T @ pulled + z[s] * dense(sigma, size) - crossed - crossed.T
        if isinstance(source.labels, Shift):
            shift += float(gradient.diagonal() @ source.labels.power)
            continue
        add(u, u, gradient)
        for t, M in learned.items():
            if t != s and labels[t] != TRUTH:  # E[e_t e_s'] enters through e_s and through e_t
                pull = z[s] * (M.T * sigma if sigma.ndim == 1 else M.T @ sigma)
                add(labels[t], u, M.T @ pulled - 2.0 * pull)
        for other, by_pair in gradients.items():
            add(u, other, L.T @ dense(by_pair, size))
    return z[:-1], shift
