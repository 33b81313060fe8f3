"""``collapse up``: everything killed, stopped and started, and it goes on with all data."""

import os
import shutil
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import psycopg
import pytest
from process_support import (
    BODY,
    UP,
    Program,
    address,
    assert_undisturbed,
    client,
    close_connections,
    gone,
    query,
    shards_in,
    submit,
    until,
    until_ended,
    up,
)

from service.database import postmaster
from service.database.embedded import EmbeddedServer, embedded_url
from service.database.engine import POOL_TIMEOUT
from service.processes import NICENESS
from service.supervisor import EXIT_BUSY

pytestmark = pytest.mark.processes

Up = Callable[..., Program]


@pytest.fixture
def data_dir() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="collapse-up-"))
    yield path
    close_connections()
    postmaster.clear(path / "postgres")
    shutil.rmtree(path)


@pytest.fixture
def start(data_dir: Path, tmp_path: Path) -> Iterator[Up]:
    started: list[Program] = []

    def start(**environment: str) -> Program:
        started.append(up(data_dir, tmp_path / f"up-{len(started)}.log", **environment))
        assert started[-1].process.poll() is None, started[-1].said()
        return started[-1]

    yield start
    for program in started:
        if program.process.poll() is None:
            assert program.terminate() == 0, program.said()


def submitted(client: httpx.Client, key: str = "k", **changes: Any) -> dict[str, Any]:
    response = client.post("/v1/simulations", json=BODY | changes, headers={"Idempotency-Key": key})
    assert response.status_code == 202, response.text
    answer: dict[str, Any] = response.json()
    return answer


def killed(program: Program, role: str) -> int:
    process = program.child(role)
    process.kill()
    until(lambda: gone(process.pid))
    return process.pid


def test_up_and_down(start: Up, data_dir: Path) -> None:
    program = start()
    processes = [program.child("api"), program.child("worker")]
    with client(program) as api:
        # heartbeats may be late on a busy machine
        until(lambda: api.get("/readyz").json()["live_workers"] == 1)
        simulation_id = submitted(api)["id"]
        assert_undisturbed(embedded_url(data_dir), simulation_id)
        done = api.get(f"/v1/simulations/{simulation_id}").json()
    assert done["progress"] == {"completed": 24, "total": 24}
    assert abs(done["points"][0]["z_score"]) < 5
    # simulations give way to predictions, also where Linux divides time by session
    worker = processes[1]
    computing = [child for child in worker.children() if "spawn_main" in " ".join(child.cmdline())]
    assert {child.nice() for child in computing} == {psutil.Process().nice() + NICENESS}
    autogroup = Path(f"/proc/{worker.pid}/autogroup")
    said = autogroup.read_text().split() if autogroup.exists() else []  # empty where Linux does not do it
    assert not said or said[-1] == str(NICENESS)
    ready = program.said().rsplit("ready: ", 1)[1].splitlines()[0]
    assert "psql 'postgresql://" in ready
    server = psutil.Process(int((data_dir / "postgres" / "postmaster.pid").read_text().split()[0]))
    assert program.terminate() == 0
    assert all(gone(process.pid) for process in (*processes, server))


def test_a_second_one_is_told_that_the_first_is_running(start: Up, data_dir: Path, tmp_path: Path) -> None:
    first = start()
    second = Program(UP, {"DATA_DIR": str(data_dir), "PORT": "0"}, tmp_path / "second.log")
    assert second.process.wait(60) == EXIT_BUSY
    assert f"already running on {data_dir} (process {first.process.pid})" in second.said()
    with client(first) as api:
        assert api.get("/readyz").status_code == 200


def test_a_port_in_use_is_told(data_dir: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        program = Program(UP, {"DATA_DIR": str(data_dir), "PORT": str(port)}, tmp_path / "up.log")
        assert program.process.wait(60) == EXIT_BUSY
    assert f"cannot listen on 127.0.0.1:{port}" in program.said()
    assert not (data_dir / "postgres" / "postmaster.pid").exists()


def test_killed_processes_come_back(start: Up, data_dir: Path) -> None:
    """The worker and the API killed in the same moment, then PostgreSQL, with one simulation under way."""
    program = start()
    url = embedded_url(data_dir)
    with client(program) as api:
        simulation_id = submitted(api)["id"]
        until(lambda: query(url, "SELECT 1 FROM shards WHERE state = 'running'"))
        both = [program.child(role) for role in ("worker", "api")]
        for process in both:
            process.kill()
        until(lambda: all(gone(process.pid) for process in both))
        assert program.child("worker").pid != both[0].pid
        # the socket is the supervisor's: a client waits for the new API instead of being refused
        with client(program) as another:
            assert another.get("/healthz").status_code == 200
        close_connections()
        os.kill(int((data_dir / "postgres" / "postmaster.pid").read_text().split()[0]), signal.SIGKILL)
        until(lambda: "PostgreSQL ended; starting it again" in program.said())
        until(lambda: api.get("/readyz").status_code == 200, what="it does not come back")
        assert_undisturbed(url, simulation_id)


def test_killed_supervisor(start: Up, data_dir: Path) -> None:
    program = start()
    with client(program) as api:
        simulation_id = submitted(api)["id"]
    until(lambda: query(embedded_url(data_dir), "SELECT 1 FROM shards WHERE state = 'running'"))
    close_connections()
    left = [process.pid for process in program.descendants()]
    assert len(left) > 4  # API, worker, its children, PostgreSQL's
    program.kill()
    until(lambda: all(gone(pid) for pid in left), what="children outlive the supervisor")
    again = start()
    with client(again) as api:
        assert submitted(api)["id"] == simulation_id  # all data, idempotency keys too
    assert_undisturbed(embedded_url(data_dir), simulation_id)


@pytest.mark.parametrize("postgres", [False, True], ids=["PostgreSQL left to stop", "PostgreSQL too"])
def test_everything_killed_at_once(start: Up, data_dir: Path, postgres: bool) -> None:
    """kill -9 of the supervisor, the API, the worker and its children in one moment, as when a machine goes."""
    program, url = start(), embedded_url(data_dir)
    simulation_id = submit(url, BODY)  # in a dozen shards
    until(lambda: shards_in(url, simulation_id, "succeeded") and shards_in(url, simulation_id, "running"))
    with client(program) as api:
        other = submitted(api, seed=12, replicates=2)["id"]
    close_connections()
    server = psutil.Process(int((data_dir / "postgres" / "postmaster.pid").read_text().split()[0]))
    own = [server, *server.children(recursive=True)]
    doomed = [process for process in program.descendants() if postgres or process not in own]
    for process in (program.process, *doomed):
        process.kill()
    program.process.wait()
    until(lambda: all(gone(process.pid) for process in (*own, *doomed)), what="something lives on")
    with client(start()) as api:
        assert submitted(api, seed=12, replicates=2)["id"] == other  # what was told a moment before the end
        assert until_ended(url, other) == "succeeded"
        assert_undisturbed(url, simulation_id)
        assert api.get(f"/v1/simulations/{simulation_id}").json()["progress"] == {
            "completed": 24,
            "total": 24,
        }
    assert query(url, "SELECT count(*), count(result) FROM simulations") == [(2, 2)]
    assert query(url, "SELECT count(*) FROM shard_results") == query(url, "SELECT count(*) FROM shards")


def test_api_killed_between_submit_and_answer(start: Up, data_dir: Path) -> None:
    """Once before the commit, once after it: the resend with the same key gives one simulation."""
    program = start()
    url = embedded_url(data_dir)
    count = "SELECT count(*) FROM simulations"

    def post_unheard(key: str) -> threading.Thread:
        def post() -> None:
            try:
                with client(program) as api:
                    submitted(api, key, replicates=1)
            except httpx.TransportError:
                pass

        thread = threading.Thread(target=post)
        thread.start()
        return thread

    with psycopg.connect(url) as blocker:  # before: the transaction waits for a lock that we hold
        blocker.execute("LOCK TABLE shards IN EXCLUSIVE MODE")
        thread = post_unheard("before")
        waits = "wait_event_type = 'Lock' AND query LIKE '%%INSERT INTO shards%%'"
        until(lambda: query(url, "SELECT 1 FROM pg_stat_activity WHERE " + waits))
        killed(program, "api")
        thread.join()
    until(lambda: query(url, count + " WHERE true") == [(0,)])
    with client(program) as api:
        first = submitted(api, "before", replicates=1)["id"]
        assert submitted(api, "before", replicates=1)["id"] == first
    assert query(url, count) == [(1,)]

    host, port = address(program).removeprefix("http://").split(":")
    body = httpx.Request("POST", "http://x", json=BODY | {"replicates": 1}).read()
    head = (
        f"POST /v1/simulations HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        f"Idempotency-Key: after\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection((host, int(port))) as unread:  # after: nobody reads the answer
        unread.sendall(head.encode() + body)
        until(lambda: query(url, count) == [(2,)])
        killed(program, "api")
    with client(program) as api:
        second = submitted(api, "after", replicates=1)["id"]
    assert query(url, "SELECT id FROM simulations ORDER BY created_at") == [(first,), (second,)]


def test_postgres_stopped_and_started_under_api_and_worker(tmp_path: Path, data_dir: Path) -> None:
    """A server that is not the supervisor's; away long enough for every connection and retry to fail."""
    server = EmbeddedServer(data_dir)
    server.start()
    program = up(tmp_path, tmp_path / "up.log", DATABASE_URL=server.url)
    try:
        api_pid, worker_pid = program.child("api").pid, program.child("worker").pid
        with client(program) as api:
            simulation_id = submitted(api)["id"]
            until(lambda: query(server.url, "SELECT 1 FROM shards WHERE state = 'running'"))
            close_connections()
            server.stop()
            away = time.monotonic()
            while time.monotonic() < away + 6:
                asked = time.monotonic()
                response = api.get(f"/v1/simulations/{simulation_id}")
                assert (response.status_code, response.json()["code"]) == (503, "database_unavailable")
                assert time.monotonic() < asked + POOL_TIMEOUT  # said quickly, not waited out
                assert api.get("/readyz").status_code == 503
                assert api.get("/healthz").status_code == 200
                time.sleep(0.5)
            server.start()
            until(lambda: api.get("/readyz").status_code == 200, what="the API does not recover")
            assert_undisturbed(server.url, simulation_id)
        assert program.child("api").pid == api_pid  # by themselves: nothing was restarted
        assert program.child("worker").pid == worker_pid
        assert "ended" not in "".join(
            line for line in program.said().splitlines() if not line.startswith("{")
        )
    finally:
        assert program.terminate() == 0
        close_connections()
        server.stop()
