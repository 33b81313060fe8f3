"""The clean law of the items, p_i = i^-β / Z, and sums over all of them."""

from dataclasses import dataclass
from functools import cached_property
from math import inf, log
from typing import Final

import numpy as np
from scipy.special import gamma, zeta

from service.theory.distributions.ranks import rank_rule
from service.theory.model import Array

_FAINTEST: Final = 36.0
"""An endless law is summed down to p = 1e-36: what is rarer is not seen in 1e18 samples, to 1e-18."""
_LEAST_END: Final = 512.0


@dataclass(frozen=True)
class Zipf:
    """p_i = i^-β / Z for i = 1 … types (None: endless, which needs β > 1).

    ``exponent``: β > 0.
    """

    exponent: float
    types: int | None = None

    def __post_init__(self) -> None:
        if self.exponent <= (1.0 if self.types is None else 0.0):
            raise ValueError("an endless law needs an exponent above 1, a finite one above 0")

    @cached_property
    def normalizer(self) -> float:
        """Z = ζ(β), or Σ_{i ≤ types} i^-β."""
        if self.types is None:
            return float(zeta(self.exponent))
        ranks, weights = rank_rule(float(self.types), (), self.exponent)
        return float(weights @ ranks**-self.exponent)

    @property
    def last(self) -> float:
        """The number of types."""
        return inf if self.types is None else float(self.types)

    def probability(self, rank: float) -> float:
        """p at a rank, which need not be whole."""
        return float(rank**-self.exponent) / self.normalizer

    def beyond(self, rank: float) -> float:
        """P_k = Σ_{i > k} p_i, without cancellation; 0 from the last type on."""
        if rank >= self.last:
            return 0.0
        if self.types is None:
            return float(zeta(self.exponent, rank + 1.0)) / self.normalizer
        ranks, weights = rank_rule(self.last, (float(rank),), self.exponent)
        return float(weights[ranks > rank] @ ranks[ranks > rank] ** -self.exponent) / self.normalizer

    def nodes(self, breaks: tuple[float, ...] = (), steepness: float = 0.0) -> "Nodes":
        """What stands for the items in sums of functions that are smooth in ln i but after the breaks.

        ``steepness``: the largest exponent of i in them, where it is not this law's own.
        """
        steepest = max(self.exponent, steepness)
        if self.types is not None:
            ranks, weights = rank_rule(self.last, breaks, steepest)
            return Nodes(ranks, weights, ranks**-self.exponent / self.normalizer)
        end = float(
            np.floor(max(10.0 ** (_FAINTEST / self.exponent), _LEAST_END, 2.0 * max(breaks, default=0.0)))
        )
        ranks, weights = rank_rule(end, breaks, steepest, closed=False)
        p = ranks**-self.exponent / self.normalizer
        # all the rest as so many items at the end: nobody sees any of them
        rest = self.beyond(end) / p[-1]
        return Nodes(np.append(ranks, end), np.append(weights, rest), np.append(p, p[-1]))

    # --- constants of the laws ------------------------------------------------------------------

    @property
    def decay(self) -> float:
        """c = 1 − 1/β: the clean error falls like T^-c. Positive for β > 1."""
        return 1.0 - 1.0 / self.exponent

    @property
    def amplitude(self) -> float:
        """K = Z^(-1/β) Γ(c)/β: the clean error is K T^-c, T large. For β > 1."""
        return float(np.exp(-log(self.normalizer) / self.exponent) * gamma(self.decay) / self.exponent)


@dataclass(frozen=True, eq=False)
class Nodes:
    """Ranks, weights and probabilities with Σ_i f(i, p_i) = Σ_j weight_j f(rank_j, p_j), shape (nodes,) each."""

    ranks: Array
    weights: Array
    p: Array
