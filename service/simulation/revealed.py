"""Gaussian designs of many samples that are drawn only as far as their fits look at them.

Z, shape (T, d), of independent normal numbers, enters a fit through products with vectors alone. Along orthonormal
directions Q that were looked at so far, Z Q = V R with V orthonormal and R triangular (Bartlett), and the rows
Vᵀ Z = R Qᵀ + G (1 − Q Qᵀ) are known but for G, independent normal numbers; what Z does beside Q and V is independent of
all that, whatever of it the next direction was chosen by. So a solver by products meets the numbers that it would meet
with a Z that was drawn whole (the argument of Bolthausen, Commun. Math. Phys. 325, 333, 2014). Coordinates of vectors
over the samples are those along V: nothing has T entries.

A ridge fit is solved by Galerkin's method in a block Krylov space, in coordinates u = w/D, D_i = (T s_i + ridge)^-1/2,
where the matrix of the fit is

    H = E ZᵀZ E + diag(ridge D²),   E_i = √s_i D_i,   H = 1 + O(√γ),   γ = Σ_i (T s_i D_i²)²/T ≤ d/T,

so that every step leaves a share of about √γ of the error. Where the directions become dependent before the fit is
accurate (few features that matter), what was not looked at is drawn too and the fit made of the whole. Without penalty
(T ≥ d) one number is enough: in whitened coordinates the error of a fit is σ n/√χ²(T − d + 1) with a normal vector n,
for any design (Muirhead, Aspects of Multivariate Statistical Theory, theorem 3.2.12, and invariance under rotations).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import ceil, log, sqrt
from typing import Final, cast

import numpy as np
from numpy.random import Generator

from service.simulation.krylov import ACCURACY, MORE, Matrix, solve
from service.simulation.plan import Alone
from service.simulation.problem import Labels, Wanted
from service.theory.model import Array

_SLOWEST: Final = 0.25
"""What a step may leave of the error: beyond, directions often become dependent before the fit is accurate."""

_WEAKEST: Final = 1e-3
"""The largest share of a label that a fit takes: below it the fit is a difference that rounding would spoil."""

# A whole triangular factor is faster where more than a sixth of it would be drawn, or it is small.
_SHARE: Final = 6
_LEAST: Final = 200


@dataclass(frozen=True, eq=False)
class ByProducts:
    """How fits of a design are solved; the letters are those above.

    ``deviations``: of the features, shape (d,). H expects no steps without penalty.
    """

    ridge: float
    deviations: Array
    D: Array
    H: Matrix


@dataclass(frozen=True, eq=False)
class Revealed:
    """A design, its numbers and those of the noise of its labels, from one stream: nothing else has any of them."""

    method: ByProducts
    generator: Generator

    @property
    def samples(self) -> int:
        """T."""
        return self.method.H.samples


@dataclass(frozen=True, eq=False)
class Unlabelled(Labels):
    """Labels that are not made: the model that makes them and the variance of their noise."""

    wanted: Wanted = field(kw_only=True)


def by_products(variances: Array, samples: int, alone: Alone) -> ByProducts | None:
    """How to fit such a design; None where a whole triangular factor is as fast, or needed."""
    expected = steps(variances, samples, alone)
    if expected is None:
        return None
    ridge, root = samples * alone.penalty, np.sqrt(variances)
    D = 1.0 / np.sqrt(samples * variances + ridge)
    return ByProducts(ridge, root, D, Matrix(samples, root * D, ridge * D**2, expected))


def steps(variances: Array, samples: int, alone: Alone) -> int | None:
    """Steps that a fit is expected to take, 0 without penalty; None where it cannot, or should not, be done so."""
    if alone.penalty == 0:
        return 0 if samples >= len(variances) and variances.min() > 0 else None
    q = variances / (variances + alone.penalty)
    rate = sqrt(float(np.sum(q**2)) / max(samples, 1))
    if not (0.0 < rate <= _SLOWEST and q.max() >= _WEAKEST):
        return None
    count = max(ceil(log(ACCURACY * q.max()) / log(0.9 * rate)), 2)  # 0.9: as seen, of the steps together
    if samples <= alone.labels * (count + MORE):  # directions there are
        return None
    return count if max(_SHARE * count * alone.labels, _LEAST) <= len(variances) else None


def flops(variances: Array, samples: int, alone: Alone) -> float | None:
    """Of all fits of a design, about; None where they are not done so."""
    expected = steps(variances, samples, alone)
    if expected is None:
        return None
    drawn = expected * alone.labels  # for each feature
    return 2e5 * (1.0 + expected) + 2.0 * len(variances) * drawn * (300.0 + 7.0 * drawn)


class RevealedSystem:
    """argmin_w (1/T) ‖X w − y‖² + λ ‖w‖² of a ``Revealed`` design, λ its only penalty."""

    def __init__(self, drawn: Revealed) -> None:
        self.drawn = drawn

    def fit(self, penalty: float, labels: Sequence[Sequence[Labels]]) -> list[Array]:  # noqa: ARG002
        """The models, shape (d,), of several fits; each has one ``Unlabelled``."""
        return fits([self], [labels])[0]


def fits(
    systems: Sequence[RevealedSystem], labels: Sequence[Sequence[Sequence[Labels]]]
) -> list[list[Array]]:
    """The models of the same fits of several replicates."""
    drawn = [system.drawn for system in systems]
    wanted = [[cast(Unlabelled, one).wanted for (one,) in same] for same in labels]
    different = dict.fromkeys(id(one.model) for one in wanted[0] if one.model is not None)
    numbers = {model: number for number, model in enumerate(different)}
    whose = [None if one.model is None else numbers[id(one.model)] for one in wanted[0]]
    models = np.empty((len(drawn), len(numbers), len(drawn[0].method.D)))
    for own, same in zip(models, wanted, strict=True):
        for number, one in zip(whose, same, strict=True):
            if number is not None:
                own[number] = one.model
    deviations = np.sqrt([one.noise_variance for one in wanted[0]])
    errors = _errors if drawn[0].method.H.expected else _errors_without_penalty
    missed, noise = errors(drawn, models, noisy=bool(deviations.any()))
    missed += models
    fitted = deviations[:, None] * noise[:, None]
    for k, number in enumerate(whose):
        if number is not None:
            fitted[:, k] += missed[:, number]
    return [list(own) for own in fitted]


def _errors_without_penalty(drawn: Sequence[Revealed], models: Array, *, noisy: bool) -> tuple[Array, Array]:
    """Errors of fits to labels of every model without noise, none here, and the fits to noise of variance 1.

    ``models``: shape (replicates, models, d).
    """
    root = drawn[0].method.deviations
    noise = np.zeros((len(drawn), len(root)))
    for one, row in zip(drawn, noise, strict=True):
        if noisy:
            chi = sqrt(one.generator.chisquare(one.samples - len(root) + 1.0))
            row[:] = one.generator.standard_normal(len(root)) / (chi * root)
    return np.zeros_like(models), noise


def _errors(drawn: Sequence[Revealed], models: Array, *, noisy: bool) -> tuple[Array, Array]:
    """The same with penalty."""
    method = drawn[0].method
    E, D = method.H.E, method.D
    count = models.shape[1]
    B = np.empty((len(drawn), count + noisy, len(D)))
    np.multiply(models, -method.ridge * D, out=B[:, :count])
    first = None
    if noisy:
        first = np.stack([one.generator.standard_normal(len(D)) for one in drawn])
        lengths = np.sqrt([one.generator.chisquare(one.samples) for one in drawn])
        np.multiply(E, lengths[:, None] * first, out=B[:, count])
    u = solve(method.H, B, first, [one.generator for one in drawn])
    u *= D
    return u[:, :count], u[:, count] if noisy else np.zeros((len(drawn), len(D)))
