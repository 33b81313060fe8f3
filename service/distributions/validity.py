"""From the theory's accuracies and cautions to the answer's ``validity``, and from infinities to null with a reason."""

from collections.abc import Iterable, Sequence
from math import isfinite, isinf

from service.distributions.responses import NotApplicable, QuantityValidity, Validity
from service.predictions.responses import Assumption, ValidityWarning
from service.theory.distributions.accuracy import Accuracy, Caution


class Reasons:
    """Turns numbers into what JSON can say, and remembers why something is null."""

    def __init__(self, cautions: Iterable[Caution]) -> None:
        self._cautions = list(cautions)
        self._not_applicable = dict[str, str]()

    def value(self, value: float, quantity: str) -> float | None:
        """The number; null where it is infinite or there is no formula, with a warning about ``quantity``."""
        value = float(value)
        if isfinite(value):
            return value
        if not any(caution.quantity == quantity for caution in self._cautions):
            if not isinf(value):
                raise ArithmeticError(f"{quantity} is not a number and nothing says why")
            self._cautions.append(
                Caution("divergent", f"{quantity} is infinite or beyond double precision here.", quantity)
            )
        return None

    def absent(self, pointer: str, reason: str) -> None:
        """Say why the field ``pointer`` does not exist for this request."""
        self._not_applicable.setdefault(pointer, reason)

    def not_applicable(self) -> list[NotApplicable]:
        """Every field that does not exist."""
        return [NotApplicable(pointer=pointer, reason=why) for pointer, why in self._not_applicable.items()]

    def warnings(self) -> list[ValidityWarning]:
        """Every caution, each once."""
        return [
            ValidityWarning(code=one.code, message=one.message, pointer=one.quantity)
            for one in dict.fromkeys(self._cautions)
        ]


def validity(
    accuracies: Sequence[Accuracy], reasons: Reasons, assumptions: Sequence[tuple[str, str]] = ()
) -> Validity:
    """The answer's validity; call it last, when every value has passed ``reasons``.

    ``assumptions``: name and consequence of conditions that nobody can check here.
    """
    approximate = any(one.method == "approximate" for one in accuracies)
    return Validity(
        method="approximate" if approximate else "exact",
        expected_relative_error=max((one.expected_relative_error for one in accuracies), default=0.0),
        quantities=[
            QuantityValidity(
                quantity=one.quantity,
                method=one.method,
                expected_relative_error=one.expected_relative_error,
                basis=one.basis,
            )
            for one in accuracies
        ],
        assumptions=[Assumption(name=name, status="unchecked", consequence=text) for name, text in assumptions],
        warnings=reasons.warnings(),
        not_applicable=reasons.not_applicable(),
    )  # fmt: skip
