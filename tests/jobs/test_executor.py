import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from service.jobs.executor import ComputationFailed, Executor, Interrupted

pytestmark = pytest.mark.anyio


def add(a: int, b: int) -> int:
    return a + b


def blas_threads() -> list[str | None]:
    return [os.environ.get(name) for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")]


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


def raises() -> None:
    raise ZeroDivisionError("a message")


@pytest.fixture
async def executor(anyio_backend: str) -> AsyncIterator[Executor]:
    executor = Executor(1, timeout=60)
    yield executor
    await executor.close()


async def until_written(path: Path) -> int:
    deadline = time.monotonic() + 20
    while not (path.exists() and path.read_text()):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)
    return int(path.read_text())


async def until_gone(process_id: int, seconds: float) -> float:
    started = time.monotonic()
    while psutil.pid_exists(process_id) and psutil.Process(process_id).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < started + seconds
        await asyncio.sleep(0.02)
    return time.monotonic() - started


async def test_runs_in_another_process_with_one_thread(executor: Executor) -> None:
    assert await executor.run(add, 2, 3) == 5
    assert await executor.run(pid) != os.getpid()
    assert await executor.run(blas_threads) == ["1", "1", "1"]


async def test_reasons_are_told(executor: Executor) -> None:
    with pytest.raises(ComputationFailed, match="ZeroDivisionError: a message"):
        await executor.run(raises)
    with pytest.raises(ComputationFailed, match="SIGKILL"):
        await executor.run(dies)
    assert await executor.run(add, 2, 3) == 5


async def test_time_limit(anyio_backend: str, tmp_path: Path) -> None:
    executor = Executor(1, timeout=0.5)
    with pytest.raises(ComputationFailed, match=r"more than 0\.5 seconds"):
        await executor.run(sleeps, str(tmp_path / "pid"))
    await until_gone(int((tmp_path / "pid").read_text()), 5)
    await executor.close()


async def test_cancelling_stops_numpy_within_a_second(executor: Executor, tmp_path: Path) -> None:
    task = asyncio.create_task(executor.run(busy_in_lapack, str(tmp_path / "pid")))
    child = await until_written(tmp_path / "pid")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await until_gone(child, 10) < 1.5
    assert await executor.run(add, 2, 3) == 5


async def test_interrupting_is_not_cancelling(executor: Executor, tmp_path: Path) -> None:
    task = asyncio.create_task(executor.run(sleeps, str(tmp_path / "pid")))
    await until_written(tmp_path / "pid")
    executor.interrupt()
    with pytest.raises(Interrupted):
        await task
    with pytest.raises(Interrupted):
        await executor.run(add, 2, 3)
