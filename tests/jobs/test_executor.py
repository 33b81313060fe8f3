import asyncio
import contextlib
import operator
import os
import platform
import re
import resource
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import numpy as np
import psutil
import pytest

from service.jobs.executor import ComputationFailed, Interrupted, LocalExecutor

pytestmark = pytest.mark.anyio


def add(a: int, b: int) -> int:
    return a + b


def blas_threads() -> list[str | None]:
    return [os.environ.get(name) for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")]


def faults_of_small_matrices() -> int:
    """Pages the kernel fills while matrices of 720 kB, 176 pages each, are made and dropped 50 times."""
    for _ in range(2):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for _ in range(50):
            made = [np.ones((300, 300)) for _ in range(3)]
            del made
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def turn() -> int | None:
    """Nanoseconds that Linux lets this process compute at a time; None where it does not say."""
    path = Path("/proc/self/sched")
    said = (
        [line for line in path.read_text().splitlines() if line.startswith("se.slice")]
        if path.exists()
        else []
    )
    return int(said[0].split()[-1]) if said else None


def pid() -> int:
    return os.getpid()


def busy_in_lapack(marker: str) -> None:
    """One call that does not come back to the interpreter for a long time."""
    Path(marker).write_text(str(os.getpid()))
    np.linalg.eigh(np.random.default_rng(0).standard_normal((6000, 6000)))


def sleeps(marker: str) -> None:
    Path(marker).write_text(str(os.getpid()))
    time.sleep(600)


def dies() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class DiesWhereItArrives:
    def __reduce__(self) -> tuple[Callable[[], None], tuple[()]]:
        return dies, ()


def raises() -> None:
    raise ZeroDivisionError("a message")


@pytest.fixture
async def executor(anyio_backend: str) -> AsyncIterator[LocalExecutor]:
    executor = LocalExecutor(1, timeout=60)
    yield executor
    await executor.close()


async def until_written(path: Path) -> int:
    deadline = time.monotonic() + 20
    while not (path.exists() and path.read_text()):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)
    return int(path.read_text())


async def cpu_seconds_until_gone(process_id: int) -> float:
    """What a process still computes before it ends: unlike the clock, this does not depend on who else is busy."""
    deadline = time.monotonic() + 60
    first: float | None = None
    used = 0.0
    while True:
        try:
            process = psutil.Process(process_id)
            times = process.cpu_times()
            if process.status() == psutil.STATUS_ZOMBIE:
                break
        except psutil.NoSuchProcess:
            break
        assert time.monotonic() < deadline, "the process computes on"
        used = times.user + times.system
        first = used if first is None else first
        await asyncio.sleep(0.02)
    return used - (first or used)


async def test_runs_in_another_process_with_one_thread(executor: LocalExecutor) -> None:
    assert await executor.run(add, 2, 3) == 5
    assert await executor.run(pid) != os.getpid()
    assert await executor.run(blas_threads) == ["1", "1", "1"]


async def test_everyone_else_comes_first(executor: LocalExecutor) -> None:
    release = tuple(int(part) for part in re.findall(r"\d+", platform.release())[:2])
    if turn() is None or release < (6, 12):
        pytest.skip("needs Linux 6.12 or newer that shows a process's turns in /proc/self/sched")
    assert await executor.run(turn) == 100_000_000


@pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="needs Linux with glibc, whose allocator it is about"
)
async def test_memory_of_small_matrices_is_kept(executor: LocalExecutor) -> None:
    assert await executor.run(faults_of_small_matrices) < 50


async def test_reasons_are_told(executor: LocalExecutor) -> None:
    with pytest.raises(ComputationFailed, match="ZeroDivisionError: a message"):
        await executor.run(raises)
    with pytest.raises(ComputationFailed, match="SIGKILL"):
        await executor.run(dies)
    assert await executor.run(add, 2, 3) == 5


async def test_time_limit(anyio_backend: str, tmp_path: Path) -> None:
    executor = LocalExecutor(
        1, timeout=0.5, preload=__name__
    )  # what the call needs is imported before its time
    with pytest.raises(ComputationFailed, match=r"more than 0\.5 seconds"):
        await executor.run(sleeps, str(tmp_path / "pid"))
    await cpu_seconds_until_gone(int((tmp_path / "pid").read_text()))
    await executor.close()


async def test_cancelling_stops_numpy_within_a_second(executor: LocalExecutor, tmp_path: Path) -> None:
    task = asyncio.create_task(executor.run(busy_in_lapack, str(tmp_path / "pid")))
    child = await until_written(tmp_path / "pid")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await cpu_seconds_until_gone(child) < 1.0
    assert await executor.run(add, 2, 3) == 5


async def test_interrupting_is_not_cancelling(executor: LocalExecutor, tmp_path: Path) -> None:
    task = asyncio.create_task(executor.run(sleeps, str(tmp_path / "pid")))
    await until_written(tmp_path / "pid")
    executor.interrupt()
    with pytest.raises(Interrupted):
        await task
    with pytest.raises(Interrupted):
        await executor.run(add, 2, 3)


async def test_a_child_that_dies_taking_its_work_is_noticed(executor: LocalExecutor) -> None:
    """A pool whose children share a pipe can lose the call, or the pipe's lock, in that moment."""
    with pytest.raises(ComputationFailed, match="SIGKILL"):
        await asyncio.wait_for(executor.run(add, 2, DiesWhereItArrives()), 60)
    assert await executor.run(add, 2, 3) == 5


async def test_a_child_that_dies_idle_costs_nothing(executor: LocalExecutor) -> None:
    for _ in range(3):
        child = await executor.run(pid)
        os.kill(child, signal.SIGKILL)
        await cpu_seconds_until_gone(child)
        assert await asyncio.wait_for(executor.run(add, 2, 3), 60) == 5


async def test_a_child_that_cannot_start(anyio_backend: str) -> None:
    executor = LocalExecutor(1, timeout=60, preload="no_such_module")
    with pytest.raises(ComputationFailed, match="exit code 1"):
        await asyncio.wait_for(executor.run(add, 2, 3), 60)
    await executor.close()


async def test_more_calls_than_children(executor: LocalExecutor) -> None:
    assert await asyncio.gather(*(executor.run(add, n, n) for n in range(20))) == [2 * n for n in range(20)]


async def test_children_killed_at_random_moments(anyio_backend: str) -> None:
    """Every call ends, whenever its child and those that wait are killed."""
    executor, random = LocalExecutor(2, timeout=60, preload="operator"), np.random.default_rng(7)
    children = psutil.Process()
    ended = 0
    for _ in range(25):
        call = asyncio.create_task(executor.run(operator.add, 2, 3))
        await asyncio.sleep(random.exponential(0.05))
        for child in children.children():
            with contextlib.suppress(psutil.Error):
                if "spawn_main" in " ".join(child.cmdline()):
                    child.kill()
        [outcome] = await asyncio.wait_for(asyncio.gather(call, return_exceptions=True), 60)
        assert outcome == 5 or isinstance(outcome, ComputationFailed)
        ended += 1
    assert ended == 25
    assert await executor.run(operator.add, 2, 3) == 5
    await executor.close()
