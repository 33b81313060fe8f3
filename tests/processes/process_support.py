"""Real processes for tests: started, found, killed, waited for; no sleep stands for a synchronisation."""

import asyncio
import contextlib
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import httpx
import numpy as np
import psutil
import psycopg

from service.database.engine import Database, libpq_url
from service.jobs.compute import from_bytes, shard_outcomes, to_bytes
from service.simulation.work import RegressionWork
from service.simulations import store
from service.simulations.regression import REGRESSION
from service.simulations.schemas import SimulationRequest
from service.simulations.submit import plan
from service.simulations.workload import work

T = TypeVar("T")

FAST = {
    "HEARTBEAT_INTERVAL": "0.3",
    "STALLED_AFTER": "1.5",
    "WORKER_CONCURRENCY": "2",
    "DRAIN_TIMEOUT": "10",
    "LOG_LEVEL": "info",
}

# About three seconds of one idle core.
BODY: dict[str, Any] = {
    "dataset": {
        "spectrum": {"kind": "power_law", "dimension": 300, "exponent": 1.0},
        "target": {"kind": "isotropic", "squared_norm": 1.0},
        "noise_variance": 0.25,
    },
    "training_mix": {
        "kind": "recursive",
        "generations": 3,
        "generator": {"samples": 600, "noise_variance": 1.0, "penalty": 0.001},
        "samples": 600,
        "penalty": 0.01,
    },
    "replicates": 24,
    "seed": 11,
}
# One shard that takes minutes, in one call of LAPACK after the other.
ENDLESS: dict[str, Any] = BODY | {
    "dataset": BODY["dataset"] | {"spectrum": {"kind": "power_law", "dimension": 2000, "exponent": 1.0}},
    "training_mix": BODY["training_mix"]
    | {
        "generations": 25,
        "generator": {"samples": 20_000, "noise_variance": 1.0, "penalty": 0.001},
        "samples": 20_000,
    },
    "replicates": 1,
}


def until(found: Callable[[], T | None], seconds: float = 60.0, what: str = "") -> T:
    """Poll until something true comes back; fails with ``what`` after a deadline."""
    deadline = time.monotonic() + seconds
    while True:
        value = found()
        if value:
            return value
        assert time.monotonic() < deadline, what or "waited too long"
        time.sleep(0.05)


@lru_cache
def undisturbed() -> bytes:
    """The test errors of BODY computed in one go, without queue, database or other processes."""
    return shard_outcomes(pickle.dumps(_work()), _work().rows, BODY["seed"], 0, BODY["replicates"])


def _work() -> RegressionWork:
    return work(SimulationRequest.model_validate(BODY), None, None)


_connections: dict[str, psycopg.Connection[tuple[Any, ...]]] = {}


def query(url: str, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
    """On a connection that is kept, since polling would otherwise be the heaviest load."""
    connection = _connections.get(url)
    if connection is None or connection.closed:
        connection = _connections[url] = psycopg.connect(libpq_url(url), autocommit=True)
    return connection.execute(statement, parameters).fetchall()  # type: ignore[arg-type]


def close_connections() -> None:
    while _connections:
        _connections.popitem()[1].close()


def state(url: str, simulation_id: str) -> str:
    return str(query(url, "SELECT state FROM simulations WHERE id = %s", simulation_id)[0][0])


def shards_in(url: str, simulation_id: str, *states: str) -> int:
    statement = "SELECT count(*) FROM shards WHERE simulation_id = %s AND state = ANY(%s)"
    return int(query(url, statement, simulation_id, list(states))[0][0])


def until_ended(url: str, simulation_id: str, seconds: float = 90.0) -> str:
    ended = ("succeeded", "failed", "cancelled")
    return until(
        lambda: ((s := state(url, simulation_id)) in ended and s) or None, seconds, "it does not end"
    )


def assert_undisturbed(url: str, simulation_id: str) -> None:
    """It succeeded, to the last bit like the undisturbed run, and nothing is there twice or left over."""
    assert until_ended(url, simulation_id) == "succeeded"
    stored = query(
        url,
        "SELECT s.first, s.last, r.test_errors FROM shards s JOIN shard_results r USING (simulation_id, index)"
        " WHERE simulation_id = %s ORDER BY s.index",
        simulation_id,
    )
    outcomes = _work().rows
    whole = np.concatenate([from_bytes(bytes(errors), outcomes) for _, _, errors in stored], axis=1)
    assert to_bytes(whole) == undisturbed()
    assert [first for first, _, _ in stored] == [0, *(last for _, last, _ in stored)][:-1]
    until(
        lambda: query(url, "SELECT count(*) FROM queue.procrastinate_jobs") == [(0,)],
        what="jobs are left over",
    )


def submit(url: str, body: dict[str, Any]) -> str:
    """Store a simulation as the API does, but in shards of two replicates."""

    planned = plan(REGRESSION, SimulationRequest.model_validate(body), None, 3600.0)
    shards = [(r, min(r + 2, body["replicates"])) for r in range(0, body["replicates"], 2)]

    async def stored() -> str:
        database = Database(url)
        async with database.transaction() as connection:
            simulation_id = await store.create(connection, replace(planned, shards=shards), "test")
        await database.dispose()
        return simulation_id

    return asyncio.run(stored())


def cancel(url: str, simulation_id: str) -> None:
    async def cancelled() -> None:
        database = Database(url)
        async with database.transaction() as connection:
            await store.cancel(connection, simulation_id)
        await database.dispose()

    asyncio.run(cancelled())


@dataclass
class Program:
    """A program of ours; everything it says goes into a file."""

    arguments: list[str]
    environment: dict[str, str]
    log: Path
    process: subprocess.Popen[bytes] = field(init=False)

    def __post_init__(self) -> None:
        inherited = {
            k: v for k, v in os.environ.items() if k not in ("DATABASE_URL", "DATA_DIR", "PORT", "HOST")
        }
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, *self.arguments],
                env={**inherited, **FAST, **self.environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def said(self) -> str:
        return self.log.read_text()

    def descendants(self) -> list[psutil.Process]:
        try:
            return psutil.Process(self.process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []

    def child(self, role: str) -> psutil.Process:
        """The API or worker process of a supervisor."""

        def find() -> psutil.Process | None:
            for process in self.descendants():
                try:
                    if process.cmdline()[1:4] == ["-m", "service.processes", role]:
                        return process
                except psutil.Error:
                    continue
            return None

        return until(find, what=f"there is no {role}")

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def terminate(self, seconds: float = 60) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(seconds)


def worker(url: str, log: Path, **environment: str) -> Program:
    arguments = ["-m", "service.processes", "worker", str(os.getpid())]
    return Program(arguments, {"DATABASE_URL": url, "DATA_DIR": str(log.parent), **environment}, log)


def computing(url: str, simulation_id: str, *programs: Program) -> psutil.Process:
    """The child of one of the programs that computes the only shard of a simulation."""
    until(lambda: shards_in(url, simulation_id, "running") == 1, what="nobody takes the shard")
    before: dict[int, float] = {}
    # CPU seconds in which nobody else did anything: more than a child, replacing one that was stopped, takes to start
    alone: dict[int, float] = {}

    def find() -> psutil.Process | None:
        busy = []
        for process in [child for program in programs for child in shard_children(program)]:
            try:
                spent = cpu_seconds(process)
            except psutil.Error:
                continue
            used = spent - before.get(process.pid, spent)
            before[process.pid] = spent
            if used > 0.01:
                busy.append((process, used))
        time.sleep(0.4)  # the length of a look
        if len(busy) > 1:
            alone.clear()
        if len(busy) != 1:
            return None
        [(process, used)] = busy
        alone[process.pid] = alone.get(process.pid, 0.0) + used
        return process if alone[process.pid] > 4.0 else None

    return until(find, what="no child computes")


def cpu_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def cpu_seconds_until_gone(process: psutil.Process) -> float:
    """What a process still computes before it ends: unlike the clock, this does not depend on who else is busy."""
    used = first = cpu_seconds(process)

    def ended() -> bool:
        nonlocal used
        try:
            if process.status() == psutil.STATUS_ZOMBIE:
                return True
            used = max(used, cpu_seconds(process))
        except psutil.NoSuchProcess:
            return True
        return False

    until(ended, what="the process computes on")
    return used - first


def frozen_in_mid_shard(program: Program, url: str, simulation_id: str) -> set[int]:
    """Stop a worker (not its children) while it has shards under way; returns their indices."""

    def frozen() -> set[int]:
        until(lambda: shards_in(url, simulation_id, "running"), what="nobody takes a shard")
        os.kill(program.process.pid, signal.SIGSTOP)
        until(lambda: psutil.Process(program.process.pid).status() == psutil.STATUS_STOPPED)
        statement = "SELECT index FROM shards WHERE simulation_id = %s AND state = 'running'"
        running = {int(index) for (index,) in query(url, statement, simulation_id)}
        if not running:
            os.kill(program.process.pid, signal.SIGCONT)
        return running

    return until(frozen)


def shard_children(program: Program) -> list[psutil.Process]:
    """The children of a worker, or of a Dask worker, in which shards are computed."""
    found = []
    for process in program.descendants():
        with contextlib.suppress(psutil.Error):
            # Dask's nanny spawns a Dask worker, which is never idle enough to be told from one that computes
            is_dask_worker = "--nanny" in program.arguments and process.ppid() == program.process.pid
            if "spawn_main" in " ".join(process.cmdline()) and not is_dask_worker:
                found.append(process)
    return found


def gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


UP = [
    "-c",
    "import sys; from service.supervisor import run; from service.settings import Settings; sys.exit(run(Settings()))",
]


def up(data_dir: Path, log: Path, **environment: str) -> Program:
    """``collapse up`` on a free port, ready."""
    program = Program(UP, {"DATA_DIR": str(data_dir), "PORT": "0", **environment}, log)
    seen = program.said().count("ready: ")
    until(
        lambda: program.said().count("ready: ") > seen or program.process.poll() is not None,
        60,
        "it is not ready",
    )
    return program


def address(program: Program) -> str:
    return program.said().rsplit("ready: ", 1)[1].split(" ", 1)[0]


def client(program: Program) -> httpx.Client:
    return httpx.Client(base_url=address(program), timeout=60, trust_env=False)
