"""Where the final error of many mixes comes from: the adjoint of the chain, to order 0 and 1.

A stage passes the weight of its own E e² and of E[e e_u] back to its labels' models, its label noises and the truth.
To order 0 that is the chain's own adjoint, to order 1 the derivative of the finite-size functional F_1, see
service/theory/finite_size.py, whose complex steps are carried out here by hand: for one covariance L_s = F_s S, so
that M = diag(T) − s2 F F' has the inverse W = diag(1/T) + s2 r w w', w = F/(T r), and along the probe F -> F (1 + β w),
S -> S (1 − D), U -> U (1 − D), where weights g of E e² give

    y = Q g/m,   β = Σ g S Q,   D = y + β b2 S.

With e_k = Σ_s B_k,s e_s, B_k = F w^(k−1), b_k = Σ_s B_k,s, ē = S e_1 − U w and s_k = Σ S^k, what is passed back is a
quadratic form in ē, e_2, e_3, e_4 plus Σ_s A_s e_s², with coefficients that are polynomials in S, and in S times y:

    order 0:  (g + σm β b2) ē² + σm β (Σ_s B_2,s e_s² − 2 e_2 ē)
    order 1:  σm [E ē² + ē Σ_k K_k e_k + Σ_s (Σ_k A_k B_k,s) e_s² + C_22 e_2² + C_23 e_2 e_3]

A_2 = a_2 + r D S, A_3 = a_3 − 2 β r S, A_4 = a_4; E = Σ a_k b_k + …: see _Order1. Tested against the complex steps.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from service.theory.chain import TRUTH
from service.theory.mixes.fits import Fits
from service.theory.mixes.scenarios import Links
from service.theory.model import Array


@dataclass(frozen=True, eq=False)
class Origins:
    """Contributions to the final errors by order, shape (orders, scenarios, points, …).

    ``noise``: of each stage, the derivatives by its sources' noise variances, last axis sources; ``shift``: of all
    shifts together; ``truth``: what is not learned of the target, only where there are two orders.
    """

    noise: list[Array]
    shift: Array
    truth: Array


class Stage:
    """One stage with its fits, ready to pass weights back. ``named``: F and B_2 … B_4 summed over each label,
    shape (fits, 4, labels); ``sums``: b_1 … b_4, shape (fits, 4)."""

    def __init__(self, links: Links, fits: Fits) -> None:
        self.links, self.fits = links, fits
        models = len(links.models)
        self.models = models
        room = fits.room[:, None]
        self.by_noise = fits.weighting / room  # B_2
        w = np.divide(self.by_noise, fits.shares, out=np.zeros_like(fits.shares), where=fits.shares > 0)
        self.terms: Array = np.empty((fits.theta.size, 4, w.shape[1]))
        self.terms[:, 0], self.terms[:, 1] = fits.shares, self.by_noise
        np.multiply(self.by_noise, w, out=self.terms[:, 2])
        np.multiply(self.terms[:, 2], w, out=self.terms[:, 3])
        self.named = self.terms @ links.members.T
        self.sums = self.terms.sum(axis=2)
        labels = len(links.members)
        self.pairs = [(v, u) for v in range(models) for u in range(v + 1)]
        self.pairs += [(v, v) for v in range(models, labels)]
        self.first = [v for v, _ in self.pairs]
        self.second = [u for _, u in self.pairs]
        self.same = np.array([1.0 if v == u else 0.0 for v, u in self.pairs])

    def pair(self, j: int, k: int) -> Array:
        """Coefficient of E[e_v e_u] in the product of the named sums j and k, shape (fits, pairs)."""
        a, b = self.named[:, j], self.named[:, k]
        found = a[:, self.first] * b[:, self.second]
        return np.asarray(
            found + np.where(self.same, 0.0, a[:, self.second] * b[:, self.first]) if j != k else found * (2.0 - self.same)
        )

    @cached_property
    def by_square(self) -> Array:
        """Coefficients of E[e_v e_u] in e_1², shape (fits, pairs)."""
        return self.pair(0, 0)

    @cached_property
    def by_drive(self) -> Array:
        """The same in Σ_s B_2,s E(e_s − ē)², as coefficients of S^0, S, S²; shape (fits, pairs, 3)."""
        own = self.same * self.named[:, 1][:, self.first]
        return np.stack([own, -2.0 * self.pair(0, 1), self.sums[:, 1, None] * self.by_square], axis=-1)

    @cached_property
    def drive(self) -> Array:
        """The same times the test error's weight, shape (fits, pairs, modes)."""
        return self.by_drive @ self.fits.weighted_powers[:, :3]


def origins(
    links: Sequence[Links], fits: Sequence[Fits], last: Fits, points: int, orders: int, weight: Array
) -> Origins:
    """Of chains with fits ``fits`` of their earlier stages, and ``last`` of the last one: ``points`` of them for each
    scenario, in order of points, then scenarios. ``weight``: of E e² of the last model, shape (modes,)."""
    return _Sweep(links, fits, last, points, orders, weight).origins()


class _Sweep:
    def __init__(
        self, links: Sequence[Links], fits: Sequence[Fits], last: Fits, points: int, orders: int, weight: Array
    ) -> None:
        self.links, self.fits, self.orders, self.points = links, fits, orders, points
        self.scenarios = last.theta.size // points
        self.last = last
        shape = (orders, self.scenarios, points)
        self.truth, self.shift = np.zeros(shape), np.zeros(shape)
        self.noise = [np.zeros((*shape, link.members.shape[1])) for link in links]
        self.pending: list[dict[int, list[Array]]] = [{} for _ in links]
        self.weight = weight
        self.power = last.population.target_power
        self.known: dict[tuple[int, int], Stage] = {}

    def origins(self) -> Origins:
        """See Origins."""
        last = len(self.links) - 1
        weights = [self.weight[None, None], np.zeros_like(self.weight)[None, None]][: self.orders]
        self._pass(last, Stage(self.links[last], self.last), weights, final=True)
        for f in range(last - 1, -1, -1):
            wanted = self.pending[f]
            if not wanted:
                continue
            stage = self._stage(f)
            if f in wanted:
                self._pass(f, stage, wanted[f])
            for u, weights in wanted.items():
                if u != f:
                    self._hand_on(stage, u, weights)
        return Origins(self.noise, self.shift, self.truth)

    def _stage(self, f: int) -> Stage:
        key = id(self.fits[f]), id(self.links[f].members)
        if key not in self.known:
            self.known[key] = Stage(self.links[f], self.fits[f])
        return self.known[key]

    def _add(self, u: int, v: int, order: int, weights: Array) -> None:
        """Weights of E[e_u e_v], of E[e_u w] where one is the truth; (scenarios, points, modes)."""
        kept = self.pending[max(u, v)].setdefault(min(u, v), [0.0] * self.orders)
        kept[order] = kept[order] + weights

    def _aligned(self, values: Array, *, final: bool) -> Array:
        """Of the last stage's fits as (scenarios, points, …); else as they are."""
        if not final:
            return values
        return values.reshape(self.points, self.scenarios, *values.shape[2:]).swapaxes(0, 1)

    def _pass(self, f: int, stage: Stage, weights: list[Array], *, final: bool = False) -> None:
        """Weights of E e_f² to what stage f is fitted on."""
        fits = stage.fits
        U2p = fits.U * fits.U * self.power
        first: _Order1 | None = None
        for order, g in enumerate(weights):
            beta = (g @ fits.gain[:, :, None])[..., 0]  # (fits, points)
            passed = fits.powers[:, 2, None] * g
            square = stage.by_square[:, None, :, None] * passed[:, :, None]
            square = square + beta[..., None, None] * stage.drive[:, None]
            noise = beta[..., None] * stage.by_noise[:, None]
            if self.orders == 2:
                truth = (g @ U2p[:, :, None])[..., 0]
                truth = truth + beta * (stage.sums[:, 1] * (U2p @ fits.population.weight))[:, None]
                cross = self._cross(stage, g, beta)
                if order == 0:
                    first = _Order1(stage, g, beta)
                elif first is not None:
                    square, noise = square + first.square, noise + first.noise
                    truth, cross = truth + first.truth(self.power), cross + first.cross
                self.truth[order] += self._aligned(truth, final=final)
                cross = self._aligned(cross, final=final)
                for v, u in enumerate(stage.links.models):
                    self._add(u, TRUTH, order, cross[:, :, v])
            self.noise[f][order] = self._aligned(noise, final=final)
            square = self._aligned(square, final=final)
            for k, (v, u) in enumerate(stage.pairs):
                if v < stage.models:
                    self._add(stage.links.models[v], stage.links.models[u], order, square[:, :, k])
                else:
                    self.shift[order] += square[:, :, k] @ stage.links.powers[v - stage.models]

    @staticmethod
    def _cross(stage: Stage, g: Array, beta: Array) -> Array:
        """Order 0 weights of E[e_v w], shape (fits, points, models, modes)."""
        fits, n = stage.fits, stage.models
        F, B = stage.named[:, None, 0, :n, None], stage.named[:, None, 1, :n, None]
        full = g + (beta * stage.sums[:, 1, None])[..., None] * fits.population.weight
        pulled = beta[..., None] * fits.population.weight
        U, S = fits.U[:, None, None], fits.S[:, None, None]
        return np.asarray(-2.0 * U * (S * F * full[:, :, None] - B * pulled[:, :, None]))

    def _hand_on(self, stage: Stage, u: int, weights: list[Array]) -> None:
        """Weights of E[e_f e_u], u another model or the truth, to those of E[e_s e_u] and E[w e_u]."""
        fits, n = stage.fits, stage.models
        S, U = fits.S[:, None], fits.U[:, None]
        for order, h in enumerate(weights):
            passed = S * h
            handed = stage.named[:, None, 0, :n, None] * passed[:, :, None]
            kept = -U * h
            if order == 1:
                by_label, by_truth = _mean_correction(stage)
                handed = handed + by_label[:, None] * weights[0][:, :, None]
                kept = kept + by_truth[:, None] * weights[0]
            for v, model in enumerate(stage.links.models):
                self._add(u, model, order, handed[:, :, v])
            if u == TRUTH:
                self.truth[order] += kept @ self.power
            elif self.orders == 2:
                self._add(u, TRUTH, order, kept)


def _alpha(stage: Stage) -> tuple[Array, Array, Array, Array]:
    """s2, s3, α and κ: a = Fc = s2 r B_3 + α B_2, shapes (fits,)."""
    fits, b = stage.fits, stage.sums
    s2, s3 = fits.s2, fits.powers[:, 3] @ fits.population.multiplicities
    kappa = s2 * fits.room
    return s2, s3, s2 * kappa * b[:, 2] - b[:, 1] * s3, kappa


def _mean_correction(stage: Stage) -> tuple[Array, Array]:
    """What order 1 adds to the mean model: of each label's model, (fits, models, modes), and of w, (fits, modes)."""
    s2, _, alpha, _ = _alpha(stage)
    fits, b, named = stage.fits, stage.sums, stage.named[:, :, : stage.models]
    a = (s2 * fits.room)[:, None] * named[:, 2] + alpha[:, None] * named[:, 1]
    total = (s2 * fits.room * b[:, 2] + alpha * b[:, 1])[:, None]
    coefficients = np.stack(
        [a, -named[:, 1] - named[:, 0] * total, named[:, 0] * b[:, 1, None]], axis=-1
    )  # of S, S², S³
    by_truth = fits.U * fits.S * (total - b[:, 1, None] * fits.S)
    return coefficients @ fits.powers[:, 1:4], by_truth


class _Order1:
    """What order 1 makes of the weights g of E e², shape (fits or 1, points, modes); ``beta``: β, (fits, points).

    E = e_0 + e_1 S + e_2 S² + y S (3 b_2 S − 2 Σa)/…: all but y times the test error's weight, y σ m = S g.
    """

    def __init__(self, stage: Stage, g: Array, beta: Array) -> None:
        self.stage, self.g = stage, g
        fits = stage.fits
        s2, s3, alpha, kappa = (part[:, None] for part in _alpha(stage))
        powers, m = fits.powers, fits.population.multiplicities
        s4 = (powers[:, 4] @ m)[:, None]
        _, b2, b3, b4 = (stage.sums[:, k, None] for k in range(4))
        r = fits.room[:, None]
        y = g @ (fits.Q[:, :, None] * powers[:, 2:4].swapaxes(1, 2))  # Σ g Q S², Σ g Q S³
        t2, t3 = -2.0 * (y[..., 0] + beta * b2 * s3), -3.0 * (y[..., 1] + beta * b2 * s4)
        p = t2 * b2 + 2.0 * s2 * beta * b3
        chi = r * b4 + kappa * b3 * b3
        change = t2 * b2 * b2 + 2.0 * beta * b3 / r  # of b2
        a4 = 3.0 * beta * s2 * r
        a3 = beta * alpha + t2 * r + s2 * r * (s2 * beta * b3 + p) - b2 * s3 * beta
        a2 = t2 * kappa * b3 - change * s3 - b2 * t3 - b2 * s3 * p
        a2 = a2 + s2 * (t2 * b3 + s2 * beta * (chi + kappa * b3 * b3) + 2.0 * beta * kappa * b4 + p * kappa * b3)
        self.a = a2, a3, a4
        self.total = s2 * r * b3 + alpha * b2  # Σ a
        tau = t2 + 2.0 * s2 * s2 * r * beta * b3
        self.e = (
            a2 * b2 + a3 * b3 + a4 * b4,
            -2.0 * beta * (b2 * self.total + r * b3 + 2.0 * s2 * r * b2 * b3) - b2 * b2 * tau,
            3.0 * beta * b2 * b2,
        )
        self.k2 = (
            -2.0 * a2,
            2.0 * (beta * self.total + b2 * tau + 2.0 * beta * s2 * r * b3 + alpha * beta * b2),
            -6.0 * beta * b2,
        )
        self.k3 = -2.0 * a3, beta * r * (4.0 + 6.0 * s2 * b2)
        self.c22 = -2.0 * beta * alpha - tau, beta * (3.0 - r)
        self.c23 = -6.0 * beta * s2 * r
        self.alpha, self.r, self.b2, self.s2r, self.kappa, self.beta = alpha, r, b2, s2 * r, kappa, beta

    @property
    def noise(self) -> Array:
        """Derivatives by the noise variances, shape (fits, points, sources)."""
        terms = self.stage.terms
        return np.asarray(sum(a[..., None] * terms[:, k, None] for k, a in enumerate(self.a, 1)))

    @property
    def square(self) -> Array:
        """Weights of E[e_v e_u], shape (fits, points, pairs, modes)."""
        stage, fits = self.stage, self.stage.fits
        one, two, three, four = (stage.pair(0, k)[:, None] for k in range(4))
        double, triple = stage.pair(1, 1)[:, None], stage.pair(1, 2)[:, None]
        own = (stage.same * stage.named[:, 1:4][:, :, stage.first])[:, :, None]

        def by(coefficient: Array, pairs: Array) -> Array:
            return coefficient[..., None] * pairs

        a2, a3, a4 = self.a
        plain = np.stack(
            [
                by(a2, own[:, 0]) + by(a3, own[:, 1]) + by(a4, own[:, 2]),
                by(self.k2[0], two) + by(self.k3[0], three) + by(-2.0 * a4, four)
                + by(self.c22[0], double) + by(self.c23, triple) + by(-2.0 * self.beta * self.r, own[:, 1]),
                by(self.e[0], one) + by(self.k2[1], two) + by(self.k3[1], three) + by(self.c22[1], double)
                + by(self.r * self.b2 * self.beta, own[:, 0]),
                by(self.e[1], one) + by(self.k2[2], two),
                by(self.e[2], one),
            ],
            axis=-1,
        )  # fmt: skip
        probed = np.stack(
            [
                by(2.0 * self.alpha, two) + by(2.0 * self.s2r, three) + by(self.kappa, double)
                + by(self.r, own[:, 0]),
                by(-2.0 * self.total, one) - 4.0 * two,
                by(3.0 * self.b2, one),
            ],
            axis=-1,
        )  # fmt: skip
        found = plain @ fits.weighted_powers[:, None]
        return np.asarray(found + (probed @ fits.powers[:, None, 2:5]) * self.g[:, :, None])

    def truth(self, power: Array) -> Array:
        """Of E w², shape (fits, points)."""
        fits = self.stage.fits
        U2p = fits.U * fits.U * power
        plain = (fits.weighted_powers[:, :3] @ U2p[:, :, None])[..., 0]  # (fits, 3)
        probed = self.g @ (fits.powers[:, 1:3] * U2p[:, None]).swapaxes(1, 2)
        found = sum(e * plain[:, k, None] for k, e in enumerate(self.e))
        return np.asarray(found - 2.0 * self.total * probed[..., 0] + 3.0 * self.b2 * probed[..., 1])

    @property
    def cross(self) -> Array:
        """Weights of E[e_v w], shape (fits, points, models, modes)."""
        stage, fits = self.stage, self.stage.fits
        F, B2, B3, B4 = (stage.named[:, k, None, : stage.models] for k in range(4))

        def by(coefficient: Array, labels: Array) -> Array:
            return coefficient[..., None] * labels

        plain = np.stack(
            [
                by(self.k2[0], B2) + by(self.k3[0], B3) + by(-2.0 * self.a[2], B4),
                by(2.0 * self.e[0], F) + by(self.k2[1], B2) + by(self.k3[1], B3),
                by(2.0 * self.e[1], F) + by(self.k2[2], B2),
                by(2.0 * self.e[2], F),
            ],
            axis=-1,
        )
        probed = np.stack(
            [
                by(2.0 * self.alpha, B2) + by(2.0 * self.s2r, B3),
                by(-4.0 * self.total, F) - 4.0 * B2,
                by(6.0 * self.b2, F),
            ],
            axis=-1,
        )
        found = plain @ fits.weighted_powers[:, None, :4]
        found = found + (probed @ fits.powers[:, None, 1:4]) * self.g[:, :, None]
        return np.asarray(-fits.U[:, None, None] * found)
