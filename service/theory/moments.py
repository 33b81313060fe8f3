"""Chaining stages: second moments of every model's error, and the adjoint that says where the final error comes from.

With w the truth and e_u = w_u − w the error of the model u, a chain is determined per eigenmode by E[w²], E[e_u w] and
E[e_u e_v]; off-diagonal terms never matter (fresh samples at every stage). One pass forward,
here, gives the final error; the pass backward is in origins.py. Cost: O(stages × sources² × modes).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from service.theory.chain import TRUTH, Chain, History, Labels, covariances_of
from service.theory.model import Array, Population, Shift, Source, Stage
from service.theory.response import Regime, Response


def needed_pairs(labels: Sequence[tuple[int, ...]]) -> list[set[int]]:
    """For each stage f the earlier stages u whose E[e_f e_u] a later stage uses."""
    needed: list[set[int]] = [set() for _ in labels]
    for stage in range(len(labels) - 1, -1, -1):
        models = {label for label in labels[stage] if label != TRUTH}
        partners = models | needed[stage]
        for u in models:
            for v in partners:
                if u != v:
                    needed[max(u, v)].add(min(u, v))
    return needed


class _Moments:
    """The moments known so far."""

    def __init__(self, population: Population) -> None:
        self.population = population
        self.cross: dict[int, Array] = {}
        self.second: dict[tuple[int, int], Array] = {}

    def pair(self, u: int, v: int) -> Array | float:
        """E[e_u e_v]; 0 with the truth."""
        if TRUTH in (u, v):
            return 0.0
        return self.second[(u, v) if u >= v else (v, u)]

    def labels(self, sources: Sequence[Source], labels: tuple[int, ...]) -> Labels:
        """The moments of the models that label these sources."""
        count, modes = len(labels), self.population.eigenvalues.size
        if count == 1 and labels[0] != TRUTH:
            return Labels(self.cross[labels[0]][None], self.second[(labels[0], labels[0])][None, None])
        cross, second = np.zeros((count, modes)), np.zeros((count, count, modes))
        for s, u in enumerate(labels):
            if u != TRUTH:
                cross[s] = self.cross[u]
                for t in range(s + 1):
                    if labels[t] != TRUTH:
                        second[s, t] = second[t, s] = self.pair(u, labels[t])
            else:
                shift = sources[s].labels
                if isinstance(shift, Shift):
                    second[s, s] = shift.power
        return Labels(cross, second)


@dataclass(frozen=True, eq=False)
class Mean:
    """Moments of ē = Σ_s L_s e_s − U w, the model's error given its labels' models.

    ``labels``: E[ē e_s], shape (sources, modes); ``truth``: E[ē w]; ``square``: E[ē²]; ``residual``: E‖e_s − ē‖²_Σs,
    shape (sources,); ``power``: Σ_i E(ē + w)_i².
    """

    labels: Array
    truth: Array
    square: Array
    residual: Array
    power: float


def mean_moments(
    population: Population, response: Response, labels: Labels, covariances: Array | None, *, powered: bool
) -> Mean:
    """See Mean. ``covariances``: eigenvalues of each source, shape (sources, modes), or None for the population's.
    ``powered``: whether the power is wanted (for random features), else it is 0.

    e_s − ē = Σ_t L_t (e_s − e_t) + U (e_s + w): written so, and by D_st = E(e_s − e_t)², nothing cancels when the
    labels agree or U is tiny. At a threshold any rounding would be multiplied by infinity.
    """
    L, U, signal = response.learned, response.unlearned, population.target_power
    if L.shape[0] == 1:
        return _single_source(population, response, labels, covariances, powered=powered)
    mixed = np.einsum("tm,stm->sm", L, labels.second)
    mixed_cross = (L * labels.cross).sum(axis=0)
    blend = (L * mixed).sum(axis=0)
    own = np.einsum("ssm->sm", labels.second)
    learned = L.sum(axis=0)
    apart = np.maximum(own[:, None] + own - 2.0 * labels.second, 0.0)
    distances = np.einsum("tm,stm->sm", L, apart)
    spread = learned * distances - 0.5 * (L * distances).sum(axis=0)
    overlap = 0.5 * (distances + (L * (own[:, None] - own)).sum(axis=1))
    overlap += (L * (labels.cross[:, None] - labels.cross)).sum(axis=1)
    weights = population.weight if covariances is None else population.multiplicities * covariances
    residual = np.maximum(spread, 0.0) + 2 * U * overlap + U**2 * (own + 2 * labels.cross + signal)
    truth = mixed_cross - U * signal
    square = blend - 2 * U * mixed_cross + U**2 * signal
    power = 0.0
    if powered:
        power = float(population.multiplicities @ (blend + 2 * learned * mixed_cross + learned**2 * signal))
    return Mean(
        mixed - U * labels.cross,
        truth,
        square,
        np.maximum((weights * residual).sum(axis=1), 0.0),
        power,
    )


def _single_source(
    population: Population, response: Response, labels: Labels, covariances: Array | None, *, powered: bool
) -> Mean:
    """The same for one source, where e − ē = U (e + w) exactly."""
    S, U = response.learned[0], response.unlearned
    cross, second = labels.cross[0], labels.second[0, 0]
    left = U * population.target_power
    weights = population.weight if covariances is None else population.multiplicities * covariances[0]
    model = second + 2 * cross + population.target_power
    own = S * second - U * cross
    truth = S * cross - left
    residual = weights @ (response.unlearned_squared * model)
    power = float(population.multiplicities @ (response.learned_squared[0] * model)) if powered else 0.0
    return Mean(own[None], truth, S * own - U * truth, residual[None], power)


def error_moments(
    population: Population, stage: Stage, response: Response, labels: Labels, noise: Array | None = None
) -> tuple[Array, Mean]:
    """E e² per mode of a stage's model, infinite at its threshold, and the moments of its mean.

    ``noise``: variance of each source's label noise where it is not the stage's.
    """
    mean = mean_moments(
        population, response, labels, covariances_of(stage, population), powered=stage.width is not None
    )
    if noise is None:
        noise = np.array([source.noise_variance for source in stage.sources])
    return mean.square + response.fluctuation(mean.residual + noise, mean.power), mean


def history(chain: Chain) -> History:
    """Propagate the moments through all stages but the last, whose response is not needed."""
    population, moments = chain.population, _Moments(chain.population)
    needed = needed_pairs(chain.labels)
    used = {u for labels in chain.labels for u in labels}
    diverged: set[int] = set()
    final = len(chain.stages) - 1

    def spoilt(f: int) -> bool:
        return any(
            u in diverged and source.samples > 0 and source.weight > 0
            for u, source in zip(chain.labels[f], chain.stages[f].sources, strict=True)
        )

    for f in range(final):
        if f not in used:
            continue
        stage, response = chain.stages[f], chain.responses[f]
        labels = moments.labels(stage.sources, chain.labels[f])
        error, mean = error_moments(population, stage, response, labels)
        if (spoilt(f) and response.regime is not Regime.EMPTY) or not np.all(np.isfinite(error)):
            diverged.add(f)
            error = mean.square
        moments.cross[f] = mean.truth
        moments.second[(f, f)] = error
        for u in needed[f]:
            moments.second[(f, u)] = sum(
                (
                    response.learned[s] * moments.pair(v, u)
                    for s, v in enumerate(chain.labels[f])
                    if v != TRUTH
                ),
                -response.unlearned * moments.cross[u],
            )
    return History(moments.labels(chain.stages[final].sources, chain.labels[final]), spoilt(final))
