"""The samples and weights of one stage, and how the sources share what is learned."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from service.theory.errors import NotConverged
from service.theory.model import Array, Stage

_STEPS = 500  # a source that is used up is left behind by doublings, over any range of weights
_ROUNDING = 1e-15
_UNUSED = 0.99  # of A at g = 0
_FLAT = 1e-3  # slope by ln g of the degrees of freedom, relative
_QUADRATIC = 1e-9  # a Newton step this small leaves an error of its square


@dataclass(frozen=True, eq=False)
class Design:
    """The samples of one stage.

    ``samples`` T_s and ``weights`` ω_s of each source, shape (sources,); ``width``: random features or None;
    ``total``: N, all samples (the penalty is per sample, also of those of weight 0); ``active``: those of positive
    weight; ``active_shares``: T_s/active of those, shape (sources,); ``common_weight``: of all active samples if they
    share one, else None.
    """

    samples: Array
    weights: Array
    width: float | None
    total: float
    active: float
    active_shares: Array
    common_weight: float | None

    @staticmethod
    def of(stage: Stage) -> "Design":
        """The design of a stage."""
        sources = stage.sources
        return Design.make([float(s.samples) for s in sources], [s.weight for s in sources], stage.width)

    @staticmethod
    def make(samples: Sequence[float], weights: Sequence[float], width: float | None = None) -> "Design":
        """A design from numbers of samples and loss weights."""
        used = [T if weight > 0 else 0.0 for T, weight in zip(samples, weights, strict=True)]
        active = sum(used)
        present = {weight for T, weight in zip(used, weights, strict=True) if T > 0}
        return Design(
            np.array(samples),
            np.array(weights),
            width,
            sum(samples),
            active,
            np.array([T / active for T in used]) if active > 0 else np.zeros(len(used)),
            present.pop() if len(present) == 1 else None,
        )

    def shares(self, freedom: Array, degrees: Array) -> tuple[Array, Array]:
        """Each source's share F_s of what is learned, and the scale A = Σ_s a_s.

        ``freedom``: ν = (active samples − effective degrees of freedom) / N, shape (points,); ``degrees``: effective
        degrees of freedom / N, of which ν has lost the digits where they are few for the samples. Returns shapes
        (points or 1, sources) and (points,). With one weight ω: F_s = T_s / T, A = ω ν. Else
        a_s = p_s ω_s / (1 + ω_s g) with Σ_s p_s / (1 + ω_s g) = ν over the active sources; ν -> 0 is the limit of
        interpolation, where weights no longer matter. Below it (ν < 0) no penalty >= 0 leads here: A <= 0.
        """
        if self.common_weight is not None:
            return self.active_shares[None], self.common_weight * freedom
        p = np.where(self.weights > 0, self.samples, 0.0) / self.total
        open_ = freedom > 0
        few = open_ & (2.0 * degrees < self.active / self.total)
        many, g = open_ & ~few, np.zeros_like(freedom)
        if few.any():
            g[few] = self._use(p, degrees[few])
        if many.any():
            g[many] = self._response(p, freedom[many])
        a = self._signals(p, g)
        scale = a.sum(axis=1)
        shares = np.where(open_[:, None], a / scale[:, None], self.active_shares)
        return np.asarray(shares), np.where(open_, scale, freedom)

    def shares_at(self, shares: Array, scale: float) -> Array:
        """What ``shares`` found of F_s, or F_s by A = Σ_s a_s where that says more, shape (sources,).

        While the sources of large weights are used up and those of small ones not yet, the degrees of freedom hardly
        change with g, and A does.
        """
        p = np.where(self.weights > 0, self.samples, 0.0) / self.total
        if not 0 < scale < _UNUSED * float(p @ self.weights):
            return shares  # no source is used up
        g = self._scaled(p, np.array([scale]))
        a = self._signals(p, g)[0]
        used = a * g[0]
        flat = float((used / (1.0 + self.weights * g[0])).sum()) <= _FLAT * float(used.sum())
        return np.asarray(a / a.sum()) if flat else shares

    def _signals(self, p: Array, g: Array) -> Array:
        """a_s, shape (points, sources)."""
        return np.asarray(p * self.weights / (1.0 + self.weights * g[:, None]))

    def _use(self, p: Array, degrees: Array) -> Array:
        """The root g >= 0 of Σ_s p_s ω_s g/(1 + ω_s g) = degrees: concave, so Newton from 0 climbs to it."""
        g = np.zeros_like(degrees)
        for _ in range(_STEPS):
            q = 1.0 / (1.0 + self.weights * g[:, None])
            slope = p * self.weights * q
            left = degrees - (slope * g[:, None]).sum(axis=1)
            step = left / (slope * q).sum(axis=1)
            g = np.maximum(g + step, 0.0)
            if np.all((np.abs(step) <= _QUADRATIC * g) | (np.abs(left) <= _ROUNDING * degrees)):
                return np.asarray(g)
        raise NotConverged("the response of differently weighted sources was not found")

    def _response(self, p: Array, nu: Array) -> Array:
        """The root g >= 0 of 1/Σ_s p_s/(1 + ω_s g) = 1/ν: concave and nearly linear, so Newton from 0 climbs to it."""
        g = np.zeros_like(nu)
        for _ in range(_STEPS):
            q = 1.0 + self.weights * g[:, None]
            h = (p / q).sum(axis=1)
            step = (h / nu - 1.0) * h / (p * self.weights / q**2).sum(axis=1)
            g = np.maximum(g + step, 0.0)
            settled = np.abs(step) <= _QUADRATIC * (g + 1.0 / self.weights.max())
            if np.all(settled | (np.abs(h - nu) <= _ROUNDING * nu)):
                return np.asarray(g)
        raise NotConverged("the response of differently weighted sources was not found")

    def _scaled(self, p: Array, scale: Array) -> Array:
        """The root g >= 0 of 1/Σ_s a_s = 1/A: concave, so Newton from 0 climbs to it."""
        g = np.zeros_like(scale)
        for _ in range(_STEPS):
            a = self._signals(p, g)
            found = a.sum(axis=1)
            step = (
                (found / scale - 1.0)
                * found
                / np.divide(a * a, p, out=np.zeros_like(a), where=p > 0).sum(axis=1)
            )
            g = np.maximum(g + step, 0.0)
            if np.all((np.abs(step) <= _QUADRATIC * g) | (np.abs(found / scale - 1.0) <= _ROUNDING)):
                return np.asarray(g)
        raise NotConverged("the response of differently weighted sources was not found")
