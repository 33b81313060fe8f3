"""In which order shards are computed: simulations take turns, so that none waits for all of another one.

Start-time fair queueing (Goyal, Vin, Cheng 1996): a simulation's shards have the turns t, t + s, t + 2s, …; t is the
turn that is being served when it is submitted, s the stride of its priority. The smallest turn comes first. A
simulation of 10,000 shards and one of 20, submitted later, alternate from the later one's first shard on; neither
starves the other.
"""

from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from service.jobs import queue

STRIDES: Final = {"high": 1, "normal": 4, "low": 16}
"""A simulation of high priority gets 4 shards for each one of normal, and 16 for each one of low priority."""

WINDOW: Final = 256
"""Jobs of one simulation in the queue at a time; its further shards follow one by one as these are done."""

TURN: Final = (
    "simulation.turn + shard.index * CASE simulation.priority"
    f" {' '.join(f'WHEN {name!r} THEN {stride}' for name, stride in STRIDES.items())} END"
)
"""SQL: the turn of a simulation's shard."""

_REACHED = text("""
    SELECT (
        SELECT max(-priority) FROM queue.procrastinate_jobs
        WHERE status = 'doing' AND worker_id IS NOT NULL AND queue_name = :queue
    ) AS served, (
        SELECT -priority FROM queue.procrastinate_jobs
        WHERE status = 'todo' AND queue_name = :queue
        ORDER BY priority DESC, id LIMIT 1
    ) AS next
""")


async def reached(connection: AsyncConnection) -> int:
    """The turn of the shard that was begun last, of the next one where none is under way; 0 where there is neither.

    Not the next one's: that of a simulation of low priority lies far ahead, and who comes now need not wait for it. A
    shard that is tried again has an old turn: the next one is at most the longest stride away from the one served.
    """
    found = (await connection.execute(_REACHED, {"queue": queue.SHARD_QUEUE})).one()
    if found.next is None or found.served is None:
        return int(found.served or found.next or 0)
    return max(int(found.served), int(found.next) - max(STRIDES.values()))
