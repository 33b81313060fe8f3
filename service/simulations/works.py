"""What workers compute for stored simulations, made once per worker."""

import asyncio
import pickle
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sqlalchemy import select

from service.database.engine import Database
from service.database.schema import simulations
from service.errors import NotFound
from service.simulations.registry import KINDS

_KEPT: Final = 8  # works that a worker keeps ready


@dataclass(frozen=True, eq=False)
class StoredWork:
    """A kind's work, pickled for a worker's child; ``outcomes``: its rows."""

    pickled: bytes
    outcomes: int
    seed: int


class Works:
    """The works of stored simulations, by id."""

    def __init__(self, database: Database, rows_dir: Path) -> None:
        self._database = database
        self._rows_dir = rows_dir
        self._kept: OrderedDict[str, StoredWork] = OrderedDict()

    async def get(self, simulation_id: str) -> StoredWork:
        """Raises NotFound, RowsDeleted, DatabaseUnavailable."""
        if simulation_id in self._kept:
            self._kept.move_to_end(simulation_id)
            return self._kept[simulation_id]
        async with self._database.transaction() as connection:
            row = (
                await connection.execute(
                    select(
                        simulations.c.kind,
                        simulations.c.request,
                        simulations.c.points,
                        simulations.c.outcomes,
                    ).where(simulations.c.id == simulation_id)
                )
            ).first()
            if row is None:
                raise NotFound(f"There is no simulation {simulation_id}.")
            kind = KINDS[row.kind]
            request = kind.request.model_validate(row.request)
            data = await kind.load(connection, request, self._rows_dir)
        pickled = await asyncio.to_thread(lambda: pickle.dumps(kind.work(request, row.points, data)))
        made = StoredWork(pickled, row.outcomes, request.seed)
        self._kept[simulation_id] = made
        while len(self._kept) > _KEPT:
            self._kept.popitem(last=False)
        return made
