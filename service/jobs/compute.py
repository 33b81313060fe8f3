"""What a worker's child does: the test errors of one shard, as bytes that keep every bit."""

import pickle
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np

from service.simulation.literal import simulate
from service.simulation.problem import Problem
from service.theory.model import Array, TrainingMix

# In the database: float64, little-endian, C order, shape (points, replicates of the shard).
_STORED: Final = np.dtype("<f8")


@dataclass(frozen=True, eq=False)
class Group:
    """Mixes on one problem, and the grid points they are; they share random numbers and equal fits."""

    problem: Problem
    mixes: tuple[TrainingMix, ...]
    points: tuple[int, ...]


def shard_test_errors(work: bytes, points: int, seed: int, first: int, last: int) -> bytes:
    """Test errors of the replicates first <= r < last at every grid point; FloatingPointError on a NaN.

    ``work``: pickled groups of a workload.
    """
    errors = np.full((points, last - first), np.nan)
    for group in _groups(work):
        errors[list(group.points)] = simulate(group.problem, group.mixes, seed, first, last)
    if np.isnan(errors).any():
        point, replicate = np.argwhere(np.isnan(errors))[0]
        raise FloatingPointError(f"replicate {first + replicate} at grid point {point} is not a number")
    return to_bytes(errors)


@lru_cache(maxsize=2)
def _groups(work: bytes) -> tuple[Group, ...]:
    """Kept between shards: a problem on real rows computes its kernel matrix once in a process."""
    groups: tuple[Group, ...] = pickle.loads(work)
    return groups


def to_bytes(errors: Array) -> bytes:
    """The stored form of test errors, shape (points, replicates)."""
    return np.ascontiguousarray(errors, dtype=_STORED).tobytes()


def from_bytes(stored: bytes, points: int) -> Array:
    """Test errors from their stored form, shape (points, replicates)."""
    return np.frombuffer(stored, dtype=_STORED).reshape(points, -1).astype(np.float64)
