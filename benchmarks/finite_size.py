"""How far both orders of the theory are from Monte Carlo, on random mixes: the tables of docs/finite-size.md.

    python -m benchmarks.finite_size errors --mixes 240 --seconds 3 --seed 20000
    python -m benchmarks.finite_size decay --replicates 20000

``errors`` draws random mixes (chains, several sources, shifts, loss weights, covariate shift, random features, with and
without penalty; 10 to 200 modes), ``decay`` follows one fit at fixed samples per mode.
"""

import argparse
import time
from collections.abc import Iterator

import numpy as np

from service.theory.corrected import with_expected_error
from service.theory.model import REAL, Array, Population, Shift, Source, Stage, TrainingMix
from service.theory.prediction import predict
from service.theory.results import Method, Prediction
from tests.theory.designs import replicate

LEAST_REPLICATES = 60


def random_mix(rng: np.random.Generator) -> tuple[str, Population, TrainingMix]:
    """One of seven kinds; samples 0.3 to 8 per mode, penalty 0 in a quarter of the stages."""
    d = int(np.exp(rng.uniform(np.log(10), np.log(200))))
    ranks = np.arange(1.0, d + 1)
    sigma = ranks ** -(0.0 if rng.random() < 0.3 else rng.uniform(0, 2))
    power = ranks ** -(0.0 if rng.random() < 0.5 else rng.uniform(0, 1.5))
    population = Population(sigma, np.ones(d), power / (power @ sigma), float(10 ** rng.uniform(-2, 0.5)))

    def rows() -> float:
        return float(max(5, int(d * np.exp(rng.uniform(np.log(0.3), np.log(8))))))

    def penalty() -> float:
        return 0.0 if rng.random() < 0.25 else float(sigma.mean() * 10 ** rng.uniform(-3, 1))

    def noise() -> float:
        return float(10 ** rng.uniform(-2, 0.5))

    def weight() -> float:
        return float(10 ** rng.uniform(-0.7, 0.7))

    def source(labels: str | Shift, weight: float = 1.0, eigenvalues: Array | None = None) -> Source:
        name = labels if isinstance(labels, str) else "shifted"
        return Source(name, labels, rows(), noise(), weight, eigenvalues)

    def stage(name: str, *sources: Source, width: float | None = None) -> Stage:
        return Stage(name, sources, penalty(), width)

    kind = str(
        rng.choice(["single", "recursive", "mixture", "chained", "random features", "covariate shift"])
    )
    if kind == "single":
        stages = [stage("final", source(REAL))]
    elif kind == "recursive":
        labels = [REAL, *(f"g{k}" for k in range(int(rng.integers(1, 6))))]
        stages = [stage(f"g{k}", source(label)) for k, label in enumerate(labels)]
    elif kind == "mixture":
        shift = Shift(population.target_power * 10 ** rng.uniform(-2, 0))
        stages = [stage("final", source(REAL), source(shift, weight()))]
    elif kind == "chained":
        stages = [
            stage("a", source(REAL)),
            stage("b", source(REAL), source("a", weight())),
            stage("final", source(REAL), source("a", weight()), source("b", weight())),
        ]
    elif kind == "random features":
        stages = [stage("a", source(REAL)), stage("final", source(REAL), source("a"), width=rows())]
    else:
        other = sigma[rng.permutation(d)]
        stages = [stage("a", source(REAL, 1.0, other)), stage("final", source(REAL), source("a", 1.0, other))]
    return kind, population, TrainingMix(tuple(stages))


def simulated(
    population: Population, mix: TrainingMix, rng: np.random.Generator, seconds: float
) -> tuple[float, float]:
    """Mean test error and its standard error."""
    errors: list[float] = []
    end = time.process_time() + seconds
    while len(errors) < LEAST_REPLICATES or time.process_time() < end:
        errors.append(replicate(population, mix, rng))
    return float(np.mean(errors)), float(np.std(errors, ddof=1) / len(errors) ** 0.5)


def compared(
    mixes: int, seconds: float, seed: int
) -> Iterator[tuple[str, Prediction, Prediction, float, float]]:
    """Both orders and the simulation of random mixes whose error is finite."""
    for k in range(mixes):
        rng = np.random.default_rng([seed, k])
        kind, population, mix = random_mix(rng)
        try:
            zero = with_expected_error(population, predict(population, mix))
            orders = zero, predict(population, mix, order=1)
        except Exception as error:
            print(f"mix {k} ({kind}): {type(error).__name__}: {error}")
            continue
        if all(np.isfinite(found.test_error.total) for found in orders):
            yield kind, *orders, *simulated(population, mix, rng, seconds)


def print_errors(mixes: int, seconds: float, seed: int) -> None:
    """The table of errors, and how the expected ones cover them."""
    rows = []
    for kind, zero, one, mean, se in compared(mixes, seconds, seed):
        errors = [found.test_error.total / mean - 1 for found in (zero, one)]
        exact = one.method is Method.EXACT
        expected = [zero.expected_relative_error, one.expected_relative_error]
        rows.append((*errors, se / mean, *expected, one.order, exact))
        print(
            f"{len(rows):4d} {kind:16s} order 0 {errors[0]:+.5f}  order 1 {errors[1]:+.5f}  "
            f"standard error {se / mean:.5f}  expected {expected[1]:.5f}  "
            f"order {one.order}{' exact' if exact else ''}",
            flush=True,
        )
    table = np.array(rows, dtype=float)
    corrected = (table[:, 5] == 1) & (table[:, 6] == 0)
    for order in (0, 1):
        e, se, wide = abs(table[corrected, order]), table[corrected, 2], table[corrected, 3 + order]
        seen = e > 2 * se
        print(
            f"\norder {order}: {corrected.sum()} mixes; |error| median {np.median(e):.5f}, "
            f"90 % {np.quantile(e, 0.9):.5f}, largest {e.max():.5f}; "
            f"median standard error {np.median(se):.5f}\n"
            f"  expected error covers it within 2 standard errors in {np.mean(e <= wide + 2 * se):.3f}, "
            f"without allowance in {np.mean(e <= wide):.3f};\n"
            f"  of {seen.sum()} errors of more than 2 standard errors, expected / error is "
            f"{np.median(wide[seen] / e[seen]):.2f} at the median"
        )
    print(f"\nnot corrected (order 0 stands): {np.sum(table[:, 5] == 0)}, exact: {int(table[:, 6].sum())}")


def print_decay(replicates: int) -> None:
    """One fit at 1.5 samples per mode, nearly unpenalized: the errors of both orders by d."""
    for d in (10, 20, 40, 80):
        population = Population(np.ones(d), np.ones(d), np.full(d, 1.0 / d), 1.0)
        stages = (Stage("fit", (Source(REAL, REAL, 1.5 * d, 1.0),), 0.03),)
        mix, rng = TrainingMix(stages), np.random.default_rng(d)
        errors = [replicate(population, mix, rng) for _ in range(replicates)]
        mean, se = float(np.mean(errors)), float(np.std(errors) / len(errors) ** 0.5)
        zero, one = (predict(population, mix, order=order).test_error.total / mean - 1 for order in (0, 1))
        print(
            f"d {d:3d}  simulated {mean:.6f} ± {se:.6f}  order 0 {zero:+.5f}  "
            f"order 1 {one:+.6f} ± {se / mean:.6f}",
            flush=True,
        )


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("table", choices=["errors", "decay"])
    parser.add_argument("--mixes", type=int, default=240)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--seed", type=int, default=20000)
    parser.add_argument("--replicates", type=int, default=20000)
    given = parser.parse_args()
    if given.table == "errors":
        print_errors(given.mixes, given.seconds, given.seed)
    else:
        print_decay(given.replicates)


if __name__ == "__main__":
    main()
