"""Workers killed, frozen, stopped; simulations cancelled: one database, no API."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
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
    frozen_in_mid_shard,
    gone,
    query,
    shard_children,
    shards_in,
    state,
    submit,
    undisturbed,
    until,
    until_ended,
    worker,
)

from service.database.engine import sqlalchemy_url
from service.database.migrate import migrate

pytestmark = pytest.mark.processes

Start = Callable[..., Program]


@pytest.fixture
def start(database_url: str, tmp_path: Path) -> Iterator[Start]:
    """Starts workers; what is left of them is killed afterwards."""
    started: list[Program] = []

    def start(**environment: str) -> Program:
        started.append(worker(database_url, tmp_path / f"worker-{len(started)}.log", **environment))
        return started[-1]

    yield start
    close_connections()
    for program in started:
        doomed = program.descendants()
        if program.process.poll() is None:
            program.kill()
        for child in doomed:
            until(lambda pid=child.pid: gone(pid), what="a child outlived its worker")  # type: ignore[misc]


def test_killed_in_mid_simulation(database_url: str, start: Start) -> None:
    undisturbed()
    simulation_id = submit(database_url, BODY)
    first = start()
    until(lambda: shards_in(database_url, simulation_id, "succeeded") >= 1)
    lost = frozen_in_mid_shard(first, database_url, simulation_id)
    children = [child.pid for child in first.descendants()]
    first.kill()
    until(lambda: all(gone(pid) for pid in children), what="a child computes on without its worker")
    assert state(database_url, simulation_id) == "running"
    start()
    assert_undisturbed(database_url, simulation_id)
    assert dict(query(database_url, "SELECT index, attempts FROM shards")) == {
        index: 2 if index in lost else 1 for index in range(12)
    }


def test_killed_from_outside_more_often_than_a_shard_may_fail(database_url: str, start: Start) -> None:
    """Its worker is lost three times in a row while it computes: the shard is not to blame, and is done."""
    simulation_id = submit(database_url, BODY | {"replicates": 2})
    for attempt in (1, 2, 3):
        program = start()
        until(lambda n=attempt: query(database_url, "SELECT attempts FROM shards") == [(n,)])  # type: ignore[misc]
        program.kill()
    start()
    assert until_ended(database_url, simulation_id) == "succeeded"
    shard = "SELECT attempts, failures, losses, reason FROM shards"
    assert query(database_url, shard) == [(4, 0, 3, None)]


def test_frozen_past_its_heartbeat_and_awake_again(database_url: str, start: Start) -> None:
    simulation_id = submit(database_url, BODY)
    frozen = start()
    frozen_in_mid_shard(frozen, database_url, simulation_id)
    asleep = [frozen.process.pid, *(child.pid for child in frozen.descendants())]
    for pid in asleep:
        os.kill(pid, signal.SIGSTOP)
    start()
    assert until_ended(database_url, simulation_id) == "succeeded"
    for pid in asleep:
        os.kill(pid, signal.SIGCONT)
    again = submit(database_url, BODY)  # both work on
    assert_undisturbed(database_url, simulation_id)
    assert_undisturbed(database_url, again)


def test_declared_dead_and_registered_anew(database_url: str, start: Start) -> None:
    """Its registration is deleted under a live worker, as happens to one that froze: it goes on by itself."""
    program = start()
    until(lambda: query(database_url, "SELECT count(*) FROM queue.procrastinate_workers") == [(2,)])
    query(database_url, "DELETE FROM queue.procrastinate_workers RETURNING id")
    assert_undisturbed(database_url, submit(database_url, BODY))
    assert program.process.poll() is None
    assert program.terminate() == 0


def test_cancelling_stops_within_a_second(database_url: str, start: Start) -> None:
    simulation_id = submit(database_url, ENDLESS)
    program = start()
    child = computing(database_url, simulation_id, program)
    cancel(database_url, simulation_id)
    assert cpu_seconds_until_gone(child) < 1.0
    assert state(database_url, simulation_id) == "cancelled"
    # the worker is free for others
    assert_undisturbed(database_url, submit(database_url, BODY))


def test_sigterm_finishes_what_is_under_way(database_url: str, start: Start) -> None:
    simulation_id = submit(database_url, BODY)
    program = start()
    under_way = frozen_in_mid_shard(program, database_url, simulation_id)
    program.process.send_signal(signal.SIGTERM)
    program.process.send_signal(signal.SIGCONT)
    assert program.process.wait(60) == 0
    assert shards_in(database_url, simulation_id, "running") == 0
    succeeded = query(database_url, "SELECT index FROM shards WHERE state = 'succeeded'")
    assert under_way <= {index for (index,) in succeeded}
    assert query(database_url, "SELECT count(*) FROM workers") == [(0,)]
    start()
    assert_undisturbed(database_url, simulation_id)


def test_sigterm_hands_back_what_takes_too_long(database_url: str, start: Start) -> None:
    simulation_id = submit(database_url, ENDLESS)
    program = start(DRAIN_TIMEOUT="0.2")
    child = computing(database_url, simulation_id, program)
    assert program.terminate() == 0
    assert gone(child.pid)
    shard = query(database_url, "SELECT state, attempts, reason FROM shards")
    assert shard == [("queued", 0, None)]
    assert query(database_url, "SELECT status::text FROM queue.procrastinate_jobs") == [("todo",)]
    other = start()
    computing(database_url, simulation_id, other)
    assert state(database_url, simulation_id) == "running"


def test_poison_is_given_up_after_three_tries(database_url: str, start: Start) -> None:
    simulation_id = submit(database_url, ENDLESS)
    program = start()
    deadline = time.monotonic() + 240
    while state(database_url, simulation_id) in ("queued", "running"):
        assert time.monotonic() < deadline, program.said()
        if shards_in(database_url, simulation_id, "running"):
            for child in shard_children(program):  # whoever computes, and whoever waits
                child.kill()
                until(lambda pid=child.pid: gone(pid))  # type: ignore[misc]
    assert state(database_url, simulation_id) == "failed"
    [(failure,)] = query(database_url, "SELECT failure FROM simulations")
    assert failure["code"] == "shard_failed"
    assert "failed 3 times; the last time: The process computing it died" in failure["message"]
    assert query(database_url, "SELECT failures, losses FROM shards") == [(3, 0)]
    assert_undisturbed(database_url, submit(database_url, BODY))


def test_a_second_sigterm_hands_back_at_once(database_url: str, start: Start) -> None:
    simulation_id = submit(database_url, ENDLESS)
    program = start(DRAIN_TIMEOUT="600")
    child = computing(database_url, simulation_id, program)
    program.process.send_signal(signal.SIGTERM)
    until(lambda: "worker_draining" in program.said())
    assert not gone(child.pid)
    assert program.terminate() == 0
    assert gone(child.pid)
    assert query(database_url, "SELECT state, attempts FROM shards") == [("queued", 0)]


def test_four_at_once_are_finished_on_sigterm(database_url: str, start: Start) -> None:
    simulation_id = submit(database_url, BODY)
    program = start(WORKER_CONCURRENCY="4")
    until(lambda: shards_in(database_url, simulation_id, "running") >= 3)
    under_way = frozen_in_mid_shard(program, database_url, simulation_id)
    program.process.send_signal(signal.SIGTERM)
    program.process.send_signal(signal.SIGCONT)
    assert program.process.wait(60) == 0
    left = dict(query(database_url, "SELECT index, state FROM shards"))
    assert {left[index] for index in under_way} == {"succeeded"}
    assert set(left.values()) <= {"succeeded", "queued"}
    assert query(database_url, "SELECT max(attempts) FROM shards") == [(1,)]


def test_started_before_the_migrations(server_url: str, tmp_path: Path) -> None:
    """On several machines nobody knows who is first: it waits, says so once, and stops when it is told to."""
    name = f"early_{os.getpid()}"
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")  # type: ignore[call-overload]
    url = sqlalchemy_url(server_url).set(database=name).render_as_string(hide_password=False)
    programs = [worker(url, tmp_path / f"early-{k}.log") for k in range(2)]
    try:
        for program in programs:
            until(lambda p=program: "worker_waits_for_migrations" in p.said())  # type: ignore[misc]
        assert programs[0].terminate() == 0
        migrate(url)
        assert_undisturbed(url, submit(url, BODY))
        assert programs[1].terminate() == 0
        assert not any("Traceback" in program.said() for program in programs)
    finally:
        close_connections()
        for program in programs:
            if program.process.poll() is None:
                program.kill()
        with psycopg.connect(server_url, autocommit=True) as connection:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")  # type: ignore[call-overload]
