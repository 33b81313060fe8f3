"""What computing costs: the currency in which every replicate is weighed before it is carried out.

One unit is a floating-point operation of a large matrix product. What is no such product is counted as the units that
take as long, measured on an AMD EPYC and good to a factor of two or so (benchmarks/simulation_cost.py).
"""

from dataclasses import dataclass
from typing import Final

FLOPS_PER_SECOND: Final = 3e10
"""Of one core, on matrices of some hundreds (2e10) to thousands (7e10) of rows."""

MICROSECOND: Final = FLOPS_PER_SECOND / 1e6
"""Two calls of Python or numpy on small arrays."""

NORMAL: Final = 0.010 * MICROSECOND
"""Drawing one normal number."""


@dataclass(frozen=True)
class Burden:
    """What a replicate, or a part of it, costs, about: its time in the currency above, and numbers held at once."""

    flops: float
    numbers: float
