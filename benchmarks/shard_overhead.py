"""What a shard costs beyond its computation, and what a second worker brings: python -m benchmarks.shard_overhead.

Prints claim to result of shards with next to no work, and the time of one simulation with one and two workers.
"""

import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg

from service.database.embedded import EmbeddedServer
from service.database.engine import Database
from service.database.migrate import migrate
from service.simulations import store
from service.simulations.regression import REGRESSION
from service.simulations.schemas import SimulationRequest
from service.simulations.submit import plan


def body(dimension: int, samples: int, shards: int) -> dict[str, Any]:
    return {
        "dataset": {
            "spectrum": {"kind": "isotropic", "dimension": dimension},
            "target": {"kind": "isotropic", "squared_norm": 1.0},
            "noise_variance": 1.0,
        },
        "training_mix": {"kind": "recursive", "generations": 0, "generator": {"samples": 10},
                         "samples": samples, "penalty": 0.01},
        "replicates": shards,
    }  # fmt: skip


async def submitted(url: str, request: SimulationRequest) -> str:
    database = Database(url)
    planned = plan(REGRESSION, request, None, 3600.0)
    assert request.replicates is not None
    planned = replace(planned, shards=[(k, k + 1) for k in range(request.replicates)])
    async with database.transaction() as connection:
        simulation_id = await store.create(connection, planned, "benchmark")
    await database.dispose()
    return simulation_id


def carried_out(server: EmbeddedServer, directory: Path, asked: dict[str, Any], workers: int) -> list[float]:
    """Seconds from claim to result of every shard, and from the first claim to the last result."""
    environment = {
        **os.environ,
        "DATABASE_URL": server.url,
        "DATA_DIR": str(directory),
        "WORKER_CONCURRENCY": "1",
    }
    command = [sys.executable, "-m", "service.processes", "worker", str(os.getpid())]
    running = [
        subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(workers)
    ]
    try:
        with psycopg.connect(server.url, autocommit=True) as connection:
            while connection.execute("SELECT count(*) FROM workers").fetchone() != (workers,):
                time.sleep(0.1)
            time.sleep(3.0)  # children import numpy
            simulation_id = asyncio.run(submitted(server.url, SimulationRequest.model_validate(asked)))
            state = "SELECT state FROM simulations WHERE id = %s"
            while connection.execute(state, (simulation_id,)).fetchone() != ("succeeded",):
                time.sleep(0.1)
            rows = connection.execute(
                "SELECT extract(epoch FROM started_at)::float8, extract(epoch FROM finished_at)::float8"
                " FROM shards WHERE simulation_id = %s",
                (simulation_id,),
            ).fetchall()
    finally:
        for process in running:
            process.terminate()
        for process in running:
            process.wait()
    spans = sorted(finished - started for started, finished in rows)
    return [*spans, max(finished for _, finished in rows) - min(started for started, _ in rows)]


def main() -> None:
    directory = Path(tempfile.mkdtemp(prefix="collapse-bench-"))
    server = EmbeddedServer(directory)
    server.start()
    try:
        migrate(server.url)
        *spans, whole = carried_out(server, directory, body(2, 10, 500), 1)
        print("| 500 shards with next to no work, one worker | milliseconds |\n| --- | --- |")
        print(f"| claim to result, least | {1e3 * spans[0]:.1f} |")
        print(f"| claim to result, median | {1e3 * spans[len(spans) // 2]:.1f} |")
        print(f"| from one shard to the next | {1e3 * whole / len(spans):.1f} |")
        times = [carried_out(server, directory, body(1000, 20_000, 16), count)[-1] for count in (1, 2)]
        print("\n| 16 shards of about a second | seconds |\n| --- | --- |")
        print(f"| one worker | {times[0]:.1f} |\n| two workers | {times[1]:.1f} |")
        print(f"| ratio | {times[0] / times[1]:.2f} |")
    finally:
        server.stop()
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    main()
