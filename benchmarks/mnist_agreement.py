"""Prediction against literal simulation on MNIST, as a markdown table.

Kernel ridge on images of handwritten digits, labels = digit mod 2, relabelled over generations 0 to 4 with noise.
The images (t10k-images-idx3-ubyte.gz and its labels) are read from the folder mnist under COLLAPSE_TEST_DATA.
"""

import argparse
import os
import sys

# Before numpy: single threads make the figures comparable between machines.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import gzip
import tempfile
import time
from pathlib import Path

import numpy as np

from service.simulation.engine import last_totals, simulate
from service.simulation.process import Process
from service.simulation.rows import EmpiricalProblem
from service.theory import kernels
from service.theory.empirical import EmpiricalPopulation, empirical_population
from service.theory.model import REAL, Array, Source, Stage, TrainingMix
from service.theory.prediction import predict

if "COLLAPSE_TEST_DATA" not in os.environ:
    sys.exit("Set COLLAPSE_TEST_DATA to the folder that has mnist/t10k-images-idx3-ubyte.gz and its labels.")
DATA = Path(os.environ["COLLAPSE_TEST_DATA"])


def mnist(rows: int) -> tuple[Array, Array]:
    """A seeded sample of the 10,000 test images, shape (rows, 784), and their digits."""
    images = gzip.decompress((DATA / "mnist/t10k-images-idx3-ubyte.gz").read_bytes())
    labels = gzip.decompress((DATA / "mnist/t10k-labels-idx1-ubyte.gz").read_bytes())
    X = np.frombuffer(images, np.uint8, offset=16).reshape(-1, 784).astype(float)
    y = np.frombuffer(labels, np.uint8, offset=8).astype(float)
    chosen = np.sort(np.random.default_rng(0).choice(len(X), rows, replace=False))
    return X[chosen], y[chosen]


def recursive(generations: int, T_0: int, T: int, noise_variance: float, penalty: float) -> TrainingMix:
    """Each generator is fitted to the labels of the one before, the final model to those of the last."""
    stages, labels = [], REAL
    for k in range(generations):
        name = f"generation-{k + 1}"
        stages.append(Stage(name, (Source(labels, labels, T_0, noise_variance),), penalty))
        labels = name
    final = Stage("final", (Source(labels, labels, T, noise_variance),), penalty)
    return TrainingMix((*stages, final))


def feature_map(name: str, X: Array, offset: float) -> kernels.FeatureMap:
    if name == "rbf":
        return kernels.rbf(X)
    return kernels.polynomial(X, 5, offset) if name == "polynomial" else kernels.Linear()


def main() -> None:
    """Print the table of one feature map; arguments on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--feature-map", choices=["rbf", "polynomial", "linear"], default="rbf")
    parser.add_argument("--offset", type=float, default=1.0, help="of the polynomial kernel of degree 5")
    parser.add_argument("--centred", action="store_true", help="subtract the mean image first")
    parser.add_argument("--target", choices=["parity", "digit"], default="parity")
    parser.add_argument("--rows", type=int, default=5_000)
    parser.add_argument("--replicates", type=int, default=40)
    parser.add_argument("--generator-samples", type=int, default=600)
    parser.add_argument("--samples", type=int, default=300)
    parser.add_argument("--noise-variance", type=float, default=0.1)
    parser.add_argument("--penalties", type=float, nargs="+", default=[1e-2, 1e-3])
    parser.add_argument("--generations", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()

    X, digits = mnist(arguments.rows)
    if arguments.centred:
        X -= X.mean(axis=0)
    y = digits % 2 if arguments.target == "parity" else digits
    started = time.perf_counter()
    resolved = feature_map(arguments.feature_map, X, arguments.offset)
    described = empirical_population(resolved, X, y, arguments.noise_variance)
    print(f"{resolved}, {arguments.rows} rows, described in {time.perf_counter() - started:.1f} s")
    mixes = [
        recursive(g, arguments.generator_samples, arguments.samples, described.population.noise_variance, p)
        for p in arguments.penalties
        for g in range(arguments.generations + 1)
    ]
    errors = simulated(described, X, resolved, mixes, arguments.replicates, arguments.seed)
    print_table(described, mixes, errors)


def simulated(  # noqa: PLR0917
    described: EmpiricalPopulation,
    X: Array,
    resolved: kernels.FeatureMap,
    mixes: list[TrainingMix],
    replicates: int,
    seed: int,
) -> Array:
    """Literal test errors, shape (mixes, replicates)."""
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        rows, truth = Path(folder, "rows.npy"), Path(folder, "truth.npy")
        np.save(rows, X)
        np.save(truth, described.truth)
        processes = [Process.fresh(described.population, mix) for mix in mixes]
        problem = EmpiricalProblem(rows, truth, resolved)
        errors = last_totals(processes, simulate(problem, processes, seed, 0, replicates))
    print(f"{replicates} replicates in {time.perf_counter() - started:.1f} s\n", file=sys.stderr)
    return errors


def print_table(described: EmpiricalPopulation, mixes: list[TrainingMix], errors: Array) -> None:
    """One row per mix; the z-score holds the difference against the simulation's standard error."""
    means, deviations = errors.mean(axis=1), errors.std(axis=1, ddof=1) / np.sqrt(errors.shape[1])
    print("| penalty | generation | predicted | simulated | standard error | difference | z |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for i, mix in enumerate(mixes):
        predicted = predict(described.population, mix, order=1).test_error.total
        mean, error = means[i], deviations[i]
        print(
            f"| {mix.stages[-1].penalty:g} | {len(mix.stages) - 1} | {predicted:.5f} | {mean:.5f} | {error:.5f} "
            f"| {100 * (predicted / mean - 1):+.2f} % | {(predicted - mean) / error:+.1f} |"
        )


if __name__ == "__main__":
    main()
