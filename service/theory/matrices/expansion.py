"""One stage's part of the next order in 1/N with covariance matrices: its expansion, and what it passes back.

The formulas are those of finite_size.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np

from service.theory.matrices.algebra import Moment, added
from service.theory.matrices.response import MatrixResponse
from service.theory.model import Array, Stage

Pair = tuple[Moment, Moment]
"""A weight to orders 0 and 1."""


@dataclass(frozen=True, eq=False)
class Back:
    """Derivatives of the final error by what a stage is fitted on, each to orders 0 and 1.

    ``noise``: by its sources' noise variances, shape (2, sources). By E[e_α e_β'] of two directions it is
    direct[α, β] + left[α]' right[β], multiplied out only where it is needed.
    """

    noise: Array
    left: dict[int, tuple[Array, Array]]
    right: dict[int, tuple[Array, Array]]
    direct: dict[tuple[int, int], tuple[Array, Array]]

    def square(self, one: int, other: int) -> tuple[Array, Array]:
        """By E[e_one e_other'], to both orders."""
        direct = self.direct[one, other]
        return (
            direct[0] + self.left[one][0].T @ self.right[other][0],
            direct[1] + self.left[one][1].T @ self.right[other][1],
        )

    def diagonal(self, one: int) -> Array:
        """The diagonals of ``square(one, one)``, shape (2, size)."""
        return np.array([
            direct.diagonal() + np.einsum("ij,ij->j", left, right)
            for direct, left, right in zip(self.direct[one, one], self.left[one], self.right[one], strict=True)
        ])  # fmt: skip


class Expansion:
    """One stage around its saddle point.

    Fields are numbered as the sources, κ after them; directions as the sources, the truth after them, whose carrier Ω
    (w itself where it is known, else the root of its power) has E w w' = Ω Ω'.
    """

    def __init__(self, stage: Stage, response: MatrixResponse, carrier: Array) -> None:
        self.response, self.carrier, self.count = response, carrier, len(stage.sources)
        self.size = response.Q.shape[0]
        a, kappa = response.point.a, response.point.kappa
        self.a = np.append(a, kappa) if response.width is not None else a
        self.fields = range(self.a.size)
        self.truth = self.count
        # a source that is not used has L = 0: any size will do
        sizes = np.where(a > 0, response.samples, 1.0)
        self.sizes = np.append(sizes, response.width) if response.width is not None else sizes
        self.products = [*response.products, *([response.Q] if response.width is not None else [])]
        self.sigma = [*response.covariances, *([np.ones(self.size)] if response.width is not None else [])]

    # --- traces -----------------------------------------------------------------------------------

    @cached_property
    def _kinds(self) -> list[int]:
        """For each field the first with the same Σ: their products are the same."""
        first: dict[int, int] = {}
        return [first.setdefault(id(product), j) for j, product in enumerate(self.products)]

    @cached_property
    def _doubles(self) -> dict[tuple[int, int], Array]:
        """Transposes of Q Σ_j Q Σ_k."""
        kinds = sorted(set(self._kinds))
        return {
            (j, k): np.ascontiguousarray((self.products[j] @ self.products[k]).T)
            for j in kinds
            for k in kinds
        }

    def _traced(self, factors: Sequence[Array]) -> Array:
        """tr X_l A_jk for a matrix X of each field and A_jk = Q Σ_j Q Σ_k, times a_l a_j a_k: shape (fields,) * 3."""
        found = np.zeros((self.a.size,) * 3)
        known: dict[tuple[int, int, int], float] = {}
        for i, j, k in product(self.fields, repeat=3):
            key = (self._kinds[i], self._kinds[j], self._kinds[k])
            if key not in known:
                known[key] = float(np.vdot(factors[key[0]], self._doubles[key[1:]]))
            found[i, j, k] = known[key] * self.a[i] * self.a[j] * self.a[k]
        return found

    @cached_property
    def gram(self) -> Array:
        """tr L_j L_k."""
        known = {pair: float(matrix.trace()) for pair, matrix in self._doubles.items()}
        gram = np.array([[known[self._kinds[j], self._kinds[k]] for k in self.fields] for j in self.fields])
        return gram * np.outer(self.a, self.a)

    @cached_property
    def triple(self) -> Array:
        """tr L_l L_j L_k."""
        return self._traced(self.products)

    @cached_property
    def inverse(self) -> Array:
        """W."""
        M = np.diag(self.sizes) - self.gram
        if self.response.width is not None:
            M[-1, -1] += 2.0 * self._left - self.size
        return np.asarray(np.linalg.inv(M))

    @property
    def _left(self) -> float:
        """tr U."""
        return float(self.a[-1] * self.products[-1].trace())

    @cached_property
    def tau(self) -> Array:
        """τ."""
        W, gram = self.inverse, self.gram
        tau = (W * gram).sum(axis=1) - np.einsum("jk,ljk->l", W, self.triple)
        if self.response.width is not None:
            tau += W[-1, -1] * gram[:, -1]
            tau[-1] -= W[-1, -1] * self._left
        return np.asarray(tau)

    @cached_property
    def beta(self) -> Array:
        """β."""
        beta = self.inverse @ self.tau
        if self.response.width is not None:
            beta[-1] += self.inverse[-1, -1]
        return np.asarray(beta)

    # --- what is left of the labels ---------------------------------------------------------------

    def mean(self, direction: int) -> Array:
        """The model's mean error as a mix of the labels' errors and the truth's carrier."""
        if direction == self.truth:
            return -self.response.point.kappa * _by(self.response.Q, self.carrier)
        return self.response.learned(direction)

    def lost(self, weights: Pair) -> float:
        """See finite_size.Contributions, from the weights of E[e e'] of the stage's model."""
        assert weights[0] is not None
        return -float(np.vdot(self.carrier, _by(weights[0], self.mean(self.truth))))

    def _own(self, field: int, direction: int) -> Array | None:
        """What a field's label is in a direction, beside the mean."""
        if field == self.count:
            return -self.carrier if direction == self.truth else None
        return np.eye(self.size) if field == direction else None

    @cached_property
    def _residuals(self) -> dict[tuple[int, int], tuple[Array, Array]]:
        return {}

    def residual(self, field: int, direction: int) -> tuple[Array, Array]:
        """K_j f_j and L_j f_j of a direction."""
        if (field, direction) not in self._residuals:
            f, own = -self.mean(direction), self._own(field, direction)
            if own is not None:
                f = f + own
            sigma, a = self.sigma[field], self.a[field]
            driven = a * (sigma[:, None] * f if sigma.ndim == 1 else sigma @ f)
            self._residuals[field, direction] = driven, self.response.Q @ driven
        return self._residuals[field, direction]

    @cached_property
    def _corrections(self) -> dict[int, Array]:
        return {}

    def mean_correction(self, direction: int) -> Array:
        """What the next order adds to ``mean``: Σ_k (β_k − Σ_j W_jk L_j) L_k f_k."""
        if direction not in self._corrections:
            solved = [self.residual(k, direction)[1] for k in self.fields]
            found = sum((self.beta[k] * solved[k] for k in self.fields), np.zeros_like(solved[0]))
            for j in self.fields:
                inner = sum((self.inverse[j, k] * solved[k] for k in self.fields), np.zeros_like(solved[0]))
                found -= self.a[j] * (self.products[j] @ inner)
            self._corrections[direction] = found
        return self._corrections[direction]

    # --- backward ---------------------------------------------------------------------------------

    def back(self, weights: Pair, directions: Sequence[int]) -> Back:
        """From the weights of E[e e'] of the stage's model: diagonal or full, orders 0 and 1."""
        probe, more = weights
        assert probe is not None
        eta, given = self._response_to(probe), np.zeros(self.a.size)
        if more is not None:
            given = self._response_to(more)
        gamma = added(probe, None)
        for j in self.fields:
            gamma = added(gamma, self.sigma[j], eta[j] * self.a[j])
        assert gamma is not None
        D = _by_right(self.response.Q, probe)  # Q Γ
        for j in self.fields:
            D = D + eta[j] * self.a[j] * self.products[j]
        beta_moved, W_moved = self._moved(eta, D)
        W, count = self.inverse, self.count
        turned = W_moved + W * (eta[:, None] + eta)
        own = beta_moved + self.beta * eta
        noise = np.array([eta[:count] * self.a[:count], (own[:count] + given[:count]) * self.a[:count]])
        left: dict[int, tuple[Array, Array]] = {}
        right: dict[int, tuple[Array, Array]] = {}
        for one in directions:
            driven = [self.residual(j, one)[0] for j in self.fields]
            solved = [self.residual(j, one)[1] for j in self.fields]
            zero = np.zeros_like(solved[0])
            mean, correction = self.mean(one), self.mean_correction(one)

            def mixed(factors: Array, matrices: list[Array], zero: Array = zero) -> Array:
                return sum((f * m for f, m in zip(factors.tolist(), matrices, strict=True)), zero)

            pulled = mixed(eta, driven) - _by(probe, mean)
            further = mixed(own + given, driven) - (0.0 if more is None else _by(more, mean))
            left[one] = mean, np.vstack([mean, pulled, correction, *solved])
            right[one] = (
                -pulled,
                np.vstack([
                    -further, -correction, -pulled,
                    *(_by(gamma, mixed(W[j], solved)) - mixed(turned[j], driven) for j in self.fields),
                ]),
            )  # fmt: skip
        direct = {
            (one, other): self._direct(one, other, eta, own + given)
            for one in directions
            for other in directions
        }
        return Back(noise, left, right, direct)

    def _direct(self, one: int, other: int, eta: Array, more: Array) -> tuple[Array, Array]:
        """The part of a field's own label in a direction."""
        field = self.count if one == self.truth else one
        if field >= self.a.size:  # the truth is no field without random features
            nothing = np.zeros((self.carrier.shape[-1], self.residual(0, other)[0].shape[1]))
            return nothing, nothing
        label, driven = self._own(field, one), self.residual(field, other)[0]
        assert label is not None
        found = driven if field != self.count else label.T @ driven
        return eta[field] * found, more[field] * found

    def _response_to(self, probe: Array) -> Array:
        """η: how the fields answer a probe."""
        Q = self.response.Q
        left = _by(probe, Q)  # C Q, so that an entrywise product with Q Σ_j sums to tr Q Σ_j Q C
        pulls: dict[int, float] = {}
        for j in self.fields:
            if self._kinds[j] not in pulls:
                pulls[self._kinds[j]] = float(np.vdot(left, self.products[j]))
        pull = np.array([pulls[self._kinds[j]] for j in self.fields]) * self.a
        return np.asarray(self.inverse @ pull)

    def _moved(self, eta: Array, D: Array) -> tuple[Array, Array]:
        """The derivatives of β and W along the probe; ``D``: Q Γ, by which Q falls."""
        W, gram, triple, a = self.inverse, self.gram, self.triple, self.a
        turned: list[Array] = [np.zeros(0)] * a.size
        for j in set(self._kinds):
            turned[j] = D @ self.products[j]
        quadruple = self._traced([turned[self._kinds[j]] for j in self.fields])
        # tr D L_j L_k
        falls = np.array([
            [float(np.vdot(D, self._doubles[self._kinds[j], self._kinds[k]])) for k in self.fields]
            for j in self.fields
        ]) * np.outer(a, a)  # fmt: skip
        gram_moved = (eta[:, None] + eta) * gram - 2.0 * falls
        M_moved = -gram_moved
        if self.response.width is not None:
            left_moved = eta[-1] * self._left - float(a[-1]) * float(np.vdot(D, self.response.Q))
            M_moved[-1, -1] += 2.0 * left_moved
        W_moved = -W @ M_moved @ W
        along = eta[:, None, None] + eta[None, :, None] + eta[None, None, :]
        around = quadruple + quadruple.transpose(2, 0, 1) + quadruple.transpose(1, 2, 0)
        triple_moved = along * triple - around
        tau_moved = (W_moved * gram + W * gram_moved).sum(axis=1)
        tau_moved -= np.einsum("jk,ljk->l", W_moved, triple) + np.einsum("jk,ljk->l", W, triple_moved)
        if self.response.width is not None:
            tau_moved += W_moved[-1, -1] * gram[:, -1] + W[-1, -1] * gram_moved[:, -1]
            tau_moved[-1] -= W_moved[-1, -1] * self._left + W[-1, -1] * left_moved
        beta_moved = W_moved @ self.tau + W @ tau_moved
        if self.response.width is not None:
            beta_moved[-1] += W_moved[-1, -1]
        return beta_moved, W_moved


def _by(left: Array, right: Array) -> Array:
    """left @ right, ``left`` diagonal or full."""
    return np.asarray(left[:, None] * right if left.ndim == 1 else left @ right)


def _by_right(left: Array, right: Array) -> Array:
    return np.asarray(left * right if right.ndim == 1 else left @ right)
