"""Where long predictions are computed: one child process, which ends when its client goes; a short queue before it."""

import asyncio
from collections.abc import Callable
from typing import Final, TypeVar

from fastapi import Request

from service.errors import InvalidInput, TooManyRequests
from service.jobs.executor import ComputationFailed, LocalExecutor

T = TypeVar("T")

_MOST: Final = 3  # one that is computed and those that wait
_TIMEOUT: Final = 900.0
_RETRY_AFTER: Final = 60
_LOOK: Final = 0.25  # seconds between two looks at whether the client is still there


class ClientGone(Exception):
    """Nobody reads the answer any more."""


class Calculator:
    """The child process of one API process; it is started when first needed."""

    def __init__(self) -> None:
        self._executor: LocalExecutor | None = None
        self._admitted = 0

    @property
    def running(self) -> int:
        """Predictions that are computed or wait."""
        return self._admitted

    async def run(self, request: Request, function: Callable[..., T], *args: object) -> T:
        """``function(*args)`` in the child, which is stopped where the client goes: raises ClientGone.

        Raises TooManyRequests, InvalidInput.
        """
        if self._admitted >= _MOST:
            raise TooManyRequests(
                f"{_MOST} predictions of minutes are being computed or wait already; send this one again in a while.",
                headers={"Retry-After": str(_RETRY_AFTER)},
            )
        if self._executor is None:
            self._executor = LocalExecutor(
                concurrency=1, timeout=_TIMEOUT, preload="service.predictions.engine"
            )
        self._admitted += 1
        task = asyncio.ensure_future(self._executor.run(function, *args))
        try:
            while not (await asyncio.wait([task], timeout=_LOOK))[0]:
                if await request.is_disconnected():
                    raise ClientGone
            return task.result()
        except ComputationFailed as error:
            raise InvalidInput.at(
                "/training_mix", "not_computed", f"no value is returned. {error}"
            ) from error
        finally:
            self._admitted -= 1
            if not task.done():
                task.cancel()  # kills the child
                await asyncio.wait([task])

    async def close(self) -> None:
        """Stop the child."""
        if self._executor is not None:
            await self._executor.close()
            self._executor = None
