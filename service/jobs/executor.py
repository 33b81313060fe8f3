"""Runs a computation in a spawned child, so that cancelling it and its time limit really stop numpy."""

import asyncio
import importlib
import multiprocessing
import os
import signal
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Future
from typing import Any, Final, TypeVar

from pebble import ProcessExpired, ProcessPool

from service.processes import leave_with_parent

T = TypeVar("T")

# Shards are the parallelism: a library's own threads would only fight over the same cores.
_THREAD_LIMITS: Final = (
    "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS", "NUMEXPR_NUM_THREADS",
)  # fmt: skip
_NICENESS: Final = 5  # predictions, health checks and heartbeats come before simulations


class ComputationFailed(Exception):
    """The child raised, died or ran out of time; the message says which."""


class Interrupted(Exception):
    """The worker is stopping; the computation was stopped and can be done by another worker."""


class Executor:
    """One pool of children of this process."""

    def __init__(self, concurrency: int, timeout: float, preload: str = "numpy") -> None:
        """``concurrency`` children, started at once, with the module ``preload`` imported.

        ``timeout``: seconds that one computation may take.
        """
        os.environ.update(
            dict.fromkeys(_THREAD_LIMITS, "1")
        )  # inherited by the children, before they import numpy
        self._concurrency = concurrency
        self._timeout = timeout
        self._preload = preload
        self._pool = self._new_pool()
        self._running: set[Future[Any]] = set()
        self._stopping = False

    async def run(self, function: Callable[..., T], *args: object) -> T:
        """``function(*args)`` in a child; the task's cancellation kills the child.

        Raises ComputationFailed, or Interrupted after ``interrupt``.
        """
        if self._stopping:
            raise Interrupted
        if not self._pool.active:  # a child that died in a bad moment can break a pool
            self._pool = self._new_pool()
        future: Future[T] = self._pool.schedule(function, args=args, timeout=self._timeout)
        self._running.add(future)
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if self._stopping and task is not None and not task.cancelling():
                raise Interrupted from None
            raise
        except TimeoutError as error:
            raise ComputationFailed(
                f"It took more than {self._timeout:g} seconds and was stopped."
            ) from error
        except ProcessExpired as error:
            raise ComputationFailed(f"The process computing it died ({_exit(error.exitcode)}).") from error
        except BrokenExecutor as error:
            raise ComputationFailed("The process computing it died, and all its siblings with it.") from error
        except Exception as error:
            raise ComputationFailed(f"{type(error).__name__}: {error}") from error
        finally:
            self._running.discard(future)

    def interrupt(self) -> None:
        """Kill the children; every ``run`` under way and to come raises Interrupted."""
        self._stopping = True
        for future in tuple(self._running):
            future.cancel()

    async def close(self) -> None:
        """Stop the pool; in a thread, because it waits for the children."""
        self.interrupt()
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        self._pool.stop()  # type: ignore[no-untyped-call]
        self._pool.join()

    def _new_pool(self) -> ProcessPool:
        pool = ProcessPool(
            max_workers=self._concurrency,
            initializer=_begin_child,
            initargs=(os.getpid(), self._preload),
            context=multiprocessing.get_context("spawn"),
        )
        pool.schedule(os.getpid)  # a pool starts with its first task
        return pool


def _begin_child(parent: int, preload: str) -> None:
    # The pool's own handler would wait for numpy to return to the interpreter.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    leave_with_parent(parent, signal.SIGKILL)
    os.nice(_NICENESS)
    importlib.import_module(preload)


def _exit(code: int | None) -> str:
    if code is not None and code < 0:
        name = signal.Signals(-code).name
        return f"{name}, perhaps out of memory" if name == "SIGKILL" else name
    return f"exit code {code}"
