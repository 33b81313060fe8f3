"""What a client asks for: a mix, a bound on its test error, and what samples cost."""

from typing import Annotated, Literal

from pydantic import Field, Strict, model_validator

from service.predictions.schemas import LARGEST, SMALLEST, Model, NonNegative, PredictionRequest

Factor = Annotated[float, Field(ge=1e-6, le=1e6, allow_inf_nan=False), Strict()]


class Bound(Model):
    """The largest test error that is accepted: a number, or a factor times a baseline's least error of this mix.

    `clean`: all samples of the last stage real; `real_only`: its real ones alone, each at its own best penalty;
    `null_predictor`: predicting zero.
    """

    test_error: Annotated[float, Field(ge=SMALLEST, le=LARGEST, allow_inf_nan=False), Strict()] | None = None
    relative_to: Literal["clean", "real_only", "null_predictor"] | None = None
    factor: Factor = 1.0

    @model_validator(mode="after")
    def _one_of_both(self) -> "Bound":
        if (self.test_error is None) == (self.relative_to is None):
            raise ValueError("give exactly one of test_error and relative_to (with a factor)")
        if self.test_error is not None and self.factor != 1.0:
            raise ValueError("factor goes with relative_to; give test_error alone")
        return self


class Costs(Model):
    """Of one further sample, in any unit; leaving samples out costs nothing."""

    real_sample: NonNegative
    synthetic_sample: NonNegative


class RecommendationRequest(PredictionRequest):
    """A data set, a training mix, and a bound on the test error.

    The last stage's penalty as the mix has it: a number stays fixed while other things are varied, "optimal" is found
    anew for every value that is tried. Penalties "optimal" in earlier stages are found once, for the mix as given
    (anew where the number of generations is varied).
    """

    bound: Bound
    costs: Costs | None = Field(None, description="Without them no cheapest change is named.")
