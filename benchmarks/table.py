"""How fast the theory is, beside what one would write without it: ``make bench`` prints this as a markdown table.

Every row is run several times in turn with all others, so that a slow minute of the machine falls on all of them;
given are the least and the median of the runs' medians, in milliseconds, and the target where there is one.
"""

import os

# Before numpy: single threads make the figures comparable between machines.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import platform
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import scipy
import sklearn
from scipy.optimize import minimize_scalar
from sklearn.linear_model import Ridge

from benchmarks.test_predictions import scipy_total
from service.theory import spectra
from service.theory.limits import limits
from service.theory.model import REAL, Population, Shift, Source, Stage, TrainingMix
from service.theory.prediction import predict
from service.theory.slots import Slot
from service.theory.variations import predictions

ROUNDS = 5
NOISE, PENALTY, T0, T = 0.25, 0.01, 600, 300


def power_law(d: int) -> Population:
    """Eigenvalues i^-1.5, isotropic target; nothing of it is remembered yet."""
    return Population(np.arange(1.0, d + 1) ** -1.5, np.ones(d), np.full(d, 1 / d), NOISE)


def law(dimension: int | None) -> Population:
    """Eigenvalues i^-1.5 of any number of modes, endless too; target of source exponent 0.5."""
    ranks, values, weights = spectra.power_law(dimension, 1.5, 1.0)
    power = spectra.source_target(ranks, weights, 1.5, 0.5, 1.0, endless=dimension is None)
    return Population(values, weights, power, NOISE)


def recursion(generations: int) -> TrainingMix:
    """Each generator is fitted to the labels of the one before, the last stage to those of the last."""
    stages, label = [], REAL
    for k in range(generations):
        stages.append(Stage(f"g{k}", (Source(label, label, T0, NOISE),), PENALTY))
        label = f"g{k}"
    return TrainingMix((*stages, Stage("final", (Source(label, label, T, NOISE),), PENALTY)))


def three_sources(d: int) -> TrainingMix:
    """Five stages of three differently weighted sources: real data and the last two models, or shifts before them."""
    stages: list[Stage] = []
    for k in range(5):
        sources = [Source(REAL, REAL, 400.0, NOISE)]
        for age, weight in ((1, 0.7), (2, 0.5)):
            label = stages[-age].name if k >= age else Shift(np.full(d, 0.1 / d))
            sources.append(Source(f"age {age}", label, 300.0, NOISE, weight))
        stages.append(Stage(f"s{k}", tuple(sources), PENALTY))
    return TrainingMix(tuple(stages))


def sweep(points: int, chunk: int = 256) -> None:
    """Every column at as many penalties of the last stage."""
    population, mix = power_law(300), recursion(5)
    penalties = np.geomspace(1e-4, 10, points)
    for i in range(0, points, chunk):
        part = penalties[i : i + chunk]
        assert not predictions(population, mix, {Slot("penalty", 5): part}, part.size).problems


def by_scipy(population: Population) -> None:
    """Peer: total and best penalty alone, by scipy's root finding and minimization."""

    def total(penalty: float) -> float:
        return scipy_total(population.eigenvalues, population.target_power, [*[PENALTY] * 5, penalty])

    minimize_scalar(lambda x: total(10**x), bounds=(-6, 3), method="bounded", options={"xatol": 1e-6})
    total(PENALTY)


def one_draw(population: Population, rng: np.random.Generator) -> float:
    """Peer: one draw of the process with scikit-learn, one penalty; 1 % accuracy takes some hundreds of them."""
    d = population.eigenvalues.size
    scale, truth = np.sqrt(population.eigenvalues), np.sqrt(population.target_power)
    model = truth
    for n in (*[T0] * 5, T):
        X = rng.standard_normal((n, d)) * scale
        y = X @ model + rng.standard_normal(n) * NOISE**0.5
        model = Ridge(alpha=PENALTY * n, fit_intercept=False).fit(X, y).coef_
    return float((population.eigenvalues * (model - truth) ** 2).sum())


@dataclass(frozen=True)
class Row:
    """One line: what is run, how often in a round, and the target in milliseconds."""

    name: str
    run: Callable[[], object]
    repeats: int
    target: float | None = None


def rows() -> list[Row]:
    """All lines of the table."""
    small, large = power_law(300), power_law(1000)
    mix, mixed, long = recursion(5), three_sources(1000), recursion(10_000)
    rng = np.random.default_rng(0)
    return [
        Row("recursion, d = 300, 5 generations, known data set", lambda: predict(small, mix), 300, 0.5),
        Row("the same, new data set", lambda: predict(power_law(300), mix), 300, 0.5),
        Row("recursion, d = 1,000, 5 generations, known data set", lambda: predict(large, mix), 300, 0.25),
        Row("the same, new data set", lambda: predict(power_law(1000), mix), 300),
        Row("power law and source condition, d = 1,000", partial(predict, law(1000), mix), 300),
        Row("the same, d = 10^9", partial(predict, law(10**9), mix), 300),
        Row("the same, endless", partial(predict, law(None), mix), 300),
        Row("5 stages of 3 sources, d = 1,000", lambda: predict(large, mixed), 30, 1.0),
        Row("10,000 equal generations, d = 300", lambda: predict(small, long), 3, 100.0),
        Row("sweep of 10,000 penalties, d = 300, 5 generations", lambda: sweep(10_000), 2, 300.0),
        Row("limits over generations and data, d = 300", lambda: limits(small, mix), 100),
        Row("peer: total and best penalty alone by scipy, d = 300", lambda: by_scipy(small), 20),
        Row("peer: one draw with scikit-learn, d = 300", lambda: one_draw(small, rng), 3),
    ]


def medians(lines: list[Row]) -> list[list[float]]:
    """The median of each round, milliseconds, for each line."""
    found: list[list[float]] = [[] for _ in lines]
    for line in lines:
        line.run()
    for _ in range(ROUNDS):
        for line, taken in zip(lines, found, strict=True):
            times = []
            for _ in range(line.repeats):
                start = time.perf_counter()
                line.run()
                times.append(time.perf_counter() - start)
            taken.append(1e3 * statistics.median(times))
    return found


def machine() -> str:
    """Processor, its number, versions."""
    model = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next(
            (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), model
        )
    except OSError:
        pass
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    return (
        f"{model}, {os.cpu_count()} cores{load}; Python {platform.python_version()}, numpy {np.__version__}, "
        f"scipy {scipy.__version__}, scikit-learn {sklearn.__version__}, OPENBLAS_NUM_THREADS="
        f"{os.environ['OPENBLAS_NUM_THREADS']}"
    )


def main() -> None:
    """Print the table."""
    lines = rows()
    print(f"{machine()}\n\n| milliseconds | least | median | target |\n| --- | --- | --- | --- |")
    for line, taken in zip(lines, medians(lines), strict=True):
        target = "" if line.target is None else f"{line.target:g}"
        print(f"| {line.name} | {min(taken):.3g} | {statistics.median(taken):.3g} | {target} |")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
