"""What simulations of every kind take, beside what was told before (``validate_only``), and the most memory.

``python -m benchmarks.simulation_cost`` prints a table; arguments choose the orders whose names contain one of them.
Every order runs in a process of its own, in the surroundings of a worker's child, for a few seconds of processor time.
"""

import multiprocessing
import os
import pickle
import resource
import shutil
import sys
import time
from typing import Final

from benchmarks.simulation_orders import Order, folder, orders
from service.jobs.children import ENVIRONMENT
from service.jobs.compute import shard_outcomes
from service.simulations.registry import KINDS
from service.simulations.submit import cost

SECONDS: Final = 1.0
_AT_ONCE: Final = 16  # replicates of a call, where a shard has as many
REPLICATES: Final = 10_000


def measure(order: Order) -> tuple[float, float, float]:
    """Seconds of the processor of a replicate, told and measured, and the most memory in MiB, in this process."""
    kind, where = KINDS[order.kind], folder()
    try:
        request = kind.request.model_validate(order.body | {"replicates": 1})
        data = order.data(where) if order.data else None
        planned = kind.plan(request, data)
        work = pickle.dumps(kind.work(request, planned.points, data))
        told = cost(1, 1, 1, planned.flops).core_seconds
        done, first = 0, time.process_time()
        shard_outcomes(work, planned.outcomes, 0, 0, 1)  # what a process does once is seen apart
        began = time.process_time()
        once, count = began - first, 1
        while time.process_time() < began + SECONDS and once < SECONDS:
            count = max(1, min(_AT_ONCE, int(1.5 / told), 2 * count))
            shard_outcomes(work, planned.outcomes, 0, done, done + count)
            done += count
        seconds = (time.process_time() - began) / done if done else once
        return told, seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    finally:
        shutil.rmtree(where)


def main() -> None:
    """Print the table."""
    os.environ.update(ENVIRONMENT)
    chosen = [one for one in orders() if not sys.argv[1:] or any(word in one.name for word in sys.argv[1:])]
    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores\n")
    print("| order | told, ms | measured, ms | measured / told | memory, MiB |")
    print("| --- | --- | --- | --- | --- |")
    for order in chosen:
        with multiprocessing.get_context("spawn").Pool(1) as alone:
            told, seconds, memory = alone.apply(measure, (order,))
        print(
            f"| {order.name} | {told * 1e3:.3g} | {seconds * 1e3:.3g} | {seconds / told:.2g} | {memory:.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
