"""What the theory is about: a population, sources of labelled samples, and stages that are fitted in order.

Everything is jointly diagonal: an array over eigenmodes stands for a covariance, and ``multiplicities`` says how
many modes an entry stands for, so that every trace is a weighted sum.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import blake2b
from typing import TYPE_CHECKING, Final, Literal

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from service.theory.condensed import Condensation
    from service.theory.grid import Grid
    from service.theory.leverage import Leverages

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

REAL: Final = "real"
OPTIMAL: Final = "optimal"
PREVIOUS: Final = "previous"
ROUNDING: Final = 1e-14  # of sums over modes that cancel, relative


@dataclass(frozen=True, eq=False)
class Population:
    """The real distribution: features x ~ (0, diag(eigenvalues)), labels y = x·w_0 + noise.

    ``eigenvalues``: variance of the features along each eigenmode, shape (modes,), >= 0, any order.
    ``multiplicities``: how many modes each entry stands for, shape (modes,), > 0.
    ``target_power``: E (w_0)_i^2 of one mode of each entry, shape (modes,).
    ``noise_variance``: variance of the real labels' noise.
    ``target``: the coefficients (w_0)_i themselves where they are known, shape (modes,); they matter beside the power
    only where covariances do not share the eigenbasis.
    ``leverages``: how far from Gaussian the rows are that the population was measured on, where there are any.
    """

    eigenvalues: Array
    multiplicities: Array
    target_power: Array
    noise_variance: float
    target: Array | None = None
    leverages: "Leverages | None" = None

    @cached_property
    def grid(self) -> "Grid":
        """Sums over modes on a grid of effective ridges, made once; needs a mode of positive variance."""
        from service.theory.grid import Grid  # which is about populations, so it imports this module

        return Grid(self)

    @cached_property
    def condensation(self) -> "Condensation | None":
        """The same in fewer modes, made once; None where that is not worth it."""
        from service.theory.condensed import condensation  # as above

        return condensation(self)

    @property
    def condensed(self) -> "Population":
        """The same in as few modes as sums need, see condensed.py."""
        return self if self.condensation is None else self.condensation.population

    def with_noise(self, noise_variance: float) -> "Population":
        """The same with other label noise, which nothing that is made once depends on."""
        changed = replace(self, noise_variance=noise_variance)
        changed.__dict__.update({**self.__dict__, "noise_variance": noise_variance})
        found = changed.__dict__.get("condensation")
        if found is not None:
            own = found.population.with_noise(noise_variance)
            changed.__dict__["condensation"] = replace(found, population=own)
        return changed

    @property
    def bytes(self) -> int:
        """What it takes in memory with all that is made once of it, about."""
        found = 10 * self.eigenvalues.nbytes
        if self.rank > 0:
            found += self.grid.bytes
        if self.condensation is not None:
            found += self.condensation.bytes
        return found

    @cached_property
    def weight(self) -> Array:
        """Multiplicity × eigenvalue: weighs squared errors of coefficients to a test error."""
        return self.multiplicities * self.eigenvalues

    @cached_property
    def positive(self) -> Array:
        """The multiplicities, 0 for modes without variance."""
        return self.multiplicities * (self.eigenvalues > 0)

    @cached_property
    def rank(self) -> float:
        """Number of modes with positive variance."""
        return float(self.positive.sum())

    @cached_property
    def null_modes(self) -> float:
        """Number of modes without variance: no sample says anything about them."""
        return float((self.multiplicities - self.positive).sum())

    @cached_property
    def trace(self) -> float:
        """Σ_i σ_i, the expected squared norm of the features."""
        return float(self.weight.sum())

    @cached_property
    def signal(self) -> float:
        """E‖w_0‖²_Σ: the test error of predicting zero."""
        return float(self.weight @ self.target_power)

    def is_null(self, error: float) -> bool:
        """Whether a fit that has this test error is, to rounding, no better than predicting zero."""
        return error >= (1.0 - ROUNDING) * self.signal


@dataclass(frozen=True, eq=False)
class Shift:
    """Labels from an unknown model w_0 + δ with E δ = 0; ``power`` is E δ_i^2 per mode, shape (modes,)."""

    power: Array


@dataclass(frozen=True, eq=False)
class Source:
    """Fresh samples of one origin.

    ``labels``: ``REAL``, the name of an earlier stage, or a ``Shift``.
    ``samples``: how many; ``noise_variance``: of their labels; ``weight``: in the loss (>= 0).
    ``eigenvalues``: the features' covariance where it is not the population's, shape (modes,); ``covariance``: the same
    where it is not diagonal in the population's eigenbasis, symmetric and positive semidefinite, shape (modes, modes).
    """

    name: str
    labels: str | Shift
    samples: float
    noise_variance: float
    weight: float = 1.0
    eigenvalues: Array | None = None
    covariance: Array | None = None

    @cached_property
    def covariance_key(self) -> bytes | None:
        """Equal where the features' covariance is; None for the population's own."""
        own = self.eigenvalues if self.covariance is None else self.covariance
        return None if own is None else blake2b(own.tobytes(), digest_size=16).digest()


@dataclass(frozen=True)
class Pass:
    """One of several fits in a row on the same features; ``noise_share``: of the noise of all of them."""

    penalty: float
    noise_share: float


@dataclass(frozen=True, eq=False)
class Stage:
    """One fit: argmin_w (1/N) Σ_s weight_s ‖X_s w − y_s‖² + penalty ‖w‖², on ``width`` random features if given.

    ``passes``: where there are any, several fits in a row on the features of the one source, whose labels are real;
    each is labelled by the one before, with noise of its own: a share of the source's ``noise_variance``, which is
    that of all. ``penalty`` is then the least positive one; shared_design.py evaluates it.
    """

    name: str
    sources: tuple[Source, ...]
    penalty: float | Literal["optimal"]
    width: float | None = None
    passes: tuple[Pass, ...] = ()


@dataclass(frozen=True, eq=False)
class TrainingMix:
    """Stages in order; a stage may use the labels of any earlier one; the last stage is the one evaluated.

    ``next_generation``: for recursions, the stage that one more generation inserts before the last; its synthetic
    source is labelled ``PREVIOUS``; with a pass it is fitted on the features of the generation before.
    ``keeps_data``: every stage is fitted on its own source and on all rows of the stages before it as well, once more
    (accumulate); then each stage has one source of weight 1, labelled by the stage before, and penalty × rows is the
    same for all stages, as "optimal" is. Reused rows are not fresh samples: only accumulate.py may evaluate it.
    """

    stages: tuple[Stage, ...]
    next_generation: Stage | None = None
    keeps_data: bool = False

    @cached_property
    def has_matrices(self) -> bool:
        """Whether some source has a covariance that is not diagonal in the population's eigenbasis."""
        return any(source.covariance is not None for stage in self.stages for source in stage.sources)
