"""The derivative of the finite-size functional of one stage by its labels' moments: the numbers in it, see stage.py.

Of one stage or of many: numbers or arrays. Matrices are {(row, column): entry} without their zeros: rows are powers of
S, columns what they are multiplied with: the products e_j e_k and Σ_s B_k,s e_s² for pairs of labels, B_k for their
models.
"""

from typing import Final, Generic, NamedTuple

import numpy as np

from service.theory.freedom import Number
from service.theory.mixes.scenarios import Links
from service.theory.model import Array

_J, _K = np.array([0, 0, 0, 0, 1, 1]), np.array([0, 1, 2, 3, 1, 2])  # the products e_j e_k that there are
ONE, TWO, THREE, FOUR, DOUBLE, TRIPLE, OWN2, OWN3, OWN4 = range(9)
FORMS: Final = 9
MODELS: Final = 4

Sparse = dict[tuple[int, int], Number]


def terms_of(shares: Array, weighting: Array, room: Array) -> Array:
    """B_k = F w^(k−1), k = 1 … 4, shape (fits, 4, sources); shapes (fits, sources) and (fits,)."""
    terms = np.empty((shares.shape[0], 4, shares.shape[1]))
    terms[:, 0] = shares
    np.divide(weighting, room[:, None], out=terms[:, 1])
    w = np.divide(terms[:, 1], shares, out=np.zeros_like(shares), where=shares > 0)
    np.multiply(terms[:, 1], w, out=terms[:, 2])
    np.multiply(terms[:, 2], w, out=terms[:, 3])
    return terms


def forms_of(links: Links, named: Array) -> Array:
    """Coefficients of E[e_v e_u] in the products and in Σ_s B_k,s e_s², shape (fits, FORMS, pairs).

    ``named``: the terms summed over each label, (fits, 4, labels).
    """
    a, b = named.take(_J, axis=1), named.take(_K, axis=1)
    forms = a.take(links.first, axis=2) * b.take(links.second, axis=2)
    forms += (1.0 - links.same) * a.take(links.second, axis=2) * b.take(links.first, axis=2)
    own = links.same * named[:, 1:].take(links.first, axis=2)
    return np.concatenate([forms, own], axis=1)


class Constants(NamedTuple, Generic[Number]):
    """Of a solved stage: s_k = Σ S^k, r and b_k; κ = s2 r, and ``total``, the sum of a = F c = κ B_3 + α B_2."""

    s2: Number
    s3: Number
    s4: Number
    room: Number
    b2: Number
    b3: Number
    b4: Number
    kappa: Number
    alpha: Number
    total: Number

    @staticmethod
    def of(
        s: tuple[Number, Number, Number], room: Number, b: tuple[Number, Number, Number]
    ) -> "Constants[Number]":
        """From s_2 … s_4, r and b_2 … b_4."""
        kappa = s[0] * room
        alpha = s[0] * kappa * b[1] - b[0] * s[1]
        return Constants(*s, room, *b, kappa, alpha, kappa * b[1] + alpha * b[0])


def probed(stage: Constants[Number]) -> tuple[Sparse[Number], Sparse[Number]]:
    """Of g: the terms of y. For pairs, of S^2 … S^4; for models, of −U times S … S^3."""
    twice = 2.0 * stage.alpha, 2.0 * stage.kappa
    pairs: Sparse[Number] = {
        (0, TWO): twice[0],
        (0, THREE): twice[1],
        (0, DOUBLE): stage.kappa,
        (0, OWN2): stage.room,
        (1, ONE): -2.0 * stage.total,
        (1, TWO): -4.0 + 0.0 * stage.room,
        (2, ONE): 3.0 * stage.b2,
    }
    models: Sparse[Number] = {
        (0, 1): twice[0],
        (0, 2): twice[1],
        (1, 0): -4.0 * stage.total,
        (1, 1): -4.0 + 0.0 * stage.room,
        (2, 0): 6.0 * stage.b2,
    }
    return pairs, models


class Passed(NamedTuple, Generic[Number]):
    """What weights g of E e² of order 0 add to those of order 1 without y.

    ``noise``: a_2 … a_4, of B_2 … B_4; ``truth``: of σm S^k, k = 0 … 2, E; ``pairs``: of σm S^k, k = 0 … 4;
    ``models``: of −U σm S^k, k = 0 … 3.
    """

    noise: tuple[Number, Number, Number]
    truth: tuple[Number, Number, Number]
    pairs: Sparse[Number]
    models: Sparse[Number]


def passed(stage: Constants[Number], beta: Number, probe2: Number, probe3: Number) -> Passed[Number]:
    """From β = Σ g S Q, Σ g Q S² and Σ g Q S³."""
    s2, s3, s4, r, b2, b3, b4, kappa, alpha, total = stage
    t2 = -2.0 * (probe2 + beta * b2 * s3)
    t3 = -3.0 * (probe3 + beta * b2 * s4)
    p = t2 * b2 + 2.0 * s2 * beta * b3
    kb3 = kappa * b3
    change = b2 * (t2 * b2) + 2.0 * beta * b3 / r  # of b2
    a4 = 3.0 * beta * s2 * r
    a3 = beta * alpha + r * (t2 + s2 * (s2 * beta * b3 + p)) - b2 * s3 * beta
    a2 = t2 * kb3 - change * s3 - b2 * (t3 + s3 * p)
    a2 = a2 + s2 * (t2 * b3 + s2 * beta * (r * b4 + 2.0 * kb3 * b3) + 2.0 * beta * kappa * b4 + p * kb3)
    tau = t2 + 2.0 * s2 * s2 * r * beta * b3
    e0 = a2 * b2 + a3 * b3 + a4 * b4
    e1 = -2.0 * beta * (b2 * total + r * b3 * (1.0 + 2.0 * s2 * b2)) - b2 * b2 * tau
    e2 = 3.0 * beta * b2 * b2
    k2 = -2.0 * a2, 2.0 * (beta * (total + 2.0 * s2 * r * b3 + alpha * b2) + b2 * tau), -6.0 * beta * b2
    k3 = -2.0 * a3, beta * r * (4.0 + 6.0 * s2 * b2)
    pairs: Sparse[Number] = {
        (0, OWN2): a2, (0, OWN3): a3, (0, OWN4): a4,
        (1, TWO): k2[0], (1, THREE): k3[0], (1, FOUR): -2.0 * a4,
        (1, DOUBLE): -2.0 * beta * alpha - tau, (1, TRIPLE): -6.0 * beta * s2 * r, (1, OWN3): -2.0 * beta * r,
        (2, OWN2): r * b2 * beta, (2, TWO): k2[1], (2, THREE): k3[1], (2, DOUBLE): beta * (3.0 - r),
        (3, TWO): k2[2],
        (2, ONE): e0, (3, ONE): e1, (4, ONE): e2,
    }  # fmt: skip
    models: Sparse[Number] = {
        (0, 1): k2[0], (0, 2): k3[0], (0, 3): -2.0 * a4,
        (1, 0): 2.0 * e0, (2, 0): 2.0 * e1, (3, 0): 2.0 * e2,
        (1, 1): k2[1], (1, 2): k3[1], (2, 1): k2[2],
    }  # fmt: skip
    return Passed((a2, a3, a4), (e0, e1, e2), pairs, models)


def filled(entries: Sparse[Number], rows: int, columns: int, shape: tuple[int, ...] = ()) -> Array:
    """As an array of shape (…, rows, columns)."""
    found = np.zeros((*shape, rows, columns))
    for (k, n), value in entries.items():
        found[..., k, n] = value
    return found
