"""Shards on a Dask cluster of two worker processes: the same bits, nothing lost with a process, cancelled in time."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from process_support import (
    BODY,
    ENDLESS,
    Program,
    assert_undisturbed,
    cancel,
    close_connections,
    computing,
    cpu_seconds_until_gone,
    gone,
    query,
    shard_children,
    shards_in,
    state,
    submit,
    until,
    worker,
)

pytestmark = pytest.mark.processes


class Cluster:
    """A scheduler, two Dask workers of one thread, and a worker of ours that has its shards computed there."""

    def __init__(self, database_url: str, directory: Path) -> None:
        self._directory = directory
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._port = free.getsockname()[1]
        self.programs: list[Program] = []
        self.scheduler = self.start_scheduler()
        # with Dask's nanny, and without
        self.dask_workers = [self.start_dask_worker("--nanny"), self.start_dask_worker("--no-nanny")]
        until(lambda: self.scheduler.said().count("Register worker") == 2, what=self.scheduler.said())
        self.worker = self._started(
            worker(
                database_url,
                directory / "worker.log",
                WORKER_CONCURRENCY="0",
                DASK_SCHEDULER=f"tcp://127.0.0.1:{self._port}",
            )
        )

    def start_scheduler(self) -> Program:
        options = ["--host", "127.0.0.1", "--port", str(self._port), "--no-dashboard"]
        return self._started(self._dask("scheduler", options))

    def start_dask_worker(self, nanny: str) -> Program:
        address = f"tcp://127.0.0.1:{self._port}"
        options = ["--nthreads", "1", "--no-dashboard", "--local-directory", str(self._directory), nanny]
        return self._started(self._dask("worker", [address, *options]))

    def _dask(self, role: str, options: list[str]) -> Program:
        log = self._directory / f"dask-{role}-{len(self.programs)}.log"
        return Program(["-m", f"distributed.cli.dask_{role}", *options], {}, log)

    def _started(self, program: Program) -> Program:
        self.programs.append(program)
        return program


@pytest.fixture
def cluster(database_url: str, tmp_path: Path) -> Iterator[Cluster]:
    cluster = Cluster(database_url, tmp_path)
    yield cluster
    close_connections()
    for program in reversed(cluster.programs):
        doomed = program.descendants()
        if program.process.poll() is None:
            program.kill()
        for process in doomed:
            until(lambda pid=process.pid: gone(pid), what="a child outlived its parent")  # type: ignore[misc]


def test_same_bits_and_nothing_lost_with_a_dask_worker(database_url: str, cluster: Cluster) -> None:
    simulation_id = submit(database_url, BODY)
    until(lambda: shards_in(database_url, simulation_id, "succeeded") >= 1, what=cluster.worker.said())
    assert query(database_url, "SELECT concurrency FROM workers") == [(2,)]  # the cluster's threads
    assert shard_children(cluster.worker) == []  # nothing is computed at home
    until(lambda: shards_in(database_url, simulation_id, "running") == 2)
    cluster.dask_workers[1].kill()
    assert_undisturbed(database_url, simulation_id)
    assert query(database_url, "SELECT max(attempts) FROM shards") == [(1,)]  # Dask sent it to the other one


def test_nothing_lost_with_the_scheduler(database_url: str, cluster: Cluster) -> None:
    simulation_id = submit(database_url, BODY)
    until(lambda: shards_in(database_url, simulation_id, "succeeded") >= 1, what=cluster.worker.said())
    cluster.scheduler.kill()
    for program in cluster.dask_workers:
        program.process.wait(60)  # they leave with their scheduler
    cluster.start_scheduler()
    cluster.start_dask_worker("--no-nanny")
    assert_undisturbed(database_url, simulation_id)


def test_cancelled_there_and_stopped_with_the_worker(database_url: str, cluster: Cluster) -> None:
    simulation_id = submit(database_url, ENDLESS)
    child = computing(database_url, simulation_id, *cluster.dask_workers)
    cancel(database_url, simulation_id)
    assert cpu_seconds_until_gone(child) < 1.0
    assert state(database_url, simulation_id) == "cancelled"
    # a worker that is killed has nobody left to take the result: the cluster is free for others
    simulation_id = submit(database_url, ENDLESS)
    child = computing(database_url, simulation_id, *cluster.dask_workers)
    cluster.worker.kill()
    assert cpu_seconds_until_gone(child) < 1.0
