"""Many plain recursions side by side, and what the theory says about each: the vocabulary of plain_chain.py."""

from dataclasses import dataclass

import numpy as np

from service.theory.model import Array, Mask
from service.theory.recursion import Recursion


@dataclass(frozen=True, eq=False)
class Scenarios:
    """Plain recursions on one population; each array has one entry for all scenarios, or one for each.

    Generators: ``runs``: numbers of generations with equal fits, in order; ``run_samples`` and ``run_penalties``:
    theirs, both of one shape (scenarios or 1, runs); ``generator_noise``: of each generation's labels, shape
    (scenarios or 1, generations). The last stage: ``samples``, ``noise`` of its labels, ``real_noise`` of real labels,
    ``penalty``, nan for the best; shapes (scenarios or 1,). Samples are positive.
    """

    runs: tuple[int, ...]
    run_samples: Array
    run_penalties: Array
    generator_noise: Array
    samples: Array
    noise: Array
    real_noise: Array
    penalty: Array


@dataclass(frozen=True, eq=False)
class Point:
    """The last stage at one penalty, shape (scenarios,).

    ``mismatch``: what label noise differing from the real one's adds; ``noise_responses``: derivatives of the total by
    the noise of each generation, shape (scenarios, generations); ``room``: samples − second-order degrees of freedom.
    """

    penalty: Array
    total: Array
    bias: Array
    variance: Array
    mismatch: Array
    noise_responses: Array
    room: Array

    def zeroed(self, where: Mask, signal: float, samples: Array) -> "Point":
        """The same with an infinite penalty where it is best: nothing is learned."""
        return Point(
            np.where(where, np.inf, self.penalty),
            np.where(where, signal, self.total),
            np.where(where, signal, self.bias),
            np.where(where, 0.0, self.variance),
            np.where(where, 0.0, self.mismatch),
            np.where(where[:, None], 0.0, self.noise_responses),
            np.where(where, samples, self.room),
        )


@dataclass(frozen=True, eq=False)
class Outcomes:
    """What the theory says about scenarios, shape (scenarios,).

    ``regular``: where it holds; elsewhere the general engine must look. ``given``, ``best``: at the given penalty and
    at the recommended one. ``clean_penalty``, ``clean_total``: the best on clean data; ``total_at_clean``: of it
    there, ``effective_samples``: real samples of the same least error. ``run_rooms``: see Point, of each run of
    generators, shape (scenarios, runs); ``run_ridges``: their effective ridges, each of shape (scenarios or 1,).
    ``ridges``: those of the last stage at the given, the best and the clean-optimal penalty. ``past``: the generators.
    """

    regular: Mask
    given: Point
    best: Point
    clean_penalty: Array
    clean_total: Array
    total_at_clean: Array
    effective_samples: Array
    run_rooms: Array
    run_ridges: tuple[Array, ...]
    ridges: tuple[Array, Array, Array]
    past: Recursion
