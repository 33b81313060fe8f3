"""Fits in a row on one and the same design: each is labelled by the one before, with new noise and its own penalty.

With S = XᵀX/T, all fits are functions of the one matrix S, so they commute: after penalties λ_1, …, λ_n

    ŵ − w = −F(S) w + Σ_k g_k(S)^{1/2} noise,    F(s) = 1 − Π_k s/(s + λ_k),
    Cov = Σ_k (σ_k²/T) E g_k(S),                 g_k(s) = s/(s + λ_k)² Π_{j>k} (s/(s + λ_j))².

Means of functions of S are contour integrals of its resolvent R(z) = (S + z)^{-1}, whose deterministic equivalents are

    z R(z) ~ κ (Σ + κ)^{-1},   z = κ (1 − df1(κ)/T),
    R(z) A R(z') ~ Q (A + Σ h) Q',   Q = (κ/z) (Σ + κ)^{-1},   h = tr(A Σ Q̂ Q̂')/T / (1 − tr(Σ² Q̂ Q̂')/T),

with Q̂ = (Σ + κ)^{-1} (Hachem, Loubaton, Najim 2007; Louart and Couillet 2018; with z = z' the second-order equivalent
of one_covariance.py), so that diagonals of E F(S), E F(S) A F(S) and E g_k(S) are sums over nodes of a contour, and
over pairs of them. The contour is a branch of a hyperbola between the spectrum on its left and the poles z = λ_k on its
right,

    κ(t) = c + i b sinh(t + i τ),   c ± b: κ at z = 0 and at half the least penalty.

Turned to the left by an angle v it bounds the equivalents as long as cos² v > Σ σ²/((σ + c)² − b²)/T; on the line v = 0
and left of it |s/(s + λ_k)| <= 1, right of it the product of n of these grows as exp(n v²/2). The trapezoidal rule
converges as exp(−2π w/step), w the distance in v to either side, and τ is in the middle: few nodes do for any spectrum,
any penalties, and thousands of fits, but for samples about as many as modes and penalties next to nothing: there both
sides are near, and thousands of fits may take thousands of nodes.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import groupby

import numpy as np

from service.theory.design import Design
from service.theory.errors import NotConverged, Unsupported
from service.theory.model import Array, Pass, Population, Source
from service.theory.one_covariance import OneCovariance
from service.theory.response import Regime, Response, empty_response
from service.theory.shared_contour import TOO_FAR, Complex, Contour, contour_along, path_of

_PRECISION = 1e-10  # of a sum over nodes, in units of its terms
_DOUBTFUL = 1e-5
_TOO_LONG = (
    "so many fits in a row on one design take too long to add up where penalties are next to nothing and samples "
    "about as many as modes: give fewer generations, larger penalties or another number of samples"
)
MAX_SECONDS = 10.0
"""That one series of fits may be expected to take."""
_PER_FIT, _PER_PAIR, _PER_MODE = 4e-7, 2e-7, 2e-9  # seconds
_PAIRS = 2**18  # of nodes at a time


def expected_seconds(population: Population, samples: float, passes: Sequence[Pass]) -> float:
    """About how long fits in a row take: sums over nodes for every fit unlike the one before, and over their pairs."""
    positive = [one.penalty for one in passes if one.penalty > 0]
    if samples == 0 or population.rank == 0 or not positive:
        return 0.0
    with np.errstate(all="ignore"):
        try:
            nodes = path_of(population, samples, positive).nodes
        except NotConverged:
            return 0.0
    modes, runs = population.eigenvalues.size, sum(1 for _ in groupby(passes))
    return nodes * (_PER_FIT * runs + nodes * (_PER_PAIR + _PER_MODE * modes))


def _kept_once(z: Complex, penalty: float) -> Complex:
    """ln s/(s + λ) at s = −z."""
    x = -penalty / z
    # numpy's log1p of a complex number takes the logarithm of a rounded modulus
    return np.asarray(
        -0.5 * np.log1p(2 * x.real + x.real**2 + x.imag**2) - 1j * np.arctan2(x.imag, 1 + x.real)
    )


def _kept(z: Complex, penalties: Sequence[float]) -> Complex:
    """ln Π s/(s + λ_k) at s = −z; equal penalties are taken together."""
    return sum((times * _kept_once(z, one) for one, times in Counter(penalties).items()), np.zeros_like(z))


def _noise(z: Complex, passes: Sequence[Pass]) -> Complex:
    """Σ_k (share of the noise) g_k(s) at s = −z, of the fits that have or are followed by a penalty.

    Runs of n equal fits are a geometric series: with r = (s/(s + λ))², Σ r^k = r (r^n − 1)/(r − 1).
    """
    total, after = np.zeros_like(z), np.zeros_like(z)  # ln of what the later fits keep
    for one, run in groupby(reversed(passes)):
        times = sum(1 for _ in run)
        series: Complex | float = times
        if one.penalty > 0:
            each = 2.0 * _kept_once(z, one.penalty)
            alike = np.expm1(times * each) / np.expm1(each)
            series = np.exp(each) * np.where(each == 0, times, alike)
        total += one.noise_share * series * np.exp(after) / -z
        if one.penalty > 0:
            after += times * each
    return total


def _by_the_design(
    population: Population, samples: float, inverse: Complex, kept: Complex, forgotten: Complex
) -> Array:
    """E[F A F]_ii − (E F)_ii² A_i for A the power of the target; the same for 1 − F, where that is the smaller one."""
    sigma, weight = population.eigenvalues, population.weight
    size = np.sqrt(weight @ np.abs(inverse) ** 2)
    filtered = min(forgotten, kept, key=lambda values: float(np.abs(values) @ size))
    # pairs of a node with one of the whole contour; the other half of the pairs is conjugate to it
    everywhere = np.concatenate([inverse, inverse[:, 1:].conj()], axis=1)
    both = np.concatenate([filtered, filtered[1:].conj()]) / 2.0  # factors stand for both halves
    both[0] *= 2.0
    factors, nodes = everywhere * both, inverse.T
    found, step = np.zeros(sigma.size), max(1, _PAIRS // both.size)
    for i in range(0, len(nodes), step):
        some = nodes[i : i + step]
        crossed = (some * (weight * population.target_power)) @ everywhere
        h = crossed / (samples - (some * (weight * sigma)) @ everywhere)
        found += np.einsum("im,im->i", (some.T * filtered[i : i + step]) @ h, factors).real
    return np.asarray(np.maximum(sigma * found, 0.0))


def _noise_gain(
    population: Population, contour: Contour, inverse: Complex, g: Complex
) -> tuple[Array, Array]:
    """E[g(S)]_ii >= 0 of a function with g(0) = 0, and its error: of R(z) less c/z for any c.

    Where all penalties are small beside the spectrum, c is the share of a mode that no sample sees, where they are
    large, 1: what is left then has no parts that cancel.
    """
    sigma, lowest = population.eigenvalues, contour.lowest
    seen = np.divide(sigma, sigma + lowest, out=np.zeros_like(sigma), where=sigma > 0)
    small, large = g * contour.factors * contour.delta / contour.kappa, -g * contour.factors / contour.kappa
    size = np.abs(inverse)
    of_small, of_large = seen * (inverse @ small).real, sigma * (inverse @ large).real
    summed_small, summed_large = seen * (size @ np.abs(small)), sigma * (size @ np.abs(large))
    found = np.where(summed_small <= summed_large, of_small, of_large)
    return np.maximum(found, 0.0), _PRECISION * np.minimum(summed_small, summed_large)


@dataclass(frozen=True, eq=False)
class SharedDesign(Response):
    """Solved fits in a row on one design of real labels.

    ``residual``: the model's variance by the design alone, shape (modes,); ``noise_gain``: its variance by the label
    noises, for a total of 1; ``noise_variance``: their total; ``doubt``: how much of a test error the gains may be off.
    """

    residual: Array
    noise_gain: Array
    noise_variance: float
    room: float
    doubt: float

    def fluctuation(self, residuals: Array, model_power: float) -> Array:  # noqa: ARG002
        """Variance of the model, whose labels are real: by the design, and by all noises."""
        if self.noise_variance == 0:
            return self.residual
        return np.asarray(self.residual + self.noise_variance * self.noise_gain)

    @property
    def openness(self) -> float:
        """Of the fit with the least penalty."""
        return self.room

    def sensitivities(self, gradient: Array) -> tuple[Array, Array]:
        """By the noise; its labels are real."""
        return (gradient @ self.noise_gain)[..., None], np.zeros(gradient.shape[:-1])


def shared_design(population: Population, source: Source, passes: Sequence[Pass]) -> Response:
    """The model after these fits on the one design of a source of real labels, some penalty positive.

    E[ŵ − w] = −U w and the variance per mode, deterministic equivalents of relative error O(1/T). For one fit it is
    plain ridge regression (one_covariance.py); for T → ∞ the fits shrink by Π σ/(σ + λ_k); for penalties to 0 it is one
    fit of summed noise. Source: see above. Raises NotConverged, Unsupported where it would take too long.
    """
    if source.samples == 0 or population.rank == 0:
        return empty_response(1, population.eigenvalues.size)
    with np.errstate(all="ignore"):
        found = _solved(population, source.samples, tuple(passes))
    if not all(np.isfinite(values).all() for values in (found.unlearned, found.learned, found.residual)) or (
        np.isnan(found.noise_gain).any()
    ):
        raise NotConverged(TOO_FAR)
    found = replace(found, noise_variance=source.noise_variance)
    moments = found.unlearned_squared * population.target_power + found.fluctuation(
        population.weight[:0], 0.0
    )
    # what heavy penalties leave of a noise that is larger than all else by far is lost in rounding
    if found.doubt * source.noise_variance > _DOUBTFUL * float(population.weight @ moments):
        raise NotConverged(TOO_FAR)
    return found


@lru_cache(maxsize=8)  # searches change what is fitted after it
def _solved(population: Population, samples: float, passes: tuple[Pass, ...]) -> SharedDesign:
    sigma = population.eigenvalues
    positive = [one.penalty for one in passes if one.penalty > 0]
    if expected_seconds(population, samples, passes) > MAX_SECONDS:
        raise Unsupported(_TOO_LONG)
    contour = contour_along(population, samples, path_of(population, samples, positive))
    inverse = 1.0 / (sigma[:, None] + contour.kappa)  # (modes, nodes)
    kept = _kept(contour.z, positive)
    forgotten, kept = -np.expm1(kept) * contour.factors, np.exp(kept) * contour.factors
    unlearned = (inverse @ forgotten).real
    learned = -sigma * (inverse @ (kept / contour.kappa)).real  # of R(z) − 1/z: s/(s + λ) is 0 at 0
    residual = _by_the_design(population, samples, inverse, kept, forgotten)
    design = Design.make([samples], [1.0])
    # unpenalized fits at the end, followed by none that shrinks
    last = max(k for k, one in enumerate(passes) if one.penalty > 0)
    gain, doubt = _noise_gain(population, contour, inverse, _noise(contour.z, passes[: last + 1]))
    gain = gain / samples
    tail = sum(one.noise_share for one in passes[last + 1 :])
    plain = OneCovariance.solve(population, design, 0.0)
    if tail > 0:
        gain = gain + tail * plain.fluctuation(np.ones(1), 0.0)
    least = plain if last + 1 < len(passes) else OneCovariance.solve(population, design, min(positive))
    return SharedDesign(
        Regime.RIDGE, np.where(learned < 0.5, learned, 1.0 - unlearned)[None],
        np.where(learned < 0.5, 1.0 - learned, unlearned), least.resolvent, np.ones(1), None,
        residual, gain, 0.0, least.openness, float(population.weight @ doubt) / samples,
    )  # fmt: skip
