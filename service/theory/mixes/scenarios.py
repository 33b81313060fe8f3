"""Many mixes that differ in numbers alone: the vocabulary of this package.

Arrays have one row for all scenarios, or one for each: shapes (scenarios or 1, …).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from service.theory.chain import TRUTH, label_indices
from service.theory.condensed import Condensation
from service.theory.model import OPTIMAL, REAL, Array, Population, Shift, Stage, TrainingMix

Indices = NDArray[np.intp]
_FEW: Final = 400  # Σ over stages of (sources + 1)²


@dataclass(frozen=True, eq=False)
class Links:
    """Who labels the sources of one stage; its labels are the models that do, then its shifts.

    ``models``: stages; ``shifted``: sources whose labels are shifted. ``members``: which source belongs to which label,
    0 or 1, shape (labels, sources); all other sources are labelled by the truth. ``first``, ``second``: the labels of
    each pair whose E[e_v e_u] is not 0; ``same``: 1 where they are one, shape (pairs,); ``own``: these pairs.
    ``place``: where the moments of the stage's own model are kept, None where no later stage needs them, ``places``:
    those of the models; ``placed``: ``members`` by place, shape (sources, places); see moments.py. ``kind``: the same
    for stages whose labels differ in their names alone. ``pairs``, ``sources``: ``first`` and ``second``, and
    ``members``, one by one.
    """

    models: tuple[int, ...]
    shifted: tuple[int, ...]
    members: Array
    first: Indices
    second: Indices
    same: Array
    own: Indices
    place: int | None
    places: Indices
    placed: Array
    kind: tuple[int, bytes]
    pairs: tuple[tuple[int, int], ...]
    sources: tuple[tuple[int, ...], ...]


def links_of(labels: tuple[tuple[int, ...], ...], shifted: tuple[tuple[int, ...], ...]) -> tuple[Links, ...]:
    """The links of stages: see chain.label_indices, and which sources are shifted. Remembered: of long chains few."""
    size = sum((1 + len(own)) ** 2 for own in labels)
    return (_of_few if size <= _FEW else _of_many)(labels, shifted)


def _made(labels: tuple[tuple[int, ...], ...], shifted: tuple[tuple[int, ...], ...]) -> tuple[Links, ...]:
    places, count = _places(labels)
    return tuple(
        _links(f, own, shifts, places, count)
        for f, (own, shifts) in enumerate(zip(labels, shifted, strict=True))
    )


_of_few = lru_cache(maxsize=128)(_made)  # some 100 kB each at most
_of_many = lru_cache(maxsize=2)(_made)  # some MB


def _links(
    f: int, labels: tuple[int, ...], shifted: tuple[int, ...], place: dict[int, int], count: int
) -> Links:
    models = tuple(dict.fromkeys(u for u in labels if u != TRUTH))
    n = len(models)
    members = np.zeros((n + len(shifted), len(labels)))
    placed = np.zeros((len(labels), count))
    for s, u in enumerate(labels):
        if u != TRUTH:
            members[models.index(u), s] = placed[s, place[u]] = 1.0
    for k, s in enumerate(shifted):
        members[n + k, s] = 1.0
    pairs = [(v, u) for v in range(n) for u in range(v + 1)]
    pairs += [(v, v) for v in range(n, len(members))]
    first, second = (np.array([pair[k] for pair in pairs], dtype=np.intp) for k in range(2))
    same = np.array([float(v == u) for v, u in pairs])
    places = np.array([place[u] for u in models], dtype=np.intp)
    return Links(
        models, shifted, members, first, second, same, np.flatnonzero(same), place.get(f), places, placed,
        (n, members.tobytes()), tuple(pairs), tuple(tuple(np.flatnonzero(row).tolist()) for row in members),
    )  # fmt: skip


def _places(labels: tuple[tuple[int, ...], ...]) -> tuple[dict[int, int], int]:
    """A place for each model that a later stage uses, and how many there are. The truth has the first.

    A model that no stage needs any more gives its place to the next: of stage f itself its labels' moments are read
    before its own are written.
    """
    last_use = {u: f for f, own in enumerate(labels) for u in own if u != TRUTH}
    place: dict[int, int] = {}
    free: list[int] = []
    count = 1
    for f in range(len(labels) - 1):
        free += [place[u] for u in dict.fromkeys(labels[f]) if u != TRUTH and last_use[u] == f]
        if f in last_use:
            if not free:
                free, count = [count], count + 1
            place[f] = free.pop()
    return place, count


@dataclass(frozen=True, eq=False)
class Numbers:
    """Of one stage: ``samples``, ``weights``, ``noise``, shapes (scenarios or 1, sources); ``penalty``, shape
    (scenarios or 1,), nan for the best."""

    samples: Array
    weights: Array
    noise: Array
    penalty: Array

    @staticmethod
    def of(stage: Stage) -> "Numbers":
        """Of one scenario."""
        sources = stage.sources
        columns = np.array([(s.samples, s.weight, s.noise_variance) for s in sources], dtype=np.float64)
        penalty = np.nan if stage.penalty == OPTIMAL else float(stage.penalty)
        return Numbers(columns[None, :, 0], columns[None, :, 1], columns[None, :, 2], np.array([penalty]))


@dataclass(frozen=True, eq=False)
class Mixes:
    """Stages in order.

    ``powers``: covariances of each stage's shifts, shapes (scenarios or 1, shifted, modes); ``real_noise``: label noise
    of real samples of the last one, shape (scenarios or 1,).
    """

    links: Sequence[Links]
    powers: Sequence[Array]
    numbers: Sequence[Numbers]
    real_noise: Array

    @staticmethod
    def of(population: Population, mix: TrainingMix) -> "Mixes":
        """One mix as a batch of one."""
        links, powers = structure(population, mix)
        numbers, real = [Numbers.of(stage) for stage in mix.stages], real_source(mix)
        noise = np.array([population.noise_variance]) if real is None else numbers[-1].noise[:, real]
        return Mixes(links, [power[None] for power in powers], numbers, noise)

    def condensed(self, condensation: Condensation | None) -> "Mixes":
        """The same on the condensed population."""
        return replace(self, powers=condensed_powers(self.powers, condensation))


def condensed_powers(powers: Sequence[Array], condensation: Condensation | None) -> Sequence[Array]:
    """Powers on the condensed population, shapes (…, modes)."""
    if condensation is None:
        return powers
    if not any(power.size for power in powers):
        nodes = condensation.population.eigenvalues.size
        return [np.empty((*power.shape[:-1], nodes)) for power in powers]
    found = condensation.power(np.concatenate([power.reshape(-1, power.shape[-1]) for power in powers]))
    parts, start = [], 0
    for power in powers:
        end = start + power.size // power.shape[-1]
        parts.append(found[start:end].reshape(*power.shape[:-1], found.shape[-1]))
        start = end
    return parts


def structure(population: Population, mix: TrainingMix) -> tuple[tuple[Links, ...], list[Array]]:
    """The links of a mix, and the powers of the shifts of each stage, shapes (shifted, modes)."""
    shifts = [
        [
            (s, source.labels.power)
            for s, source in enumerate(stage.sources)
            if isinstance(source.labels, Shift)
        ]
        for stage in mix.stages
    ]
    links = links_of(tuple(label_indices(mix.stages)), tuple(tuple(s for s, _ in own) for own in shifts))
    nothing = np.empty((0, population.eigenvalues.size))
    return links, [np.array([power for _, power in own]) if own else nothing for own in shifts]


def real_source(mix: TrainingMix) -> int | None:
    """The source of the last stage that says what the noise of real labels is; None: the population does."""
    return next((s for s, source in enumerate(mix.stages[-1].sources) if source.labels == REAL), None)


def is_mixed(population: Population, mix: TrainingMix) -> bool:
    """Whether this package takes the mix: a fit a stage, of fresh samples of the population's covariance."""
    if mix.keeps_data or population.null_modes > 0 or population.rank == 0:
        return False
    for stage in mix.stages:
        if stage.width is not None or stage.passes or stage.penalty == np.inf:
            return False
        if stage.penalty == OPTIMAL and stage is not mix.stages[-1]:
            return False
        if any(s.eigenvalues is not None or s.covariance is not None for s in stage.sources):
            return False
    return True
