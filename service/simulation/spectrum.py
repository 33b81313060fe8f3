"""Features of a given spectrum, drawn anew: whole samples, or their Gram matrix alone (Bartlett)."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final, cast
from weakref import WeakKeyDictionary

import numpy as np
from numpy.random import Generator

from service.simulation import revealed
from service.simulation.costs import NORMAL, Burden
from service.simulation.drawn import KEPT, Drawn, scale
from service.simulation.features import Bartlett, Features, Gaussian, bartlett_rows, draw_rows
from service.simulation.plan import Alone, Design
from service.simulation.problem import Labels, Streams, UnsupportedError, Wanted, samples_of
from service.simulation.revealed import ByProducts, Revealed, RevealedSystem, Unlabelled, by_products
from service.simulation.solvers import symmetric, times_symmetric
from service.simulation.systems import WeightResponse, WeightSystem, system_flops, system_numbers
from service.theory.model import Array, Population, Shift, Stage

MAX_DIMENSION: Final = 2_000
MAX_DRAWN: Final = 2_500_000_000
"""Numbers in one source's features at most; they are drawn and used in blocks, never all in memory."""
MAX_DECADES: Final = 24.0
"""Orders of magnitude between the eigenvalues that an interpolating fit resolves, so that its rounding is no noise."""

_DRAWING: Final = {
    "gaussian": NORMAL,
    "student_t": 3.5 * NORMAL,
    "rademacher": 0.3 * NORMAL,
    "uniform": 0.3 * NORMAL,
}
_LABELLING: Final = 3.0 * NORMAL  # of a sample: its noise, and the products of few columns


@dataclass(frozen=True, eq=False)
class SpectrumProblem:
    """Features x_i = √σ_i z_i, the z_i independent of mean 0, variance 1; a model is its weights, shape (dimension,).

    Where a source has a covariance matrix, x = Σ_s^{1/2} z with the symmetric root. The truth has (w_0)_i =
    √target_power: signs do not matter to independent features, whose distributions are symmetric. To a covariance they
    do: where they are not known (the population has no ``target``) they are random, anew in every replicate.
    Raises ``UnsupportedError`` for more than ``MAX_DIMENSION`` features.
    """

    population: Population
    features: Features = field(default_factory=Gaussian)
    # of the designs of plans that are being carried out
    _methods: WeakKeyDictionary[Design, ByProducts | None] = field(
        default_factory=WeakKeyDictionary, repr=False
    )

    def __reduce__(self) -> tuple[type["SpectrumProblem"], tuple[Population, Features]]:
        return SpectrumProblem, (self.population, self.features)

    def __post_init__(self) -> None:
        dimension = float(np.sum(self.population.multiplicities))
        if dimension > MAX_DIMENSION:
            raise UnsupportedError(f"{dimension:.0f} features; a simulation takes at most {MAX_DIMENSION}")

    def _per_feature(self, levels: Array) -> Array:
        return cast(Array, np.repeat(levels, self.population.multiplicities.astype(int)))

    @cached_property
    def target(self) -> Array:
        """w_0, shape (dimension,)."""
        if self.population.target is not None:
            return self._per_feature(self.population.target)
        return np.sqrt(self._per_feature(self.population.target_power))

    @cached_property
    def variances(self) -> Array:
        """The features' variances, shape (dimension,)."""
        return self._per_feature(self.population.eigenvalues)

    def _variances(self, eigenvalues: Array | None) -> Array:
        return self.variances if eigenvalues is None else self._per_feature(eigenvalues)

    # --- limits ---------------------------------------------------------------------------------

    def check(self, stage: Stage) -> None:
        """Refuse what would take too long to draw, or be rounding and not a simulation."""
        d = len(self.target)
        for source in stage.sources:
            drawn = samples_of(source) * d
            if drawn > MAX_DRAWN and not isinstance(self.features, Bartlett):
                raise UnsupportedError(
                    f"source {source.name!r} of stage {stage.name!r} has {drawn:.3g} numbers to draw; a literal "
                    f"simulation takes at most {MAX_DRAWN:.3g} ({MAX_DRAWN // d} samples): method wishart takes any"
                )
        width = d if stage.width is None else min(int(stage.width), d)
        if stage.width is not None and stage.width > 10 * MAX_DIMENSION:
            raise UnsupportedError(
                f"stage {stage.name!r} has {stage.width:.0f} random features; at most {10 * MAX_DIMENSION}"
            )
        N = sum(samples_of(source) for source in stage.sources if source.weight > 0)
        if width > N and stage.penalty != "optimal":
            self._check_resolution(stage, N)

    def _check_resolution(self, stage: Stage, N: int) -> None:
        for source in stage.sources:
            present = np.sort(
                self._variances(source.eigenvalues)
                if source.covariance is None
                else np.linalg.eigvalsh(source.covariance)
            )[::-1]
            least = float(stage.penalty) + present[: max(N, 1)][present[: max(N, 1)] > 0].min(initial=np.inf)
            if present[0] > 10.0**MAX_DECADES * least:
                raise UnsupportedError(
                    f"stage {stage.name!r} interpolates {N} samples, for which it needs modes more than "
                    f"{MAX_DECADES:.0f} orders of magnitude apart: double precision does not resolve them; "
                    "give a larger penalty or fewer modes"
                )

    def memory(self, design: Design) -> float:
        """Numbers kept of a design: its rows or its Gram matrix, or what is looked at."""
        d, samples = len(self.target), design.samples
        if isinstance(self.features, Bartlett) and (method := self._by_products(design)) is not None:
            return method.H.memory * cast(Alone, design.alone).labels
        return float((self._kept(samples) + d) * d)

    def _kept(self, samples: int) -> int:
        """Rows that are kept of so many."""
        d = len(self.target)
        if isinstance(self.features, Bartlett):
            return min(samples, d)
        return samples if samples <= max(2 * d, KEPT // d) else 0

    def system_memory(
        self, designs: Sequence[Design], width: int | None, penalties: Sequence[float]
    ) -> float:
        """Copies that LAPACK works on, rows below each other, random features and their matrix."""
        if len(designs) == 1 and self._revealed_flops(designs[0]) is not None:
            return 0.0
        d = len(self.target)
        kept = [self._kept(design.samples) for design in designs]
        rows = sum(kept) if all(kept) else None
        return system_numbers(d, rows, width, penalties, stacked=len(designs) > 1)

    # --- drawing --------------------------------------------------------------------------------

    def draw(self, design: Design, streams: Streams) -> Drawn | Revealed:
        """Features of one design; few rows are kept, many are drawn when they are used."""
        if isinstance(self.features, Bartlett) and (method := self._by_products(design)) is not None:
            return Revealed(method, streams.design(design.place))
        by, d = self._scale(design, streams), len(self.target)
        if isinstance(self.features, Bartlett):
            rows = bartlett_rows(streams.design(design.place), design.samples, d)
            scale(rows, by)
            return Drawn(len(rows), design.samples, by, self.features, (streams, design), rows)
        drawn = Drawn(design.samples, design.samples, by, self.features, (streams, design))
        if self._kept(design.samples):
            drawn.kept = np.empty((design.samples, d))
            draw_rows(self.features, streams.design(design.place), drawn.kept)
            scale(drawn.kept, by)
        return drawn

    def _by_products(self, design: Design) -> ByProducts | None:
        """How fits of a design are solved that is drawn only as far as they look at it; else None."""
        if design not in self._methods:
            found = (
                None if design.alone is None else by_products(self.variances, design.samples, design.alone)
            )
            self._methods[design] = found
        return self._methods[design]

    def _scale(self, design: Design, streams: Streams) -> Array:
        """Standard deviations, or a root of the covariance; a sign that the target has is one that the feature has."""
        if design.root is None:
            return np.sqrt(self._variances(design.eigenvalues))
        if self.population.target is not None:
            return design.root
        return np.asarray(design.root * streams.signs().choice([-1.0, 1.0], len(design.root)))

    def label(self, drawn: Drawn | Revealed, wanted: Sequence[Wanted], streams: Streams) -> list[Labels]:
        """y = X w + noise for every labelling model, or Xᵀy where the rows are not kept."""
        if isinstance(drawn, Revealed):
            return [Unlabelled(None, wanted=one) for one in wanted]
        noises = {one.place: streams.noise(one.place) for one in wanted if one.noise_variance > 0}
        deviations = np.sqrt([one.noise_variance for one in wanted])
        W = np.stack([np.zeros(len(self.target)) if w.model is None else w.model for w in wanted], axis=1)
        if drawn.kept is None:
            sums = drawn.moments(noises)
            Y = times_symmetric(drawn.gram_matrix(), W)  # Xᵀ(X w + ε)
        else:
            sums = {place: noise.standard_normal(drawn.rows) for place, noise in noises.items()}
            Y = drawn.kept @ W
        for k, one in enumerate(wanted):
            if one.noise_variance > 0:
                Y[:, k] += deviations[k] * sums[one.place]
        return [Labels(None, y) if drawn.kept is None else Labels(y) for y in Y.T]

    def shifted(self, shift: Shift, generator: Generator) -> Array:
        """w_0 + δ with independent normal δ_i of variance ``shift.power``."""
        deviation = np.sqrt(self._per_feature(shift.power))
        return self.target + deviation * generator.standard_normal(len(deviation))

    # --- fitting and measuring ------------------------------------------------------------------

    def solver(
        self,
        drawn: Sequence[Drawn | Revealed],
        weights: Sequence[float],
        projection: tuple[int, Generator] | None,
        penalties: Sequence[float],
    ) -> WeightSystem | RevealedSystem:
        """Fits of these designs together; a revealed one is alone."""
        if isinstance(drawn[0], Revealed):
            return RevealedSystem(drawn[0])
        P: Array | None = None
        if projection is not None:
            m, generator = projection
            P = generator.standard_normal((m, len(self.target))) / np.sqrt(m)
        return WeightSystem(len(self.target), cast(Sequence[Drawn], drawn), weights, P, penalties)

    def fit(
        self,
        solvers: Sequence[WeightSystem | RevealedSystem],
        penalty: float,
        labels: Sequence[Sequence[Sequence[Labels]]],
    ) -> list[list[Array]]:
        """Of revealed designs all at once."""
        if isinstance(solvers[0], RevealedSystem):
            return revealed.fits(cast(Sequence[RevealedSystem], solvers), labels)
        return [solver.fit(penalty, own) for solver, own in zip(solvers, labels, strict=True)]

    def gains(self, design: Design) -> bool:
        """Where steps are taken, most of which is the calling of numpy."""
        method = self._by_products(design) if isinstance(self.features, Bartlett) else None
        return method is not None and method.H.expected > 0

    def test_error(self, model: Array) -> float:
        """‖model − w_0‖² in the features' variances."""
        return self.mean_square(model - self.target)

    def mean_square(self, model: Array) -> float:
        """‖model‖² in the features' variances."""
        return float(self.variances @ model**2)

    # --- averaging ------------------------------------------------------------------------------

    def response(
        self,
        solver: WeightSystem,
        weights: Sequence[float],
        penalty: float,
        drawn: Sequence[Drawn],  # noqa: ARG002 - the solver has them
    ) -> WeightResponse:
        """Labels are their moments Xᵀy."""
        return WeightResponse(solver.operator(penalty), tuple(weights), self.variances)

    def remembered(self, drawn: Drawn) -> Array:
        """The Gram matrix XᵀX, whole."""
        return symmetric(drawn.gram_matrix())

    def noise_covariance(self, remembered: Array) -> Array:
        """Var Xᵀε = XᵀX."""
        return remembered

    def label_size(self, samples: int) -> int:  # noqa: ARG002
        """One moment for each feature."""
        return len(self.target)

    def response_burden(self, samples: Sequence[int], width: int | None) -> Burden:  # noqa: ARG002
        """The operator, its squares, Gram matrices."""
        d = float(len(self.target))
        return Burden(5.0 * d**3, (2.0 + len(samples)) * d * d)

    # --- costs ----------------------------------------------------------------------------------

    def draw_flops(self, design: Design) -> float:
        """Drawing, labels, Gram matrix."""
        d = len(self.target)
        if self._revealed_flops(design) is not None:
            return 100.0 * d
        turned = 0.0 if design.covariance is None else 2.0 * d
        if isinstance(self.features, Bartlett):
            rows = min(design.samples, d)
            return rows * d * (NORMAL / 2 + rows / 3 + 2.0 * turned)
        return design.samples * (d * (_DRAWING[self.features.kind] + d + turned) + _LABELLING)

    def _revealed_flops(self, design: Design) -> float | None:
        if design.alone is None or not isinstance(self.features, Bartlett):
            return None
        return revealed.flops(self.variances, design.samples, design.alone)

    def solver_flops(self, designs: Sequence[Design], width: int | None, penalties: Sequence[float]) -> float:
        """Projections and decompositions."""
        if len(designs) == 1 and (alone := self._revealed_flops(designs[0])) is not None:
            return alone
        d, bartlett = len(self.target), isinstance(self.features, Bartlett)
        rows = [min(design.samples, d) if bartlett else design.samples for design in designs]
        triangle = bartlett and rows == [d] and width is None and designs[0].covariance is None
        return system_flops(d, sum(rows), width, penalties, triangle=triangle)
