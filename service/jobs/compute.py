"""What a worker's child does: the outcomes of one shard, as bytes that keep every bit."""

import pickle
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import numpy as np

from service.simulation.engine import simulate
from service.simulation.problem import Problem
from service.simulation.process import Process
from service.theory.model import Array

# In the database: float64, little-endian, C order, shape (outcomes, replicates of the shard).
_STORED: Final = np.dtype("<f8")


@dataclass(frozen=True, eq=False)
class Group:
    """Processes on one problem; they share random numbers and equal fits. ``rows``: where their outcomes go."""

    problem: Problem[Any]
    processes: tuple[Process, ...]
    rows: tuple[int, ...]
    average_noise: bool = False


def shard_test_errors(work: bytes, outcomes: int, seed: int, first: int, last: int) -> bytes:
    """The outcomes (see ``engine.simulate``) of the replicates first <= r < last; FloatingPointError on a NaN.

    ``work``: pickled groups of a workload; ``outcomes``: rows of all of them together.
    """
    errors = np.full((outcomes, last - first), np.nan)
    for group in _groups(work):
        errors[list(group.rows)] = simulate(
            group.problem, group.processes, seed, first, last, average_noise=group.average_noise
        )
    if np.isnan(errors).any():
        outcome, replicate = np.argwhere(np.isnan(errors))[0]
        raise FloatingPointError(f"replicate {first + replicate} of outcome {outcome} is not a number")
    return to_bytes(errors)


@lru_cache(maxsize=2)
def _groups(work: bytes) -> tuple[Group, ...]:
    """Kept between shards: a problem on real rows computes its kernel matrix once in a process."""
    groups: tuple[Group, ...] = pickle.loads(work)
    return groups


def to_bytes(errors: Array) -> bytes:
    """The stored form of outcomes, shape (outcomes, replicates)."""
    return np.ascontiguousarray(errors, dtype=_STORED).tobytes()


def from_bytes(stored: bytes, outcomes: int) -> Array:
    """Outcomes from their stored form, shape (outcomes, replicates)."""
    return np.frombuffer(stored, dtype=_STORED).reshape(outcomes, -1).astype(np.float64)
