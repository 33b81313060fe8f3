"""The population behind real rows: draws with replacement from n rows; an expectation is a mean over them.

With K the kernel matrix of the rows, K / n has eigenvalues s_i and unit eigenvectors u_i. The features
along mode i have variance s_i, and the target y has the coefficient c_i = u_i·y / √n, so that c_i² = s_i
(w_0)_i² is the part of its mean square that mode i carries: Σ c_i² + unreachable = mean y².
"""

from dataclasses import dataclass
from typing import Final, cast

import numpy as np
from scipy.linalg import eigh
from scipy.optimize import minimize_scalar

from service.theory.exponents import PowerLawFit, capacity_exponent, source_exponent
from service.theory.kernels import DegenerateRowsError, FeatureMap, Linear, gram
from service.theory.leverage import leverages
from service.theory.model import Array, Population

MAX_ROWS: Final = 5_000
"""Rows of an empirical population at most: its eigen-decomposition costs n³."""

DF1_PENALTIES: Final = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)


@dataclass(frozen=True, eq=False)
class Modes:
    """Eigen-decomposition of the kernel operator on n rows.

    ``eigenvalues``: s_i > 0, falling, shape (rank,). ``coefficients``: c_i, shape (rank,).
    ``functions``: the eigenfunctions' values on the rows, √n u_i as columns, shape (n, rank).
    ``unreachable``: mean square of the part of the target that no mode carries.
    """

    eigenvalues: Array
    coefficients: Array
    functions: Array
    unreachable: float


@dataclass(frozen=True)
class Smoother:
    """Kernel ridge regression of the recorded labels at the penalty of least generalised cross-validation.

    ``penalty`` per sample; ``degrees_of_freedom`` its tr S; ``noise_variance`` = ‖(I − S) y‖² / tr(I − S);
    ``at_edge``: the criterion falls up to an end of the range that was searched.
    """

    penalty: float
    degrees_of_freedom: float
    noise_variance: float
    at_edge: bool


@dataclass(frozen=True, eq=False)
class EmpiricalPopulation:
    """Real rows as a population.

    ``population``: what the theory takes; its noise variance is the label noise plus ``unreachable``, since
    a part of the labels that no model can express is noise to every fit.
    ``truth``: w_0 on each row, shape (n,): what the test error is measured against.
    ``smoother``: how truth and noise were told apart; None where the noise was declared.
    ``capacity``, ``source``: fitted exponents, or why there are none.
    """

    population: Population
    truth: Array
    rank: int
    unreachable: float
    smoother: Smoother | None
    participation_ratio: float
    df1: tuple[tuple[float, float], ...]
    capacity: PowerLawFit | str
    source: PowerLawFit | str


def modes(feature_map: FeatureMap, X: Array, y: Array) -> Modes:
    """Decompose the kernel matrix / n, or where it is smaller the linear features' second-moment matrix.

    ``X`` (n, d), ``y`` (n,). Eigenvalues below size × ε × the largest (ε = 2.2e-16; size of the matrix
    decomposed) are numerically zero and dropped. LAPACK's divide and conquer: for 5,000 rows 16 s on two
    cores, against 13 s for a tridiagonalisation started at y, which finds the c_i without the vectors.
    """
    n = len(X)
    if isinstance(feature_map, Linear) and X.shape[1] < n:
        s, V = _positive_modes(X.T @ X / n)
        functions = X @ V / np.sqrt(s)
    else:
        K = gram(feature_map, X, X)
        K /= n
        s, functions = _positive_modes(K)
        functions *= np.sqrt(n)
    c = functions.T @ y / n
    rest = y - functions @ c
    # A complete basis leaves nothing but rounding.
    unreachable = 0.0 if len(s) == n else float(rest @ rest) / n
    return Modes(eigenvalues=s, coefficients=c, functions=functions, unreachable=unreachable)


def _positive_modes(A: Array) -> tuple[Array, Array]:
    """Eigenvalues that are not numerically zero, falling, and their unit vectors; ``A`` is overwritten."""
    s, U = cast(tuple[Array, Array], eigh(A, driver="evd", overwrite_a=True, check_finite=False))
    keep = s > len(s) * np.finfo(float).eps * s[-1]
    return np.ascontiguousarray(s[keep][::-1]), np.ascontiguousarray(U[:, keep][:, ::-1])


def smoother(modes: Modes) -> Smoother:
    """Choose the penalty by generalised cross-validation and estimate the noise that it leaves.

    Least GCV(λ) = (‖(I − S) y‖²/n) / (tr(I − S)/n)² (Craven and Wahba 1979), S = K (K + nλ)^-1, searched
    between the smallest eigenvalue (or 1e-10 of the largest) and 1,000 times the largest; σ² = ‖(I − S) y‖²
    / tr(I − S) there (Wahba 1983). In the eigenbasis S is s / (s + λ), and what no mode carries is all
    residual.
    """
    s, power, n = modes.eigenvalues, modes.coefficients**2, len(modes.functions)

    def residual(t: float) -> tuple[float, float]:
        """Mean squared residual and tr(I − S)/n at λ = exp t."""
        left = 1.0 / (1.0 + s * np.exp(-t))
        return float(power @ left**2) + modes.unreachable, (n - len(s) + float(left.sum())) / n

    def gcv(t: float) -> float:
        square, free = residual(t)
        return square / free**2

    low, high = np.log(max(s[-1], 1e-10 * s[0])), np.log(1e3 * s[0])
    grid = np.linspace(low, high, 400)
    best = int(np.argmin([gcv(t) for t in grid]))
    t = float(grid[best])
    at_edge = best in (0, len(grid) - 1)
    if not at_edge:
        t = float(minimize_scalar(gcv, bounds=(grid[best - 1], grid[best + 1]), method="bounded").x)
    square, free = residual(t)
    return Smoother(
        penalty=float(np.exp(t)),
        degrees_of_freedom=n * (1 - free),
        noise_variance=square / free,
        at_edge=at_edge,
    )


def degrees_of_freedom(eigenvalues: Array, penalty: float) -> float:
    """df1(λ) = Σ s_i / (s_i + λ): how many modes a fit at this penalty per sample resolves."""
    return float(np.sum(eigenvalues / (eigenvalues + penalty)))


def participation_ratio(eigenvalues: Array) -> float:
    """(Σ s_i)² / Σ s_i²: the number of equal modes with the same first two moments."""
    scaled = eigenvalues / eigenvalues.max()
    return float(scaled.sum() ** 2 / (scaled @ scaled))


def empirical_population(
    feature_map: FeatureMap, X: Array, y: Array, noise_variance: float | None
) -> EmpiricalPopulation:
    """Describe rows ``X`` (n, d) with labels ``y`` (n,).

    ``noise_variance`` given: the recorded labels are the truth, and training labels are they plus noise of
    this variance. None: the recorded labels are truth plus noise, told apart by ``smoother``. In both cases
    the truth is the part that the modes carry. Raises ``ValueError`` for more than
    ``MAX_ROWS`` rows, ``DegenerateRowsError`` where the features vanish.
    """
    if len(X) > MAX_ROWS:
        raise ValueError(f"{len(X)} rows; a population takes at most {MAX_ROWS}")
    basis = modes(feature_map, X, y)
    if len(basis.eigenvalues) == 0:
        raise DegenerateRowsError("every feature of every row is zero, or too small to be squared")
    s, c = basis.eigenvalues, basis.coefficients
    fitted: Smoother | None = None
    resolved, noise_per_mode = len(s), 0.0
    if noise_variance is None:
        fitted = smoother(basis)
        noise = fitted.noise_variance
        # The source exponent is read off where the smoother resolves the target, each c_i² freed of its
        # noise.
        resolved = int(np.count_nonzero(s >= fitted.penalty))
        noise_per_mode = noise / len(X)
        truth_c = c * s / (s + fitted.penalty)
    else:
        noise = noise_variance + basis.unreachable
        truth_c = c
    capacity = capacity_exponent(s)
    source = (
        source_exponent(c**2 - noise_per_mode, capacity.value, resolved)
        if isinstance(capacity, PowerLawFit)
        else capacity
    )
    return EmpiricalPopulation(
        population=Population(
            eigenvalues=s,
            multiplicities=np.ones(len(s)),
            target_power=truth_c**2 / s,
            noise_variance=noise,
            leverages=leverages(basis, truth_c),
        ),
        truth=basis.functions @ truth_c,
        rank=len(s),
        unreachable=basis.unreachable,
        smoother=fitted,
        participation_ratio=participation_ratio(s),
        df1=tuple((penalty, degrees_of_freedom(s, penalty)) for penalty in DF1_PENALTIES),
        capacity=capacity,
        source=source,
    )
