"""What a client is answered."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Value = Annotated[
    float | None, Field(description="null where the theory puts it at infinity or it does not exist.")
]


class Answer(BaseModel):
    """Base of every answer; NaN and infinity are no answers."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class CompiledShift(Answer):
    """Labels of an unknown model w_0 + δ: E‖δ‖² where it is spread evenly over the modes, E‖δ‖²_Σ where that is, else
    both."""

    kind: Literal["shift"]
    squared_norm: float | None
    test_error: float | None


class CompiledSource(Answer):
    """Fresh samples of one origin."""

    name: str
    labels: str | CompiledShift = Field(description='"real", the name of an earlier stage, or a shift.')
    samples: int
    noise_variance: float
    weight: float
    own_spectrum: bool = Field(description="Whether its features have a covariance of their own.")


class CompiledPass(Answer):
    """One of several fits in a row on the same features; the noise of their labels."""

    penalty: float
    noise_variance: float


class CompiledStage(Answer):
    """One fit."""

    name: str
    penalty: float | Literal["optimal"] | None = Field(description="null: infinite, which predicts zero.")
    keeps_data: bool = Field(description="Whether the rows of all stages before are fitted again.")
    width: int | None
    passes: list[CompiledPass]
    sources: list[CompiledSource]


class GenerationParts(Answer):
    """Where the generation term comes from; the parts add up to it."""

    label_noise: Value
    distortion: Value
    shift: Value
    noise_mismatch: Value


class SourceNoise(Answer):
    """What the label noise of one source of an earlier stage adds to the final test error."""

    stage: str
    source: str
    label_noise: Value


class Decomposition(Answer):
    """Excess test error E‖ŵ − w_0‖²_Σ and its parts; the irreducible noise is not included in the total."""

    total: Value
    bias: Value
    variance: Value
    generation: Value
    generation_parts: GenerationParts
    by_source: list[SourceNoise]
    irreducible: float


class BestPenalty(Answer):
    """The least test error over all penalties, and where."""

    penalty: Value
    total: Value


class Baseline(Answer):
    """A comparison: the same final stage on other data, and at its own best penalty."""

    samples: int
    total: Value
    bias: Value
    variance: Value
    best: BestPenalty


class Baselines(Answer):
    """All samples real (clean), the real ones alone (null without any), and predicting zero."""

    clean: Baseline
    real_only: Baseline | None
    null_predictor: float


class Assumption(Answer):
    """A condition of the theory, whether it holds here, and what follows where it does not."""

    name: str
    status: Literal["met", "unchecked", "violated"]
    consequence: str


class PowerLawExponents(Answer):
    """β and r, and what follows: best penalty ∝ T_eff^-penalty, least error ∝ T_eff^-test_error."""

    capacity: float
    source: float
    penalty: float
    test_error: float
    test_error_without_noise: float


class NoiseCrossover(Answer):
    """Where the generators' noise equals the last fit's own; beyond it the penalty for clean data is wrong."""

    ratio: Value = Field(description="Generators' noise ÷ the last fit's own: 1 at the crossover.")
    samples: Value = Field(description="Samples of the last fit at the crossover; more hardly help.")
    generations: Value = Field(description="Number of such generations at the crossover.")


class PowerLawOptimum(Answer):
    """The optimum of a recursion on a power law in closed form, asymptotically; see docs/recommendations.md."""

    exponents: PowerLawExponents
    effective_samples: Value = Field(
        description="T_eff = 1/(σ²/T + Σ σ_k²/(T_k - d)), per unit of noise variance."
    )
    crossover: NoiseCrossover
    penalty: Value
    test_error: Value
    clean_penalty: Value = Field(
        description="The same with T/σ² in place of T_eff: the optimum for clean data."
    )
    learned_modes: Value
    assumptions: list[Assumption]


class FlatRange(Answer):
    """The penalties around the recommended one whose test error is at most 1 % above the least."""

    low: Value = Field(description="0: no penalty at all is within it too; null: only predicting zero is.")
    high: Value = Field(description="null: every larger penalty is within it too, and so is predicting zero.")


class Regularization(Answer):
    """The penalty to use, beside the one that is optimal for clean data and what that one costs."""

    penalty: Value
    penalty_sum: Value = Field(
        description="The penalty × all samples of the last stage: beside the plain sum of squared losses."
    )
    recommended_penalty: Value
    recommended_penalty_sum: Value
    flat_range: FlatRange
    test_error_at_recommended: Decomposition
    clean_optimal_penalty: Value
    cost_of_clean_choice: Value = Field(
        description="Test error at the clean-data optimum minus the one at the recommended penalty."
    )
    effective_samples: Value = Field(
        description="Number of real samples whose optimally regularized fit has the error at the recommended penalty."
    )
    power_law: PowerLawOptimum | None = Field(
        description="The closed form for recursions on power laws; null elsewhere."
    )


class Peak(Answer):
    """Double descent: without penalty the error of this fit is infinite where the quantity is the position."""

    stage: str
    quantity: Literal["samples", "width"]
    position: float
    value: float = Field(description="What the quantity is in the mix.")


class Collapse(Answer):
    """Limits of the mix."""

    generations_limit: Value = Field(description="Test error after infinitely many generations.")
    growth_per_generation: Value = Field(
        description="What each further generation adds where it grows linearly."
    )
    worse_than_null_from: int | None = Field(
        description="The first generation whose model is worse than predicting nothing."
    )
    generations_order: Literal[0, 1] = Field(
        description=(
            "Order of the three values above. 0: asymptotic, also in an answer of order 1; compare them with "
            "predictions of order 0. 1 for growth without penalties and for accumulated data."
        )
    )
    data_limit: Value = Field(
        description="Test error with unlimited samples in the given proportions, at the given penalties."
    )
    best_data_limit: Value = Field(description="The same at the best penalty of the last stage: the floor.")
    strong: bool | None = Field(description="Strong model collapse: the floor is above 0.")
    regime: str
    double_descent: list[Peak]


class ValidityWarning(Answer):
    """A stable code and a sentence; ``pointer`` names the part of the answer or of the request."""

    code: str
    message: str
    pointer: str | None = None


class Validity(Answer):
    """How far the numbers can be trusted."""

    method: Literal["exact", "deterministic_equivalent"]
    order: Literal[0, 1]
    expected_relative_error: Value
    converged: bool
    assumptions: list[Assumption]
    warnings: list[ValidityWarning]


class Record(Answer):
    """Whether the prediction was stored (it can be fetched by its id), and why not."""

    stored: bool
    reason: str | None


class Prediction(Answer):
    """The predicted test error of a training mix."""

    id: str
    engine_version: str
    input_hash: str
    stages: list[CompiledStage] = Field(description="The mix as compiled to the general form.")
    test_error: Decomposition
    baselines: Baselines
    regularization: Regularization
    collapse: Collapse
    validity: Validity
    record: Record
