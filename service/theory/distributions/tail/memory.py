"""Learners that cannot keep all they have seen. Section 3.1 h of the theory."""

from dataclasses import dataclass
from math import exp, inf, nan, sqrt
from typing import Final

import numpy as np

from service.theory.distributions.tail.training import Training
from service.theory.distributions.tail.zipf import Zipf

LEAST_VISITS: Final = 30.0
"""Expected samples of the last item that is kept, from which the ranks in a sample are those of the truth."""
_DEVIATIONS: Final = 6.0
_NOISE: Final = 0.14


@dataclass(frozen=True)
class Memory:
    """Room for ``items`` items, the truly most probable ones, or (``noisy``) those most frequent in the samples."""

    items: float = inf
    noisy: bool = False

    def reach(self, law: Zipf, training: Training, samples: float) -> float:
        """The rank up to which items are kept: ``items``; inf where all that is seen is kept; NaN where nobody can say.

        Most frequent in the samples: nearly as good as most probable (``expected_error``) from 30 expected samples of
        the last one on; with fewer the ranks are noise (-3 % at 4), and NaN is returned.
        """
        if self.items >= law.last:
            return inf
        if not self.noisy:
            return self.items
        nodes = law.nodes(tuple(sorted((*training.breaks, self.items))), training.steepness)
        unseen = training.unseen(law, nodes, samples)
        distinct = float(np.sum(nodes.weights * (1.0 - unseen)))
        if distinct + _DEVIATIONS * sqrt(distinct) <= self.items:
            return inf
        last = unseen[int(np.searchsorted(nodes.ranks, self.items))]
        return self.items if last <= exp(-LEAST_VISITS) else nan

    def expected_error(self, law: Zipf, training: Training, samples: float) -> float:
        """Relative, of taking the most frequent items for the most probable: 0.14 β / expected samples of the last one.

        The true error is larger by that much: measured for β = 1.2 to 3, K = 5 to 100 and 30 to 400 expected samples.
        """
        if not self.noisy or self.reach(law, training, samples) == inf:
            return 0.0
        return _NOISE * law.exponent / (samples * law.probability(self.items))


UNLIMITED: Final = Memory()
