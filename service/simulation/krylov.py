"""Systems of designs that are drawn as they are looked at (``revealed``), solved for several replicates side by side.

Galerkin's method in block Krylov spaces. What a replicate comes to does not depend on those beside it, to the last bit:
products, factors and sums are made matrix by matrix and row by row, and a replicate that is done leaves.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from math import sqrt
from typing import Any, Final

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.linalg.lapack import dpotrf, dpotrs

from service.simulation.features import bartlett_rows
from service.theory.model import Array

ACCURACY: Final = 1e-9
"""Of the residual of a fit, relative to its right-hand side and to the largest share of a label that it takes."""

MORE: Final = 4
"""Steps beyond those expected: it takes one or two at most."""

_NEARLY_DEPENDENT: Final = 1e-8
_DEPENDENT: Final = 1e-12


@dataclass(frozen=True, eq=False)
class Matrix:
    """H = E ZᵀZ E + diag(``rest``), Z of T ``samples``; E and ``rest`` of shape (d,); ``expected``: steps it takes."""

    samples: int
    E: Array
    rest: Array
    expected: int

    @property
    def memory(self) -> float:
        """Numbers kept of one replicate for each right-hand side."""
        return 3.0 * (self.expected + MORE) * len(self.E)


def solve(H: Matrix, B: Array, first: Array | None, designs: Sequence[Generator]) -> Array:
    """u with H u = b for the rows b of every replicate, ``B`` and the result of shape (replicates, labels, d).

    ``designs``: what draws each replicate's Z; ``first``: the row vᵀZ that is known of each, v the direction of the
    noise, shape (replicates, d).
    """
    found = np.zeros_like(B)
    starts = _starts(B, H.E)
    with np.errstate():
        np.setbufsize(16)  # else numpy copies rows of a stack into buffers before it adds them
        for count in sorted({len(p) for p in starts} - {0}):
            these = [r for r, p in enumerate(starts) if len(p) == count]
            p = np.stack([starts[r] for r in these])
            found[these] = _Search(H, count, known=0 if first is None else 1).run(
                B[these], p, None if first is None else first[these], [designs[r] for r in these]
            )
    return found


@dataclass(frozen=True, eq=False)
class _Looked:
    """What was looked at of several replicates' designs; every array has the replicates first.

    ``P``: the Krylov spaces; ``Q``: E P, orthonormal; ``C``: VᵀZ E; ``R``: triangles, of every step's directions;
    ``places``: of the replicates among all.
    """

    places: NDArray[np.intp]
    designs: NDArray[Any]
    B: Array
    tolerance: Array
    P: Array
    Q: Array
    C: Array
    R: Array

    def those(self, chosen: NDArray[np.bool_]) -> "_Looked":
        return _Looked(*(getattr(self, field.name)[chosen] for field in fields(self)))


class _Search:
    """Solutions of systems of one matrix, ``m`` directions at a step; ``known`` rows of VᵀZ come before theirs.

    The next directions: (H − 1) p at about unit length, without the ones before it, as orthogonal polynomials of the
    semicircle have it, which the eigenvalues of H − 1 are near.
    """

    def __init__(self, H: Matrix, m: int, known: int) -> None:
        self.H, self.m, self.known, self.steps = H, m, known, H.expected + MORE
        q = 1.0 - H.rest
        self.largest = q.max()
        self.unit = 1.0 / sqrt(float(np.sum(q**2)) / H.samples)
        self.q_next = self.unit * q

    def run(self, B: Array, p: Array, first: Array | None, designs: list[Generator]) -> Array:
        """From the first directions ``p``, shape (replicates, m, d)."""
        found = np.empty_like(B)
        seen = self._begun(B, p, first, designs)
        for step in range(self.steps):
            fine = self._look(seen, step)
            if not fine.all():
                self._complete(seen.those(~fine), step, found)
                seen = seen.those(fine)
            if not fine.any():
                return found
            if step + 1 >= self.H.expected:
                u, left = self._galerkin(seen, step)
                done = np.all(left <= seen.tolerance, axis=1)
                found[seen.places[done]] = u[done]
                if done.all():
                    return found
                seen = seen.those(~done)
        self._complete(seen, self.steps, found)
        return found

    def _begun(self, B: Array, p: Array, first: Array | None, designs: list[Generator]) -> _Looked:
        count, m, d = p.shape
        R, squares = np.empty((count, self.steps, m, m)), np.empty((count, self.steps, m))
        degrees = self.H.samples - self.known - np.arange(float(self.steps * m)).reshape(self.steps, m)
        for r, design in enumerate(designs):
            design.standard_normal(out=R[r])
            squares[r] = design.chisquare(degrees)
        R *= _above(m)
        R[:, :, range(m), range(m)] = np.sqrt(squares)
        rows = self.steps * m
        P, Q, C = (np.empty((count, rows + more, d)) for more in (m, 0, self.known))
        P[:, :m] = p
        if first is not None:
            np.multiply(first, self.H.E, out=C[:, 0])
        generators = np.empty(count, object)
        generators[:] = designs
        tolerance = ACCURACY * self.largest * _lengths(B)
        return _Looked(np.arange(count), generators, B, tolerance, P, Q, C, R)

    def _look(self, seen: _Looked, step: int) -> NDArray[np.bool_]:
        """Along the next directions; False where they depend on those before."""
        m, E = self.m, self.H.E
        old, new = step * m, (step + 1) * m
        p, Q = seen.P[:, old:new], seen.Q[:, :old]
        block = np.empty((len(p), 2 * m, len(E)))
        X, G = block[:, :m], block[:, m:]
        np.multiply(p, E, out=X)
        for design, rows in zip(seen.designs, G, strict=True):
            design.standard_normal(out=rows)
        along = block @ _turned(Q)
        if step:
            block -= along @ Q
        products = block @ _turned(X)
        lengths = _diagonals(products[:, :m]) + np.einsum("rij,rij->ri", along[:, :m], along[:, :m])
        inverse, fine = _inverse_factors(products[:, :m], _NEARLY_DEPENDENT * lengths)
        # X = L Q with the next rows of Q; those of C are R Q + G (1 − QᵀQ), times E
        beside = (seen.R[:, step] - products[:, m:] @ _turned(inverse)) @ inverse
        made = np.concatenate([inverse, beside], axis=1) @ X
        seen.Q[:, old:new] = made[:, :m]
        C = seen.C[:, : self.known + new]
        G += made[:, m:]
        np.multiply(G, E, out=C[:, self.known + old :])
        answered = p @ _turned(C)
        answered *= self.unit
        following = np.matmul(answered, C, out=seen.P[:, new : new + m])
        following -= np.multiply(p, self.q_next, out=X)
        if step:
            following -= seen.P[:, old - m : old]
        return fine

    def _galerkin(self, seen: _Looked, step: int) -> tuple[Array, Array]:
        """Solutions in the spaces so far, and the lengths of what they leave of ``B``."""
        size = (step + 1) * self.m
        more = seen.P[:, : size + self.m]
        P = more[:, :size]
        beside = np.eye(size, size + self.m, self.m) + np.eye(size, size + self.m, -self.m)
        K = np.eye(size, size + self.m) + beside / self.unit  # H P = K more
        x = _turned(np.asarray(np.linalg.solve(P @ _turned(more) @ K.T, P @ _turned(seen.B)), float))
        return x @ P, _lengths(seen.B - (x @ K) @ more)

    def _complete(self, seen: _Looked, steps: int, found: Array) -> None:
        """By a direct solver: what was not looked at, beside the rows of C and Q, is drawn now."""
        E, rest, size = self.H.E, self.H.rest, steps * self.m
        for place, design, B, all_Q, all_C in zip(
            seen.places, seen.designs, seen.B, seen.Q, seen.C, strict=True
        ):
            Q, C = all_Q[:size], all_C[: self.known + size]
            beside = np.linalg.qr(Q.T, mode="complete").Q[:, size:]
            rows = bartlett_rows(design, self.H.samples - len(C), beside.shape[1])
            Z = np.concatenate([C, rows @ beside.T * E])
            factor, _ = dpotrf(Z.T @ Z + np.diag(rest), lower=1)
            found[place] = dpotrs(factor, B.T, lower=1)[0].T


def _starts(B: Array, E: Array) -> list[Array]:
    """Rows of every replicate's ``B`` at unit length, independent of each other when multiplied by ``E``."""
    size = _lengths(B)
    p = B / np.where(size > 0, size, 1.0)[:, :, None]
    X = p * E
    squares = X @ _turned(X)
    _, fine = _inverse_factors(squares, _NEARLY_DEPENDENT * _diagonals(squares))
    return [one if good else _independent(one, E) for one, good in zip(p, fine, strict=True)]


def _independent(p: Array, E: Array) -> Array:
    """A basis of the rows of ``p``, of unit length or zero, that is orthonormal when multiplied by ``E``."""
    pivots = np.abs(np.linalg.qr((p * E).T).R.diagonal())
    p = p[pivots > _DEPENDENT * np.sqrt(np.einsum("ij,ij->i", p * E, p * E))]
    independent: Array = np.linalg.solve(np.linalg.qr((p * E).T).R.T, p)
    return independent


def _inverse_factors(A: Array, least: Array) -> tuple[Array, NDArray[np.bool_]]:
    """L⁻¹ of the lower triangles with L Lᵀ = A, and whether all pivots are above the ``least``, shape (replicates, m).

    Entry by entry, for all replicates at once: there are many and m is small.
    """
    A, size = A.copy(), A.shape[1]
    inverse = np.zeros_like(A)
    inverse[:, range(size), range(size)] = 1.0
    fine = np.ones(len(A), bool)
    for j in range(size):
        pivots = A[:, j, j]
        fine &= pivots > least[:, j]
        roots = np.sqrt(np.where(fine, pivots, 1.0))[:, None]
        inverse[:, j] /= roots
        column = A[:, j + 1 :, j] / roots
        A[:, j + 1 :, j + 1 :] -= column[:, :, None] * column[:, None, :]
        inverse[:, j + 1 :] -= column[:, :, None] * inverse[:, None, j]
    return inverse, fine


def _turned(A: Array) -> Array:
    """Every matrix transposed."""
    return A.transpose(0, 2, 1)


def _diagonals(A: Array) -> Array:
    return A.diagonal(axis1=1, axis2=2)


def _lengths(A: Array) -> Array:
    """Of every replicate's rows."""
    return np.asarray(np.sqrt(np.einsum("rij,rij->ri", A, A)))


@lru_cache(maxsize=8)
def _above(size: int) -> Array:
    """Ones above the diagonal."""
    return np.triu(np.ones((size, size)), 1)
