"""How far both orders of the theory are from Monte Carlo, on random mixes: the tables of docs/finite-size.md.

    python -m benchmarks.finite_size errors --mixes 240 --seconds 3 --seed 20000
    python -m benchmarks.finite_size decay --replicates 20000

``errors`` draws random mixes (single fits, presets, chains, several sources, shifts, loss weights, covariate shift,
random features, also about as many as modes, generators on one design; with and without penalty; 10 to 200 modes),
``decay`` follows one fit at fixed samples per mode.
"""

import argparse
import time
from collections.abc import Iterator

import numpy as np

from service.theory.corrected import with_expected_error
from service.theory.model import REAL, Array, Pass, Population, Shift, Source, Stage, TrainingMix
from service.theory.prediction import predict
from service.theory.results import Method, Prediction
from tests.theory.designs import replicate

LEAST_REPLICATES = 60


class Draw:
    """A random population and mixes of every kind: 0.3 to 8 samples per mode, a quarter of the fits unpenalized."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.d = d = int(np.exp(rng.uniform(np.log(10), np.log(200))))
        ranks = np.arange(1.0, d + 1)
        self.sigma = sigma = ranks ** -(0.0 if rng.random() < 0.3 else rng.uniform(0, 2))
        power = ranks ** -(0.0 if rng.random() < 0.5 else rng.uniform(0, 1.5))
        self.noise_variance = float(10 ** rng.uniform(-2, 0.5))
        self.population = Population(sigma, np.ones(d), power / (power @ sigma), self.noise_variance)

    def rows(self) -> float:
        return float(max(5, int(self.d * np.exp(self.rng.uniform(np.log(0.3), np.log(8))))))

    def penalty(self) -> float:
        return 0.0 if self.rng.random() < 0.25 else float(self.sigma.mean() * 10 ** self.rng.uniform(-3, 1))

    def weight(self) -> float:
        return float(10 ** self.rng.uniform(-0.7, 0.7))

    def source(self, labels: str | Shift, weight: float = 1.0, eigenvalues: Array | None = None) -> Source:
        name = labels if isinstance(labels, str) else "shifted"
        return Source(name, labels, self.rows(), float(10 ** self.rng.uniform(-2, 0.5)), weight, eigenvalues)

    def stage(self, name: str, *sources: Source, width: float | None = None) -> Stage:
        return Stage(name, sources, self.penalty(), width)

    def single(self) -> list[Stage]:
        return [self.stage("final", self.source(REAL))]

    def recursive(self) -> list[Stage]:
        labels = [REAL, *(f"g{k}" for k in range(int(self.rng.integers(1, 6))))]
        return [self.stage(f"g{k}", self.source(label)) for k, label in enumerate(labels)]

    def mixture(self) -> list[Stage]:
        shift = Shift(self.population.target_power * 10 ** self.rng.uniform(-2, 0))
        return [self.stage("final", self.source(REAL), self.source(shift, self.weight()))]

    def chained(self) -> list[Stage]:
        a = self.stage("a", self.source(REAL))
        b = self.stage("b", self.source(REAL), self.source("a", self.weight()))
        old = self.source("a", self.weight()), self.source("b", self.weight())
        return [a, b, self.stage("final", self.source(REAL), *old)]

    def random_features(self) -> list[Stage]:
        last = self.stage("final", self.source(REAL), self.source("a"), width=self.rows())
        return [self.stage("a", self.source(REAL)), last]

    def features_like_modes(self) -> list[Stage]:
        """Random features about as many as modes, and a small penalty."""
        width = float(max(3, self.d + int(self.rng.integers(-3, 6))))
        penalty = float(self.sigma.mean() * 10 ** self.rng.uniform(-6, -1))
        if self.rng.random() < 0.5:
            return [Stage("final", (self.source(REAL),), penalty, width)]
        last = Stage("final", (self.source(REAL), self.source("a")), penalty, width)
        return [self.stage("a", self.source(REAL)), last]

    def covariate_shift(self) -> list[Stage]:
        other = self.sigma[self.rng.permutation(self.d)]
        last = self.stage("final", self.source(REAL), self.source("a", 1.0, other))
        return [self.stage("a", self.source(REAL, 1.0, other)), last]

    def accumulate(self) -> list[Stage]:
        samples = [self.rows() for _ in range(int(self.rng.integers(2, 6)))]
        penalty_sum, labels = self.penalty() * self.d, [REAL, *(f"g{k}" for k in range(len(samples)))]
        return [
            Stage(f"g{k}", (Source("rows", labels[k], T, self.noise_variance),), penalty_sum / sum(samples[: k + 1]))
            for k, T in enumerate(samples)
        ]  # fmt: skip

    def replace_with_real(self) -> list[Stage]:
        T, penalty, variance = self.rows(), self.penalty(), self.noise_variance
        fresh = float(np.ceil(T * self.rng.random()))
        stages = [Stage("g0", (Source(REAL, REAL, T, variance),), penalty)]
        for k in range(1, int(self.rng.integers(2, 6))):
            both = Source(REAL, REAL, fresh, variance), Source("old", f"g{k - 1}", T - fresh, variance)
            stages.append(Stage(f"g{k}", both, penalty))
        return stages

    def shared_design(self) -> list[Stage]:
        count = int(self.rng.integers(2, 6))
        penalties = [max(self.penalty(), 1e-3 * float(self.sigma.mean())) for _ in range(count)]
        passes = tuple(Pass(penalty, 1.0 / count) for penalty in penalties)
        first = Stage("g", (self.source(REAL),), min(penalties), None, passes)
        return [first, self.stage("final", self.source("g"))]


KINDS = (
    Draw.single, Draw.recursive, Draw.mixture, Draw.chained, Draw.random_features, Draw.features_like_modes,
    Draw.covariate_shift, Draw.accumulate, Draw.replace_with_real, Draw.shared_design,
)  # fmt: skip


def random_mix(rng: np.random.Generator) -> tuple[str, Population, TrainingMix]:
    """One of the KINDS."""
    draw, kind = Draw(rng), KINDS[int(rng.integers(len(KINDS)))]
    mix = TrainingMix(tuple(kind(draw)), keeps_data=kind is Draw.accumulate)
    return kind.__name__, draw.population, mix


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
    exact = table[:, 6] == 1
    corrected = (table[:, 5] == 1) & ~exact
    _print_summary("order 0 of the corrected", *table[corrected][:, [0, 2, 3]].T)
    _print_summary("order 1", *table[corrected][:, [1, 2, 4]].T)
    _print_summary("all that is not exact, as it is answered", *table[~exact][:, [1, 2, 4]].T)
    print(f"\nnot corrected (order 0 stands): {np.sum(table[:, 5] == 0)}, exact: {exact.sum()}")


def _print_summary(name: str, error: Array, se: Array, expected: Array) -> None:
    e, seen = abs(error), abs(error) > 2 * se
    print(
        f"\n{name}: {e.size} mixes; |error| median {np.median(e):.5f}, 90 % {np.quantile(e, 0.9):.5f}, "
        f"largest {e.max():.5f}; median standard error {np.median(se):.5f}\n"
        f"  expected error covers it within 2 standard errors in {np.mean(e <= expected + 2 * se):.3f}, "
        f"without allowance in {np.mean(e <= expected):.3f};\n"
        f"  of {seen.sum()} errors of more than 2 standard errors, expected / error is "
        f"{np.median(expected[seen] / e[seen]):.2f} at the median"
    )


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
