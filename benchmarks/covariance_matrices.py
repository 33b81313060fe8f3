"""How long a prediction with covariance matrices takes: `python -m benchmarks.covariance_matrices [modes ...]`.

Two sources, one of them with a covariance matrix and shifted labels; all that POST /v1/predictions answers: penalty,
flat range, decomposition to order 1, limits. Times are those of the processor, which other processes hardly change.
"""

import sys
import time

import numpy as np
from scipy.linalg import lapack

from benchmarks.table import machine
from service.theory.limits import limits
from service.theory.model import REAL, Population, Shift, Source, Stage, TrainingMix
from service.theory.prediction import predict


def problem(d: int) -> tuple[Population, TrainingMix]:
    """A mixture whose synthetic rows have correlated features."""
    rng = np.random.default_rng(d)
    A = rng.normal(size=(d, 2 * d))
    eigenvalues = np.arange(1.0, d + 1) ** -1.2
    scale = np.sqrt(eigenvalues[::-1])
    C = A @ A.T / (2 * d) * np.sqrt(np.outer(scale, scale))
    w = rng.normal(size=d) / np.sqrt(d)
    sources = (
        Source(REAL, REAL, 0.7 * d, 0.3),
        Source("shift", Shift(np.full(d, 1.0 / d)), d, 0.2, 0.8, None, C),
    )
    return Population(eigenvalues, np.ones(d), w**2, 0.3, w), TrainingMix((Stage("final", sources, 0.01),))


def one_inverse(d: int) -> float:
    """Seconds of a Cholesky factor and an inverse."""
    A = np.eye(d, order="F") + 0.5 / d
    start = time.process_time()
    factor, _ = lapack.dpotrf(A, lower=1)
    lapack.dpotri(factor, lower=1)
    return time.process_time() - start


def main() -> None:
    """Print the table."""
    print(machine())
    print("Seconds of one core")
    print("| modes | one inverse | prediction | with limits | order |")
    print("| ---: | ---: | ---: | ---: | ---: |")
    for d in [int(one) for one in sys.argv[1:]] or [200, 1000, 2000]:
        population, mix = problem(d)
        start = time.process_time()
        found = predict(population, mix, order=1)
        middle = time.process_time()
        limits(population, found.mix, order=1)
        end = time.process_time()
        print(
            f"| {d:,} | {one_inverse(d):.3g} s | {middle - start:.3g} s | {end - start:.3g} s "
            f"| {found.order} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
