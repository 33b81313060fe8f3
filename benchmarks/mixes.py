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

import numpy as np

from benchmarks.table import NOISE, machine, power_law, recursion, three_sources
from service.theory.corrected import corrected
from service.theory.general import general_prediction
from service.theory.model import REAL, Population, Source, Stage, TrainingMix
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


def swept(population: Population, mix: TrainingMix, slot: Slot, values: np.ndarray, order: int) -> None:
    """One prediction for each value."""
    assert not predictions(population, mix, {slot: values}, values.size, order=order).problems  # type: ignore[arg-type]


def rows() -> dict[str, tuple[Callable[[], object], int]]:
    """What is run, and by how many points its time is divided."""
    found: dict[str, tuple[Callable[[], object], int]] = {}
    small, large = power_law(300), power_law(1000)
    plain = recursion(5)
    found["recursion, 5 generations, d = 300, order 0 (for scale)"] = lambda: predict(small, plain), 1
    for name, population, mix in (
        ("2 stages, 2 sources, d = 300", small, two_stages()),
        ("5 stages of 3 sources, d = 1,000", large, three_sources(1000)),
    ):
        general = general_prediction(population, mix)
        found[f"{name}, order 0"] = (lambda p=population, m=mix: predict(p, m)), 1
        found[f"{name}, order 0, general engine"] = (lambda p=population, m=mix: general_prediction(p, m)), 1
        found[f"{name}, order 1"] = (lambda p=population, m=mix: predict(p, m, order=1)), 1
        found[f"{name}, order 1, general engine"] = (
            (lambda p=population, m=mix, g=general: corrected(p, general_prediction(p, m)) and g),
            1,
        )
    found["recursion with ridge generators, 5 generations, d = 1,000, order 1"] = (
        (lambda: predict(large, plain, order=1)),
        1,
    )
    mixes = (
        ("2 stages, 2 sources, d = 300", two_stages(), 1),
        ("5 stages of 3 sources, d = 300", three_sources(300), 4),
    )
    for name, mix, last in mixes:
        for what, slot, values in (
            ("last weight", Slot("weight", last, 1), np.linspace(0.1, 2, POINTS)),
            ("samples of the first generator", Slot("samples", 0, 0), np.linspace(100, 900, POINTS).round()),
        ):
            for order in (0, 1):
                found[f"sweep of {what}, a point: {name}, order {order}"] = (
                    (lambda m=mix, s=slot, v=values, o=order: swept(small, m, s, v, o)),
                    POINTS,
                )
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
