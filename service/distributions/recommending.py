"""The least real data per generation that keeps a quantity within a bound: searched by bisection, shown on both
sides.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import isfinite, isinf

from pydantic import Field

from service.distributions.responses import DistributionPrediction
from service.predictions.responses import Answer, Value
from service.theory.distributions.accuracy import Caution


class RealAmount(Answer):
    """The quantity with so many real samples per generation; value null: infinite, or not known to the theory."""

    real_samples: int
    real_fraction: float
    value: Value


class Recommendation(DistributionPrediction):
    """The least real data per generation that keeps the bound, with the evaluations on both sides of it."""

    quantity: str
    limit: float
    reachable: bool
    recommended: RealAmount | None = Field(description="The least that keeps the bound; null: nothing does.")
    just_below: RealAmount | None = Field(
        description="One real sample less, which does not; null: there is none."
    )
    all_real: RealAmount = Field(description="With all samples real.")
    sentence: str


@dataclass(frozen=True)
class Search:
    """A quantity as a function of the real samples per generation, from ``least`` to ``samples``.

    ``value``: NaN where the theory does not know. ``at_least``: whether the bound is one from below. More real
    samples never lose what fewer keep.
    """

    value: Callable[[int], float]
    limit: float
    at_least: bool
    least: int
    samples: int

    def keeps(self, real: int) -> bool:
        """Whether the bound holds; an unknown value keeps nothing."""
        value = self.value(real)
        return value >= self.limit if self.at_least else value <= self.limit

    def smallest(self) -> int | None:
        """The least amount that keeps the bound; None where all samples real do not."""
        if self.keeps(self.least):
            return self.least
        if not self.keeps(self.samples):
            return None
        low, high = self.least, self.samples
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if self.keeps(middle) else (middle, high)
        return high

    def amount(self, real: int) -> RealAmount:
        """The evaluation that the answer shows."""
        value = self.value(real)
        return RealAmount(
            real_samples=real, real_fraction=real / self.samples, value=value if isfinite(value) else None
        )


def outcome(search: Search, quantity: str, generations: int | None) -> dict[str, object]:
    """The fields of a ``Recommendation`` beyond identity and validity."""
    found = search.smallest()
    below = None if found is None or found == search.least else found - 1
    return {
        "quantity": quantity,
        "limit": search.limit,
        "reachable": found is not None,
        "recommended": None if found is None else search.amount(found),
        "just_below": None if below is None else search.amount(below),
        "all_real": search.amount(search.samples),
        "sentence": _sentence(search, quantity, generations, found),
    }


def cautions(search: Search, fields: dict[str, object]) -> list[Caution]:
    """Where the theory ends next to the recommended amount, less real data might do as well."""
    below = fields["just_below"]
    if not isinstance(below, RealAmount) or below.value is not None:
        return []
    value = search.value(below.real_samples)
    if isinf(value):
        return [Caution("divergent", "One real sample less, and the quantity is infinite.", "just_below")]
    return [Caution(
        "simulate",
        "With one real sample less the theory's closure fails and nothing is known: fewer might do. Simulate to see.",
        "just_below",
    )]  # fmt: skip


def _sentence(search: Search, quantity: str, generations: int | None, found: int | None) -> str:
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
    fewer = "; one less does not." if found > search.least else ": the least there can be."
    return f"{found:,} real samples among the {search.samples:,} of every generation keep {bound}{fewer}"
