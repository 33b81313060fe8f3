"""Runs computations on a Dask cluster: an executor only; whatever has to last is in PostgreSQL.

On a Dask worker a computation runs as it does here, in a spawned child on one thread (executor.py): that gives the same
bits, and stops numpy. A computation that nobody waits for any more, because it was cancelled or its client is gone,
is noticed by the Dask worker, which ends the child.
"""

import asyncio
import multiprocessing
import uuid
from collections.abc import Callable
from concurrent.futures import CancelledError as Forgotten
from functools import lru_cache
from typing import Any, Final, TypeVar

import structlog
from distributed import Client, get_worker

from service import __version__
from service.jobs.executor import ComputationFailed, Interrupted, LocalExecutor

T = TypeVar("T")

_LOOK: Final = 0.2  # seconds between a Dask worker's looks whether a computation is still wanted
_PAUSE: Final = 0.5  # seconds between attempts to reach the scheduler
_PATIENCE: Final = 10.0  # seconds that one attempt may take

_log = structlog.get_logger(__name__)


class DaskExecutor:
    """Sends computations to a Dask cluster, waits while its scheduler is away and then sends them again."""

    def __init__(self, scheduler: str, concurrency: int, timeout: float, preload: str) -> None:
        """``concurrency``, 0: as many as the cluster has threads when it is reached; else see LocalExecutor."""
        self.concurrency = concurrency
        self._scheduler = scheduler
        self._timeout = timeout
        self._preload = preload
        self._stopping = False
        self._client: Client | None = None
        self._one_at_a_time = asyncio.Lock()
        self._under_way: set[asyncio.Task[Any]] = set()

    async def start(self) -> "DaskExecutor":
        """Wait for the scheduler; returns this."""
        client = await self._connected()
        self.concurrency = self.concurrency or max(1, sum((await client.nthreads()).values()))
        return self

    async def run(self, function: Callable[..., T], *args: object) -> T:
        """``function(*args)`` on the cluster; the task's cancellation has it stopped there.

        Raises ComputationFailed, or Interrupted after ``interrupt``.
        """
        if self._stopping:
            raise Interrupted
        task: asyncio.Task[T] = asyncio.ensure_future(self._run(function, args))
        self._under_way.add(task)
        try:
            return await task
        except asyncio.CancelledError:
            task.cancel()
            if self._stopping:
                raise Interrupted from None
            raise
        finally:
            self._under_way.discard(task)

    async def _run(self, function: Callable[..., T], args: tuple[object, ...]) -> T:
        while True:
            client = await self._connected()
            key = f"collapse-{uuid.uuid4().hex}"
            call = (__version__, self._timeout, self._preload, function, args)
            future = client.submit(_compute, key, call, key=key, pure=False)
            try:
                result: T = await future
                return result
            except Forgotten:
                _log.warning(
                    "dask_forgot_a_computation", key=key
                )  # its scheduler went away, or was restarted
            except ComputationFailed:
                raise
            except Exception as error:  # of Dask: it gave up after some workers died, say
                raise ComputationFailed(f"Dask: {type(error).__name__}: {error}") from None
            finally:
                future.release()  # where it still computes, that is noticed
            await asyncio.sleep(_PAUSE)

    async def _connected(self) -> Client:
        """The client, made anew where it gave up."""
        told = False
        async with self._one_at_a_time:
            while self._client is None or self._client.status != "running":
                if self._client is None or self._client.status in ("closing", "closed"):
                    try:
                        self._client = await Client(
                            self._scheduler, asynchronous=True, set_as_default=False, timeout=_PATIENCE
                        )
                        continue
                    except OSError as error:  # TimeoutError, too
                        self._client = None
                        if not told:
                            _log.warning("dask_unreachable", scheduler=self._scheduler, cause=str(error))
                        told = True
                await asyncio.sleep(_PAUSE)
            return self._client

    def interrupt(self) -> None:
        """Stop every computation; every ``run`` under way and to come raises Interrupted."""
        self._stopping = True
        for task in self._under_way:
            task.cancel()

    async def close(self) -> None:
        """Stop the computations and leave the cluster."""
        self.interrupt()
        await asyncio.gather(*self._under_way, return_exceptions=True)
        if self._client is not None:
            await self._client.close()


async def _compute(key: str, call: tuple[str, float, str, Callable[..., T], tuple[object, ...]]) -> T:
    """On a Dask worker, in its event loop: the call in a child, for as long as the task ``key`` is wanted."""
    version, timeout, preload, function, args = call
    if version != __version__:
        raise ComputationFailed(f"A Dask worker runs version {__version__}, the worker {version}.")
    tasks = get_worker().state.tasks
    running = asyncio.ensure_future(_local(timeout, preload).run(function, *args))
    while not (await asyncio.wait([running], timeout=_LOOK))[0]:
        if key not in tasks or tasks[key].state != "executing":
            running.cancel()
            await asyncio.wait([running])
    if running.cancelled():
        raise ComputationFailed("It was stopped.")  # nobody hears it
    return running.result()


@lru_cache(maxsize=1)
def _local(timeout: float, preload: str) -> LocalExecutor:
    """The children of this Dask worker, one per thread that it has."""
    # Dask's nanny starts it as a daemon, which may have no children; ours leave with their parent by themselves.
    multiprocessing.current_process().daemon = False
    return LocalExecutor(int(get_worker().state.nthreads), timeout, preload)
