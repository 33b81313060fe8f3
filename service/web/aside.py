"""Where answers are computed: what takes long in child processes, which end when their client goes, others in threads.

Two lanes of children, so that what takes seconds does not wait for what takes minutes; a short queue before each.
"""

import asyncio
import os
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeVar

from fastapi import Request

from service.errors import InvalidInput, ServiceError, TooManyRequests
from service.jobs.executor import ComputationFailed, LocalExecutor

T = TypeVar("T")

IN_THREAD: Final = 0.5
"""Seconds that a computation may be expected to take in a thread, which nothing can stop."""
_MINUTES: Final = 30.0  # what is expected to take longer goes to the other lane
_LOOK: Final = 0.25  # seconds between two looks at whether the client is still there
_PER_BYTE: Final = 3e-7  # seconds
_UNKNOWN: Final = 2**24  # bytes of a body sent in chunks
_PRELOAD: Final = "service.predictions.engine"


class ClientGone(Exception):
    """Nobody reads the answer any more."""


class Defect(Exception):
    """A computation raised what it should not; the message is its traceback."""


@dataclass(frozen=True)
class _Refused:
    """An error of the service's own tree, from a child: its exceptions come back as text."""

    error: ServiceError


@dataclass(frozen=True)
class _Broken:
    """What another exception in a child printed."""

    text: str


class Lane:
    """Children, started when first needed, and those who wait for one."""

    def __init__(self, children: int, most: int, timeout: float, retry_after: int) -> None:
        """``most``: requests that are computed or wait; ``timeout``: seconds of one computation."""
        self.children, self.most, self.timeout = children, most, timeout
        self.running = 0
        """Requests that are computed or wait."""
        self.busy = 0
        """Computations, those of streams too."""
        self._retry_after = retry_after
        self._executor: LocalExecutor | None = None

    async def run(self, request: Request, function: Callable[..., T], *args: object) -> T:
        """``function(*args)`` in a child, which is stopped where the client goes: raises ClientGone.

        Raises TooManyRequests, InvalidInput where it takes too long, and the ServiceError that ``function`` raises.
        """
        if self.running >= self.most:
            raise TooManyRequests(
                f"{self.running} requests that take long are being computed or wait already; send this one again in "
                "a while.",
                headers={"Retry-After": str(self._retry_after)},
            )
        self.running += 1
        task = asyncio.ensure_future(self.compute(function, *args))
        try:
            while not (await asyncio.wait([task], timeout=_LOOK))[0]:
                if await request.is_disconnected():
                    raise ClientGone
            return task.result()
        finally:
            self.running -= 1
            if not task.done():
                task.cancel()  # kills the child
                await asyncio.wait([task])

    async def compute(self, function: Callable[..., T], *args: object) -> T:
        """The same for a stream, whose task is cancelled when the client goes; it waits as long as it has to."""
        if self._executor is None:
            self._executor = LocalExecutor(self.children, self.timeout, _PRELOAD)
        self.busy += 1
        try:
            found: T | _Refused | _Broken = await self._executor.run(_outcome, function, args)
        except ComputationFailed as error:
            raise InvalidInput.at(
                "", "not_computed",
                f"{error} No value is returned: ask for less at once (modes, sources, stages, generations, points).",
            ) from error  # fmt: skip
        finally:
            self.busy -= 1
        if isinstance(found, _Refused):
            raise found.error
        if isinstance(found, _Broken):
            raise Defect(found.text)
        return found

    async def close(self) -> None:
        """Stop the children."""
        if self._executor is not None:
            await self._executor.close()
            self._executor = None


class Calculator:
    """The lanes of one API process."""

    def __init__(self) -> None:
        cores = os.cpu_count() or 1
        self.seconds = Lane(cores, most=16 * cores, timeout=120.0, retry_after=20)
        self.minutes = Lane(1, most=3, timeout=900.0, retry_after=60)

    def lane(self, seconds: float) -> Lane:
        """Where a computation belongs that is expected to take so long."""
        return self.seconds if seconds <= _MINUTES else self.minutes

    async def close(self) -> None:
        """Stop all children."""
        for lane in (self.seconds, self.minutes):
            await lane.close()


class Aside:
    """The same, for one request."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self.calculator: Calculator = request.app.state.calculator

    @property
    def compilation_seconds(self) -> float:
        """About how long it takes to compile the request several times: lists and matrices count, by their bytes."""
        length = self.request.headers.get("content-length", "")
        return _PER_BYTE * (int(length) if length.isdecimal() else _UNKNOWN)

    async def run(self, seconds: float, function: Callable[..., T], *args: object) -> T:
        """``function(*args)``, expected to take so many ``seconds``, in a thread or in a child: see Lane.run."""
        if seconds <= IN_THREAD:
            return await asyncio.to_thread(function, *args)
        return await self.calculator.lane(seconds).run(self.request, function, *args)


def _outcome(function: Callable[..., T], args: tuple[object, ...]) -> T | _Refused | _Broken:
    """What the child does."""
    try:
        return function(*args)
    except ServiceError as error:
        return _Refused(error)
    except Exception:
        return _Broken(traceback.format_exc())
