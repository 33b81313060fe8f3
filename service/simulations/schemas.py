"""What a client says about a simulation of a training mix, and what it is answered."""

from typing import Annotated, Literal

from pydantic import Field, Strict, StrictFloat, StrictInt

from service.predictions.responses import Answer, GenerationParts, Value
from service.predictions.schemas import Dataset, DatasetId, Model, TrainingMix
from service.simulations.resource import SimulationEstimate, SimulationOptions, SimulationSummary

MAX_POINTS = 256
MAX_AXES = 4
MAX_ERRORS = 1_000_000
Number = StrictInt | Annotated[StrictFloat, Field(allow_inf_nan=False)]


class GridAxis(Model):
    """One number of the request, by RFC 6901 pointer, and the values it takes."""

    pointer: Annotated[str, Field(pattern=r"^/(dataset|training_mix)/", max_length=200)] = Field(
        examples=["/training_mix/generations", "/training_mix/penalty"]
    )
    values: Annotated[list[Number], Field(min_length=1, max_length=MAX_POINTS)]


class PlainFeatures(Model):
    """Gaussian features, features ±1 (Rademacher), or uniform ones; scaled to the eigenvalues as their variances."""

    kind: Literal["gaussian", "rademacher", "uniform"]


class StudentTFeatures(Model):
    """Student-t features, scaled to the eigenvalues as their variances: heavy tails."""

    kind: Literal["student_t"]
    degrees_of_freedom: Annotated[float, Field(gt=2, le=1e6, allow_inf_nan=False), Strict()] = Field(
        description="Above 2, since there is no variance else; fourth moments exist above 4."
    )


SimulatedFeatures = Annotated[PlainFeatures | StudentTFeatures, Field(discriminator="kind")]


class SimulationRequest(SimulationOptions):
    """What to simulate. The grid is the product of its axes, the last one running fastest."""

    dataset: Dataset | DatasetId
    training_mix: TrainingMix
    method: Literal["literal", "wishart"] = Field(
        "literal",
        description=(
            "literal: draws the samples, labels them by the model before, fits: no formula used. wishart: draws of"
            " Gaussian features no more than fits see of them, their Gram matrices (Bartlett) at most: the same"
            " distribution of results at a cost that does not grow with the number of samples."
        ),
    )
    features: SimulatedFeatures | None = Field(
        None,
        description=(
            "How features are drawn, independently along every eigenmode; null: Gaussian, or for a stored data set its"
            " rows, with replacement."
        ),
    )
    average_noise: bool = Field(
        False,
        description=(
            "Average over the label noise analytically, given everything else that is drawn (Rao-Blackwell): the same"
            " mean with a far smaller standard error, but without the spread of single runs (quantiles are null)."
        ),
    )
    grid: Annotated[list[GridAxis], Field(max_length=MAX_AXES)] = Field(
        default_factory=list,
        description=f"At most {MAX_AXES} axes and {MAX_POINTS} points; all points share their random numbers.",
    )


class PredictedError(Answer):
    """The theory's excess test error and its parts."""

    total: Value
    bias: Value
    variance: Value
    generation: Value
    generation_parts: GenerationParts
    expected_relative_error: float


class Quantiles(Answer):
    """Over the replicates: what to expect of a single run."""

    p05: float
    p25: float
    p50: float
    p75: float
    p95: float


class Estimate(Answer):
    """A mean over the replicates that are done."""

    mean: Value
    standard_error: Value = Field(description="null for a single replicate.")


class MeasuredError(Estimate):
    """The simulated excess test error, over the replicates that are done, and what it is made of.

    bias and variance are those of the same fit with all its samples real, measured on the same draws: labelled by the
    truth without noise, and by noise alone. generation is what is left of the total, replicate by replicate.
    """

    replicates: int
    bias: Estimate
    variance: Estimate
    generation: Estimate
    quantiles: Quantiles | None = Field(description="Of the total; null with average_noise.")


class ZScores(Answer):
    """Measured minus predicted in standard errors; null without a prediction, or without any spread."""

    total: Value
    bias: Value
    variance: Value
    generation: Value


class LikelyCause(Answer):
    """Why theory and simulation may disagree: a stable code and a sentence."""

    code: Literal["small_n", "heavy_tails", "finite_population", "not_gaussian", "unexplained"]
    message: str


class Disagreement(Answer):
    """A part of the error that differs from its prediction by more than chance, all comparisons accounted for."""

    part: Literal["total", "bias", "variance", "generation"]
    z_score: Value
    adjusted_p_value: float = Field(description="By Holm's method over all comparisons of the simulation.")
    likely_causes: list[LikelyCause] = Field(description="The likeliest first.")


P_VALUE = (
    "Chance of a difference of the total as large, were the prediction true and this the only comparison: two-sided,"
    " by Student's t, the skewness of the runs allowed for; null with fewer than 8 replicates."
)


class SimulationStage(Answer):
    """One generation: the model of one stage, measured and predicted."""

    stage: str
    prediction: PredictedError | None
    prediction_missing: str | None = Field(description="Why there is no prediction.")
    test_error: MeasuredError | None = Field(description="null until the first replicates are done.")
    difference: Value = Field(description="Measured mean minus predicted total.")
    relative_difference: Value = Field(description="The difference by the predicted total.")
    z_score: Value = Field(description="The difference by the standard error.")
    p_value: Value = Field(description=P_VALUE)
    z_scores: ZScores
    disagreements: list[Disagreement]


class SimulationPoint(Answer):
    """One point of the grid: predicted, measured, and how they compare; all of its last stage."""

    parameters: dict[str, int | float]
    prediction: PredictedError | None
    prediction_missing: str | None = Field(description="Why there is no prediction.")
    test_error: MeasuredError | None = Field(description="null until the first replicates are done.")
    difference: Value = Field(description="Measured mean minus predicted total.")
    relative_difference: Value = Field(description="The difference by the predicted total.")
    z_score: Value = Field(description="The difference by the standard error.")
    p_value: Value = Field(description=P_VALUE)
    stages: list[SimulationStage] = Field(description="Every generation, in order, the last stage included.")


class Agreement(Answer):
    """Whether theory and simulation agree, at a stated chance of any false alarm at all."""

    verdict: Literal["agree", "disagree", "undecided"] = Field(
        description="undecided: too few replicates yet, or nothing that has a prediction."
    )
    level: float = Field(description="Chance of one false alarm or more, all comparisons together.")
    comparisons: int = Field(
        description="Totals, biases, variances, generation terms; equal ones count once."
    )
    disagreements: int = Field(description="Of these.")
    detectable_relative_difference: Value = Field(
        description="Differences of a total from its prediction below this could not have been seen everywhere."
    )


class Simulation(SimulationSummary):
    """A simulation of a training mix; once it has finished it never changes."""

    kind: Literal["regression"]
    request: SimulationRequest
    agreement: Agreement
    points: list[SimulationPoint]


class RegressionEstimate(SimulationEstimate):
    """What it would cost, beside the predictions."""

    points: list[SimulationPoint]
