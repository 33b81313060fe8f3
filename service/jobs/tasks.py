"""What a worker does with a job: a shard (computed in a child, stored once) or the reduction of a simulation."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final, TypeVar

import procrastinate
import structlog
from procrastinate.exceptions import JobAborted
from procrastinate.job_context import AbortReason
from sqlalchemy.ext.asyncio import AsyncConnection

from service.database.engine import Database
from service.errors import DatabaseUnavailable, ServiceError
from service.jobs import queue, shards, tries
from service.jobs.compute import shard_outcomes
from service.jobs.executor import ComputationFailed, Executor, Interrupted
from service.simulations import results
from service.simulations.works import Works

T = TypeVar("T")

_log = structlog.get_logger(__name__)
_BACKOFF: Final = (0.1, 0.2, 0.5, 1.0, 2.0)  # seconds between attempts to store; the last one repeats


class TryAgain(Exception):
    """The job goes back to the queue."""


class _BackToTheQueue(procrastinate.BaseRetryStrategy):
    """Tries are counted in the table of shards; here it is only decided that a job stays a job."""

    def get_retry_decision(
        self,
        *,
        exception: BaseException,
        job: procrastinate.jobs.Job,  # noqa: ARG002
    ) -> procrastinate.RetryDecision | None:
        """Keep the job when it was handed back, when its worker stops, and when it is to be tried again."""
        if isinstance(exception, TryAgain | Interrupted | asyncio.CancelledError | DatabaseUnavailable):
            return procrastinate.RetryDecision(retry_in={"seconds": 0})
        return None


class Tasks:
    """The tasks of one worker."""

    def __init__(self, database: Database, executor: Executor, works: Works, worker_id: str) -> None:
        self._database = database
        self._executor = executor
        self._works = works
        self._worker_id = worker_id
        self.job_ids: set[int] = set()
        """Jobs under way here."""
        self.stopping = False

    def register(self, app: procrastinate.App) -> None:
        """Make the tasks known to a procrastinate app."""
        app.task(name=queue.SHARD_TASK, pass_context=True, retry=_BackToTheQueue())(self.shard)
        app.task(name=queue.REDUCTION_TASK, pass_context=True, retry=_BackToTheQueue())(self.reduction)

    async def shard(self, context: procrastinate.JobContext, simulation_id: str, index: int) -> None:
        """Compute one shard and store its result."""
        with self._under_way(context):
            claimed = await self._stored(
                partial(shards.claim, simulation_id=simulation_id, index=index, worker_id=self._worker_id)
            )
            if claimed is None:
                return
            try:
                test_errors = await self._compute(claimed)
            except (Interrupted, DatabaseUnavailable):
                await self._stored(partial(shards.hand_back, shard=claimed))
                raise
            except asyncio.CancelledError:
                if context.abort_reason() is AbortReason.USER_REQUEST:
                    raise JobAborted from None
                raise
            except Exception as error:
                told = isinstance(error, ComputationFailed | ServiceError)
                reason = str(error) if told else f"{type(error).__name__}: {error}"
                _log.warning("shard_failed", simulation_id=simulation_id, index=index, reason=reason)
                if await self._stored(partial(tries.fail, shard=claimed, reason=reason)):
                    raise TryAgain from error
                return
            await self._stored(partial(shards.succeed, shard=claimed, test_errors=test_errors))

    async def _compute(self, claimed: shards.Claim) -> bytes:
        work = await self._works.get(claimed.simulation_id)
        return await self._executor.run(
            shard_outcomes, work.pickled, work.outcomes, work.seed, claimed.first, claimed.last
        )

    async def reduction(self, context: procrastinate.JobContext, simulation_id: str) -> None:
        """Summarise a simulation whose shards have all succeeded."""
        with self._under_way(context):
            try:
                await self._stored(partial(results.finish, simulation_id=simulation_id))
            except DatabaseUnavailable:
                raise
            except Exception as error:
                _log.exception("reduction_failed", simulation_id=simulation_id)
                failure = {"code": "reduction_failed", "message": f"{type(error).__name__}: {error}"}
                await self._stored(
                    partial(shards.fail_simulation, simulation_id=simulation_id, failure=failure)
                )

    async def _stored(self, change: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        """One transaction, repeated while the database is away: what was computed is not thrown away."""
        attempt = 0
        while True:
            try:
                async with self._database.transaction() as connection:
                    return await change(connection)
            except DatabaseUnavailable:
                if self.stopping:
                    raise
            await asyncio.sleep(_BACKOFF[min(attempt, len(_BACKOFF) - 1)])
            attempt += 1

    def _under_way(self, context: procrastinate.JobContext) -> "_UnderWay":
        return _UnderWay(self.job_ids, context.job.id)


class _UnderWay:
    def __init__(self, job_ids: set[int], job_id: int | None) -> None:
        self._job_ids, self._job_id = job_ids, job_id

    def __enter__(self) -> None:
        if self._job_id is not None:
            self._job_ids.add(self._job_id)

    def __exit__(self, *_: object) -> None:
        if self._job_id is not None:
            self._job_ids.discard(self._job_id)
