"""What a client is answered about how a recursion scales."""

from typing import Literal

from pydantic import Field

from service.predictions.responses import Answer, PowerLawOptimum, Validity, Value


class NumericalOptimum(Answer):
    """The engine's own optimum of the last penalty, and how it moves with T_eff (all noises scaled together)."""

    penalty: Value
    test_error: Value
    clean_penalty: Value
    cost_of_clean_choice: Value
    penalty_exponent: Value = Field(description="-d ln λ*/d ln T_eff here; the closed form's is its limit.")
    test_error_exponent: Value = Field(description="-d ln E*/d ln T_eff here.")


class Schedule(Answer):
    """The penalty as a power of the last fit's samples, λ = T^-ℓ, where the generators grow with them."""

    noise_growth: float
    samples_growth: float
    given: bool = Field(description="Whether the growth was given, or read off this request's numbers.")
    optimal: float = Field(description="ℓ*.")
    clean: float = Field(description="ℓ_crit, the exponent for clean data.")
    test_error: float = Field(description="Under ℓ*, test error ∝ T^-test_error.")
    test_error_of_clean_choice: float = Field(description="Under ℓ_crit; negative: the error grows with T.")


class ScalingLaws(Answer):
    """Closed form, numerical optimum, and schedule of a recursion."""

    engine_version: str
    origin: Literal["exact", "fitted", "given"] = Field(description="Of the exponents.")
    power_law: PowerLawOptimum
    numerical: NumericalOptimum
    schedule: Schedule | None
    validity: Validity
