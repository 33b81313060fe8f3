"""A worker: takes shards and reductions from the queue until it is told to stop, whatever the database does."""

import asyncio
import contextlib
import os
import secrets
import signal
import socket
from typing import Final

import procrastinate
import structlog
from procrastinate.worker import Worker as QueueWorker
from sqlalchemy import delete, func
from sqlalchemy.dialects.postgresql import insert

from service import __version__, logs
from service.database.embedded import database_url
from service.database.engine import Database
from service.database.migrate import behind
from service.database.schema import workers
from service.errors import DatabaseUnavailable
from service.jobs import queue, rescue
from service.jobs.executor import Executor, LocalExecutor
from service.jobs.tasks import Tasks
from service.settings import Settings
from service.simulation import work
from service.simulations.works import Works

_log = structlog.get_logger(__name__)
_PAUSE: Final = 0.5  # seconds
_ENDS: Final = 2.0  # seconds between looks for simulations whose time is over
_LAST_WORDS: Final = 5.0  # seconds for storing and handing back, once the children are stopped


def run_worker(settings: Settings) -> None:
    """Run a worker until SIGTERM or SIGINT; then finish or hand back what is under way, and return.

    ``settings.drain_timeout`` seconds are left for finishing; a second signal hands back at once.
    """
    logs.configure(settings.log_level, settings.log_format)
    asyncio.run(_run(settings))


async def _run(settings: Settings) -> None:
    await _Worker(settings, await _executor(settings)).run()


async def _executor(settings: Settings) -> Executor:
    concurrency, preload = settings.worker_concurrency, work.__name__
    if settings.dask_scheduler is None:
        return LocalExecutor(concurrency or os.cpu_count() or 1, settings.shard_timeout, preload)
    try:
        from service.jobs.dask import DaskExecutor  # an extra
    except ModuleNotFoundError:
        raise SystemExit("collapse: Dask is not installed: pip install 'collapse-service[dask]'") from None
    return await DaskExecutor(settings.dask_scheduler, concurrency, settings.shard_timeout, preload).start()


class _Worker:
    def __init__(self, settings: Settings, executor: Executor) -> None:
        url = database_url(settings)
        self._settings = settings
        self._id = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
        self._concurrency = executor.concurrency
        self._database = Database(
            url,
            pool_size=self._concurrency + 2,
            idle_in_transaction=settings.stalled_after,
            repeatable=True,  # shards are computed again, with the same numbers
        )
        self._executor = executor
        works = Works(self._database, settings.rows_dir)
        self._tasks = Tasks(self._database, self._executor, works, self._id)
        self._connector = queue.PatientConnector(
            url, pool_size=self._concurrency + 2, idle_in_transaction=settings.stalled_after
        )
        self._app = procrastinate.App(connector=self._connector)
        self._tasks.register(self._app)
        self._queues = [
            # Reductions have a place of their own: they never wait behind shards.
            self._queue_worker(queue.SHARD_QUEUE, self._concurrency),
            self._queue_worker(queue.REDUCTION_QUEUE, 1),
        ]
        self._signals = 0
        self._stop = asyncio.Event()
        self._hurry = asyncio.Event()

    def _queue_worker(self, name: str, concurrency: int) -> QueueWorker:
        return QueueWorker(
            self._app,
            queues=[name],
            name=f"{self._id}/{name}",
            concurrency=concurrency,
            fetch_job_polling_interval=2.0,  # where a notification was missed
            abort_job_polling_interval=1.0,
            delete_jobs="always",  # the record is the table of shards
            install_signal_handlers=False,
            update_heartbeat_interval=self._settings.heartbeat_interval,
            stalled_worker_timeout=self._settings.stalled_after,
        )

    async def run(self) -> None:
        """Work until the stop; the children end with this, however it ends."""
        try:
            await self._run()
        finally:
            await self._executor.close()
            await self._database.dispose()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._signalled)
        await self._wait_for_migrations()
        if self._stop.is_set():
            return
        _log.info("worker_started", worker=self._id, concurrency=self._concurrency)
        async with self._app.open_async():
            side = [
                asyncio.create_task(self._heartbeats(), name="heartbeats"),
                asyncio.create_task(self._rescues(), name="rescues"),
            ]
            queues = [asyncio.create_task(self._serve(one), name="queue") for one in self._queues]
            stopped = asyncio.create_task(self._stop.wait())
            # A side task or a queue that ends before it is told to is a defect: fail loudly, to be restarted.
            await asyncio.wait([*side, *queues, stopped], return_when=asyncio.FIRST_COMPLETED)
            await self._drain(queues)
            for task in (*side, stopped):
                task.cancel()
            outcomes = await asyncio.gather(*side, *queues, return_exceptions=True)
            await self._leave()
        failures = [one for one in outcomes if isinstance(one, Exception)]
        if failures and not self._stop.is_set():
            raise failures[0]
        _log.info("worker_stopped", worker=self._id)

    async def _wait_for_migrations(self) -> None:
        """Of whoever starts everything, or of ``collapse migrate``: workers may be there first."""
        told = False
        while not self._stop.is_set():
            with contextlib.suppress(DatabaseUnavailable):
                async with self._database.transaction() as connection:
                    if not await behind(connection):
                        return
                if not told:
                    _log.warning("worker_waits_for_migrations", worker=self._id)
                told = True
            await asyncio.sleep(_PAUSE)

    async def _serve(self, queue_worker: QueueWorker) -> None:
        """Run one of the queue's workers until the stop; again, and registered anew, whenever it gives up.

        It gives up when it finds its registration deleted: it was frozen, or cut off, and was declared dead.
        """
        while not self._stop.is_set():
            try:
                await queue_worker.run()  # type: ignore[no-untyped-call]
            except Exception:
                _log.exception("queue_worker_failed", worker=queue_worker.worker_name)
                await asyncio.sleep(_PAUSE)

    def _signalled(self) -> None:
        self._signals += 1
        (self._stop if self._signals == 1 else self._hurry).set()

    async def _drain(self, queues: list[asyncio.Task[None]]) -> None:
        """Take nothing new; finish what is under way for a while, then stop it and hand it back."""
        _log.info("worker_draining", worker=self._id, under_way=len(self._tasks.job_ids))
        for one in self._queues:
            one.stop()  # type: ignore[no-untyped-call]
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._all_done_or_hurry(queues), self._settings.drain_timeout)
        self._executor.interrupt()
        self._tasks.stopping = True
        _, unfinished = await asyncio.wait(queues, timeout=_LAST_WORDS)
        self._connector.gives_up = True  # without a database: others take over once it is back
        if unfinished:
            await asyncio.wait(unfinished, timeout=_LAST_WORDS)
        for task in queues:
            task.cancel()

    async def _all_done_or_hurry(self, queues: list[asyncio.Task[None]]) -> None:
        hurry = asyncio.create_task(self._hurry.wait())
        try:
            await asyncio.wait(
                [asyncio.ensure_future(asyncio.wait(queues)), hurry], return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            hurry.cancel()

    async def _heartbeats(self) -> None:
        suspected: set[int] = set()
        while True:
            with contextlib.suppress(DatabaseUnavailable):
                suspected = await self._heartbeat(suspected)
            await asyncio.sleep(self._settings.heartbeat_interval)

    async def _heartbeat(self, suspected: set[int]) -> set[int]:
        state = "draining" if self._stop.is_set() else "running"
        async with self._database.transaction() as connection:
            await connection.execute(
                insert(workers)
                .values(
                    id=self._id,
                    hostname=socket.gethostname(),
                    pid=os.getpid(),
                    version=__version__,
                    concurrency=self._concurrency,
                    state=state,
                )
                .on_conflict_do_update(
                    index_elements=[workers.c.id], set_={"heartbeat_at": func.now(), "state": state}
                )
            )
            ids = [one.worker_id for one in self._queues if one.worker_id is not None]
            return await rescue.lost_jobs(connection, ids, self._tasks.job_ids, suspected)

    async def _rescues(self) -> None:
        while True:
            with contextlib.suppress(DatabaseUnavailable):
                async with self._database.transaction() as connection:
                    await rescue.rescue(connection, self._settings.stalled_after)
                async with self._database.transaction() as connection:
                    await rescue.end_what_is_over(connection, self._settings.retention_days)
            await asyncio.sleep(min(self._settings.stalled_after / 4, _ENDS))

    async def _leave(self) -> None:
        with contextlib.suppress(DatabaseUnavailable):
            async with self._database.transaction() as connection:
                await connection.execute(delete(workers).where(workers.c.id == self._id))
