"""The next order in 1/N: what finite samples, and few of them, add to the deterministic equivalents.

Averages over designs are derivatives of E log det(Σ_s ω_s X_s^T X_s/N + Λ), with the labels as one more Gaussian
coordinate of each source and the ridge Λ = λ + t C as the probe: at first order in 1/ν, ν the ridge of that coordinate,
the derivative by t is the test error. The deterministic equivalent is the saddle point of that log det; for real
Gaussian features the next order is half the log of the determinant around it,

    F_1 = ½ ln det M,   M_st = T_s δ_st − Σ_i L_si L_ti,   M_sκ = −Σ_i L_si U_i,   M_κκ = m − Σ_i (1 − U_i)²

(row κ with m random features only), where L_s is learned from source s and U left in each mode (see response.py). M is
the matrix of the second-order equivalents, so its determinant vanishes at the interpolation threshold. With one source
F_1 = ½ ln(1 − df2/T), the mean correction of Bai and Silverstein's central limit theorem (2004) for real entries; the
expansion of the resolvent by parts gives the same. The error left is O(1/N²), of an unpenalized fit's variance
σ² d/(T−d) · (1 + 1/(T−d)), whose geometric continuation is the exact σ² d/(T−d−1).

Every stage adds its own correction to the final error, which is linear in it; one pass backward collects them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from service.theory.chain import TRUTH, Chain
from service.theory.model import Array, Shift, Stage
from service.theory.response import Response

_PROBE = 1e-30  # of a derivative by complex step: nothing is subtracted, so it can be as small as one likes
_W = -1  # index of the truth among the directions that a stage's mean is a combination of, after its sources


@dataclass(frozen=True, eq=False)
class Contributions:
    """Where the final test error comes from, each to order 0 and 1: value and correction.

    ``truth``: what is not learned of the target, by the stage that does not, shape (stages, 2); ``noise[f][s]``: the
    label noise of source s of stage f; ``shift[f][s]``: the shift of its labels. ``lost``: what a stage would not learn
    if a fit learned a mode wholly or not at all (U in place of U²), more than which it cannot be, shape (stages,).
    """

    truth: Array
    noise: list[Array]  # one per stage, shape (2, sources)
    shift: list[Array]
    lost: Array


def contributions(chain: Chain, last: Sequence[Response]) -> list[Contributions]:
    """The final test error Σ_i c_i E e_i² (c: the population's weight) by its origins, to both orders.

    For one chain with each of the responses ``last`` of its last stage, say at several penalties; finite ones only.
    Cost: O(stages × sources³ × modes) each.
    """
    final, points = len(chain.stages) - 1, len(last)
    truth, lost = np.zeros((points, len(chain.stages), 2)), np.zeros((points, len(chain.stages)))
    noise = [np.zeros((points, 2, len(stage.sources))) for stage in chain.stages]
    shift = [np.zeros((points, 2, len(stage.sources))) for stage in chain.stages]
    # weights of E[e_f e_u] in the final error, (points, orders, modes), for stages f not yet passed, by u <= f or TRUTH
    pending: dict[int, dict[int, Array]] = {}
    expansions: dict[int, Expansion] = {}
    power = chain.population.target_power

    def add(f: int, u: int, v: int, weights: Array) -> None:
        """Stage f's weights of E[e_u e_v], of E[e_u w] where one is the truth, of E[w²] where both are."""
        if u == v == TRUTH:
            truth[:, f] += weights @ power
            return
        kept = pending.setdefault(max(u, v), {})
        kept[min(u, v)] = kept[min(u, v)] + weights if min(u, v) in kept else weights

    def named(f: int) -> dict[int, int]:
        """What each direction of the mean stands for, where that is a model or the truth."""
        return {**{s: u for s, u in enumerate(chain.labels[f]) if u != TRUTH}, _W: TRUTH}

    def passed(f: int, back: Back) -> None:
        """Hand the weights of stage f's labels on."""
        noise[f] += back.noise
        for s, source in enumerate(chain.stages[f].sources):
            if isinstance(source.labels, Shift):
                shift[f][..., s] += back.square[:, :, s, s] @ source.labels.power
        for s, u in named(f).items():
            for t, v in named(f).items():
                add(f, u, v, back.square[:, :, s, t])

    weight = chain.population.weight
    lost[:, final] = [response.unlearned @ (weight * power) for response in last]
    backs = [
        Expansion.of(chain, chain.stages[final], response).back(
            np.stack([weight, np.zeros_like(weight)])[None]
        )
        for response in last
    ]
    passed(
        final,
        Back(*(np.concatenate(parts) for parts in zip(*((b.noise, b.square) for b in backs), strict=True))),
    )
    for f in range(final - 1, -1, -1):
        wanted = pending.pop(f, None)
        if wanted is None:
            continue
        response = chain.responses[f]
        expansion = expansions.get(id(response))
        if expansion is None:
            expansion = expansions[id(response)] = Expansion.of(chain, chain.stages[f], response)
        if f in wanted:
            lost[:, f] = wanted[f][:, 0] @ (response.unlearned * power)
            passed(f, expansion.back(wanted[f]))
        for u, weights in wanted.items():
            if u != f:
                for s, v in named(f).items():
                    handed = expansion.mean[s] * weights
                    handed[:, 1] += expansion.mean_correction[s] * weights[:, 0]
                    add(f, u, v, handed)
    return [
        Contributions(truth[i], [part[i] for part in noise], [part[i] for part in shift], lost[i])
        for i in range(points)
    ]


@dataclass(frozen=True, eq=False)
class Back:
    """Derivatives of the final error by what a stage is fitted on.

    ``noise``: by its sources' noise variances, shape (points, orders, sources); ``square``: by E[e_s e_t] of the models
    of its labels and the truth (last), shape (points, orders, sources + 1, sources + 1, modes).
    """

    noise: Array
    square: Array


def _probed(value: Array, slope: Array) -> Array:
    """The value at an imaginary step of the probe."""
    return np.asarray(value + 1j * _PROBE * slope)


@dataclass(frozen=True, eq=False)
class Expansion:
    """One stage around its saddle point. The fields are ln a_s of the sources and, with random features, ln κ.

    ``learned``: L_s, shape (sources, modes); ``left``: U, shape (modes,); ``x``: L_s, and U for κ, 0 where the model
    does not fluctuate, shape (fields, modes); ``drive``: x without the resolvent, F_s σ_s, and θ for κ; ``shares``:
    F_s, shape (sources,); ``resolvent``: shape (modes,); ``sizes``: T_s, and m for κ; ``width``: m.
    """

    multiplicities: Array
    learned: Array
    left: Array
    x: Array
    drive: Array
    shares: Array
    resolvent: Array
    sizes: Array
    width: float | None

    @classmethod
    def of(cls, chain: Chain, stage: Stage, response: Response) -> "Expansion":
        """Of a stage with its response."""
        population = chain.population
        L, U, resolvent, width = response.learned, response.unlearned, response.resolvent, response.features
        sigma = [population.eigenvalues if s.eigenvalues is None else s.eigenvalues for s in stage.sources]
        seen = resolvent > 0
        x, drive = np.where(seen, L, 0.0), response.shares[:, None] * np.array(sigma)
        # a source that is not used has x = 0: any size will do
        sizes = np.where(x.any(axis=1), [float(s.samples) for s in stage.sources], 1.0)
        if width is not None:
            theta = np.divide(U, resolvent, out=np.zeros_like(U), where=seen)
            x, drive = np.vstack([x, np.where(seen, U, 0.0)]), np.vstack([drive, theta])
            sizes = np.append(sizes, width)
        return cls(population.multiplicities, L, U, x, drive, response.shares, resolvent, sizes, width)

    @property
    def sources(self) -> int:
        """Number of sources; the field of κ comes after theirs."""
        return int(self.shares.size)

    @cached_property
    def inverse(self) -> Array:
        """W = M^-1."""
        return self._inverse(self.x)

    def _inverse(self, x: Array) -> Array:
        gram = (self.multiplicities * x) @ x.swapaxes(-1, -2)
        if self.width is not None:
            kept = np.where(self.resolvent > 0, 1.0 - x[..., -1, :], 0.0)
            gram[..., -1, -1] = (kept * kept) @ self.multiplicities
        return np.asarray(np.linalg.inv(np.diag(self.sizes) - gram))

    @cached_property
    def mean(self) -> Array:
        """The model's expected error as a mix of its labels' errors and the truth, shape (sources + 1, modes)."""
        return np.vstack([self.learned, -self.left])

    @cached_property
    def mean_correction(self) -> Array:
        """What the next order adds to ``mean``: an average of R S_s, without probe."""
        by_residual, by_product = self._functional(self.x, self.inverse)
        pull = self.x * (by_residual[:, None] + by_product @ self.x)
        return np.asarray(np.einsum("jm,jam->am", pull, self._residuals(self.x, self.left, None)))

    def back(self, weights: Array) -> Back:
        """From the weights of E e² of the stage's model, shape (points, orders, modes)."""
        count, residuals = self.sources, self._residuals(self.x, self.left, None)
        probe = self.resolvent * weights  # y, times the multiplicities
        response = (probe @ self.x.T) @ self.inverse  # η: how the fields answer the probe
        pull = response[..., None] * (self.drive * self.multiplicities)
        square = np.einsum("pojm,jam,jbm->poabm", pull, residuals, residuals)
        square += weights[:, :, None, None] * (self.mean[:, None] * self.mean[None])
        noise = response[..., :count] * self.shares
        more_noise, more_square = self._next_order(probe[:, 0] / self.multiplicities, response[:, 0])
        noise[:, 1] += more_noise
        square[:, 1] += more_square
        return Back(noise, square)

    def _next_order(self, probe: Array, response: Array) -> tuple[Array, Array]:
        """The derivative of F_1's part linear in the labels' moments, by complex step along the probe.

        ``probe``: shape (points, modes); ``response``: shape (points, fields).
        """
        slope = probe + response @ self.x  # D: every mode's resolvent falls by this share
        x = _probed(self.x, self.x * (response[..., None] - slope[:, None]))
        own = response[:, -1:] if self.width is not None else 0.0
        left = _probed(self.left, self.left * (own - slope))
        drive = _probed(self.drive, self.drive * response[..., None])
        by_residual, by_product = self._functional(x, self._inverse(x))
        residuals = self._residuals(x, left, probe)
        by_field = by_residual[..., None] * drive
        square = np.einsum("pjam,pjbm->pabm", by_field[:, :, None] * residuals, residuals)
        others = np.einsum("pjk,pkbm->pjbm", by_product, drive[:, :, None] * residuals)
        square += np.einsum("pjam,pjbm->pabm", x[:, :, None] * residuals, others)
        shares = _probed(self.shares, self.shares * response[:, : self.sources])
        noise = by_residual[:, : self.sources] * shares
        square = 0.5 * (square + square.swapaxes(1, 2))
        return noise.imag / _PROBE, self.multiplicities * square.imag / _PROBE

    def _functional(self, x: Array, W: Array) -> tuple[Array, Array]:
        """Coefficients of F_1's part linear in the labels' moments: of ρ_j and of χ_jk.

        ρ_j = Σ_i drive_ji E f_ji², with the label noise times F_s, and χ_jk = Σ_i x_ji drive_ki E f_ji f_ki.
        """
        Wx = W @ x
        spread = (x * Wx).sum(axis=-2, keepdims=True)
        tilt = 2.0 * (x * (Wx - spread)) @ self.multiplicities
        if self.width is not None:
            last, left = W[..., -1, -1], self.multiplicities * x[..., -1, :]
            tilt += 2.0 * last[..., None] * (x @ left[..., None])[..., 0]
            tilt[..., -1] -= 2.0 * last * left.sum(axis=-1)
        by_residual = 0.5 * (W @ tilt[..., None])[..., 0]
        if self.width is not None:
            by_residual[..., -1] += last
        return by_residual, -W

    def _residuals(self, x: Array, left: Array, probe: Array | None) -> Array:
        """f_j, what the mean model leaves of each field's label: coefficients of the labels' errors and the truth.

        e_s − ē for a source, −ē − w for κ; shape (…, fields, sources + 1, modes). Σ_s L_s + U + probe = 1.
        """
        count = self.sources
        f = np.empty((*x.shape[:-1], count + 1, x.shape[-1]), dtype=np.result_type(x, left))
        f[..., :count, :] = -x[..., None, :count, :]
        f[..., count, :] = left[..., None, :]
        learned = x[..., :count, :].sum(axis=-2)
        rest = (
            left if probe is None else left + _probed(np.zeros_like(probe), probe)
        )  # 1 − learned, without loss
        for s in range(count):
            f[..., s, s, :] = learned - x[..., s, :] + rest
        if self.width is not None:
            f[..., -1, count, :] = left - rest - learned
        return f
