"""What a client says about a recursion of Gaussian fits."""

from typing import Annotated, Literal

from pydantic import Field, Strict

from service.distributions.schemas import Count, Generations, Recursion, Workflow
from service.predictions.schemas import IsotropicSpectrum, Model, Spectrum

MAX_DIMENSION = 10_000
MAX_THRESHOLDS = 10

Ratio = Annotated[float, Field(ge=1e-60, le=1e60, allow_inf_nan=False), Strict()]


class GaussianRequest(Recursion):
    """A Gaussian, the estimator that is fitted, and what each generation is trained on."""

    spectrum: Spectrum = Field(
        IsotropicSpectrum(kind="isotropic", dimension=1),
        description=f"Eigenvalues of the true covariance, all positive; at most {MAX_DIMENSION:,} of them.",
    )
    estimator: Literal["mle", "unbiased"] = Field(
        "mle", description="The covariance's divisor: samples (mle) or samples − 1 (unbiased)."
    )
    workflow: Workflow
    thresholds: Annotated[list[Ratio], Field(max_length=MAX_THRESHOLDS)] = Field(
        [], description="For each t: the probability that the variance is below t times the true one."
    )
    determinant_thresholds: Annotated[list[Ratio], Field(max_length=MAX_THRESHOLDS)] = Field(
        [],
        description="For each t: the probability that det Σ, the generalised variance, is below t times the true one "
        "(workflow replace; with others of the models fitted to real samples alone).",
    )


class GaussianBound(Model):
    """What must be kept: variance and typical_variance (over the true one) at least ``limit``; the others at most."""

    quantity: Literal[
        "variance", "typical_variance", "drift", "kl_fit_true", "kl_true_fit", "wasserstein2_squared"
    ]
    limit: Annotated[float, Field(ge=1e-60, le=1e60, allow_inf_nan=False), Strict()]


class GaussianRecommendationRequest(Model):
    """The least real data per generation that keeps a quantity of the fits within a bound."""

    spectrum: Spectrum = IsotropicSpectrum(kind="isotropic", dimension=1)
    estimator: Literal["mle", "unbiased"] = "mle"
    samples: Count = Field(description="Training samples of every generation, real and synthetic together.")
    generations: Generations | None = Field(
        description="After so many synthetic generations; null: for ever."
    )
    workflow: Literal["fresh", "fresh_iid", "retained"] = Field(
        "fresh",
        description="New real samples in every generation, exactly so many (fresh) or each with that chance "
        "(fresh_iid); or the same ones kept in all.",
    )
    bound: GaussianBound
