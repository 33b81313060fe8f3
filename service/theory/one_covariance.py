"""Stages whose sources all see the population's covariance: one scalar equation, closed forms after it.

With one covariance every quantity is a function of the effective ridge θ = κ/Σ_s a_s alone:

    S_i = σ_i/(σ_i+θ),  U_i = θ/(σ_i+θ),  df1 = Σ S_i,  df2 = Σ S_i²,
    λ   = θ A (1 − df1/m)          (A = ω (1 − df1/N) for one weight ω).

Sources: Dohmatob, Feng, Subramonian, Kempe, Strong Model Collapse (arXiv 2410.04840), theorems 1 and 2; Bach,
High-dimensional analysis of double descent for linear regression with random projections (2024).
"""

from dataclasses import dataclass
from itertools import pairwise
from math import exp, log
from typing import Self

import numpy as np

from service.theory.design import Design
from service.theory.errors import NotConverged
from service.theory.freedom import Freedom
from service.theory.grid import STEP, Grid
from service.theory.model import Array, Population
from service.theory.response import Regime, Response, empty_response, regime

_STEPS = 200
_TOLERANCE = 4 * np.finfo(float).eps
_FAR = 100.0
_OPEN = 1e-3
_ROUNDING = 1e-14
_QUADRATIC = 1e-7  # a Newton step this small leaves an error of its square


def effective_ridge(population: Population, design: Design, penalty: float) -> float:
    """θ with λ(θ) = penalty: the ridge that the population sees where the sample sees ``penalty``.

    θ >= 0, in units of the eigenvalues. At penalty 0: 0 for more samples than modes, else the root of
    df1(θ) = min(samples, width). Newton inside a bracket from the population's grid (λ is increasing above the
    interpolation threshold), relative accuracy about 1e-15. Raises NotConverged.
    """
    rank = population.rank
    kind = regime(design.active, rank, design.width, penalty)
    if kind in (Regime.LEAST_SQUARES, Regime.EMPTY):
        return 0.0
    if penalty == 0:
        capacity = min(design.active, rank if design.width is None else design.width)
        if capacity >= rank:
            return 0.0
        design = Design.make([capacity], [1.0])
    low, theta, high = _bracket(population, design, penalty)
    for _ in range(_STEPS):
        value, slope = _penalty_and_slope(population, design, theta)
        error = value - penalty
        if error > 0:
            high = theta
        else:
            low = theta
        proposal = theta - error / slope if slope > 0 else -1.0
        # far below the grid λ is θ, θ² or θ³ times a number; next to interpolation it is none of these
        if 0 < slope * theta < 4.0 * value and value > _FAR * penalty > 0:
            proposal = theta * exp((log(penalty) - log(value)) * value / (slope * theta))
        # with weights far apart λ bends on a scale of its own, far below θ: on until the step or the error is rounding
        common = design.common_weight is not None or abs(error) <= _ROUNDING * penalty
        if low <= proposal <= high and abs(proposal - theta) <= (_QUADRATIC if common else _ROUNDING) * theta:
            return proposal
        if not low < proposal < high:
            proposal = 4 * theta if high == np.inf else (low * high) ** 0.5 if low > 0 else high / 64
        if high - low <= _TOLERANCE * high:
            return proposal
        theta = proposal
    raise NotConverged("the effective ridge was not found")


def _scale(design: Design, freedom: Freedom[Array]) -> Array:
    """A = Σ_s a_s where these degrees of freedom are used."""
    nu = freedom.above_first(design.active) / design.total
    if design.common_weight is not None:
        return design.common_weight * nu
    return design.shares(nu, freedom.df1 / design.total)[1]


def _freedom(population: Population, U: Array, S: Array) -> Freedom[float]:
    """Effective degrees of freedom where U is left of each mode and S = 1 − U learned."""
    positive = (
        population.positive
    )  # where little is left of every mode with variance, the others would hide it
    return Freedom(
        population.rank,
        float(positive @ S),
        float(positive @ (S * S)),
        float(positive @ U),
        float(positive @ (U * (1.0 + S))),
    )


def _bracket(population: Population, design: Design, penalty: float) -> tuple[float, float, float]:
    """Lower bound, start and upper bound of θ, from λ on the grid."""
    grid, base = population.grid, population.grid.base
    values = grid.theta * _scale(design, base.freedom)
    if design.width is not None:
        factor = base.freedom.above_first(design.width) / design.width
        values = np.where((values > 0) & (factor > 0), values * factor, -1.0)
    # λ increases once it is positive, and is negative before
    above = int(np.count_nonzero(values <= penalty))
    if above == 0:
        start = min(penalty / float(values[0]), 1.0) if penalty > 0 else 0.25
        return 0.0, float(grid.theta[0]) * start, float(grid.theta[0])
    low = float(grid.theta[above - 1])
    if above == values.size:
        return low, low * max(penalty / float(values[-1]), 1.0), np.inf
    high = float(grid.theta[above])
    if values[above - 1] <= 0 or penalty <= 0:
        return low, (low * high) ** 0.5, high
    return low, interpolated_ridge(grid, values, above, penalty) or (low * high) ** 0.5, high


def interpolated_ridge(grid: Grid, values: Array, above: int, penalty: float) -> float | None:
    """θ where λ is ``penalty``, by inverse interpolation of ln θ over ln λ, next to the root; None too near an end."""
    if not (np.isfinite(values[above - 1]) and np.isfinite(values[above])):
        return None  # λ/θ is beyond the range of doubles here
    near = values[above - 3 : above + 3].tolist() if above >= 3 else []
    if len(near) < 6 or near[0] <= 0 or any(b <= a for a, b in pairwise(near)):
        share = log(penalty / float(values[above - 1])) / log(float(values[above]) / float(values[above - 1]))
        return float(grid.theta[above - 1]) * exp(share * STEP)
    x = [log(value / penalty) for value in near]
    y = [k * STEP for k in range(-3, 3)]
    for width in range(1, 6):  # Neville's scheme at 0
        for k in range(6 - width):
            y[k] = (x[k + width] * y[k] - x[k] * y[k + 1]) / (x[k + width] - x[k])
    return float(grid.theta[above]) * exp(y[0])


def _penalty_and_slope(population: Population, design: Design, theta: float) -> tuple[float, float]:
    """λ(θ) and dλ/dθ; not positive and with slope 0 where θ is below the interpolation threshold of N or m."""
    inverse = 1.0 / (population.eigenvalues + theta)
    U, S = theta * inverse, population.eigenvalues * inverse
    freedom = _freedom(population, U, S)
    # df1 − df2 = left2 − left1, where either pair may be too close: of an endless spectrum both "left" are 1e26
    spread = float(population.multiplicities @ (S * U))
    nu = freedom.above_first(design.active) / design.total
    if design.common_weight is not None:
        scale, scale_slope = design.common_weight * nu, design.common_weight * spread / design.total
    elif nu <= 0:
        return theta * nu, 0.0
    else:
        shares, scales = design.shares(np.array([nu]), np.array([freedom.df1 / design.total]))
        scale = float(scales[0])
        p = np.where(design.weights > 0, design.samples, 0.0) / design.total
        b = np.divide((shares[0] * scale) ** 2, p, out=np.zeros_like(p), where=p > 0)
        psi = np.divide(b, design.weights, out=np.zeros_like(b), where=p > 0).sum()
        scale_slope = float(b.sum() / psi) * spread / design.total
    if design.width is None:
        return theta * scale, scale + scale_slope
    factor = freedom.above_first(design.width) / design.width
    if scale <= 0 or factor <= 0:
        return -theta, 0.0
    slope = scale * factor + scale_slope * factor + scale * spread / design.width
    return theta * scale * factor, slope


@dataclass(frozen=True, eq=False)
class OneCovariance(Response):
    """A solved stage with one covariance.

    ``gain``: S²/σ; ``weighting``: F_s²/T_s, shape (sources,); ``phi``: its sum;
    ``room`` = 1 − φ h; with random features ``epsilon`` = Σ σ U²/m, ``s2`` = Σ S²/σ and ``dm`` = 1 − df2/m.
    """

    population: Population
    theta: float
    gain: Array
    weighting: Array
    phi: float
    freedom: Freedom[float]
    room: float
    epsilon: float
    s2: float
    dm: float

    @classmethod
    def solve(cls, population: Population, design: Design, penalty: float) -> Response:
        """The response of a stage at a given penalty. Raises NotConverged."""
        kind = regime(design.active, population.rank, design.width, penalty)
        if kind is Regime.EMPTY:
            return empty_response(design.samples.size, population.eigenvalues.size)
        return cls.at(population, design, effective_ridge(population, design, penalty), kind, penalty)

    @classmethod
    def at(
        cls, population: Population, design: Design, theta: float, kind: Regime, penalty: float = 0.0
    ) -> Self:
        """The response at a given effective ridge; ``penalty``: that leads there, where it is known."""
        sigma, multiplicity = population.eigenvalues, population.multiplicities
        if theta > 0:
            inverse = 1.0 / (sigma + theta)
            U = theta * inverse
        else:  # every mode with variance is learned
            inverse = np.divide(1.0, sigma, out=np.zeros_like(sigma), where=sigma > 0)
            U = np.where(sigma > 0, 0.0, 1.0)
        S = sigma * inverse
        gain = S * inverse
        freedom = _freedom(population, U, S)
        if design.common_weight is not None:
            F = design.active_shares
        else:
            interpolating = kind in (Regime.INTERPOLATING, Regime.THRESHOLD)
            nu = 0.0 if interpolating else freedom.above_first(design.active) / design.total
            F = design.shares(np.array([nu]), np.array([freedom.df1 / design.total]))[0][0]
            open_ = 1.0 if design.width is None else freedom.above_first(design.width) / design.width
            # where random features are nearly used up, how nearly is lost in rounding
            if penalty > 0 and nu > 0 and theta > 0 and open_ > _OPEN:
                F = design.shares_at(F, penalty / (theta * open_))
        if design.samples.size == 1:
            weighting, phi = 1.0 / design.samples, 1.0 / design.active
        else:
            weighting = np.divide(F * F, design.samples, out=np.zeros_like(F), where=design.samples > 0)
            phi = float(weighting.sum())
        epsilon, s2, dm = 0.0, 0.0, 1.0
        width = (
            design.width if theta > 0 else None
        )  # features that span all modes, unpenalized, are the modes
        if kind is Regime.THRESHOLD:
            room = 0.0
        elif design.common_weight is not None:
            room = phi * freedom.above_second(design.active)
        else:
            room = 1.0 - phi * freedom.df2
        if width is not None:
            epsilon = float(population.weight @ (U * U)) / width
            s2 = float(multiplicity @ gain)
            dm = freedom.above_second(width) / width
            if room > 0 and dm > 0:
                room -= phi * epsilon * s2 / dm
        learned = S[None] if F.size == 1 else F[:, None] * S
        return cls(
            kind, learned, U, inverse, F, width, population, theta, gain, weighting, phi, freedom,
            room, epsilon, s2, dm,
        )  # fmt: skip

    def penalty(self, design: Design) -> float:
        """λ(θ), the inverse of ``effective_ridge``; 0 at and below the interpolation threshold."""
        nu = self.freedom.above_first(design.active) / design.total
        scale = (
            float(design.shares(np.array([nu]), np.array([self.freedom.df1 / design.total]))[1][0])
            if design.common_weight is None
            else design.common_weight * nu
        )
        factor = 1.0 if design.width is None else self.freedom.above_first(design.width) / design.width
        return max(self.theta * scale * factor, 0.0) if scale > 0 else 0.0

    @property
    def df2(self) -> float:
        """Second-order degrees of freedom."""
        return self.freedom.df2

    def fluctuation(self, residuals: Array, model_power: float) -> Array:
        """X S²/σ + Y U²/m, see Response.fluctuation."""
        drive = float(self.weighting @ residuals)
        if self.features is not None:
            if self.dm <= 0:
                raise NotConverged(
                    "the eigenvalues lie too many orders of magnitude apart for this number of random features: "
                    "how many modes they leave open is lost in rounding"
                )
            drive += self.phi * self.epsilon * model_power / self.dm
        if drive > 0 and self.room <= 0:
            return np.full_like(self.unlearned, np.inf)
        X = drive / self.room if drive > 0 else 0.0
        if self.features is None:
            return X * self.gain
        Y = (model_power + self.s2 * X) / self.dm
        return np.asarray(X * self.gain + (Y / self.features) * self.unlearned_squared)

    @property
    def openness(self) -> float:
        """1 − φ h, see Response.openness."""
        return self.room

    def sensitivities(self, gradient: Array) -> tuple[Array, Array]:
        """See Response.sensitivities; 0 at the threshold, where only residuals of 0 leave a finite error."""
        if self.room <= 0:
            return np.zeros((*gradient.shape[:-1], self.weighting.size)), np.zeros(gradient.shape[:-1])
        by_gain = gradient @ self.gain
        if self.features is None:
            return (by_gain / self.room)[..., None] * self.weighting, np.zeros_like(by_gain)
        by_width = gradient @ self.unlearned_squared / self.features
        zeta = (by_gain + by_width * self.s2 / self.dm) / self.room
        return np.multiply.outer(zeta, self.weighting), (by_width + zeta * self.phi * self.epsilon) / self.dm
