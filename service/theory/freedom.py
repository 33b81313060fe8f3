"""Effective degrees of freedom, and differences of a number of samples to them without cancellation."""

from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

from service.theory.model import Array

Number = TypeVar("Number", float, Array)


@dataclass(frozen=True, eq=False, slots=True)
class Freedom(Generic[Number]):
    """df1 = Σ S and df2 = Σ S² at effective ridges, S = σ/(σ+θ); ``left1``, ``left2``: rank − df1, rank − df2.

    Both forms are kept since either may be small: N − df1 is a difference of two large numbers where N and the rank are
    close (then (N − rank) + left1 is exact), and so is rank − df1 where there are far more modes than samples.
    """

    rank: float
    df1: Number
    df2: Number
    left1: Number
    left2: Number

    def above_first(self, samples: Number | float) -> Number:
        """samples − df1: positive above the interpolation threshold. ``samples``: one number, or as many as values."""
        return self._difference(samples, self.df1, self.left1)

    def above_second(self, samples: Number | float) -> Number:
        """samples − df2."""
        return self._difference(samples, self.df2, self.left2)

    def _difference(self, samples: Number | float, degrees: Number, left: Number) -> Number:
        if isinstance(samples, np.ndarray):
            if samples.size > 1:
                if self.rank <= 2 * samples.min():
                    return np.asarray((samples - self.rank) + left)
                return np.where(self.rank > 2 * samples, samples - degrees, (samples - self.rank) + left)
            samples = samples.item()
        return samples - degrees if self.rank > 2 * samples else (samples - self.rank) + left
