"""What can be simulated: something that draws samples, fits one stage, and knows the truth."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
from numpy.random import SeedSequence, default_rng

from service.theory.model import Array, Source, Stage

MAX_DESIGN: Final = 50_000_000
"""Numbers in one stage's design matrix (400 MB) at most."""


class UnsupportedError(ValueError):
    """This problem cannot be simulated literally; the message says why and what can."""


@dataclass(frozen=True)
class Streams:
    """Independent random streams of one stage of one replicate.

    Each source has one stream for its design, one for its noise, one for its shift, so that common random
    numbers survive a change of any one of them: the first samples of a larger source are those of a smaller
    one.
    """

    seed: int
    replicate: int
    stage: int

    def _generator(self, *key: int) -> np.random.Generator:
        return default_rng(SeedSequence(self.seed, spawn_key=(self.replicate, self.stage, *key)))

    def design(self, source: int) -> np.random.Generator:
        """For the features of a source's samples."""
        return self._generator(source, 0)

    def noise(self, source: int) -> np.random.Generator:
        """For the noise of a source's labels."""
        return self._generator(source, 1)

    def shift(self, source: int) -> np.random.Generator:
        """For the unknown model of a shifted source."""
        return self._generator(source, 2)

    def projection(self) -> np.random.Generator:
        """For the stage's random features."""
        return self._generator()


class Problem(Protocol):
    """Fits stages and measures their test errors; a model is an array that only the problem can read."""

    def fit(self, stage: Stage, models: Mapping[str, Array], streams: Streams) -> Array:
        """One fit on freshly drawn samples, labelled by the truth or by earlier ``models``, by name."""
        ...

    def test_error(self, model: Array) -> float:
        """Mean squared difference from the truth over the population."""
        ...

    def check(self, stage: Stage) -> None:
        """Raise ``UnsupportedError`` where the stage cannot be simulated."""
        ...

    def fit_flops(self, stage: Stage) -> float:
        """Floating-point operations of one ``fit``, about."""
        ...


def samples_of(source: Source) -> int:
    """The number of samples; raises ``UnsupportedError`` where it is not a whole number."""
    if source.samples != int(source.samples):
        raise UnsupportedError(f"source {source.name!r} has {source.samples} samples: not a whole number")
    return int(source.samples)


def penalty_of(stage: Stage) -> float:
    """The penalty as a number; raises ``UnsupportedError`` where it is still to be optimised."""
    if isinstance(stage.penalty, str):
        raise UnsupportedError(f"stage {stage.name!r} needs a number as its penalty")
    return stage.penalty
