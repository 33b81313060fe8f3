"""Simulations while workers are killed, frozen and woken, and PostgreSQL is restarted; ``make chaos`` is the full run.

Every simulation has to end with the numbers of an undisturbed run, to the last bit, and nothing may be there twice.
"""

import asyncio
import pickle
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import psutil
import psycopg
from process_support import Program, close_connections, query, worker

from service.database.embedded import EmbeddedServer
from service.database.engine import Database
from service.database.migrate import migrate
from service.jobs.compute import shard_outcomes
from service.simulations import store
from service.simulations.regression import REGRESSION
from service.simulations.schemas import SimulationRequest
from service.simulations.submit import plan
from service.simulations.workload import work

STALLED_AFTER = 1.5
SMALL: dict[str, Any] = {
    "dataset": {
        "spectrum": {"kind": "power_law", "dimension": 60, "exponent": 1.0},
        "target": {"kind": "isotropic", "squared_norm": 1.0},
        "noise_variance": 0.25,
    },
    "training_mix": {
        "kind": "recursive",
        "generations": 2,
        "generator": {"samples": 150, "noise_variance": 1.0, "penalty": 0.001},
        "samples": 150,
        "penalty": 0.01,
    },
}


@dataclass
class Disturbances:
    """What is done while the simulations run, and what was done."""

    kills: int
    freezes: int
    restarts: int
    done: dict[str, int] = field(default_factory=lambda: {"kills": 0, "freezes": 0, "restarts": 0})

    @property
    def left(self) -> list[str]:
        return [name for name, count in self.done.items() if count < getattr(self, name)]

    @property
    def due(self) -> float:
        """The share of the shards after which the next one comes."""
        return 0.9 * sum(self.done.values()) / (self.kills + self.freezes + self.restarts)


def request(seed: int, shards: int) -> SimulationRequest:
    return SimulationRequest.model_validate(SMALL | {"replicates": 2 * shards, "seed": seed})


def undisturbed(seed: int, shards: int) -> bytes:
    """What the shards of one simulation come to, in this process, one after the other."""
    asked = request(seed, shards)
    made = work(asked, None, None)
    pickled = pickle.dumps(made)
    return b"".join(shard_outcomes(pickled, made.rows, seed, 2 * k, 2 * k + 2) for k in range(shards))


async def submitted(url: str, count: int, shards: int) -> list[str]:
    database = Database(url)
    ids = []
    for seed in range(count):
        planned = plan(REGRESSION, request(seed, shards), None, 3600.0)
        planned = replace(planned, shards=[(2 * k, 2 * k + 2) for k in range(shards)])
        async with database.transaction() as connection:
            ids.append(await store.create(connection, planned, "chaos"))
    await database.dispose()
    return ids


def disturb(
    what: str,
    workers: list[Program],
    start: Callable[[], Program],
    server: EmbeddedServer,
    chance: random.Random,
) -> bool:
    """Whether it was done: only a worker that computes is killed or frozen."""
    if what == "restarts":
        close_connections()
        server.stop()
        time.sleep(chance.uniform(0.0, 2.0))
        server.start()
        return True
    at_work = computing_workers(server.url)
    victims = [index for index, one in enumerate(workers) if one.process.pid in at_work]
    if not victims:
        return False
    index = chance.choice(victims)
    if what == "kills":
        workers[index].kill()
        workers[index] = start()
        return True
    asleep = [workers[index].process, *workers[index].descendants()]
    for process in asleep:
        _signal(process.pid, signal.SIGSTOP)
    time.sleep(2 * STALLED_AFTER)  # past its heartbeat: its work is taken over, then it wakes up
    for process in asleep:
        _signal(process.pid, signal.SIGCONT)
    return True


def computing_workers(url: str) -> set[int]:
    """Process ids of the workers that have a shard."""
    try:
        rows = query(url, "SELECT DISTINCT split_part(worker_id, ':', 2) FROM shards WHERE state = 'running'")
    except psycopg.OperationalError:
        close_connections()
        return set()
    return {int(pid) for (pid,) in rows}


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        psutil.Process(pid).send_signal(number)
    except psutil.NoSuchProcess:
        return


def run(simulations: int, shards: int, plan: Disturbances, seconds: float, seed: int = 1) -> dict[str, float]:
    """Returns the figures; AssertionError where anything is not as in an undisturbed run."""
    chance = random.Random(seed)
    data_dir = Path(tempfile.mkdtemp(prefix="collapse-chaos-"))
    server = EmbeddedServer(data_dir)
    server.start()
    started: list[Program] = []

    def start() -> Program:
        started.append(worker(server.url, data_dir / f"worker-{len(started)}.log"))
        return started[-1]

    began = time.monotonic()
    try:
        migrate(server.url)
        ids = asyncio.run(submitted(server.url, simulations, shards))
        workers = [start(), start()]
        while True:
            assert time.monotonic() < began + seconds, f"not done after {seconds:g} s: {counts(server.url)}"
            state = counts(server.url)
            assert not state.get("failed"), "a shard was blamed for the loss of its workers"
            if state.get("succeeded") == simulations:
                break
            # spread over the run; a kill comes first, since a small run may be done before anything else is
            if plan.left and done(server.url) >= plan.due:
                what = chance.choice(plan.left) if plan.done["kills"] else "kills"
                plan.done[what] += disturb(what, workers, start, server, chance)
            time.sleep(chance.uniform(0.02, 0.5) if plan.done["kills"] else 0.02)
        check(server.url, ids, shards)
        attempts = query(server.url, "SELECT sum(attempts), max(attempts), max(losses) FROM shards")[0]
    finally:
        close_connections()
        for program in started:
            if program.process.poll() is None:
                _signal(program.process.pid, signal.SIGCONT)
                program.kill()
        server.stop()
        shutil.rmtree(data_dir, ignore_errors=True)
    return {
        "simulations": simulations,
        "shards": simulations * shards,
        **plan.done,
        "attempts": int(attempts[0]),
        "most attempts of a shard": int(attempts[1]),
        "most workers lost by a shard": int(attempts[2]),
        "seconds": time.monotonic() - began,
    }


def counts(url: str) -> dict[str, int]:
    try:
        return dict(query(url, "SELECT state, count(*) FROM simulations GROUP BY state"))
    except psycopg.OperationalError:
        close_connections()
        return {}


def done(url: str) -> float:
    """The share of the shards that have succeeded; 0 until the first one has, or while nobody answers."""
    try:
        succeeded, count = query(
            url, "SELECT count(*) FILTER (WHERE state = 'succeeded'), count(*) FROM shards"
        )[0]
    except psycopg.OperationalError:
        close_connections()
        return 0.0
    return float(succeeded / count)


def check(url: str, ids: list[str], shards: int) -> None:
    for seed, simulation_id in enumerate(ids):
        stored = query(
            url,
            "SELECT index, test_errors FROM shard_results WHERE simulation_id = %s ORDER BY index",
            simulation_id,
        )
        assert [index for index, _ in stored] == list(range(shards))
        assert b"".join(bytes(errors) for _, errors in stored) == undisturbed(seed, shards), simulation_id
    results = query(url, "SELECT count(*), count(result) FROM simulations")
    assert results == [(len(ids), len(ids))]


if __name__ == "__main__":
    full = Disturbances(kills=30, freezes=4, restarts=2)
    figures = run(200, 20, full, seconds=float(sys.argv[1]) if len(sys.argv) > 1 else 3600.0)
    assert not full.left, f"the simulations were done before the disturbances: {full.done}"
    for name, value in figures.items():
        print(f"| {name} | {value:g} |")
