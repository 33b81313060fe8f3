"""What predictions notice of a simulation of 10,000 shards beside them: python -m benchmarks.beside_predictions.

Starts the whole service as ``collapse up`` does, and asks for one prediction after the other: alone, then beside the
simulation, in turn. Prints the milliseconds of an answer, and how long the submit took.
"""

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx

from benchmarks.http_rates import BODY

ROUNDS, SECONDS = 6, 1.5
HUGE: dict[str, Any] = {
    "dataset": {
        "spectrum": {"kind": "power_law", "dimension": 500, "exponent": 1.0},
        "target": {"kind": "isotropic", "squared_norm": 1.0},
        "noise_variance": 0.25,
    },
    "training_mix": {
        "kind": "recursive", "generations": 4, "generator": {"samples": 20_000, "penalty": 0.001},
        "samples": 20_000, "penalty": 0.01,
    },
    "replicates": 10_000,
    "method": "literal",
}  # fmt: skip


def answers(client: httpx.Client) -> list[float]:
    """Milliseconds of one prediction after the other, each of its own: none is known."""
    end, found = time.monotonic() + SECONDS, []
    while time.monotonic() < end:
        body = BODY | {"dataset": BODY["dataset"] | {"noise_variance": 0.25 + time.time() % 1}}
        began = time.perf_counter()
        client.post("/v1/predictions?order=0", json=body).raise_for_status()
        found.append(1e3 * (time.perf_counter() - began))
    return found


def until_shards_run(client: httpx.Client) -> None:
    while 'collapse_shards{state="running"} 0.0' in client.get("/metrics").text:
        time.sleep(0.1)
    time.sleep(1.0)


def measure(client: httpx.Client) -> None:
    alone, beside, submits = [], [], []
    answers(client)
    for _ in range(ROUNDS):
        alone.append(answers(client))
        began = time.perf_counter()
        simulation = client.post("/v1/simulations", json=HUGE).raise_for_status().json()
        submits.append(time.perf_counter() - began)
        until_shards_run(client)
        beside.append(answers(client))
        client.post(f"/v1/simulations/{simulation['id']}:cancel").raise_for_status()
        time.sleep(1.0)
    print(
        f"| milliseconds of a prediction | alone | beside {simulation['cost']['shards']:,} shards | ratio |"
    )
    print("| --- | --- | --- | --- |")
    for name, share in (("median", 0.5), ("90 %", 0.9), ("99 %", 0.99)):
        one, other = (statistics.median(_quantile(run, share) for run in runs) for runs in (alone, beside))
        print(f"| {name} | {one:.2f} | {other:.2f} | {other / one:.2f} |")
    rates = [sum(map(len, runs)) / (ROUNDS * SECONDS) for runs in (alone, beside)]
    print(f"| answers per second | {rates[0]:.0f} | {rates[1]:.0f} | {rates[1] / rates[0]:.2f} |")
    print(f"\nThe submit itself: {min(submits):.2f} to {max(submits):.2f} s.")


def _quantile(values: list[float], share: float) -> float:
    return sorted(values)[int(share * (len(values) - 1))]


def main() -> None:
    directory = Path(tempfile.mkdtemp(prefix="collapse-bench-"))
    environment = {**os.environ, "DATA_DIR": str(directory), "PORT": "0", "LOG_LEVEL": "error"}
    environment.pop("DATABASE_URL", None)
    command = [sys.executable, "-c", "from service.cli import main; main()", "up"]
    service = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        assert service.stdout is not None
        ready = next(line for line in service.stdout if line.startswith("ready: "))
        with httpx.Client(base_url=ready.split(" ")[1], timeout=60, trust_env=False) as client:
            measure(client)
    finally:
        service.terminate()
        service.wait()
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    main()
