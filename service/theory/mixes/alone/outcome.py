"""What the theory says about one mix, asymptotically."""

from collections.abc import Sequence
from math import exp, inf
from typing import NamedTuple

import numpy as np

from service.theory.chain import Labels
from service.theory.effective_samples import effective_samples, regular_effective_samples
from service.theory.flatness import EXCESS, interpolated_ends
from service.theory.mixes.alone.chain import Fit, moments
from service.theory.mixes.alone.design import Design, NotRegular, Solved
from service.theory.mixes.alone.last import LastStage
from service.theory.mixes.alone.minimum import Minimum, regular_minimum
from service.theory.mixes.alone.real import RealFit, RealPoint
from service.theory.mixes.scenarios import Links
from service.theory.model import OPTIMAL, REAL, Array, Population, Source, Stage, TrainingMix
from service.theory.penalty import APART
from service.theory.stages import real_noise, real_stage


class Point(NamedTuple):
    """The last stage at one penalty, and the fit to clean labels there."""

    fit: Fit
    total: float
    clean: RealPoint


class Outcome(NamedTuple):
    """``points``: at the given penalty and at the best one, which may be one.

    ``clean``: the clean fit at its best penalty, ``at_clean``: the mix there, and its error. ``real``: the real samples
    alone, at the given penalty and at their best one; None where there are none. ``ends``: penalties and errors where
    the error has risen by one per cent; ``curve``: of the error on the grid.
    """

    points: list[Point]
    clean: RealPoint
    at_clean: Solved
    total_at_clean: float
    effective_samples: float
    real: tuple[RealPoint, RealPoint] | None
    ends: list[tuple[float, float]]
    curve: Array


class One:
    """A mix that ``is_mixed`` takes.

    ``powers``: of the shifts of each stage, shape (shifted, modes); ``fits``: of the stages before the last; ``clean``,
    ``real``: the last one with all samples real, and its real samples alone. Raises NotRegular, ArithmeticError.
    """

    def __init__(
        self, population: Population, mix: TrainingMix, links: Sequence[Links], powers: Sequence[Array]
    ) -> None:
        self.population, self.links, self.powers = population, links, powers
        self._designs: dict[tuple[tuple[float, float], ...], Design] = {}
        self._fits: dict[tuple[int, float], Fit] = {}
        final = mix.stages[-1]
        self.noise = [[s.noise_variance for s in stage.sources] for stage in mix.stages]
        self.fits = [self._fit(stage, float(stage.penalty)) for stage in mix.stages[:-1]]
        self.given = None if final.penalty == OPTIMAL else self._fit(final, float(final.penalty))
        self.design = self._design(final)
        self.M = moments(population, links, powers, self.fits, self.noise)
        self.last = LastStage(self.design, links[-1], self.noise[-1], self.M, powers[-1])
        self.real_noise = real_noise(population, final)
        clean = Source(REAL, REAL, self.design.total, self.real_noise)
        self.clean = RealFit(Design(population, (clean,)), self.real_noise)
        self.real = _real_fit(population, final)

    def _design(self, stage: Stage) -> Design:
        """Stages of equal numbers share it."""
        key = tuple([(s.samples, s.weight) for s in stage.sources])
        found = self._designs.get(key)
        if found is None:
            found = self._designs[key] = Design(self.population, stage.sources)
        return found

    def _fit(self, stage: Stage, penalty: float) -> Fit:
        """The same."""
        design = self._design(stage)
        found = self._fits.get((id(design), penalty))
        if found is None:
            found = self._fits[id(design), penalty] = Fit(design, design.solve(penalty))
        return found

    def labels(self) -> Labels:
        """The moments of the last stage's labels, source by source."""
        links, M = self.links[-1], self.M
        second = np.einsum("su,tv,uvm->stm", links.placed, links.placed, M)
        for power, s in zip(self.powers[-1], links.shifted, strict=True):
            second[s, s] = power
        return Labels(links.placed @ M[0], second)

    def outcome(self) -> Outcome:
        """See Outcome. Raises NotRegular, ArithmeticError."""
        population, design, last = self.population, self.design, self.last
        least, curve = self._least()
        clean = self.clean.least()
        low, high = interpolated_ends(population.grid.theta, curve, least.theta, (1.0 + EXCESS) * least.value)
        ends = [] if low is None or high is None else [low, high]
        given = [] if self.given is None else [self.given.solved]
        at_best, at_clean, *others = last.at([least.theta, design.solve(clean.penalty), *given, *ends])
        least.vouched(at_best.error, population.signal)
        points = [self._point(Fit(design, at_best.solved), at_best.error)]
        if self.given is not None:
            points.insert(0, self._point(self.given, others.pop(0).error))
        if not max(points[0].total, at_clean.error) < inf:
            raise NotRegular
        samples = regular_effective_samples(population, self.real_noise, at_best.error)
        if samples is None:
            samples = effective_samples(population, self.real_noise, None, at_best.error)
        return Outcome(
            points,
            clean,
            at_clean.solved,
            at_clean.error,
            samples,
            self._real_alone(points[0].fit.solved.penalty),
            [(end.solved.penalty, end.error) for end in others],
            curve,
        )

    def _point(self, fit: Fit, total: float) -> Point:
        return Point(fit, total, self.clean.at(self.clean.ridge(fit.solved.penalty)))

    def _least(self) -> tuple[Minimum, Array]:
        """The least error; its curve on the grid, infinite where no penalty leads."""
        curve, first = self.last.on_grid()
        found = regular_minimum(self.population.grid, curve, first)
        at_zero = self._floor(first)
        if not at_zero > found.value:  # penalty 0 may be the best of all
            at_zero = self.last.at([self.design.solve(0.0)])[0].error
        if not at_zero > found.value:
            raise NotRegular
        curve[:first] = inf
        return found.settled(self._slope), curve

    def _slope(self, theta: float) -> float:
        above, below = self.last.at([theta * exp(APART), theta * exp(-APART)])
        return float(above.error - below.error) / (2.0 * APART)

    def _floor(self, first: int) -> float:
        """See last.LastStage.floor."""
        freedom, design = self.population.grid.base.freedom, self.design
        df2 = float(freedom.df2[first])
        room = design.active - df2 if design.few else design.excess + float(freedom.left2[first])
        used = [(F, x) for F, x in zip(design.active_shares, self.noise[-1], strict=True) if F > 0]
        if design.common is not None:
            return df2 / room * sum(F * x for F, x in used)
        return df2 / room / sum(F / x for F, x in used) if all(x > 0 for _, x in used) else 0.0

    def _real_alone(self, penalty: float) -> tuple[RealPoint, RealPoint] | None:
        if self.real is None:
            return None
        return self.real.at(self.real.ridge(penalty)), self.real.least()


def _real_fit(population: Population, final: Stage) -> RealFit | None:
    """The last stage's real samples alone, None where it has none. Raises NotRegular."""
    stage = real_stage(final)
    if stage is None:
        return None
    design = Design(population, stage.sources)
    noise = sum(F * s.noise_variance for F, s in zip(design.active_shares, stage.sources, strict=True))
    return RealFit(design, noise)
