"""How many real samples a test error is worth.

To effective ridge θ and N samples belongs the clean error E = c + h (σ² + c)/(N − h), c = Σ σ U² w² and h = df2
(random features change both). So 1/N = (E − c)/(h (σ² + E)) is explicit, and the fewest samples that can have the
error E are at its maximum over the θ that a penalty >= 0 leads to, N >= df1(θ). Just below the θ at which c = E
penalties are large; far below it a second solution may lie next to the interpolation threshold, of more samples.
"""

from math import exp

import numpy as np

from service.theory.curves import SamplesCurve
from service.theory.design import Design
from service.theory.freedom import Number
from service.theory.grid import STEP, Grid, Sums
from service.theory.model import Array, Mask, Population
from service.theory.one_covariance import effective_ridge
from service.theory.penalty import interpolated_minima, interpolated_minimum

_INFINITE = float("inf")
_NEAR = 0.1  # steps in ln θ up to which the curve is a parabola, to some 1e-4 of its height's error
_ZOOM_POINTS = 9
_ZOOMS = 14
_BEYOND = 96  # points beyond either end of the grid: sixteen decades
_CLOSER = STEP * 2.0 ** -np.arange(0.0, 40.0)


def effective_samples(
    population: Population, noise_variance: float, width: float | None, error: float
) -> float:
    """Number of real samples, their labels of this noise, whose optimally regularized fit has this test error.

    0 for errors of at least the null predictor's, infinite where no number is enough (``width``: random features).
    """
    if population.is_null(error) or population.rank == 0:
        return 0.0
    if error == 0:
        return _INFINITE
    if width is None:
        with np.errstate(all="ignore"):  # what overflows is not regular
            samples, regular = effective_samples_at(population, np.array([noise_variance]), np.array([error]))
        if regular[0]:
            return float(samples[0])
    curve = SamplesCurve(population, noise_variance, width, error)
    low = -_INFINITE
    if width is not None and width < population.rank:
        low = float(np.log(effective_ridge(population, Design.make([width], [1.0]), 0.0)))
    least = _searched(population.grid, curve, low)
    return -1.0 / least if least < 0 else _INFINITE


def _searched(grid: Grid, curve: SamplesCurve, low: float) -> float:
    """The least value of the curve, without any assumption on where that is."""

    def values(log_theta: Array) -> Array:
        return curve(grid.sums(np.exp(log_theta), features=curve.features))[0]

    def biased(found: Array) -> Mask:
        """Where bias alone exceeds the error."""
        return (found > 0) & np.isfinite(found)

    further = STEP * np.arange(1.0, _BEYOND + 1)
    places = np.concatenate([grid.log_theta[0] - further[::-1], grid.log_theta, grid.log_theta[-1] + further])
    places = (
        np.concatenate([low + _CLOSER[::-1], places[places > low + STEP]]) if low > -_INFINITE else places
    )
    found = values(places)
    enough = np.flatnonzero(~biased(found))
    if enough.size > 0 and enough[-1] < places.size - 1:
        a, b = places[enough[-1]], places[enough[-1] + 1]
        for _ in range(_ZOOMS):
            inner = np.linspace(a, b, _ZOOM_POINTS)
            i = int(np.flatnonzero(np.append(True, ~biased(values(inner[1:-1]))))[-1])
            a, b = inner[i], inner[i + 1]
        more = a - _CLOSER[a - _CLOSER > low]
        places, order = np.unique(np.concatenate([places, more, [a]]), return_index=True)
        found = np.concatenate([found, values(more), values(np.array([a]))])[order]
    i = int(found.argmin())
    best = float(found[i])
    a, b = places[max(i - 1, 0)], places[min(i + 1, places.size - 1)]
    for _ in range(_ZOOMS):
        inner = np.linspace(a, b, _ZOOM_POINTS)
        zoomed = values(inner)
        i = int(zoomed.argmin())
        best = min(best, float(zoomed[i]))
        a, b = inner[max(i - 1, 0)], inner[min(i + 1, _ZOOM_POINTS - 1)]
    return best


def effective_samples_at(population: Population, noise: Array, errors: Array) -> tuple[Array, Mask]:
    """The same for many noises and errors at once, shapes (errors,), and where the optimum behind it is regular.

    The interpolant's θ is right to some per cent, and the maximum of the curve from there to the third power of that.
    """
    grid = population.grid
    if grid.size == 1:  # at the Bayes estimate the error is (1 − S) ‖w‖²_Σ, see flat_spectrum.py
        samples = population.rank * (1.0 - errors / population.signal) * (1.0 + noise / errors)
        return samples, (errors > 0) & (errors < population.signal)
    if errors.size == noise.size == 1:
        found = regular_effective_samples(population, float(noise[0]), float(errors[0]))
        if found is not None:
            return np.array([found]), np.ones(1, dtype=bool)
    theta, regular = _fewest(grid.log_theta, grid.base, noise, errors)
    if not regular.all():  # labels so noisy that the best penalty lies beyond the grid
        log_theta, base = grid.continued
        further, there = _fewest(log_theta, base, noise, errors)
        theta, regular = np.where(regular, theta, further), regular | there
    theta = np.where(regular, theta, population.trace)
    Q = 1.0 / (population.eigenvalues + theta[:, None])
    square = Q * Q
    df2, _, _, left = grid.base_rows.dot(square.T)
    rows = grid.rate_rows
    (h3, c3), (h4, c4) = rows.dot((square * Q).T), rows.dot((square * square).T)
    room = errors - theta * theta * left
    slope, bend = _derivatives(theta, room, df2, h3, c3, h4, c4)
    regular &= (room > 0) & (np.abs(slope) < -_NEAR * bend)
    gain = np.divide(slope * slope, 2.0 * bend, out=np.zeros_like(bend), where=regular)
    return df2 * (noise + errors) / np.where(room > 0, room, 1.0) * np.exp(gain), regular


def regular_effective_samples(population: Population, noise: float, error: float) -> float | None:
    """The same for one noise and error, None where the optimum is not regular on the population's own grid, or known
    in closed form."""
    grid = population.grid
    if grid.size == 1:
        return None
    freedom = grid.base.freedom
    rate = (grid.base.signal - error) / (freedom.df2 * (noise + error))  # −1/N
    allowed = rate * freedom.df1 >= -1.0
    best = int(np.where(allowed, rate, _INFINITE).argmin())
    if rate[-1] <= 0 or best == 0 or not allowed[best - 1 :].all():
        return None
    theta, least, _ = interpolated_minimum(grid.log_theta, rate, best)
    if not least < 0:
        return None
    total = population.eigenvalues + theta
    square = 1.0 / (total * total)
    df2, _, _, left = grid.base_rows.dot(square).tolist()
    h3, c3 = grid.rate_rows.dot(square / total).tolist()
    h4, c4 = grid.rate_rows.dot(square * square).tolist()
    room = error - theta * theta * left
    if not (room > 0 and df2 > 0):
        return None
    slope, bend = _derivatives(theta, room, df2, h3, c3, h4, c4)
    if not abs(slope) < -_NEAR * bend:
        return None
    return float(df2 * (noise + error) / room * exp(slope * slope / (2.0 * bend)))


def _derivatives(  # noqa: PLR0917
    theta: Number, room: Number, df2: Number, h3: Number, c3: Number, h4: Number, c4: Number
) -> tuple[Number, Number]:
    """First and second derivative of ln(room/df2) by ln θ."""
    square = theta * theta
    falls, falls2 = -2.0 * square * c3, -4.0 * square * c3 + 6.0 * square * theta * c4
    rises, rises2 = -2.0 * theta * h3, -2.0 * theta * h3 + 6.0 * square * h4
    falls, falls2, rises, rises2 = falls / room, falls2 / room, rises / df2, rises2 / df2
    return falls - rises, falls2 - falls * falls - rises2 + rises * rises


def _fewest(log_theta: Array, base: Sums, noise: Array, errors: Array) -> tuple[Array, Mask]:
    """θ of the most 1/N, and where that is seen as a whole: nothing is cut off between it and bias = error."""
    rate = (errors[:, None] - base.signal) / (base.freedom.df2 * (noise + errors)[:, None])
    allowed = rate * base.freedom.df1 <= 1.0
    found = interpolated_minima(log_theta, -rate, allowed)
    best = np.where(allowed, rate, -_INFINITE).argmax(axis=1)
    points = np.arange(log_theta.size)
    last_cut_off = np.where(allowed, -1, points).max(axis=1)
    return found.theta, (found.value < 0) & (rate[:, -1] < 0) & (last_cut_off < best)
