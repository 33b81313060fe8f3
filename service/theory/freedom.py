"""Effective degrees of freedom, and differences of a number of samples to them without cancellation."""

from dataclasses import dataclass
from typing import Generic, TypeVar

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

    def above_first(self, samples: float) -> Number:
        """samples − df1: positive above the interpolation threshold."""
        return samples - self.df1 if self.rank > 2 * samples else (samples - self.rank) + self.left1

    def above_second(self, samples: float) -> Number:
        """samples − df2."""
        return samples - self.df2 if self.rank > 2 * samples else (samples - self.rank) + self.left2
