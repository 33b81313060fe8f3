"""Where descriptions are computed: one child process, so that predictions stay fast; a short queue before it."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final, TypeVar

from service.datasets.limits import refuse
from service.errors import TooManyRequests
from service.jobs.executor import ComputationFailed, LocalExecutor

T = TypeVar("T")

_MOST: Final = 2  # one that is computed and one that waits
_TIMEOUT: Final = 600.0
_RETRY_AFTER: Final = 20


class Describer:
    """The child process of one API process; it is started when first needed."""

    def __init__(self) -> None:
        self._executor: LocalExecutor | None = None
        self._admitted = 0

    @asynccontextmanager
    async def admitted(self) -> AsyncIterator[None]:
        """Admit one upload for as long as the context lasts, or raise TooManyRequests."""
        if self._admitted >= _MOST:
            raise TooManyRequests(
                f"{_MOST} data sets are being described already; send this one again in a while.",
                headers={"Retry-After": str(_RETRY_AFTER)},
            )
        self._admitted += 1
        try:
            yield
        finally:
            self._admitted -= 1

    async def run(self, function: Callable[..., T], *args: object) -> T:
        """``function(*args)`` in the child; one that dies or takes too long is the input's fault: InvalidInput."""
        if self._executor is None:
            self._executor = LocalExecutor(concurrency=1, timeout=_TIMEOUT)
        try:
            return await self._executor.run(function, *args)
        except ComputationFailed as error:
            raise refuse("file", "not_described", f"the file could not be described. {error}") from error

    async def close(self) -> None:
        """Stop the child."""
        if self._executor is not None:
            await self._executor.close()
            self._executor = None
