"""What one simulation of a training mix computes, in the form in which it travels to a worker's child."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from service.simulation.engine import simulate
from service.simulation.problem import Problem
from service.simulation.process import Process
from service.theory.model import Array


@dataclass(frozen=True, eq=False)
class Group:
    """Processes on one problem; they share random numbers and equal fits. ``rows``: where their outcomes go."""

    problem: Problem[Any]
    processes: tuple[Process, ...]
    rows: tuple[int, ...]
    average_noise: bool = False


@dataclass(frozen=True, eq=False)
class RegressionWork:
    """Groups of processes that together fill ``rows`` rows of outcomes (see ``engine.simulate``)."""

    groups: tuple[Group, ...]
    rows: int

    def outcomes(self, seed: int, first: int, last: int) -> Array:
        """Of the replicates first <= r < last, shape (rows, last - first)."""
        found = np.full((self.rows, last - first), np.nan)
        for group in self.groups:
            found[list(group.rows)] = simulate(
                group.problem, group.processes, seed, first, last, average_noise=group.average_noise
            )
        return found
