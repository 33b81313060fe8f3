"""What a client is answered about a recursion of Gaussian fits."""

from typing import Literal

from pydantic import Field

from service.distributions.least_real import Recommendation
from service.distributions.responses import DistributionPrediction
from service.predictions.responses import Answer, Value


class Below(Answer):
    """The probability that a variance is below a threshold times the true one at this generation."""

    threshold: float
    probability: Value


class GaussianGeneration(Answer):
    """One generation; variances along a direction are in units of the true variance along it."""

    generation: int
    model: int = Field(description="The theory's index: generation + 1.")
    samples: int
    variance: Value = Field(description="Expected: E Σ = variance × Σ_0.")
    total_variance: Value = Field(description="E tr Σ.")
    drift: Value = Field(description="E (μ − μ_0)(μ − μ_0)ᵀ = drift × Σ_0.")
    mean_drift: Value = Field(description="E |μ − μ_0|².")
    variance_second_moment: Value = Field(description="E v², v the variance along a fixed direction.")
    variance_drift_moment: Value = Field(description="E v e², e the mean's error along that direction.")
    drift_fourth_moment: Value = Field(description="E e⁴.")
    total_variance_second_moment: Value = Field(description="E (tr Σ)², in the variables' units.")
    covariance_square_trace: Value = Field(description="E tr Σ², in the variables' units.")
    variance_relative_spread: Value = Field(description="Standard deviation of v over its mean.")
    typical_variance: Value = Field(description="exp E ln v: what a typical run has.")
    log_variance_mean: Value = Field(description="E ln v.")
    log_variance_spread: Value = Field(description="Standard deviation of ln v.")
    standard_deviation: Value = Field(description="E √v.")
    log_determinant_mean: Value = Field(description="E ln det Σ/det Σ_0.")
    log_determinant_spread: Value = Field(description="Standard deviation of ln det Σ.")
    kl_fit_true: Value = Field(description="E KL(fit ‖ truth), nats.")
    kl_true_fit: Value = Field(description="E KL(truth ‖ fit), nats.")
    wasserstein2_squared: Value = Field(description="E W_2², in the variables' units squared.")
    wasserstein2_squared_lower_bound: Value = Field(description="A bound from below in any dimension.")
    below: list[Below] = Field(description="Of the variance along a fixed direction.")
    determinant_below: list[Below] = Field(description="Of det Σ, the generalised variance.")


class GaussianFixedPoint(Answer):
    """Where generations go for ever, the last sample size repeated."""

    variance: Value
    drift: Value
    stable: bool = Field(description="Whether expected variance and drift stay bounded.")
    relaxation_generations: Value = Field(
        description="Generations in which the distance to it falls by e; null: never."
    )


class GaussianHalfLife(Answer):
    """The first generation with half the variance or less, the last sample size repeated; null: never."""

    mean_generation: int | None = Field(description="Of the expected variance.")
    typical_generation: int | None = Field(description="Of the typical variance exp E ln v.")
    mean_fits: Value = Field(description="Real number of fits, at one constant sample size.")
    typical_fits: Value = Field(description="Real number of fits, at one constant sample size.")


class GaussianEigenvalueRates(Answer):
    """Lyapunov exponents: what ln of an eigenvalue of Σ gains per fit in the long run, the last sample size repeated.

    Of the workflow replace; in the others eigenvalues do not vanish at a rate, and these are null. In one dimension
    both are the rate of the typical variance. Below about 60 fits the extreme eigenvalues are not at their rates yet.
    """

    largest: Value
    smallest: Value = Field(description="It vanishes the fastest; null: zero from the first fit on.")


class GaussianPrediction(DistributionPrediction):
    """Recursively fitted Gaussians, generation by generation."""

    kind: Literal["gaussian"] = "gaussian"
    dimension: int
    final: GaussianGeneration
    curve: list[GaussianGeneration]
    fixed_point: GaussianFixedPoint
    half_life: GaussianHalfLife
    eigenvalue_rates: GaussianEigenvalueRates


class GaussianRecommendation(Recommendation):
    """The least real data per generation that keeps a Gaussian recursion within a bound."""

    kind: Literal["gaussian_recommendation"] = "gaussian_recommendation"
