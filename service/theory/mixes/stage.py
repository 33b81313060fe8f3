"""One stage of many mixes, seen backward: what weights of its model's moments become of those of its labels'.

To order 0 that is the chain's own adjoint, to order 1 the derivative of the finite-size functional F_1, see
service/theory/finite_size.py, whose complex steps are carried out here by hand. For one covariance L_s = F_s S, so
M = diag(T) − s2 F F' has the inverse W = diag(1/T) + s2 r w w', w = F/(T r), and along the probe F -> F (1 + β w),
S -> S (1 − D), U -> U (1 − D), where weights g of E e² give

    y = Q g/m,   β = Σ g S Q,   D = y + β b2 S.

With e_k = Σ_s B_k,s e_s, B_k = F w^(k−1), b_k = Σ_s B_k,s, ē = S e_1 − U w, s_k = Σ S^k, what is passed back is a
quadratic form in ē, e_2, e_3, e_4 and the e_s:

    order 0:  g ē² + σm β Σ_s B_2,s (e_s − ē)²
    order 1:  the same of its own g and β, and of those of order 0
              σm [E ē² + ē Σ_k K_k e_k + Σ_s (Σ_k A_k B_k,s) e_s² + C_22 e_2² + C_23 e_2 e_3].

E, K, A and C are polynomials in S, and in S times y, with the coefficients of ``_order1``. Tested against
finite_size.py.
"""

from functools import cached_property

import numpy as np

from service.theory.mixes.fits import Fits
from service.theory.mixes.scenarios import Links
from service.theory.model import Array

_J, _K = np.array([0, 0, 0, 0, 1, 1]), np.array([0, 1, 2, 3, 1, 2])  # the products e_j e_k that there are
_ONE, _TWO, _THREE, _FOUR, _DOUBLE, _TRIPLE, _OWN2, _OWN3, _OWN4 = range(9)


class Stage:
    """``shape``: (points, scenarios) of the fits, either may be 1; ``orders``: 1 or 2.

    Columns are the pairs of labels (weights of E[e_v e_u], see Links) and, with two orders, then the models (of
    E[e_v w]); arrays have shape (points, scenarios, columns, modes), numbers (points, scenarios).
    """

    def __init__(self, links: Links, fits: Fits, shape: tuple[int, int], orders: int) -> None:
        self.links, self.fits, self.shape, self.orders = links, fits, shape, orders
        self.S, self.U, self.gain = self._shaped(fits.S), self._shaped(fits.U), self._shaped(fits.gain)
        B2 = fits.weighting / fits.room[:, None]
        w = np.divide(B2, fits.shares, out=np.zeros_like(B2), where=fits.shares > 0)
        terms = np.empty((B2.shape[0], 4, B2.shape[1]))
        terms[:, 0], terms[:, 1] = fits.shares, B2
        np.multiply(B2, w, out=terms[:, 2])
        np.multiply(terms[:, 2], w, out=terms[:, 3])
        self.terms = self._shaped(terms)
        named = terms @ links.members.T  # F, B_2 … B_4 summed over each label, (fits, 4, labels)
        self.sums = terms.sum(axis=2)  # b_1 … b_4
        self.models = named[:, :, : len(links.models)]
        a, b = named[:, _J], named[:, _K]
        forms = a.take(links.first, axis=2) * b.take(links.second, axis=2)
        forms += (1.0 - links.same) * a.take(links.second, axis=2) * b.take(links.first, axis=2)
        own = links.same * named[:, 1:].take(links.first, axis=2)
        self.forms = np.concatenate(
            [forms, own], axis=1
        )  # coefficients of E[e_v e_u] in e_j e_k, Σ B_k,s e_s²

    def _shaped(self, values: Array) -> Array:
        return values.reshape(*self.shape, *values.shape[1:])

    # --- linear maps --------------------------------------------------------------------------------

    def _columns(self, pairs: Array, models: Array) -> Array:
        """Pairs and models; from shapes (fits, columns, modes)."""
        return self._shaped(np.concatenate([pairs, models], axis=1))

    @cached_property
    def _by_weight(self) -> Array:
        """What a unit of g adds to each column: of g ē²."""
        fits = self.fits
        pairs = self.forms[:, _ONE, :, None] * fits.powers[:, 2, None]
        if self.orders == 1:
            return self._shaped(pairs)
        return self._columns(pairs, self.models[:, 0, :, None] * (-2.0 * fits.U * fits.S)[:, None])

    @cached_property
    def _by_drive(self) -> Array:
        """What a unit of β adds to each column: of σm Σ_s B_2,s (e_s − ē)²."""
        fits, b2, weighted = self.fits, self.sums[:, 1, None], self.fits.weighted_powers
        coefficients = np.array([self.forms[:, _OWN2], -2.0 * self.forms[:, _TWO], b2 * self.forms[:, _ONE]])
        pairs = coefficients.transpose(1, 2, 0) @ weighted[:, :3]
        if self.orders == 1:
            return self._shaped(pairs)
        by_truth = np.array([2.0 * self.models[:, 1], -2.0 * b2 * self.models[:, 0]])
        return self._columns(pairs, (by_truth.transpose(1, 2, 0) @ weighted[:, :2]) * fits.U[:, None])

    @cached_property
    def _by_probe(self) -> Array:
        """What a unit of g adds to the correction of each column: the terms of y."""
        forms, models, powers = self.forms, self.models, self.fits.powers
        _, _, alpha, kappa, total, s2r = self._constants
        b2, r = self.sums[:, 1], self.fits.room
        by_form, by_model = np.zeros((r.size, 3, 9)), np.zeros((r.size, 3, 3))
        by_form[:, 0, _TWO], by_form[:, 0, _THREE] = 2.0 * alpha, 2.0 * s2r
        by_form[:, 0, _DOUBLE], by_form[:, 0, _OWN2] = kappa, r
        by_form[:, 1, _ONE], by_form[:, 1, _TWO] = -2.0 * total, -4.0
        by_form[:, 2, _ONE] = 3.0 * b2
        by_model[:, 0, 1], by_model[:, 0, 2] = 2.0 * alpha, 2.0 * s2r
        by_model[:, 1, 0], by_model[:, 1, 1] = -4.0 * total, -4.0
        by_model[:, 2, 0] = 6.0 * b2
        pairs = (by_form @ forms).swapaxes(1, 2) @ powers[:, 2:5]
        crosses = (by_model @ models[:, :3]).swapaxes(1, 2) @ powers[:, 1:4]
        return self._columns(pairs, -self.fits.U[:, None] * crosses)

    @cached_property
    def _constants(self) -> tuple[Array, Array, Array, Array, Array, Array]:
        """s3, s4, α, κ, Σa and s2 r, where a = F c = s2 r B_3 + α B_2; shapes (fits,)."""
        fits, b = self.fits, self.sums
        s3, s4 = (fits.powers[:, 3:] @ fits.population.multiplicities).T
        s2r = fits.s2 * fits.room
        alpha = fits.s2 * s2r * b[:, 2] - b[:, 1] * s3
        return s3, s4, alpha, s2r, s2r * b[:, 2] + alpha * b[:, 1], s2r

    @cached_property
    def _truths(self) -> Array:
        """Σ σm S^k U² w², k = 0 … 2, shape (3, points, scenarios)."""
        found = self.fits.weighted_powers[:, :3] @ self.fits.unlearned_power[:, :, None]
        return found[..., 0].T.reshape(3, *self.shape)

    @cached_property
    def _probed_truth(self) -> Array:
        """U² w² times what y is multiplied with in E."""
        fits, total, b2 = self.fits, self._constants[4], self.sums[:, 1]
        factor = fits.S * (3.0 * b2[:, None] * fits.S - 2.0 * total[:, None])
        return self._shaped(factor * fits.unlearned_power)

    @cached_property
    def _mean_correction(self) -> tuple[Array, Array]:
        """What order 1 adds to the mean model: of each label's model, (…, models, modes), and of w, (…, modes)."""
        fits, models = self.fits, self.models
        _, _, alpha, _, total, s2r = (part[:, None] for part in self._constants)
        b2 = self.sums[:, 1, None]
        a = s2r * models[:, 2] + alpha * models[:, 1]
        coefficients = np.array([a, -models[:, 1] - models[:, 0] * total, models[:, 0] * b2])
        by_truth = fits.U * fits.S * (total - b2 * fits.S)
        return self._shaped(coefficients.transpose(1, 2, 0) @ fits.powers[:, 1:4]), self._shaped(by_truth)

    # --- passing back -------------------------------------------------------------------------------

    def passed(self, weights: Array) -> tuple[Array, Array, Array]:
        """From weights of E e², shape (orders, points, scenarios, modes): those of the columns, (…, columns, modes);
        the derivatives by the noise variances, (…, sources); what the truth adds, (…) (with two orders)."""
        beta = np.vecdot(weights, self.gain)
        found = weights[..., None, :] * self._by_weight
        found = found + beta[..., None, None] * self._by_drive
        noise = beta[..., None] * self.terms[..., 1, :]
        if self.orders == 1:
            return found, noise, beta
        truth = np.vecdot(weights, self._shaped(self.fits.unlearned_power))
        truth = truth + beta * (self._shaped(self.sums)[..., 1] * self._truths[0])
        g, first = weights[0], beta[0]
        a, by_form, by_model, e = self._order1(g, first)
        pairs = len(self.links.first)
        found[1] += g[..., None, :] * self._by_probe
        found[1, ..., :pairs, :] += by_form @ self._shaped(self.fits.weighted_powers)
        crosses = by_model @ self._shaped(self.fits.weighted_powers)[..., :4, :]
        found[1, ..., pairs:, :] -= self.U[..., None, :] * crosses
        noise[1] += (a[..., None, :] @ self.terms[..., 1:, :])[..., 0, :]
        truth[1] += np.vecdot(g, self._probed_truth) + (e * np.moveaxis(self._truths, 0, -1)).sum(axis=-1)
        return found, noise, truth

    def _order1(self, g: Array, beta: Array) -> tuple[Array, Array, Array, Array]:
        """From weights of order 0: a_2 … a_4, shape (…, 3); coefficients of σm S^k for the pairs, (…, pairs, 5), and of
        −U σm S^k for the models, (…, models, 4); E without y, as coefficients of S^k, (…, 3)."""
        fits = self.fits
        s3, s4, alpha, kappa, total, _ = (self._shaped(part) for part in self._constants)
        _, b2, b3, b4 = np.moveaxis(self._shaped(self.sums), -1, 0)
        s2, r = self._shaped(fits.s2), self._shaped(fits.room)
        probed = g * self.gain  # Σ g Q S², Σ g Q S³
        t2 = -2.0 * (np.vecdot(probed, self.S) + beta * b2 * s3)
        t3 = -3.0 * (np.vecdot(probed, self._shaped(fits.powers)[..., 2, :]) + beta * b2 * s4)
        p = t2 * b2 + 2.0 * s2 * beta * b3
        kb3 = kappa * b3
        change = b2 * (t2 * b2) + 2.0 * beta * b3 / r  # of b2
        a4 = 3.0 * beta * s2 * r
        a3 = beta * alpha + r * (t2 + s2 * (s2 * beta * b3 + p)) - b2 * s3 * beta
        a2 = t2 * kb3 - change * s3 - b2 * (t3 + s3 * p)
        a2 = a2 + s2 * (t2 * b3 + s2 * beta * (r * b4 + 2.0 * kb3 * b3) + 2.0 * beta * kappa * b4 + p * kb3)
        tau = t2 + 2.0 * s2 * s2 * r * beta * b3
        e = np.empty((*beta.shape, 3))
        e[..., 0] = a2 * b2 + a3 * b3 + a4 * b4
        e[..., 1] = -2.0 * beta * (b2 * total + r * b3 * (1.0 + 2.0 * s2 * b2)) - b2 * b2 * tau
        e[..., 2] = 3.0 * beta * b2 * b2
        k2 = -2.0 * a2, 2.0 * (beta * (total + 2.0 * s2 * r * b3 + alpha * b2) + b2 * tau), -6.0 * beta * b2
        k3 = -2.0 * a3, beta * r * (4.0 + 6.0 * s2 * b2)
        form = np.zeros((*beta.shape, 5, 9))
        form[..., 0, _OWN2], form[..., 0, _OWN3], form[..., 0, _OWN4] = a2, a3, a4
        form[..., 1, _TWO], form[..., 1, _THREE], form[..., 1, _FOUR] = k2[0], k3[0], -2.0 * a4
        form[..., 1, _DOUBLE], form[..., 1, _TRIPLE] = -2.0 * beta * alpha - tau, -6.0 * beta * s2 * r
        form[..., 1, _OWN3], form[..., 2, _OWN2] = -2.0 * beta * r, r * b2 * beta
        form[..., 2, _TWO], form[..., 2, _THREE], form[..., 2, _DOUBLE] = k2[1], k3[1], beta * (3.0 - r)
        form[..., 3, _TWO] = k2[2]
        form[..., 2:, _ONE] = e
        model = np.zeros((*beta.shape, 4, 4))
        model[..., 0, 1], model[..., 0, 2], model[..., 0, 3] = k2[0], k3[0], -2.0 * a4
        model[..., 1:, 0] = 2.0 * e
        model[..., 1, 1], model[..., 1, 2], model[..., 2, 1] = k2[1], k3[1], k2[2]
        by_form = (form @ self._shaped(self.forms)).swapaxes(-1, -2)
        return (
            np.stack([a2, a3, a4], axis=-1),
            by_form,
            (model @ self._shaped(self.models)).swapaxes(-1, -2),
            e,
        )

    def handed(self, weights: Array) -> tuple[Array, Array]:
        """From weights of E[e u], u anything earlier: those of E[e_v u], (…, models, modes), and E[w u], (…, modes)."""
        models = self._shaped(self.models[:, 0])
        handed = (weights * self.S)[..., None, :] * models[..., None]
        if self.orders == 1:
            return handed, handed
        by_label, by_truth = self._mean_correction
        handed[1] += weights[0][..., None, :] * by_label
        kept = -self.U * weights
        kept[1] += by_truth * weights[0]
        return handed, kept
