"""Runs a computation in a spawned child, so that cancelling it and its time limit really stop numpy."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final, Protocol, TypeVar

from service.jobs.children import CallFailed, Child, ChildDied, DiedIdle

T = TypeVar("T")

_STARTS: Final = 3


class ComputationFailed(Exception):
    """The child raised, died or ran out of time; the message says which."""


class Interrupted(Exception):
    """The worker is stopping; the computation was stopped and can be done by another worker."""


class Executor(Protocol):
    """Where computations are done: in children here, or elsewhere (dask.py)."""

    @property
    def concurrency(self) -> int:
        """Computations at once."""
        ...

    async def run(self, function: Callable[..., T], *args: object) -> T:
        """``function(*args)``; the task's cancellation stops it. Raises ComputationFailed, Interrupted."""
        ...

    def interrupt(self) -> None:
        """Stop everything; every ``run`` under way and to come raises Interrupted."""
        ...

    async def close(self) -> None:
        """Stop everything and wait for its end."""
        ...


@dataclass
class _Slot:
    """A place for one computation at a time."""

    child: Child


class LocalExecutor:
    """As many children of this process as computations at once; one that died or was stopped is replaced.

    Made and used in one event loop's thread, which outlives the children (see ``Child``).
    """

    def __init__(self, concurrency: int, timeout: float, preload: str = "numpy") -> None:
        """``concurrency`` children, started at once, with the module ``preload`` imported.

        ``timeout``: seconds that one computation may take, once its child has started.
        """
        self.concurrency = concurrency
        self._timeout = timeout
        self._preload = preload
        self._stopping = False
        self._slots = [_Slot(Child(preload)) for _ in range(concurrency)]
        self._idle: asyncio.Queue[_Slot] = asyncio.Queue()
        for slot in self._slots:
            self._idle.put_nowait(slot)
        # Twice: a call that was given up keeps its thread until its child has gone.
        self._threads = ThreadPoolExecutor(2 * concurrency, thread_name_prefix="child")

    async def run(self, function: Callable[..., T], *args: object) -> T:
        """``function(*args)`` in a child; the task's cancellation kills the child.

        Raises ComputationFailed, or Interrupted after ``interrupt``.
        """
        slot = await self._idle.get()
        try:
            return await self._run(slot, function, args)
        finally:
            self._idle.put_nowait(slot)

    async def _run(self, slot: _Slot, function: Callable[..., T], args: tuple[object, ...]) -> T:
        try:
            return await self._called(slot, function, args)
        except CallFailed as error:
            raise ComputationFailed(str(error)) from None
        except BaseException as error:
            self._replace(slot)  # whatever it was, the child may be at it still
            if isinstance(error, ChildDied) and self._stopping:
                raise Interrupted from None
            if isinstance(error, ChildDied):
                raise ComputationFailed(f"The process computing it died ({error}).") from None
            if isinstance(error, TimeoutError):
                raise ComputationFailed(
                    f"It took more than {self._timeout:g} seconds and was stopped."
                ) from None
            raise

    async def _called(self, slot: _Slot, function: Callable[..., T], args: tuple[object, ...]) -> T:
        """The call, anew where the child died before it took it."""
        for _ in range(_STARTS - 1):
            try:
                return await self._once(slot, function, args)
            except DiedIdle:
                if self._stopping:
                    raise
                self._replace(slot)
        return await self._once(slot, function, args)

    async def _once(self, slot: _Slot, function: Callable[..., T], args: tuple[object, ...]) -> T:
        await self._begin(slot)
        async with asyncio.timeout(self._timeout):
            result: T = await self._in_thread(slot.child.call, function, args)
            return result

    async def _begin(self, slot: _Slot) -> None:
        """See to it that the slot has a child that is ready.

        One that died idle or while it started is replaced: it knew nothing of the work, which is not to blame.
        """
        for start in range(1, _STARTS + 1):
            if self._stopping:
                raise Interrupted
            if not slot.child.alive:
                self._replace(slot)
            try:
                if not slot.child.ready:
                    await self._in_thread(slot.child.begin)
                return
            except ChildDied:
                if start == _STARTS:
                    raise

    def _replace(self, slot: _Slot) -> None:
        slot.child.kill()
        if not self._stopping:
            slot.child = Child(self._preload)

    async def _in_thread(self, function: Callable[..., T], *args: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, function, *args)

    def interrupt(self) -> None:
        """Kill the children; every ``run`` under way and to come raises Interrupted."""
        self._stopping = True
        for slot in self._slots:
            slot.child.kill()

    async def close(self) -> None:
        """Stop the children and wait for their end."""
        self.interrupt()
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        self._threads.shutdown()
        for slot in self._slots:
            slot.child.join()
