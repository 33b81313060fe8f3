"""The test error of a stage of several covariances at many penalties side by side: several_covariances.py, in one go.

For the search of the best penalty, which asks for fifty of them: Newton's method descends from above for all at once.
"""

from typing import Final

import numpy as np

from service.theory.chain import Labels
from service.theory.design import Design
from service.theory.model import Array, Mask, Population

_STEPS: Final = 60
_QUADRATIC: Final = 1e-9  # a Newton step this small leaves an error of its square
_ROUNDING: Final = 1e-6  # see several_covariances.py
_CHUNK: Final = 400_000  # penalties × sources² × modes at a time


def errors(  # noqa: PLR0917
    population: Population, covariances: Array, design: Design, noise: Array, labels: Labels, penalties: Array
) -> Array:
    """Test errors at positive penalties, nan where the stage has to be looked at by itself; shapes (penalties,).

    ``covariances``: shape (sources, modes); ``noise``: of each source's labels, whose models are ``labels``. No random
    features; some source is used. Reduces to SeveralCovariances.solve and error_moments.
    """
    step = max(1, _CHUNK // (covariances.size * len(covariances)))
    with np.errstate(all="ignore"):  # what overflows is not settled
        parts = [
            _errors(population, covariances, design, noise, labels, penalties[i : i + step])
            for i in range(0, penalties.size, step)
        ]
    return np.concatenate(parts)


def _errors(  # noqa: PLR0917
    population: Population, covariances: Array, design: Design, noise: Array, labels: Labels, penalties: Array
) -> Array:
    used = (design.samples > 0) & (design.weights > 0)
    sigma, samples = covariances[used], design.samples[used]
    a, Q, settled = _fixed_points(population.multiplicities, sigma, design, used, penalties)
    U = penalties[:, None] * Q
    coefficients = a[:, :, None] * Q[:, None]
    L, v = coefficients * sigma, coefficients**2 * (sigma / samples[:, None])
    cross, second = labels.cross[used], labels.second[np.ix_(used, used)]
    square, residual = _mean(population, sigma, L, U, cross, second)
    count = len(samples)
    system = np.eye(count) - (population.multiplicities * sigma) @ v.swapaxes(1, 2)
    y = np.full(residual.shape, np.nan)
    y[settled] = np.linalg.solve(system[settled], (residual + noise[used])[settled, :, None])[..., 0]
    resolved = settled & np.all(y >= -_ROUNDING * np.abs(y).max(axis=1, keepdims=True), axis=1)
    total = square @ population.weight + (np.maximum(y, 0.0) * (v @ population.weight)).sum(axis=1)
    return np.where(resolved & np.isfinite(total), total, np.nan)


def _fixed_points(
    multiplicities: Array, sigma: Array, design: Design, used: Mask, penalties: Array
) -> tuple[Array, Array, Mask]:
    """a, shape (penalties, sources), Q, shape (penalties, modes), and where they are settled."""
    p, omega, count = design.samples[used] / design.total, design.weights[used], len(sigma)
    rows = multiplicities * sigma
    pairs = (rows[:, None] * sigma).reshape(count * count, -1)
    g = rows.sum(axis=1) / (penalties[:, None] * design.total)
    size, settled = np.full(penalties.size, np.inf), np.zeros(penalties.size, dtype=bool)
    for _ in range(_STEPS):
        a = p * omega / (1.0 + omega * g)
        Q = 1.0 / (a @ sigma + penalties[:, None])
        value = Q @ rows.T / design.total
        gram = ((Q * Q) @ pairs.T).reshape(-1, count, count)
        jacobian = gram * (a * a / p)[:, None] / design.total
        matrix = np.eye(count) - jacobian * g[:, None] / g[:, :, None]
        usable = np.isfinite(matrix).all(axis=(1, 2)) & np.isfinite(value).all(axis=1)
        matrix[~usable] = np.eye(count)
        step = np.linalg.solve(matrix, (value / g - 1.0)[..., None])[..., 0]
        last, size = size, np.abs(step).max(axis=1)
        settled |= usable & ((size <= _QUADRATIC) | ((size <= _ROUNDING) & (size >= last)))
        proposal = g * (1.0 + step)
        fine = np.all((proposal > 0) & np.isfinite(proposal), axis=1, keepdims=True)
        g = np.where(fine, proposal, value)
        if settled.all():
            break
    a = p * omega / (1.0 + omega * g)
    return a, 1.0 / (a @ sigma + penalties[:, None]), settled


def _mean(  # noqa: PLR0917
    population: Population, sigma: Array, L: Array, U: Array, cross: Array, second: Array
) -> tuple[Array, Array]:
    """E ē², shape (penalties, modes), and residuals, shape (penalties, sources): moments.mean_moments of many."""
    signal = population.target_power
    own = np.einsum("ssm->sm", second)
    apart = np.maximum(own[:, None] + own - 2.0 * second, 0.0)
    mixed_cross = np.einsum("jtm,tm->jm", L, cross)
    distances = np.einsum("jtm,stm->jsm", L, apart)
    blend = np.einsum("jsm,jtm,stm->jm", L, L, second)
    learned = L.sum(axis=1)[:, None]
    spread = learned * distances - 0.5 * (L * distances).sum(axis=1, keepdims=True)
    overlap = 0.5 * (distances + learned * own - np.einsum("jtm,tm->jm", L, own)[:, None])
    overlap += learned * cross - mixed_cross[:, None]
    left = U[:, None]
    residual = np.maximum(spread, 0.0) + 2.0 * left * overlap + left**2 * (own + 2.0 * cross + signal)
    square = blend - 2.0 * U * mixed_cross + U * U * signal
    return square, np.maximum((residual * (population.multiplicities * sigma)).sum(axis=2), 0.0)
