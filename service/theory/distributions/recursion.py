"""Linear recursions of moments: x_n = T(M_n) … T(M_1) x_0, over runs of equal fits by repeated squaring."""

from collections.abc import Callable

import numpy as np

from service.theory.distributions.schedule import Models, Schedule
from service.theory.model import Array


def propagate(
    step: Callable[[int], Array],
    schedule: Schedule,
    start: Array,
    models: Models,
    *,
    projective: bool = False,
) -> Array:
    """States at the rising ``models``, shape (len(models), len(start)).

    ``projective``: only ratios of a state's entries matter, all of them positive; their scale is kept near 1.

    ``step(run)``: the matrix of one fit of that run of the schedule. A run of r equal fits costs log2(r) squarings
    and, per reported model, at most log2(r) products with a vector.
    """
    states = np.empty((len(models), len(start)))
    state, model, run = np.asarray(start, dtype=float), 0, 0
    ends, last = schedule.ends, len(schedule.sizes) - 1
    powers = _Powers(step(0), projective)
    with np.errstate(over="ignore", invalid="ignore"):
        for index, wanted in enumerate(models):
            while model < wanted:
                while run < last and model >= ends[run]:
                    run += 1
                    powers = _Powers(step(run), projective)
                until = int(wanted) if run == last else min(int(wanted), int(ends[run]))
                state = powers.apply(state, until - model)
                model = until
            states[index] = state
    return states


class _Powers:
    """T, T², T⁴, … as far as they are asked for."""

    def __init__(self, matrix: Array, projective: bool) -> None:
        self._squares, self._projective = [matrix], projective

    def apply(self, state: Array, times: int) -> Array:
        """T^times x."""
        bit = 0
        while times >> bit:
            if bit == len(self._squares):
                self._squares.append(self._scaled(self._squares[-1] @ self._squares[-1]))
            if times >> bit & 1:
                state = self._scaled(self._squares[bit] @ state)
            bit += 1
        return state

    def _scaled(self, values: Array) -> Array:
        return values / values.max() if self._projective else values
