"""Where the final test error comes from: the adjoint of the chain.

One pass backward gives the derivative of the final error by every label noise and every shift. The error is linear in
them, so this is an exact decomposition, at the cost of the pass forward.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from service.theory.chain import TRUTH, Chain, Origins, covariances_of
from service.theory.model import Array, Shift
from service.theory.response import Response


@dataclass(frozen=True, eq=False)
class _Step:
    """What one stage passes back: see Origins, and derivatives by E[e_u e_v] of its labels' models, (points, modes)."""

    noise_response: Array
    shift: Array
    gradients: dict[tuple[int, int], Array]


def origins(chain: Chain, points: Sequence[Response]) -> Origins:
    """Derivatives of the final test error Σ_i c_i E e_i² (c: the population's weight) by every noise and shift.

    For one chain at several ``points``: responses of its last stage, say at the given penalty and at the best one.
    Noises enter through E[e_u e_v] alone, so E[e_u w] is not followed. Finite chains only.
    """
    count, final = len(points), len(chain.stages) - 1
    weight = chain.population.weight[None]
    last = [_step_back(chain, final, response, {(final, final): weight}) for response in points]
    noise = [np.zeros((count, len(stage.sources))) for stage in chain.stages]
    shift = [np.zeros((count, len(stage.sources))) for stage in chain.stages]
    noise[final] = np.concatenate([step.noise_response for step in last])
    shift[final] = np.concatenate([step.shift for step in last])
    pending: dict[int, dict[tuple[int, int], Array]] = {}
    for pair in last[0].gradients:
        _add(pending, pair, np.concatenate([step.gradients[pair] for step in last]))
    for f in range(final - 1, -1, -1):
        gradients = pending.pop(f, None)
        if gradients is None:
            continue
        step = _step_back(chain, f, chain.responses[f], gradients)
        noise[f], shift[f] = step.noise_response, step.shift
        for pair, gradient in step.gradients.items():
            _add(pending, pair, gradient)
    return Origins(noise, shift)


def _add(pending: dict[int, dict[tuple[int, int], Array]], pair: tuple[int, int], gradient: Array) -> None:
    gradients = pending.setdefault(pair[0], {})
    gradients[pair] = gradients[pair] + gradient if pair in gradients else gradient


def _step_back(chain: Chain, f: int, response: Response, gradients: dict[tuple[int, int], Array]) -> _Step:
    """From the derivatives by the moments of stage f's model to those by its labels' models."""
    population, stage, labels = chain.population, chain.stages[f], chain.labels[f]
    own = gradients.get((f, f))
    if own is None:
        own = np.zeros_like(next(iter(gradients.values())))
    z, z_power = response.sensitivities(own)
    L = response.learned
    covariances = covariances_of(stage, population)
    if len(labels) == 1 and len(gradients) == 1 and covariances is None and stage.width is None:
        return _plain_step_back(chain, f, response, own, z)
    weight = population.weight if covariances is None else population.multiplicities * covariances
    pull = z[..., None] * weight  # derivative by E(e_s − ē)²: (points, sources, modes)
    square = own + pull.sum(axis=1)  # by E ē²
    if stage.width is not None:
        square = square + z_power[:, None] * population.multiplicities
    shift = np.zeros_like(z)
    found: dict[tuple[int, int], Array] = {}

    def add(u: int, v: int, gradient: Array) -> None:
        pair = (max(u, v), min(u, v))
        found[pair] = found[pair] + gradient if pair in found else gradient

    for s, u in enumerate(labels):
        if u == TRUTH:
            kind = stage.sources[s].labels
            if isinstance(kind, Shift):
                shift[:, s] = (
                    square * response.learned_squared[s] + pull[:, s] * (1.0 - 2.0 * L[s])
                ) @ kind.power
            continue
        add(u, u, square * response.learned_squared[s] + pull[:, s] * (1.0 - 2.0 * L[s]))
        for t, v in enumerate(labels):
            if t != s and v != TRUTH:  # each unordered pair of sources is met from either side
                add(u, v, L[s] * L[t] * square - 2 * pull[:, s] * L[t])
    for (_, u), gradient in gradients.items():
        if u != f:
            for s, v in enumerate(labels):
                if v != TRUTH:
                    add(u, v, L[s] * gradient)
    return _Step(z, shift, found)


def _plain_step_back(chain: Chain, f: int, response: Response, own: Array, z: Array) -> _Step:
    """The same for one source and one covariance, where the model is S times its label plus a fluctuation."""
    population, label, kind = chain.population, chain.labels[f][0], chain.stages[f].sources[0].labels
    shift = np.zeros_like(z)
    if label == TRUTH and not isinstance(kind, Shift):
        return _Step(z, shift, {})
    back = own * response.learned_squared[0] + z * (population.weight * response.unlearned_squared)
    if isinstance(kind, Shift):
        shift[:, 0] = back @ kind.power
        return _Step(z, shift, {})
    return _Step(z, shift, {(label, label): back})
