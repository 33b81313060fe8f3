"""From what a client says about a training mix to the stages that the theory is about; back: echo.py."""

from typing import Any, assert_never

import numpy as np

from service.errors import InvalidInput
from service.predictions import schemas
from service.predictions.covariances import matrix_of
from service.predictions.populations import averaged, eigenvalues_of, modes_of
from service.theory.model import (
    OPTIMAL,
    PREVIOUS,
    REAL,
    Array,
    Pass,
    Population,
    Shift,
    Source,
    Stage,
    TrainingMix,
)

_MIX = "/training_mix"


class _Compiler:
    """Compiles one mix; ``population`` gives the modes and the default noise."""

    def __init__(self, population: Population, dataset: schemas.Dataset | None) -> None:
        self.population = population
        self.dataset = dataset

    def source(
        self, source: schemas.Source, taken: set[str], pointer: str, labels_field: str = "labels"
    ) -> Source:
        """One source; names are made unique within the stage; ``labels_field``: what the client calls its labels."""
        label = source.labels
        labels: str | Shift
        if isinstance(label, schemas.ShiftLabels):
            labels, name = self._shift(label, f"{pointer}/{labels_field}"), "shift"
        else:
            labels = name = label
        own = None if source.spectrum is None else self._covariance(source.spectrum, f"{pointer}/spectrum")
        matrix = self._matrix(source, f"{pointer}/covariance")
        # features that are always zero teach nothing: they count as samples of weight 0
        silent = any(covariance is not None and not covariance.any() for covariance in (own, matrix))
        return Source(
            _unique(source.name or name, taken, pointer, given=source.name is not None),
            labels,
            float(source.samples),
            self.population.noise_variance if source.noise_variance is None else source.noise_variance,
            0.0 if silent else source.weight,
            own,
            matrix,
        )

    def _matrix(self, source: schemas.Source, pointer: str) -> Array | None:
        """A source's own covariance, in the population's basis."""
        if source.covariance is None:
            return None
        if source.spectrum is not None:
            raise InvalidInput.at(pointer, "two_covariances", "give a spectrum or a covariance, not both")
        return matrix_of(source.covariance, self.population.eigenvalues.size, pointer)

    def _shift(self, shift: schemas.ShiftLabels, pointer: str) -> Shift:
        modes = self.population.multiplicities.sum()
        if shift.squared_norm is not None:
            return Shift(np.full(self.population.eigenvalues.size, shift.squared_norm / modes))
        if shift.squared_coefficients is not None:
            at = f"{pointer}/squared_coefficients"
            return Shift(
                averaged(np.array(shift.squared_coefficients), self.population.multiplicities, "values", at)
            )
        assert shift.test_error is not None
        positive = self.population.eigenvalues > 0
        power = np.zeros(positive.size)
        if positive.any():
            power[positive] = shift.test_error / self.population.rank / self.population.eigenvalues[positive]
        elif shift.test_error > 0:
            raise InvalidInput.at(
                f"{pointer}/test_error", "no_variance",
                "all eigenvalues of the data set are 0, so every model's test error is 0; give squared_norm, or a "
                "positive eigenvalue",
            )  # fmt: skip
        return Shift(power)

    def _covariance(self, spectrum: schemas.Spectrum, pointer: str) -> Array | None:
        """Eigenvalues of a source's own spectrum on the population's levels; None where they are the same."""
        mine = self.dataset.spectrum if self.dataset is not None else None
        if mine is not None and spectrum == mine:
            return None
        counts = self.population.multiplicities
        modes = mine.dimension if isinstance(mine, schemas.PowerLawSpectrum) else round(counts.sum())
        if (given := modes_of(spectrum)) != modes:
            raise InvalidInput.at(
                pointer, "wrong_length",
                f"the data set has {_many(modes)} modes and this spectrum {_many(given)}; "
                "a source's own spectrum must have as many as the data set's",
            )  # fmt: skip
        values, weights, nodes = eigenvalues_of(spectrum, pointer, explicit=False)
        if nodes is not None and np.array_equal(weights[:-1], counts[:-1]):
            values[-1] *= weights[-1] / counts[-1]  # the tail of an endless spectrum has its own trace
            return values
        if nodes is not None:
            values, weights, _ = eigenvalues_of(spectrum, pointer, explicit=True)
        return values[np.searchsorted(np.cumsum(weights), np.cumsum(counts))]

    # --- kinds ----------------------------------------------------------------------------------

    def stages(self, mix: schemas.StagesMix) -> TrainingMix:
        """The general form."""
        compiled: list[Stage] = []
        known: set[str] = set()
        for i, stage in enumerate(mix.stages):
            pointer = f"{_MIX}/stages/{i}"
            if stage.name in known or stage.name == REAL:
                raise InvalidInput.at(
                    f"{pointer}/name", "name_taken",
                    f'"{stage.name}" is taken; stage names are unique and "real" means the real data',
                )  # fmt: skip
            taken: set[str] = set()
            sources = []
            for j, source in enumerate(stage.sources):
                at = f"{pointer}/sources/{j}"
                if isinstance(source.labels, str) and source.labels != REAL and source.labels not in known:
                    raise InvalidInput.at(
                        f"{at}/labels", "unknown_stage",
                        f'no earlier stage is named "{source.labels}"; use "real", a shift, or an earlier stage',
                    )  # fmt: skip
                sources.append(self.source(source, taken, at))
            known.add(stage.name)
            compiled.append(Stage(stage.name, tuple(sources), stage.penalty, _width(stage.width)))
        return TrainingMix(tuple(compiled))

    def recursive(self, mix: schemas.RecursiveMix) -> TrainingMix:
        """Generators in a row, then the final fit. Those on one shared design are one stage of several passes."""
        n, generator, noise = mix.generations, mix.generator, self.population.noise_variance
        at = f"{_MIX}/generator"
        samples = _per_generation(generator.samples, n, f"{at}/samples")
        penalties = _per_generation(generator.penalty, n, f"{at}/penalty")
        given = generator.noise_variance
        noises = _per_generation(noise if given is None else given, n, f"{at}/noise_variance")
        stages: list[Stage] = []
        # one generator alone shares its design with none
        if generator.design == "shared" and n > 1:
            if OPTIMAL in penalties:
                raise InvalidInput.at(
                    f"{at}/penalty", "shared_design_optimal",
                    "optimal penalties are found for generators with designs of their own: give numbers, or use design"
                    ' "independent"',
                )  # fmt: skip
            if len(set(samples)) > 1:
                raise InvalidInput.at(
                    f"{at}/samples", "shared_design_sizes", "one shared design has one number of samples"
                )
            source = Source(REAL, REAL, float(samples[0]), float(sum(noises)))
            stages.append(Stage("generator", (source,), *_in_a_row(penalties, noises)))
        else:
            for k in range(n):
                label = REAL if k == 0 else f"generation-{k}"
                source = Source(label, label, float(samples[k]), float(noises[k]))
                stages.append(Stage(f"generation-{k + 1}", (source,), penalties[k]))
        label = stages[-1].name if stages else REAL
        final = Source(label, label, float(mix.samples), noise)
        again: Stage | None = None
        # without generations the fields are no lists
        every: tuple[Any, Any, Any] = (
            generator.samples,
            noise if given is None else given,
            generator.penalty,
        )
        each = set(zip(samples, noises, penalties, strict=True)) if n > 0 else {every}
        if len(each) == 1:
            ((rows, variance, penalty),) = each
            if not (isinstance(rows, list) or isinstance(variance, list) or isinstance(penalty, list)):
                source = Source(PREVIOUS, PREVIOUS, float(rows), float(variance))
                passes = (Pass(penalty, 1.0),) if generator.design == "shared" and penalty != OPTIMAL else ()
                again = Stage(PREVIOUS, (source,), penalty, None, passes)
        return TrainingMix((*stages, Stage("final", (final,), mix.penalty, _width(mix.width))), again)

    def mixture(self, mix: schemas.MixtureMix) -> TrainingMix:
        """One fit on real samples and synthetic ones of stated quality."""
        taken: set[str] = set()
        real = schemas.Source(labels=REAL, **mix.real.model_dump())
        sources = [self.source(real, taken, f"{_MIX}/real")]
        for i, share in enumerate(mix.synthetic):
            fields = {
                name: getattr(share, name)
                for name in ("samples", "noise_variance", "weight", "spectrum", "covariance")
            }
            source = schemas.Source(labels=share.quality, name=share.name or f"synthetic-{i + 1}", **fields)
            sources.append(self.source(source, taken, f"{_MIX}/synthetic/{i}", "quality"))
        return TrainingMix((Stage("final", tuple(sources), mix.penalty, _width(mix.width)),))

    def replace_with_real(self, mix: schemas.ReplaceWithRealMix) -> TrainingMix:
        """Every generation after the first: fresh real samples, the rest labelled by the model before."""
        noise = self.population.noise_variance
        fresh = float(round(mix.real_fraction * mix.samples))
        stages: list[Stage] = []
        for k in range(mix.generations + 1):
            name = "final" if k == mix.generations else f"generation-{k}"
            real = Source(REAL, REAL, float(mix.samples) if k == 0 else fresh, noise)
            sources: tuple[Source, ...] = (real,)
            if k > 0:
                before = stages[-1].name
                sources = (real, Source(before, before, float(mix.samples) - fresh, noise))
            stages.append(Stage(name, sources, mix.penalty, _width(mix.width)))
        synthetic = Source(PREVIOUS, PREVIOUS, float(mix.samples) - fresh, noise)
        again = Stage(PREVIOUS, (Source(REAL, REAL, fresh, noise), synthetic), mix.penalty, _width(mix.width))
        return TrainingMix(tuple(stages), again)

    def accumulate(self, mix: schemas.AccumulateMix) -> TrainingMix:
        """One stage per fit, with the rows that it adds; see TrainingMix.keeps_data."""
        noise, n, at = self.population.noise_variance, mix.generations, f"{_MIX}/samples"
        if isinstance(mix.samples, list) and len(mix.samples) != n + 1:
            raise InvalidInput.at(
                at, "wrong_length",
                f"expected one value, or a list of {n + 1}: the real data's and one for each generation",
            )  # fmt: skip
        samples = _per_generation(mix.samples, n + 1, at)
        stages: list[Stage] = []
        rows = 0
        for k, added in enumerate(samples):
            rows += added
            label = stages[-1].name if stages else REAL
            # an exact ratio of the numbers given: no rows, no penalty per sample, and nothing to fit either
            penalty = mix.penalty_sum if mix.penalty_sum == OPTIMAL else mix.penalty_sum / max(rows, 1)
            name = "final" if k == n else f"generation-{k}"
            stages.append(Stage(name, (Source(label, label, float(added), noise),), penalty))
        return TrainingMix(tuple(stages), keeps_data=True)


def _many(modes: int | None) -> str:
    return "infinitely many" if modes is None else f"{modes:,}"


def _in_a_row(penalties: list[float], noises: list[float]) -> tuple[float, None, tuple[Pass, ...]]:
    """Penalty, width and passes of a stage of fits on one design; without any penalty they are one projection."""
    positive = [penalty for penalty in penalties if penalty > 0]
    if not positive:
        return 0.0, None, ()
    total = sum(noises)
    equal = len(set(noises)) == 1
    shares = [1 / len(noises) if equal else noise / total for noise in noises]
    passes = tuple(Pass(*one) for one in zip(penalties, shares, strict=True))
    return min(positive), None, passes


def _width(width: int | None) -> float | None:
    return None if width is None else float(width)


def _unique(name: str, taken: set[str], pointer: str, *, given: bool) -> str:
    if given and name in taken:
        raise InvalidInput.at(
            f"{pointer}/name", "name_taken", f'"{name}" names an earlier source of this stage'
        )
    candidate, count = name, 2
    while candidate in taken:
        candidate, count = f"{name}-{count}", count + 1
    taken.add(candidate)
    return candidate


def _per_generation(value: Any, generations: int, pointer: str) -> list[Any]:
    if not isinstance(value, list):
        return [value] * generations
    if len(value) != generations:
        raise InvalidInput.at(
            pointer,
            "wrong_length",
            f"expected one value, or a list of {generations}, one for each generation",
        )
    return value


def compile_mix(
    mix: schemas.TrainingMix, population: Population, dataset: schemas.Dataset | None = None
) -> TrainingMix:
    """The general form of a mix on a population (of an inline ``dataset``, or a stored one). Raises InvalidInput."""
    compiler = _Compiler(population, dataset)
    match mix:
        case schemas.StagesMix():
            return compiler.stages(mix)
        case schemas.RecursiveMix():
            return compiler.recursive(mix)
        case schemas.MixtureMix():
            return compiler.mixture(mix)
        case schemas.ReplaceWithRealMix():
            return compiler.replace_with_real(mix)
        case schemas.AccumulateMix():
            return compiler.accumulate(mix)
        case _:
            assert_never(mix)
