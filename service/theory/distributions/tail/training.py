"""What the learner is trained on: for each item, the probability that it has never been seen."""

from dataclasses import dataclass
from math import inf
from typing import Protocol

import numpy as np

from service.theory.distributions.tail.zipf import Nodes, Zipf
from service.theory.model import Array


class Training(Protocol):
    """Data of one kind; ``samples`` may be any positive real number, where only curves are asked for."""

    @property
    def breaks(self) -> tuple[float, ...]:
        """Ranks after which ``unseen`` jumps."""
        ...

    @property
    def steepness(self) -> float:
        """The exponent of the generator's law where it is not the truth's, else 0."""
        ...

    def unseen(self, law: Zipf, nodes: Nodes, samples: float) -> Array:
        """P(item is in none of the samples) at the nodes, shape (nodes,)."""
        ...


def missed(hit: Array, samples: float) -> Array:
    """(1 − hit)^samples, shape of ``hit``; for probabilities of any size."""
    if samples == 0.0:
        return np.ones_like(hit)
    with np.errstate(divide="ignore"):
        value: Array = np.exp(samples * np.log1p(-np.minimum(hit, 1.0)))
    return value


@dataclass(frozen=True)
class Mixed:
    """Each sample is real with probability ``real_fraction``, else from a generator that knows ``rank`` items.

    The generator draws q_i = p_i / C_k for i ≤ k, with C_k = Σ_{i ≤ k} p_i. 1 is clean data; 0 the tail cut.
    """

    real_fraction: float
    rank: float = inf

    @property
    def breaks(self) -> tuple[float, ...]:
        """The cut."""
        return (self.rank,) if self.real_fraction < 1.0 and self.rank < inf else ()

    @property
    def steepness(self) -> float:
        """The truth's."""
        return 0.0

    def unseen(self, law: Zipf, nodes: Nodes, samples: float) -> Array:
        """(1 − π p_i − (1 − π) q_i)^T."""
        pi = self.real_fraction
        kept = 1.0 - law.beyond(self.rank)
        return missed(np.where(nodes.ranks <= self.rank, pi + (1.0 - pi) / kept, pi) * nodes.p, samples)


@dataclass(frozen=True)
class Counts:
    """``samples`` of the generator that knows the ``rank`` first items, and ``real_samples`` real ones besides."""

    real_samples: float
    rank: float

    @property
    def breaks(self) -> tuple[float, ...]:
        """The cut."""
        return (self.rank,)

    @property
    def steepness(self) -> float:
        """The truth's."""
        return 0.0

    def unseen(self, law: Zipf, nodes: Nodes, samples: float) -> Array:
        """(1 − p_i)^T_real (1 − q_i)^T."""
        kept = 1.0 - law.beyond(self.rank)
        q = np.where(nodes.ranks <= self.rank, nodes.p / kept, 0.0)
        return missed(nodes.p, self.real_samples) * missed(q, samples)


@dataclass(frozen=True)
class Narrowed:
    """All samples from a generator with a steeper law, q_i = i^-β' / Z', β' ≥ β, over the same items."""

    exponent: float

    @property
    def breaks(self) -> tuple[float, ...]:
        """None."""
        return ()

    @property
    def steepness(self) -> float:
        """β'."""
        return self.exponent

    def unseen(self, law: Zipf, nodes: Nodes, samples: float) -> Array:
        """(1 − q_i)^T."""
        generator = Zipf(self.exponent, law.types)
        return missed(nodes.ranks**-self.exponent / generator.normalizer, samples)


CLEAN = Mixed(1.0)


def unseen_mass(law: Zipf, training: Training, samples: float, memory: float = inf) -> float:
    """E = Σ_i p_i P(item i unseen): the expected error of a learner that fails on what it never saw. Exact.

    ``memory``: the learner keeps the so many most frequent items and fails on the others: Σ_{i > K} p_i besides.
    Sections 3.1 a to f and h of the theory; relative accuracy 1e-12 for 1 ≤ samples ≤ 1e18.
    """
    breaks = training.breaks + ((memory,) if memory < law.last else ())
    nodes = law.nodes(tuple(sorted(breaks)), training.steepness)
    unseen = training.unseen(law, nodes, samples)
    lost = np.where(nodes.ranks > memory, 1.0, unseen)
    return float(np.sum(nodes.weights * nodes.p * lost))
