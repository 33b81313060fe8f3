"""Finds work that nobody is doing, in every worker, every few seconds; it needs no place in the queue itself."""

from collections.abc import Collection
from typing import Final

import structlog
from sqlalchemy import text
from sqlalchemy.exc import InternalError, ProgrammingError
from sqlalchemy.ext.asyncio import AsyncConnection

from service.database import idempotency
from service.jobs import queue, shards, tries

_log = structlog.get_logger(__name__)
_LOCK: Final = 0x7265_7363_7565  # one worker at a time

# A server that was away has no fresh heartbeats: everybody gets the time to send one.
_JUST_STARTED = text(
    "SELECT now() - pg_postmaster_start_time() < make_interval(secs => CAST(:stalled_after AS float))"
)
_STALLED = text("""
    SELECT job.id, job.task_name, job.args, job.attempts
    FROM queue.procrastinate_jobs AS job
    LEFT JOIN queue.procrastinate_workers AS worker ON worker.id = job.worker_id
    WHERE job.status = 'doing'
      AND (worker.id IS NULL OR worker.last_heartbeat < now() - make_interval(secs => :stalled_after))
""")
_RETRY = text(
    "SELECT procrastinate_retry_job_v2("
    ":job_id, now() + make_interval(secs => CAST(:pause AS float)), NULL, NULL, NULL)"
)
_FINISH = text("SELECT procrastinate_finish_job_v1(:job_id, 'failed', true)")

_WITHOUT_JOB = text("""
    SELECT shard.simulation_id, shard.index AS shard_index
    FROM shards AS shard
    JOIN simulations AS simulation ON simulation.id = shard.simulation_id
    LEFT JOIN queue.procrastinate_jobs AS job ON job.id = shard.job_id AND job.status IN ('todo', 'doing')
    WHERE shard.state IN ('queued', 'running') AND simulation.state IN ('queued', 'running')
      AND shard.job_id IS NOT NULL AND job.id IS NULL
    ORDER BY shard.simulation_id, shard.index
    LIMIT 1000
""")
_WITHOUT_REDUCTION = text("""
    SELECT simulation.id
    FROM simulations AS simulation
    WHERE simulation.state = 'running'
      AND NOT EXISTS (
          SELECT FROM shards
          WHERE simulation_id = simulation.id AND state <> 'succeeded' AND index < simulation.wanted_shards)
      AND NOT EXISTS (
          SELECT FROM queue.procrastinate_jobs AS job
          WHERE job.task_name = :task AND job.args->>'simulation_id' = simulation.id
            AND job.status IN ('todo', 'doing'))
""")
_OUT_OF_TIME = text("""
    SELECT id FROM simulations
    WHERE state = 'running' AND stopped IS NULL AND started_at < now() - make_interval(secs => max_seconds)
    LIMIT 100
""")
_EXPIRED = text("""
    DELETE FROM simulations
    WHERE id IN (
        SELECT id FROM simulations
        WHERE finished_at < now() - make_interval(secs => CAST(:seconds AS float)) LIMIT 100)
    RETURNING id
""")


async def end_what_is_over(connection: AsyncConnection, retention_days: float) -> None:
    """Stop simulations whose time is over; delete those that ended ``retention_days`` ago (0: keep them)."""
    for simulation_id in (await connection.scalars(_OUT_OF_TIME)).all():
        await shards.stop_in_time(connection, simulation_id)
        _log.info("simulation_out_of_time", simulation_id=simulation_id)
    if retention_days > 0:
        gone = (await connection.scalars(_EXPIRED, {"seconds": 86400 * retention_days})).all()
        for simulation_id in gone:
            await idempotency.forget(connection, simulation_id)
        if gone:
            _log.info("simulations_expired", count=len(gone))


async def rescue(connection: AsyncConnection, stalled_after: float) -> None:
    """Put back the jobs of workers without a heartbeat for ``stalled_after`` seconds, and what lost its job.

    A shard that keeps losing its workers is given up, see ``tries.lose``.
    """
    if not await _alone(connection) or await connection.scalar(
        _JUST_STARTED, {"stalled_after": stalled_after}
    ):
        return
    for job in (await connection.execute(_STALLED, {"stalled_after": stalled_after})).all():
        try:
            async with connection.begin_nested():
                pause = await _pause(connection, job.task_name, job.args, job.attempts)
                if pause is None:
                    await connection.execute(_FINISH, {"job_id": job.id})
                else:
                    await connection.execute(_RETRY, {"job_id": job.id, "pause": pause})
        except (InternalError, ProgrammingError):
            continue  # its worker woke up and ended it meanwhile
        _log.warning("job_rescued", job_id=job.id, task=job.task_name, pause=pause, **job.args)
    await _defer_what_lost_its_job(connection)
    await connection.execute(text("DELETE FROM workers WHERE heartbeat_at < now() - interval '1 hour'"))
    # Finished jobs delete themselves; some ends (an aborted one, say) leave a row.
    await connection.execute(
        text("DELETE FROM queue.procrastinate_jobs WHERE status NOT IN ('todo', 'doing')")
    )


async def lost_jobs(
    connection: AsyncConnection,
    worker_ids: Collection[int],
    under_way: Collection[int],
    suspected: Collection[int],
) -> set[int]:
    """Jobs that the queue believes to be done here, though they are not; put back when seen twice in a row.

    That happens when the connection breaks between the queue's handing out a job and the answer's arrival.
    ``suspected``: what the call before this one returned.
    """
    rows = await connection.execute(
        text(
            "SELECT id FROM queue.procrastinate_jobs WHERE status = 'doing' AND worker_id = ANY(:worker_ids)"
        ),
        {"worker_ids": list(worker_ids)},
    )
    idle = {row.id for row in rows} - set(under_way)
    for job_id in idle & set(suspected):
        await connection.execute(_RETRY, {"job_id": job_id, "pause": 0.0})
        _log.warning("lost_job_put_back", job_id=job_id)
    return idle


async def _alone(connection: AsyncConnection) -> bool:
    return bool(await connection.scalar(text("SELECT pg_try_advisory_xact_lock(:key)"), {"key": _LOCK}))


async def _pause(
    connection: AsyncConnection, task_name: str, arguments: dict[str, object], attempts: int
) -> float | None:
    """Seconds until a lost job is to be done again; None where it is not."""
    simulation_id = str(arguments["simulation_id"])
    if task_name == queue.SHARD_TASK:
        return await tries.lose(connection, simulation_id, int(str(arguments["index"])))
    if attempts + 1 < tries.LOSSES:  # counted by the queue, whatever the job came back for
        return tries.pause(attempts + 1)
    message = "Workers were lost again and again while reducing it (killed, out of memory, or cut off)."
    failure = {"code": "reduction_failed", "message": message}
    await shards.fail_simulation(connection, simulation_id, failure)
    return None


async def _defer_what_lost_its_job(connection: AsyncConnection) -> None:
    """A worker that froze, was declared dead and woke up may end the job that another one has taken over."""
    lost: dict[str, list[int]] = {}
    for row in await connection.execute(_WITHOUT_JOB):
        lost.setdefault(row.simulation_id, []).append(row.shard_index)
    for simulation_id, indices in lost.items():
        await shards.take_up(connection, simulation_id, indices)
        _log.warning("shards_deferred_again", simulation_id=simulation_id, indices=indices)
    for row in (await connection.execute(_WITHOUT_REDUCTION, {"task": queue.REDUCTION_TASK})).all():
        await queue.defer_reduction(connection, row.id)
        _log.warning("reduction_deferred_again", simulation_id=row.id)
