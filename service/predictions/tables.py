"""Many requests that differ in a few numbers, where they are computed: by what a chunk of them takes."""

import asyncio
import pickle
from functools import lru_cache

import numpy as np

from service.errors import InvalidInput
from service.predictions.variants import Family
from service.theory.model import Array
from service.theory.slots import COLUMNS, Columns
from service.web.aside import IN_THREAD, Calculator


class Tables:
    """Predicts points of a family: in a thread where a chunk of them takes a moment, else in a child.

    A task that is cancelled stops the child.
    """

    def __init__(self, family: Family, chunk_seconds: float, calculator: Calculator) -> None:
        self._family = family
        self._lane = None if chunk_seconds <= IN_THREAD else calculator.lane(chunk_seconds)
        self._pickled = b"" if self._lane is None else pickle.dumps(family, pickle.HIGHEST_PROTOCOL)

    async def at(self, values: Array) -> Columns:
        """The predictions at ``values``, shape (points, variants)."""
        if self._lane is None:
            return await asyncio.to_thread(self._family.table, values)
        try:
            return await self._lane.compute(_table, self._pickled, values)
        except InvalidInput as error:  # out of time or memory: the answer is under way, so its rows say it
            nothing = np.full(len(values), np.nan)
            return Columns(dict.fromkeys(COLUMNS, nothing), dict.fromkeys(range(len(values)), error.detail))


def _table(pickled: bytes, values: Array) -> Columns:
    """What the child does."""
    return _unpickled(pickled).table(values)


@lru_cache(maxsize=1)
def _unpickled(pickled: bytes) -> Family:
    """Kept between chunks: with what it has compiled."""
    family: Family = pickle.loads(pickled)
    return family
