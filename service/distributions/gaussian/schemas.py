"""What a client says about a recursion of Gaussian fits."""

from typing import Annotated, Literal

from pydantic import Field, Strict

from service.distributions.schemas import Recursion, Workflow
from service.predictions.schemas import IsotropicSpectrum, Spectrum

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
