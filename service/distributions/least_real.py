"""The least real data per generation that keeps a quantity within a bound: searched for, and shown on both sides."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from math import isfinite, isinf, sqrt

import numpy as np
from pydantic import Field

from service.distributions.responses import DistributionPrediction
from service.distributions.validity import Reasons
from service.predictions.responses import Answer, Value
from service.theory.distributions.accuracy import Caution

_CLOSE = 1e-9  # relative, of an expected number of real samples
_NONE_AT_ALL = 1e-12  # expected real samples per generation that are as good as none
_GRID = 60


class RealAmount(Answer):
    """The quantity with so many real samples per generation; value null: infinite, or not known to the theory."""

    real_samples: int | float = Field(description="Expected, where each sample has a chance to be real.")
    real_fraction: float
    value: Value


class Recommendation(DistributionPrediction):
    """The least real data per generation that keeps the bound, with the evaluations on both sides of it."""

    quantity: str
    limit: float = Field(description="The bound in the quantity's own units.")
    reachable: bool
    recommended: RealAmount | None = Field(description="The least that keeps the bound; null: nothing does.")
    just_below: RealAmount | None = Field(
        description="The next smaller amount (one real sample less, or a chance smaller by 1e-9 of itself), which does "
        "not; null: there is none."
    )
    without_real_data: RealAmount | None = Field(
        None, description="null: there has to be some, as in a retained set."
    )
    all_real: RealAmount = Field(description="With all samples real.")
    sentence: str


@dataclass(frozen=True)
class Search:
    """A quantity as a function of the real samples per generation, from ``least`` to ``samples``.

    ``value``: NaN where the theory does not know. ``at_least``: whether the bound is one from below. ``whole``: whether
    amounts are whole numbers; else expected ones, each sample having a chance. ``monotone``: whether more real samples
    never lose what fewer keep; else crossings are looked for between some 120 amounts, closer together at both ends.
    """

    value: Callable[[float], float]
    limit: float
    at_least: bool
    least: int
    samples: int
    whole: bool = True
    monotone: bool = True

    def keeps(self, real: float) -> bool:
        """Whether the bound holds; an unknown value keeps nothing."""
        value = self.value(real)
        return value >= self.limit if self.at_least else value <= self.limit

    def smallest(self) -> float | None:
        """The least amount that keeps the bound; None where nothing does."""
        return self.sides[0]

    @cached_property
    def sides(self) -> tuple[float | None, float | None]:
        """The least amount that keeps the bound, and the next smaller one, which does not; None where there is none."""
        if self.keeps(self.least):
            return self.least, None
        low, high = self._bracket()
        if high is None:
            return None, None
        while self._apart(low, high):
            middle = self._middle(low, high)
            low, high = (low, middle) if self.keeps(middle) else (middle, high)
        return high, low

    def _bracket(self) -> tuple[float, float | None]:
        """An amount that does not keep the bound, and a larger one that does."""
        if self.monotone:
            return self.least, self.samples if self.keeps(self.samples) else None
        before: float = self.least
        for amount in self._grid():
            if self.keeps(amount):
                return before, amount
            before = amount
        return before, None

    def _grid(self) -> list[float]:
        steps = np.geomspace(1.0, max(self.samples, 2), _GRID)
        amounts = np.unique(np.concatenate([steps, self.samples - steps, [self.samples]]))
        amounts = amounts[(amounts > self.least) & (amounts <= self.samples)]
        if self.whole:
            return [float(one) for one in np.unique(np.rint(amounts)) if one > self.least]
        return [float(one) for one in amounts]

    def _apart(self, low: float, high: float) -> bool:
        if self.whole:
            return high - low > 1
        return high - low > _CLOSE * high and high > _NONE_AT_ALL

    def _middle(self, low: float, high: float) -> float:
        if self.whole:
            return (int(low) + int(high)) // 2
        return sqrt(low * high) if low > 0 else high / 1024.0

    def amount(self, real: float) -> RealAmount:
        """The evaluation that the answer shows."""
        value = self.value(real)
        return RealAmount(
            real_samples=int(real) if self.whole else float(real), real_fraction=real / self.samples,
            value=value if isfinite(value) else None,
        )  # fmt: skip


def outcome(search: Search, quantity: str, generations: int | None, kind: str = "") -> dict[str, object]:
    """The fields of a ``Recommendation`` beyond identity and validity; ``kind``: of the real samples, for people."""
    found, below = search.sides
    return {
        "quantity": quantity,
        "limit": search.limit,
        "reachable": found is not None,
        "recommended": None if found is None else search.amount(found),
        "just_below": None if below is None else search.amount(below),
        "without_real_data": None if search.least else search.amount(0),
        "all_real": search.amount(search.samples),
        "sentence": _sentence(search, quantity, generations, kind),
    }


def reasons(search: Search) -> Reasons:
    """Why fields of ``outcome`` are null."""
    found, below = search.sides
    collected = Reasons(_cautions(search))
    if found is None:
        collected.absent("recommended", "No amount of real data keeps the bound.")
    if below is None:
        why = (
            "nothing keeps the bound" if found is None else "the recommended amount is the least there can be"
        )
        collected.absent("just_below", f"There is none: {why}.")
    if search.least:
        collected.absent("without_real_data", "There have to be real samples in a retained set.")
    shown = {"recommended": found, "all_real": search.samples, "without_real_data": 0}
    for name, amount in shown.items():
        if amount is None or (name == "without_real_data" and search.least):
            continue
        value = search.value(amount)
        if not isfinite(value):
            collected.absent(f"{name}/value", "Infinite." if isinf(value) else "Not known to the theory.")
    return collected


def _cautions(search: Search) -> list[Caution]:
    """Where the theory ends next to the recommended amount, less real data might do as well."""
    _, below = search.sides
    if below is None or isfinite(search.value(below)):
        return []
    if isinf(search.value(below)):
        return [Caution("divergent", "With the next smaller amount the quantity is infinite.", "just_below")]
    return [Caution(
        "simulate",
        "With the next smaller amount the theory fails and nothing is known: less might do. Simulate to see.",
        "just_below",
    )]  # fmt: skip


def _sentence(search: Search, quantity: str, generations: int | None, kind: str) -> str:
    found, below = search.sides
    when = "for ever" if generations is None else f"after {generations:,} generations of synthetic data"
    sense = "at least" if search.at_least else "at most"
    bound = f"{quantity.replace('_', ' ')} {sense} {search.limit:.6g} {when}"
    if found is None:
        best = search.value(search.samples)
        what = f"it is {best:.6g}" if isfinite(best) else "it is infinite or unknown"
        return (
            f"Nothing keeps {bound}: with all {search.samples:,} samples of every generation real {what}. "
            "Only more samples per generation, or a weaker bound, can."
        )
    if found == 0:
        return f"No real data are needed: recursion alone keeps {bound}."
    if not search.whole:
        chance = f"A chance of {found / search.samples:.6g} for each of {search.samples:,} samples to be real"
        return f"{chance} keeps {bound}; any smaller one does not."
    fewer = "; one less does not." if below is not None else ": the least there can be."
    samples, keep = ("sample", "keeps") if found == 1 else ("samples", "keep")
    return f"{found:,.0f} {kind}real {samples} among the {search.samples:,} of every generation {keep} {bound}{fewer}"
