"""What a worker's child does: the outcomes of one shard, as bytes that keep every bit."""

import pickle
from functools import lru_cache
from typing import Final, Protocol

import numpy as np

from service.theory.model import Array

# In the database: float64, little-endian, C order, shape (outcomes, replicates of the shard).
_STORED: Final = np.dtype("<f8")


class Work(Protocol):
    """What one simulation computes; it is pickled, and travels to the children of workers."""

    def outcomes(self, seed: int, first: int, last: int) -> Array:
        """The numbers that replicates first <= r < last come to, shape (rows, last - first).

        A replicate's numbers depend on ``seed`` and its own number r alone, to the last bit.
        """
        ...


def shard_outcomes(work: bytes, rows: int, seed: int, first: int, last: int) -> bytes:
    """The outcomes of the replicates first <= r < last; FloatingPointError on a NaN. ``work``: pickled."""
    found = np.asarray(_unpickled(work).outcomes(seed, first, last), dtype=np.float64)
    if found.shape != (rows, last - first):
        raise ValueError(f"{rows} outcomes of {last - first} replicates were announced, not {found.shape}")
    if np.isnan(found).any():
        outcome, replicate = np.argwhere(np.isnan(found))[0]
        raise FloatingPointError(f"replicate {first + replicate} of outcome {outcome} is not a number")
    return to_bytes(found)


@lru_cache(maxsize=2)
def _unpickled(work: bytes) -> Work:
    """Kept between shards: a problem on real rows computes its kernel matrix once in a process."""
    unpickled: Work = pickle.loads(work)
    return unpickled


def to_bytes(outcomes: Array) -> bytes:
    """The stored form of outcomes, shape (rows, replicates)."""
    return np.ascontiguousarray(outcomes, dtype=_STORED).tobytes()


def from_bytes(stored: bytes, rows: int) -> Array:
    """Outcomes from their stored form, shape (rows, replicates)."""
    return np.frombuffer(stored, dtype=_STORED).reshape(rows, -1).astype(np.float64)
