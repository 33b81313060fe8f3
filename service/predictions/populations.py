"""From what a client says about a data set to the population that the theory is about."""

from dataclasses import replace
from typing import TypeGuard, assert_never

import numpy as np

from service.errors import InvalidInput
from service.predictions import schemas
from service.theory import spectra
from service.theory.matrices.prediction import MAX_MODES
from service.theory.model import Array, Population

_DATASET = "/dataset"


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
    target, spectrum = dataset.target, dataset.spectrum
    shifted = any(not isinstance(own, type(spectrum)) for own in own_spectra(mix))
    matrices = has_matrices(mix)
    listed = shifted or matrices or isinstance(target, schemas.CoefficientsTarget)
    explicit = listed and not isinstance(spectrum, schemas.LevelsSpectrum)
    if explicit and isinstance(spectrum, schemas.PowerLawSpectrum) and spectrum.dimension is None:
        raise InvalidInput.at(
            f"{pointer}/spectrum/dimension", "infinite_dimension",
            "a spectrum of infinitely many modes has no list of coefficients or of a source's eigenvalues; "
            "give a finite dimension",
        )  # fmt: skip
    values, weights, rank = eigenvalues_of(spectrum, f"{pointer}/spectrum", explicit=explicit)
    power = _target_power(dataset, values, weights, rank, f"{pointer}/target")
    if matrices:
        modes = single_modes(
            Population(values, weights, power, dataset.noise_variance), f"{pointer}/spectrum"
        )
        return replace(modes, target=np.array(target.values)) if _signed(target) else modes
    if rank is None and values.size > 1 and not own_spectra(mix):
        values, weights, power = _merged(values, weights, power)
    return Population(values, weights, power, dataset.noise_variance)


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
    dataset: schemas.Dataset, values: Array, weights: Array, rank: Array | None, pointer: str
) -> Array:
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
            squares = np.array(target.values) ** 2
            if isinstance(spectrum, schemas.LevelsSpectrum):
                counts = np.array(spectrum.multiplicities)
                same_size(
                    squares.size, int(counts.sum()), "coefficients, one for each mode", f"{pointer}/values"
                )
                starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
                return np.asarray(np.add.reduceat(squares, starts) / counts)
            same_size(squares.size, values.size, "coefficients, one for each mode", f"{pointer}/values")
            return np.asarray(squares)
        case schemas.PowerTarget():
            if rank is not None and values.size != _dimension(spectrum):
                raise InvalidInput.at(
                    f"{pointer}/kind",
                    "needs_levels",
                    'a target of kind "power" goes with "eigenvalues" or "levels"',
                )
            same_size(
                len(target.values),
                values.size,
                "values, one for each level of the spectrum",
                f"{pointer}/values",
            )
            return np.array(target.values)
        case _:
            assert_never(target)


def _dimension(spectrum: schemas.Spectrum) -> int | None:
    return getattr(spectrum, "dimension", None)


def same_size(given: int, needed: int, what: str, pointer: str) -> None:
    """Raise InvalidInput where a list has another length than it must."""
    if given != needed:
        raise InvalidInput.at(pointer, "wrong_length", f"expected {needed} {what}; got {given}")
