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

E, K, A and C are polynomials in S, and in S times y, with the coefficients of functional.py. Tested against
finite_size.py.
"""

from functools import cached_property

import numpy as np

from service.theory.mixes import functional
from service.theory.mixes.fits import Fits
from service.theory.mixes.functional import (
    FORMS,
    ONE,
    OWN2,
    TWO,
    Constants,
    filled,
    forms_of,
    probed,
    terms_of,
)
from service.theory.mixes.scenarios import Links
from service.theory.model import Array


class Stage:
    """``shape``: (points, scenarios) of the fits, either may be 1; ``orders``: 1 or 2.

    Columns are the pairs of labels (weights of E[e_v e_u], see Links) and, with two orders, then the models (of
    E[e_v w]); arrays have shape (points, scenarios, columns, modes), numbers (points, scenarios).
    """

    def __init__(self, links: Links, fits: Fits, shape: tuple[int, int], orders: int) -> None:
        self.links, self.fits, self.shape, self.orders = links, fits, shape, orders
        self.S, self.U, self.gain = self._shaped(fits.S), self._shaped(fits.U), self._shaped(fits.gain)
        terms = terms_of(fits.shares, fits.weighting, fits.room)
        self.terms = self._shaped(terms)
        named = terms @ links.members.T  # F, B_2 … B_4 summed over each label, (fits, 4, labels)
        self.sums = terms.sum(axis=2)  # b_1 … b_4
        self.models = named[:, :, : len(links.models)]
        self.forms = forms_of(links, named)

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
        pairs = self.forms[:, ONE, :, None] * fits.powers[:, 2, None]
        if self.orders == 1:
            return self._shaped(pairs)
        return self._columns(pairs, self.models[:, 0, :, None] * (-2.0 * fits.U * fits.S)[:, None])

    @cached_property
    def _by_drive(self) -> Array:
        """What a unit of β adds to each column: of σm Σ_s B_2,s (e_s − ē)²."""
        fits, b2, weighted = self.fits, self.sums[:, 1, None], self.fits.weighted_powers
        coefficients = np.array([self.forms[:, OWN2], -2.0 * self.forms[:, TWO], b2 * self.forms[:, ONE]])
        pairs = coefficients.transpose(1, 2, 0) @ weighted[:, :3]
        if self.orders == 1:
            return self._shaped(pairs)
        by_truth = np.array([2.0 * self.models[:, 1], -2.0 * b2 * self.models[:, 0]])
        return self._columns(pairs, (by_truth.transpose(1, 2, 0) @ weighted[:, :2]) * fits.U[:, None])

    @cached_property
    def _by_probe(self) -> Array:
        """What a unit of g adds to the correction of each column: the terms of y."""
        powers, count = self.fits.powers, (self.fits.room.size,)
        by_form, by_model = probed(self._constants)
        pairs = (filled(by_form, 3, FORMS, count) @ self.forms).swapaxes(1, 2) @ powers[:, 2:5]
        crosses = (filled(by_model, 3, 3, count) @ self.models[:, :3]).swapaxes(1, 2) @ powers[:, 1:4]
        return self._columns(pairs, -self.fits.U[:, None] * crosses)

    @cached_property
    def _constants(self) -> Constants[Array]:
        """Shapes (fits,)."""
        fits, (_, *b) = self.fits, self.sums.T
        s3, s4 = (fits.powers[:, 3:] @ fits.population.multiplicities).T
        return Constants.of((fits.s2, s3, s4), fits.room, (b[0], b[1], b[2]))

    @cached_property
    def _truths(self) -> Array:
        """Σ σm S^k U² w², k = 0 … 2, shape (3, points, scenarios)."""
        found = self.fits.weighted_powers[:, :3] @ self.fits.unlearned_power[:, :, None]
        return found[..., 0].T.reshape(3, *self.shape)

    @cached_property
    def _probed_truth(self) -> Array:
        """U² w² times what y is multiplied with in E."""
        fits, total, b2 = self.fits, self._constants.total, self.sums[:, 1]
        factor = fits.S * (3.0 * b2[:, None] * fits.S - 2.0 * total[:, None])
        return self._shaped(factor * fits.unlearned_power)

    @cached_property
    def _mean_correction(self) -> tuple[Array, Array]:
        """What order 1 adds to the mean model: of each label's model, (…, models, modes), and of w, (…, modes)."""
        fits, models = self.fits, self.models
        *_, b2, _, _, kappa, alpha, total = (part[:, None] for part in self._constants)
        a = kappa * models[:, 2] + alpha * models[:, 1]
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
        probe = g * self.gain  # Σ g Q S², Σ g Q S³
        probe2, probe3 = np.vecdot(probe, self.S), np.vecdot(probe, self._shaped(self.fits.powers)[..., 2, :])
        added = functional.passed(Constants(*map(self._shaped, self._constants)), first, probe2, probe3)
        pairs = len(self.links.first)
        weighted = self._shaped(self.fits.weighted_powers)
        by_form = filled(added.pairs, 5, FORMS, first.shape) @ self._shaped(self.forms)
        by_model = filled(added.models, 4, 4, first.shape) @ self._shaped(self.models)
        found[1] += g[..., None, :] * self._by_probe
        found[1, ..., :pairs, :] += by_form.swapaxes(-1, -2) @ weighted
        found[1, ..., pairs:, :] -= self.U[..., None, :] * (by_model.swapaxes(-1, -2) @ weighted[..., :4, :])
        noise[1] += (np.stack(added.noise, axis=-1)[..., None, :] @ self.terms[..., 1:, :])[..., 0, :]
        truth[1] += np.vecdot(g, self._probed_truth) + sum(
            e * part for e, part in zip(added.truth, self._truths, strict=True)
        )
        return found, noise, truth

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
