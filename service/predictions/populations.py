"""From what a client says about a data set to the population that the theory is about."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeGuard, assert_never

import numpy as np
from numpy.typing import NDArray

from service.errors import InvalidInput
from service.predictions import schemas
from service.theory import spectra
from service.theory.matrices.prediction import MAX_MODES
from service.theory.model import Array, Population

_DATASET = "/dataset"
_LEAST_LARGEST = 1e-60  # eigenvalues are squared, also those of modes far below the largest

Index = NDArray[np.intp]


def eigenvalues_of(
    spectrum: schemas.Spectrum, pointer: str, *, explicit: bool
) -> tuple[Array, Array, Array | None]:
    """Eigenvalues, multiplicities, and the ranks of a power law."""
    match spectrum:
        case schemas.IsotropicSpectrum():
            if explicit:
                _small(spectrum.dimension, f"{pointer}/dimension")
                return np.full(spectrum.dimension, spectrum.variance), np.ones(spectrum.dimension), None
            return np.array([spectrum.variance]), np.array([float(spectrum.dimension)]), None
        case schemas.PowerLawSpectrum():
            if explicit and spectrum.dimension is not None:
                _small(spectrum.dimension, f"{pointer}/dimension")
                rank: Array = np.arange(1, spectrum.dimension + 1, dtype=np.float64)
                return spectrum.scale * rank**-spectrum.exponent, np.ones(rank.size), rank
            x, values, weights = spectra.power_law(spectrum.dimension, spectrum.exponent, spectrum.scale)
            return values, weights, x
        case schemas.EigenvaluesSpectrum():
            return np.array(spectrum.values), np.ones(len(spectrum.values)), None
        case schemas.LevelsSpectrum():
            return np.array(spectrum.values), np.array(spectrum.multiplicities, dtype=float), None
        case _:
            assert_never(spectrum)


def modes_of(spectrum: schemas.Spectrum) -> int | None:
    """How many modes a spectrum has; None: infinitely many."""
    match spectrum:
        case schemas.IsotropicSpectrum() | schemas.PowerLawSpectrum():
            return spectrum.dimension
        case schemas.EigenvaluesSpectrum():
            return len(spectrum.values)
        case schemas.LevelsSpectrum():
            return sum(spectrum.multiplicities)
        case _:
            assert_never(spectrum)


def _small(dimension: int, pointer: str) -> None:
    if dimension > schemas.MAX_LIST:
        raise InvalidInput.at(
            pointer,
            "too_large",
            f"lists of coefficients or eigenvalues go with at most {schemas.MAX_LIST} modes",
        )


def own_spectra(mix: schemas.TrainingMix | None) -> list[schemas.Spectrum]:
    """The spectra of sources that have one of their own (covariate shift)."""
    match mix:
        case schemas.StagesMix():
            return [s.spectrum for stage in mix.stages for s in stage.sources if s.spectrum is not None]
        case schemas.MixtureMix():
            return [share.spectrum for share in mix.synthetic if share.spectrum is not None]
        case _:
            return []


def has_matrices(mix: schemas.TrainingMix | None) -> bool:
    """Whether a source has a covariance matrix."""
    match mix:
        case schemas.StagesMix():
            return any(s.covariance is not None for stage in mix.stages for s in stage.sources)
        case schemas.MixtureMix():
            return any(share.covariance is not None for share in mix.synthetic)
        case _:
            return False


def has_listed_shifts(mix: schemas.TrainingMix | None) -> bool:
    """Whether labels are shifted by a given amount for each mode."""
    match mix:
        case schemas.StagesMix():
            labels = [s.labels for stage in mix.stages for s in stage.sources]
        case schemas.MixtureMix():
            labels = [share.quality for share in mix.synthetic]
        case _:
            return False
    return any(
        isinstance(one, schemas.ShiftLabels) and one.squared_coefficients is not None for one in labels
    )


def averaged(values: Array, multiplicities: Array, what: str, pointer: str) -> Array:
    """The mean over each level of numbers that are given one for each mode. Raises InvalidInput."""
    same_size(values.size, int(multiplicities.sum()), f"{what}, one for each mode", pointer)
    starts = np.cumsum(multiplicities) - multiplicities
    return np.asarray(np.add.reduceat(values, starts.astype(np.intp)) / multiplicities)


def single_modes(found: Population, pointer: str = _DATASET) -> Population:
    """The population mode by mode, as covariance matrices need it. Raises InvalidInput."""
    counts = found.multiplicities
    if counts.sum() > MAX_MODES or np.any(counts != np.round(counts)):
        raise InvalidInput.at(
            pointer, "too_large",
            f"covariance matrices go with at most {MAX_MODES} modes; this data set has {counts.sum():.6g}",
        )  # fmt: skip
    if np.all(counts == 1):
        return found
    times = counts.astype(int)
    return Population(
        np.repeat(found.eigenvalues, times),
        np.ones(times.sum()),
        np.repeat(found.target_power, times),
        found.noise_variance,
    )


def population(
    dataset: schemas.Dataset, mix: schemas.TrainingMix | None = None, pointer: str = _DATASET
) -> Population:
    """The population of an inline data set, with as few levels as ``mix`` allows. Raises InvalidInput."""
    target, spectrum, others = dataset.target, dataset.spectrum, own_spectra(mix)
    matrices = has_matrices(mix)
    listed = any(not isinstance(own, schemas.PowerLawSpectrum | schemas.IsotropicSpectrum) for own in others)
    by_mode = has_listed_shifts(mix)  # in the order of the spectrum, so that equal eigenvalues stay apart
    listed = listed or matrices or by_mode or isinstance(target, schemas.CoefficientsTarget)
    explicit = listed and not isinstance(spectrum, schemas.LevelsSpectrum)
    if explicit and isinstance(spectrum, schemas.PowerLawSpectrum) and spectrum.dimension is None:
        raise InvalidInput.at(
            f"{pointer}/spectrum/dimension", "infinite_dimension",
            "a spectrum of infinitely many modes has no list of coefficients or of eigenvalues; "
            "give a finite dimension",
        )  # fmt: skip
    values, weights, rank = eigenvalues_of(spectrum, f"{pointer}/spectrum", explicit=explicit)
    if 0 < values.max() < _LEAST_LARGEST:
        raise InvalidInput.at(
            f"{pointer}/spectrum", "too_small",
            f"the largest eigenvalue is {values.max():.3g}, and at least {_LEAST_LARGEST:g} or 0 is accepted: "
            "give the features in a smaller unit",
        )  # fmt: skip
    level: Index = np.arange(values.size)
    if rank is None and others:
        level, weights = _split(weights, others, listed=listed)
        values = values[level]
    power = _target_power(dataset, values, weights, rank, level=level, pointer=f"{pointer}/target")
    if matrices:
        modes = single_modes(
            Population(values, weights, power, dataset.noise_variance), f"{pointer}/spectrum"
        )
        return replace(modes, target=np.array(target.values)) if _signed(target) else modes
    if rank is None and values.size > 1 and not others and not by_mode:
        values, weights, power = _merged(values, weights, power)
    return Population(values, weights, power, dataset.noise_variance)


def with_levels_of(found: Population, others: Sequence[schemas.Spectrum]) -> Population:
    """The population with levels on which the other spectra are constant, too."""
    if not others:
        return found
    level, weights = _split(found.multiplicities, others, listed=True)
    return replace(
        found,
        eigenvalues=found.eigenvalues[level],
        multiplicities=weights,
        target_power=found.target_power[level],
    )


def _split(weights: Array, others: Sequence[schemas.Spectrum], *, listed: bool) -> tuple[Index, Array]:
    """Levels cut where those of other spectra end: which level each is part of, and how many modes it has.

    Flat and power-law spectra alone (not ``listed``) share the nodes of the latter. Spectra of another number of modes
    are left alone here, compiling the mix refuses them.
    """
    modes = weights.sum()
    if not listed and weights.size == 1:
        laws = [own for own in others if isinstance(own, schemas.PowerLawSpectrum) and own.dimension == modes]
        counts = spectra.ranks(laws[0].dimension)[1] if laws else weights
        return np.zeros(counts.size, dtype=np.intp), counts
    before = np.cumsum(weights)
    ends = np.unique(np.concatenate([before, *(e for e in map(_level_ends, others) if e[-1] == modes)]))
    return np.searchsorted(before, ends), np.diff(ends, prepend=0.0)


def _level_ends(spectrum: schemas.Spectrum) -> Array:
    """The number of modes up to and with each level."""
    match spectrum:
        case schemas.IsotropicSpectrum():
            return np.array([float(spectrum.dimension)])
        case schemas.LevelsSpectrum():
            return np.cumsum(np.array(spectrum.multiplicities, dtype=float))
        case schemas.EigenvaluesSpectrum():
            return np.arange(1.0, len(spectrum.values) + 1)
        case schemas.PowerLawSpectrum():
            modes = spectrum.dimension or 0
            return np.arange(1.0, modes + 1) if 0 < modes <= schemas.MAX_LIST else np.zeros(1)
        case _:
            assert_never(spectrum)


def _signed(target: schemas.Target) -> TypeGuard[schemas.CoefficientsTarget]:
    """Whether the coefficients themselves are known."""
    return isinstance(target, schemas.CoefficientsTarget)


def _merged(values: Array, weights: Array, power: Array) -> tuple[Array, Array, Array]:
    """Equal eigenvalues as one level: the theory sees only the mean power on each."""
    levels, position = np.unique(values, return_inverse=True)
    if levels.size == values.size:
        return values, weights, power
    total: Array = np.bincount(position, weights).astype(np.float64)
    return levels, total, np.bincount(position, weights * power) / total


def _target_power(
    dataset: schemas.Dataset,
    values: Array,
    weights: Array,
    rank: Array | None,
    *,
    level: Index,
    pointer: str,
) -> Array:
    """``level``: which of the spectrum's levels each of these is part of."""
    target, spectrum = dataset.target, dataset.spectrum
    match target:
        case schemas.IsotropicTarget():
            if isinstance(spectrum, schemas.PowerLawSpectrum) and spectrum.dimension is None:
                raise InvalidInput.at(
                    f"{pointer}/kind", "infinite_dimension",
                    "an isotropic target of finite norm vanishes on infinitely many modes; "
                    'use kind "source", or a finite dimension',
                )  # fmt: skip
            return np.full(values.size, target.squared_norm / weights.sum())
        case schemas.SourceTarget():
            if not isinstance(spectrum, schemas.PowerLawSpectrum) or rank is None:
                raise InvalidInput.at(
                    f"{pointer}/kind", "needs_power_law",
                    'a target of kind "source" goes with a spectrum of kind "power_law"; '
                    'use "isotropic" or "coefficients" with others',
                )  # fmt: skip
            return spectra.source_target(
                rank, weights, spectrum.exponent, target.exponent, target.scale,
                endless=spectrum.dimension is None,
            )  # fmt: skip
        case schemas.CoefficientsTarget():
            return averaged(np.array(target.values) ** 2, weights, "coefficients", f"{pointer}/values")
        case schemas.PowerTarget():
            if rank is not None and values.size != _dimension(spectrum):
                raise InvalidInput.at(
                    f"{pointer}/kind",
                    "needs_levels",
                    'a target of kind "power" goes with "eigenvalues" or "levels"',
                )
            same_size(
                len(target.values),
                int(level[-1]) + 1,
                "values, one for each level of the spectrum",
                f"{pointer}/values",
            )
            return np.array(target.values)[level]
        case _:
            assert_never(target)


def _dimension(spectrum: schemas.Spectrum) -> int | None:
    return getattr(spectrum, "dimension", None)


def same_size(given: int, needed: int, what: str, pointer: str) -> None:
    """Raise InvalidInput where a list has another length than it must."""
    if given != needed:
        raise InvalidInput.at(pointer, "wrong_length", f"expected {needed} {what}; got {given}")
