"""How fast simulations are, beside the loop that one would write with scikit-learn; one thread each, same run.

``python -m benchmarks.simulation_speed`` prints the tables; arguments choose some of them: replicates, literal,
averaging, memory. The first line says how busy the machine is: numbers taken beside other work are too low.
"""

import argparse
import os
import sys

from service.jobs.children import ENVIRONMENT

if __name__ == "__main__" and not ENVIRONMENT.items() <= os.environ.items():
    # all is timed in the surroundings of a worker's child, which are to be there before numpy is
    again = [sys.executable, "-m", "benchmarks.simulation_speed", *sys.argv[1:]]
    os.execve(sys.executable, again, {**os.environ, **ENVIRONMENT})

import resource
import time
from collections.abc import Callable

import numpy as np
from sklearn.linear_model import LinearRegression, Ridge

from service.simulation.engine import last_totals, simulate
from service.simulation.features import Bartlett, Features, Gaussian, draw_rows
from service.simulation.process import Process
from service.simulation.spectrum import SpectrumProblem
from service.theory.model import REAL, Array, Population, Source, Stage, TrainingMix

NOISE = 0.25


def population(dimension: int) -> Population:
    """Power law, isotropic target of norm 1."""
    ones = np.ones(dimension)
    return Population(np.arange(1.0, dimension + 1) ** -1.0, ones, ones / dimension, NOISE)


def chain(samples: int, generator_penalty: float, penalty: float, generations: int) -> TrainingMix:
    """Generators and a final fit, all on as many samples."""
    stages: list[Stage] = []
    for k in range(generations + 1):
        label = stages[-1].name if stages else REAL
        last = k == generations
        source = Source("s", label, samples, NOISE)
        stages.append(Stage(f"g{k}", (source,), penalty if last else generator_penalty))
    return TrainingMix(tuple(stages))


def least(function: Callable[[], object], repeats: int) -> float:
    """Seconds of the processor, the least of several runs: one thread, whatever else the machine is at."""
    times = []
    for _ in range(repeats):
        started = time.process_time()
        function()
        times.append(time.process_time() - started)
    return min(times)


def sklearn_loop(people: Population, mix: TrainingMix, seed: int) -> float:
    """One replicate as one would write it: draw, label, fit, repeat; returns the test error."""
    rng = np.random.default_rng(seed)
    scale, truth = np.sqrt(people.eigenvalues), np.sqrt(people.target_power)
    w = truth
    for stage in mix.stages:
        T = int(stage.sources[0].samples)
        X = rng.standard_normal((T, len(w))) * scale
        y = X @ w + np.sqrt(NOISE) * rng.standard_normal(T)
        if stage.penalty == 0:
            model = LinearRegression(fit_intercept=False)
        else:
            model = Ridge(alpha=T * float(stage.penalty), fit_intercept=False)
        w = model.fit(X, y).coef_
    return float(people.eigenvalues @ (w - truth) ** 2)


def replicates_per_second() -> None:
    """d = 300, T = 10,000, four fits: three generators and the final one."""
    people, T, n = population(300), 10_000, 3
    process = {
        "generators without penalty, final ridge": chain(T, 0.0, 1e-3, n),
        "ridge everywhere": chain(T, 1e-3, 1e-3, n),
    }
    print(
        "\nReplicates per second, d = 300, T = 10,000, 4 fits, one thread; test error of each stage and its clean parts"
    )
    print("| process | scikit-learn loop | literal | wishart | wishart / scikit-learn |")
    print("| --- | --- | --- | --- | --- |")
    for name, mix in process.items():
        loop = least(lambda mix=mix: sklearn_loop(people, mix, 0), 5)  # type: ignore[misc]
        ours = []
        for features, count in ((Gaussian(), 1), (Bartlett(), 48)):
            problem = SpectrumProblem(people, features)
            run = Process.fresh(people, mix)
            simulate(problem, [run], 0, 0, 1)
            ours.append(least(lambda p=problem, r=run, c=count: simulate(p, [r], 0, 0, c), 5) / count)  # type: ignore[misc]
        literal, wishart = ours
        print(f"| {name} | {1 / loop:.2f} | {1 / literal:.2f} | {1 / wishart:.0f} | {loop / wishart:.0f} |")


def literal_rate() -> None:
    """One fit at T = 100,000, d = 1,000, against dgemm on the same core in the same run."""
    d, T = 1_000, 100_000
    A, B = np.random.default_rng(0).standard_normal((2, 2_000, 2_000))
    people = population(d)
    problem = SpectrumProblem(people)
    run = Process.fresh(people, chain(T, 0.0, 1e-3, 0))
    block = np.empty((1_048, d))
    generator = np.random.Generator(np.random.SFC64(0))

    def draw() -> None:
        for _ in range(T // 1_048):
            draw_rows(Gaussian(), generator, block)

    gemm = whole = drawing = np.inf
    for _ in range(3):  # in turns, so that other work on the machine meets all of them alike
        gemm = min(gemm, least(lambda: A @ B, 2))
        whole = min(whole, least(lambda: simulate(problem, [run], 0, 0, 1), 1))
        drawing = min(drawing, least(draw, 1))
    rate = 2 * 2_000**3 / gemm
    flops = T * d * d + 6 * T * d + d**3 / 3
    print("\nOne literal fit, T = 100,000, d = 1,000, one thread")
    print("| what | seconds | share of the dgemm rate |")
    print("| --- | --- | --- |")
    print(f"| dgemm, 2,000 × 2,000: {rate / 1e9:.1f} Gflop/s | {gemm:.2f} | 100 % |")
    print(
        f"| draw, label, fit, measure: {flops / 1e9:.0f} Gflop | {whole:.2f} | {flops / whole / rate:.0%} |"
    )
    print(f"| of which drawing normal numbers | {drawing:.2f} | |")
    rest = whole - drawing
    print(f"| without drawing | {rest:.2f} | {flops / rest / rate:.0%} |")
    print(
        "Flops: X'X by its triangle (T d²; a full product has twice as many), labels and X'y (6 T d), Cholesky (d³/3)."
    )


def averaging() -> None:
    """Seconds until the mean test error is known to 1 %, with and without averaging the label noise."""
    print(
        "\nSeconds to a relative standard error of 1 %, label noise dominating (power law, one generator, penalty 0)"
    )
    print(
        "| d | T | method | replicates | seconds | replicates, averaged | seconds, averaged | times cheaper |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for d, T in ((30, 3_000), (100, 3_000), (300, 10_000)):
        for features in (Gaussian(), Bartlett()):
            plain, averaged = (_cost(features, d, T, average_noise=average) for average in (False, True))
            name = "wishart" if isinstance(features, Bartlett) else "literal"
            print(
                f"| {d} | {T:,} | {name} | {plain[0]} | {plain[1]:.3f} | {averaged[0]} | {averaged[1]:.3f} "
                f"| {plain[1] / averaged[1]:.0f} |"
            )


def _cost(features: Features, d: int, T: int, *, average_noise: bool) -> tuple[int, float]:
    """Replicates and seconds until the relative standard error is 1 %; fewer than 8 do not tell their own."""
    people = population(d)
    problem, run = SpectrumProblem(people, features), Process.fresh(people, chain(T, 0.0, 0.0, 1))
    simulate(problem, [run], 1, 0, 1, average_noise=average_noise)
    totals: Array = np.empty(0)
    more, started = 8, time.perf_counter()
    while True:
        first = len(totals)
        found = simulate(problem, [run], 1, first, first + more, average_noise=average_noise)
        totals = np.concatenate([totals, last_totals([run], found)[0]])
        if totals.std(ddof=1) / np.sqrt(len(totals)) <= 0.01 * totals.mean():
            return len(totals), time.perf_counter() - started
        more = max(len(totals) // 4, 1)


def memory() -> None:
    """The most memory that one literal fit at d = 2,000, T = 1,000,000 takes; about two minutes."""
    people = population(2_000)
    run = Process.fresh(people, chain(1_000_000, 0.0, 1e-3, 0))
    started = time.perf_counter()
    errors = simulate(SpectrumProblem(people), [run], 0, 0, 1)
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print("\nOne literal fit, d = 2,000, T = 1,000,000")
    print(f"test error {errors[0, 0]:.4g}; {time.perf_counter() - started:.0f} s; most memory {most:.2f} GiB")


TABLES = {
    "replicates": replicates_per_second,
    "literal": literal_rate,
    "averaging": averaging,
    "memory": memory,
}


def main() -> None:
    """Print the tables named on the command line, or all but memory, which takes minutes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tables", nargs="*", metavar="|".join(TABLES))
    chosen = parser.parse_args().tables or ["replicates", "literal", "averaging"]
    if unknown := set(chosen) - set(TABLES):
        parser.error(f"there is no table {', '.join(unknown)}")
    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    for name in chosen:
        TABLES[name]()


if __name__ == "__main__":
    main()
