"""Test errors of varied mixes, within a time limit."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import inf, isnan
from typing import Literal

from service.theory.errors import NotConverged, Unsupported
from service.theory.mixes.totals import totals
from service.theory.model import Population, TrainingMix
from service.theory.prediction import predict, test_error

SECONDS = 20.0


class OutOfTime(Exception):
    """The time limit of the request is reached."""


@dataclass(frozen=True)
class Evaluator:
    """Test errors as a prediction of the given ``order`` says them; raises OutOfTime once ``seconds`` have passed."""

    population: Population
    order: Literal[0, 1]
    seconds: float = SECONDS
    clock: Callable[[], float] = time.monotonic
    _until: float = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_until", self.clock() + self.seconds)

    def __call__(self, mix: TrainingMix) -> float:
        """The test error; infinite where it diverges or is not known, so that it meets no bound."""
        return self._value(mix, self.order)

    def asymptotic(self, mix: TrainingMix) -> float:
        """The same of order 0: smooth in every parameter, for searches."""
        return self._value(mix, 0)

    def together(self, mixes: Sequence[TrainingMix], order: Literal[0, 1]) -> list[float]:
        """The test errors of many mixes, nearly as a prediction of each says them; see totals.py."""
        if self.clock() > self._until:
            raise OutOfTime
        found = totals(self.population, mixes, order)
        return [
            self._value(mix, order) if isnan(value) else value
            for mix, value in zip(mixes, found.tolist(), strict=True)
        ]

    def _value(self, mix: TrainingMix, order: Literal[0, 1]) -> float:
        if self.clock() > self._until:
            raise OutOfTime
        try:
            if order == 0:
                return test_error(self.population, mix)
            return predict(self.population, mix, order=order, flat_range=False).test_error.total
        except (NotConverged, Unsupported):
            return inf
