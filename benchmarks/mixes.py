"""How fast mixes of several sources are, beside the general engine: ``python -m benchmarks.mixes`` prints a table.

Processor time of one thread, least and median of the runs, in milliseconds; everything runs in turn.
"""

import os

# Before numpy: single threads make the figures comparable between machines.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Literal

import numpy as np

from benchmarks.table import NOISE, machine, power_law, recursion, three_sources
from service.theory.corrected import corrected
from service.theory.general import general_prediction
from service.theory.model import REAL, Array, Population, Source, Stage, TrainingMix
from service.theory.prediction import predict
from service.theory.slots import Slot
from service.theory.variations import predictions

SECONDS = 60.0
POINTS = 256


def two_stages() -> TrainingMix:
    """A generator on real data; real data and twice as many labels of the generator at a lower weight."""
    first = Stage("g", (Source(REAL, REAL, 300.0, NOISE),), 0.01)
    sources = (Source(REAL, REAL, 200.0, NOISE), Source("g", "g", 400.0, NOISE, 0.7))
    return TrainingMix((first, Stage("final", sources, 0.01)))


def swept(population: Population, mix: TrainingMix, slot: Slot, values: Array, order: Literal[0, 1]) -> None:
    """One prediction for each value."""
    assert not predictions(population, mix, {slot: values}, values.size, order=order).problems


Run = Callable[[], object]


def of_mix(name: str, population: Population, mix: TrainingMix) -> dict[str, tuple[Run, int]]:
    """One prediction of each order, and by the general engine."""
    return {
        f"{name}, order 0": (partial(predict, population, mix), 1),
        f"{name}, order 0, general engine": (partial(general_prediction, population, mix), 1),
        f"{name}, order 1": (partial(predict, population, mix, order=1), 1),
        f"{name}, order 1, general engine": (
            lambda: corrected(population, general_prediction(population, mix)), 1
        ),
    }  # fmt: skip


def rows() -> dict[str, tuple[Run, int]]:
    """What is run, and by how many points its time is divided."""
    small, plain = power_law(300), recursion(5)
    two, five = "2 stages, 2 sources, d = 300", "5 stages of 3 sources, d = "
    found: dict[str, tuple[Run, int]] = {
        "recursion, 5 generations, d = 300, order 0 (for scale)": (partial(predict, small, plain), 1),
        **of_mix(two, small, two_stages()),
        **of_mix(five + "1,000", power_law(1000), three_sources(1000)),
    }
    orders: tuple[Literal[0, 1], ...] = (0, 1)
    for name, mix, last in ((two, two_stages(), 1), (five + "300", three_sources(300), 4)):
        for what, slot, values in (
            ("last weight", Slot("weight", last, 1), np.linspace(0.1, 2, POINTS)),
            ("samples of the first generator", Slot("samples", 0, 0), np.linspace(100, 900, POINTS).round()),
        ):
            for order in orders:
                run = partial(swept, small, mix, slot, values, order)
                found[f"sweep of {what}, a point: {name}, order {order}"] = run, POINTS
    return found


def main() -> None:
    """Print the table."""
    lines = rows()
    taken: dict[str, list[float]] = {name: [] for name in lines}
    for run, _ in lines.values():
        run()
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        for name, (run, points) in lines.items():
            for _ in range(1 if points > 1 else 5):
                start = time.thread_time()
                run()
                taken[name].append(1e3 * (time.thread_time() - start) / points)
    print(f"{machine()}\n\n| milliseconds of processor time | least | median |\n| --- | --- | --- |")
    for name, times in taken.items():
        print(f"| {name} | {min(times):.3g} | {statistics.median(times):.3g} |")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
