"""What a client says about a data set and a training mix, and what it is answered."""

from math import log10
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, Strict, model_validator

from service.predictions.covariances import Covariance

LARGEST = 1e60
SMALLEST = 1e-60
MAX_SAMPLES = 10**18
MAX_DIMENSION = 10**9
MAX_LIST = 10**6
MAX_STAGES = 10_000
MAX_SOURCES = 32
MAX_NAME = 100
MAX_DECADES = 100
MAX_ENDLESS_EXPONENT = 4.0

Positive = Annotated[float, Field(ge=SMALLEST, le=LARGEST, allow_inf_nan=False), Strict()]
NonNegative = Annotated[float, Field(ge=0, le=LARGEST, allow_inf_nan=False), Strict()]
Real = Annotated[float, Field(ge=-LARGEST, le=LARGEST, allow_inf_nan=False), Strict()]
Samples = Annotated[int, Field(ge=0, le=MAX_SAMPLES), Strict()]
Width = Annotated[int, Field(ge=1, le=MAX_SAMPLES), Strict()]
Generations = Annotated[int, Field(ge=0, le=MAX_STAGES - 1), Strict()]
Penalty = NonNegative | Literal["optimal"]
Name = Annotated[str, Field(min_length=1, max_length=MAX_NAME, pattern=r"^[A-Za-z0-9][A-Za-z0-9 _.:+-]*$")]


class Model(BaseModel):
    """Base of every request: unknown fields are errors, since a misspelt option is a wrong number."""

    model_config = ConfigDict(extra="forbid", frozen=True)


# --- data set -------------------------------------------------------------------------------------


class IsotropicSpectrum(Model):
    """All eigenvalues equal."""

    kind: Literal["isotropic"]
    dimension: Annotated[int, Field(ge=1, le=MAX_DIMENSION), Strict()]
    variance: Positive = 1.0


class PowerLawSpectrum(Model):
    """Eigenvalues scale × i^-exponent, i = 1 … dimension."""

    kind: Literal["power_law"]
    dimension: Annotated[int, Field(ge=1, le=MAX_DIMENSION), Strict()] | None = Field(
        description="Number of modes; null for infinitely many (exponent > 1)."
    )
    exponent: Annotated[float, Field(ge=0, le=20, allow_inf_nan=False), Strict()] = Field(
        description="Capacity exponent β."
    )
    scale: Positive = 1.0

    @model_validator(mode="after")
    def _eigenvalues_are_numbers(self) -> "PowerLawSpectrum":
        if self.dimension is None:
            if not 1 < self.exponent <= MAX_ENDLESS_EXPONENT:
                raise ValueError(
                    f"a spectrum of infinitely many modes needs an exponent above 1 and at most "
                    f"{MAX_ENDLESS_EXPONENT:g}; give a finite dimension for others"
                )
        elif self.exponent * log10(self.dimension) > MAX_DECADES:
            raise ValueError(
                f"the last eigenvalue would be more than {MAX_DECADES} orders of magnitude below the first; "
                "give a smaller dimension, modes so small change nothing"
            )
        return self


class EigenvaluesSpectrum(Model):
    """Eigenvalues as a list."""

    kind: Literal["eigenvalues"]
    values: Annotated[list[NonNegative], Field(min_length=1, max_length=MAX_LIST)]


class LevelsSpectrum(Model):
    """Eigenvalues with multiplicities."""

    kind: Literal["levels"]
    values: Annotated[list[NonNegative], Field(min_length=1, max_length=MAX_LIST)]
    multiplicities: Annotated[
        list[Annotated[int, Field(ge=1, le=MAX_DIMENSION), Strict()]],
        Field(min_length=1, max_length=MAX_LIST),
    ]

    @model_validator(mode="after")
    def _same_length(self) -> "LevelsSpectrum":
        if len(self.values) != len(self.multiplicities):
            raise ValueError(
                f"values has {len(self.values)} entries and multiplicities {len(self.multiplicities)}; "
                "they must be of the same length"
            )
        return self


Spectrum = Annotated[
    IsotropicSpectrum | PowerLawSpectrum | EigenvaluesSpectrum | LevelsSpectrum, Field(discriminator="kind")
]


class IsotropicTarget(Model):
    """A target without preferred direction: E w_i² = squared_norm / dimension."""

    kind: Literal["isotropic"]
    squared_norm: NonNegative


class SourceTarget(Model):
    """Source condition: w_i² × i^-β = scale × i^(-1 - 2 β r), with the power-law spectrum's β."""

    kind: Literal["source"]
    exponent: Annotated[float, Field(gt=0, le=20, allow_inf_nan=False), Strict()] = Field(
        description="Source exponent r."
    )
    scale: Positive = 1.0


class CoefficientsTarget(Model):
    """The coefficients w_i in the eigenbasis, in the order of the eigenvalues."""

    kind: Literal["coefficients"]
    values: Annotated[list[Real], Field(min_length=1, max_length=MAX_LIST)]


class PowerTarget(Model):
    """The mean of w_i² over each level of the spectrum, as stored data sets are described."""

    kind: Literal["power"]
    values: Annotated[list[NonNegative], Field(min_length=1, max_length=MAX_LIST)]


Target = Annotated[
    IsotropicTarget | SourceTarget | CoefficientsTarget | PowerTarget, Field(discriminator="kind")
]


class Dataset(Model):
    """The real distribution: spectrum of the features, target in its eigenbasis, noise of the labels."""

    spectrum: Spectrum
    target: Target
    noise_variance: NonNegative


DatasetId = Annotated[str, Field(pattern=r"^dst_[a-z0-9]{26}$", description="Id of a stored data set.")]


# --- training mix ---------------------------------------------------------------------------------


class ShiftLabels(Model):
    """Labels of an unknown model w_0 + δ, E δ = 0: of given E‖δ‖², spread evenly over the modes; of given test error
    E‖δ‖²_Σ, the same for each mode; or of given E δ_i² for each mode."""

    kind: Literal["shift"]
    squared_norm: NonNegative | None = None
    test_error: NonNegative | None = None
    squared_coefficients: Annotated[list[NonNegative], Field(min_length=1, max_length=MAX_LIST)] | None = (
        Field(
            None, description="E δ_i² in the eigenbasis, one for each mode, in the order of the eigenvalues."
        )
    )

    @model_validator(mode="after")
    def _one_of_them(self) -> "ShiftLabels":
        given = (self.squared_norm, self.test_error, self.squared_coefficients)
        if sum(one is not None for one in given) != 1:
            raise ValueError("give exactly one of squared_norm, test_error and squared_coefficients")
        return self


class Source(Model):
    """Fresh samples of one origin."""

    labels: Name | ShiftLabels = Field(description='"real", the name of an earlier stage, or a shift.')
    samples: Samples
    noise_variance: NonNegative | None = Field(None, description="Of its labels; default: the data set's.")
    weight: NonNegative = Field(1.0, description="Loss weight.")
    spectrum: Spectrum | None = Field(None, description="Covariate shift: spectrum in the same eigenbasis.")
    covariance: Covariance = None
    name: Name | None = None


class Stage(Model):
    """One fit of ridge regression."""

    name: Name
    penalty: Penalty = Field(description='Ridge penalty per sample, or "optimal".')
    sources: Annotated[list[Source], Field(min_length=1, max_length=MAX_SOURCES)]
    width: Width | None = Field(None, description="Number of random features; null: the features themselves.")


class StagesMix(Model):
    """The general form: stages in order; the last one is evaluated."""

    kind: Literal["stages"]
    stages: Annotated[list[Stage], Field(min_length=1, max_length=MAX_STAGES)]


PerGenerationSamples = Samples | Annotated[list[Samples], Field(min_length=1, max_length=MAX_STAGES)]
PerGenerationValue = NonNegative | Annotated[list[NonNegative], Field(min_length=1, max_length=MAX_STAGES)]
PerGenerationPenalty = Penalty | Annotated[list[Penalty], Field(min_length=1, max_length=MAX_STAGES)]


class Generator(Model):
    """The fits before the final one; each field one value or a list with one entry per generation."""

    samples: PerGenerationSamples
    noise_variance: PerGenerationValue | None = None
    penalty: PerGenerationPenalty = 0.0
    design: Literal["independent", "shared"] = "independent"


class RecursiveMix(Model):
    """Each generation is fitted to labels of the previous one; the final model to those of the last."""

    kind: Literal["recursive"]
    generations: Generations
    generator: Generator
    samples: Samples
    penalty: Penalty
    width: Width | None = None


class RealShare(Model):
    """The real samples of a mixture."""

    samples: Samples
    noise_variance: NonNegative | None = None
    weight: NonNegative = 1.0


class SyntheticShare(Model):
    """One synthetic source of a mixture, of stated quality."""

    samples: Samples
    quality: ShiftLabels
    noise_variance: NonNegative | None = None
    weight: NonNegative = 1.0
    spectrum: Spectrum | None = None
    covariance: Covariance = None
    name: Name | None = None


class MixtureMix(Model):
    """One fit on real and synthetic samples together."""

    kind: Literal["mixture"]
    real: RealShare
    synthetic: Annotated[list[SyntheticShare], Field(max_length=MAX_SOURCES - 1)]
    penalty: Penalty
    width: Width | None = None


class ReplaceWithRealMix(Model):
    """Each generation trains on labels of the previous one and a share of fresh real data."""

    kind: Literal["replace_with_real"]
    generations: Generations
    samples: Samples
    real_fraction: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False), Strict()]
    penalty: Penalty
    width: Width | None = None


class AccumulateMix(Model):
    """Every generation trains on the real data and every earlier generation's, the same rows again.

    With the sum of squared losses and penalty_sum ‖w‖² (not per sample).
    """

    kind: Literal["accumulate"]
    generations: Generations
    samples: PerGenerationSamples = Field(
        description="Rows that each fit adds: one number, or a list of generations + 1; the first are the real data."
    )
    penalty_sum: Penalty = Field(
        description='Penalty on ‖w‖² beside the sum of squared losses, or "optimal".'
    )


TrainingMix = Annotated[
    StagesMix | RecursiveMix | MixtureMix | ReplaceWithRealMix | AccumulateMix, Field(discriminator="kind")
]


class PredictionRequest(Model):
    """A data set and what is trained on it."""

    dataset: Dataset | DatasetId
    training_mix: TrainingMix
