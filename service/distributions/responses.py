"""What every kind of distribution is answered with."""

from typing import Literal

from pydantic import Field

from service.predictions.responses import Answer, Assumption, Record, ValidityWarning, Value

CONVENTION = (
    "Generations count synthetic data: generation 0 is the model trained on real data only. "
    "The model index of the theory is generation + 1."
)


class QuantityValidity(Answer):
    """How one quantity is computed."""

    quantity: str
    method: Literal["exact", "approximate"]
    expected_relative_error: Value
    basis: str


class NotApplicable(Answer):
    """Why a field is null that nothing is wrong with: it does not exist for this request."""

    pointer: str = Field(description="The field, as a path in the answer without list indices.")
    reason: str


class Validity(Answer):
    """How far the numbers can be trusted: overall (the worst quantity), and each quantity by itself."""

    method: Literal["exact", "approximate"] = Field(
        description="exact: every quantity is an identity of the stated model, accurate to rounding."
    )
    expected_relative_error: Value = Field(description="The largest of the quantities'; 0: rounding only.")
    quantities: list[QuantityValidity]
    assumptions: list[Assumption]
    warnings: list[ValidityWarning]
    not_applicable: list[NotApplicable] = Field(
        description="Fields that are null by the nature of the request."
    )


class DistributionPrediction(Answer):
    """Head of every prediction about a distribution; each kind adds its own quantities."""

    id: str
    engine_version: str
    input_hash: str
    convention: str = CONVENTION
    validity: Validity
    record: Record
