"""What a client says about uncertain inputs, and what it is answered."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, Strict, field_validator

from service.predictions.schemas import Model

MAX_SAMPLES = 2**14
MAX_INPUTS = 32


class UncertainRequest(Model):
    """A prediction whose numbers may be uncertain: `{"low", "high"}` or `{"mean", "sd"}` in the place of any number."""

    dataset: dict[str, Any] | str = Field(
        description="As for `POST /v1/predictions`, numbers or uncertain numbers."
    )
    training_mix: dict[str, Any] = Field(
        description="As for `POST /v1/predictions`, numbers or uncertain numbers."
    )
    samples: Annotated[int, Field(ge=64, le=MAX_SAMPLES), Strict()] = Field(
        512,
        description="Quasi-random samples, a power of 2; computed are (uncertain inputs + 2) times as many points.",
    )
    seed: Annotated[int, Field(ge=0, le=2**63 - 1), Strict()] = 0
    level: Annotated[float, Field(ge=0.5, le=0.999, allow_inf_nan=False), Strict()] = Field(
        0.9, description="Probability of the intervals, half of the rest on either side."
    )
    order: Literal[0, 1] = Field(
        1,
        description="As of a prediction and a sweep: 1 with the finite-size correction where it is known, 0 for the "
        "asymptotic value.",
    )

    @field_validator("samples")
    @classmethod
    def _power_of_two(cls, value: int) -> int:
        if value & (value - 1):
            raise ValueError(
                f"quasi-random samples are balanced for powers of 2; use {2 ** (value.bit_length() - 1)}"
            )
        return value


class Input(BaseModel):
    """What an uncertain input was taken as."""

    pointer: str
    distribution: Literal["uniform", "normal", "log_normal"] = Field(
        description="Uniform for an interval; normal for a mean with standard deviation, log-normal where 3 standard "
        "deviations below the mean are not positive; both are cut at 3 standard deviations (of the logarithm)."
    )
    low: float = Field(description="Least value taken.")
    high: float = Field(description="Largest value taken.")


class Output(BaseModel):
    """One number of the prediction under the uncertainty of the inputs; null where none of the points has it."""

    central: float | None = Field(description="At the middle of every interval and at every mean.")
    mean: float | None
    sd: float | None
    median: float | None
    low: float | None = Field(description="Lower end of the interval of probability `level`; null: infinite.")
    high: float | None = Field(description="Upper end; null: infinite.")
    undefined: float = Field(
        description="Share of the points where the number is infinite or does not exist."
    )


class Influence(BaseModel):
    """What one input's uncertainty does to one output, as shares of the output's variance (Sobol' indices)."""

    pointer: str
    first_order: float = Field(description="Variance that goes away when this input alone becomes known.")
    total_effect: float = Field(description="Variance that stays when all other inputs become known.")
    standard_error: float = Field(description="Of the total effect.")
    sd_when_known: float = Field(
        description="Expected standard deviation of the output once this input is known."
    )


class Uncertain(BaseModel):
    """Intervals for every output, and the ranking of the inputs."""

    samples: int
    seed: int
    level: float
    order: Literal[0, 1]
    points: int = Field(description="Predictions computed.")
    inputs: list[Input]
    outputs: dict[str, Output] = Field(description="By name, as the columns of a sweep.")
    ranking: dict[str, list[Influence]] = Field(
        description="For `total` and `total_at_recommended`: the inputs, the one to measure better first (largest "
        "total effect); empty where the output does not vary or is infinite at some of the points."
    )
    problems: list[str] = Field(description="Why some points have no prediction; each reason once.")
