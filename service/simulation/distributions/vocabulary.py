"""A vocabulary, trained and sampled generation after generation, by drawing every count."""

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.random import SFC64, Generator, SeedSequence
from numpy.typing import NDArray

from service.theory.model import Array

QUANTITIES: Final = (
    "diversity", "surviving_types", "missing_mass", "entropy", "one_type_left", "kl_fit_true", "squared_distance",
)  # fmt: skip
Counts = NDArray[np.int64]
Workflow = Literal["replace", "stratified", "iid", "retained", "accumulate"]


@dataclass(frozen=True, eq=False)
class VocabularyWork:
    """Replicates of a recursion of multinomial models.

    ``probabilities``: of the types, decreasing, shape (types,). ``sizes``: samples of every generation, 0 first;
    ``real``: expected real ones among them, shape (generations + 1,) (workflows with fresh or retained ones).
    ``reported``: generations, rising; ``ranks``: types whose absence is recorded.
    """

    probabilities: Array
    workflow: Workflow
    sizes: tuple[int, ...]
    real: tuple[float, ...]
    reported: tuple[int, ...]
    ranks: tuple[int, ...] = ()
    temperature: float = 1.0
    top_k: int | None = None
    top_p: float = 1.0

    @property
    def rows(self) -> int:
        """Numbers of one replicate: QUANTITIES and one absence per rank, for each reported generation."""
        return len(self.reported) * (len(QUANTITIES) + len(self.ranks))

    def outcomes(self, seed: int, first: int, last: int) -> Array:
        """Shape (rows, last - first); replicate r is a function of (seed, r) alone."""
        return np.column_stack([self._replicate(seed, r) for r in range(first, last)])

    def _replicate(self, seed: int, replicate: int) -> Array:
        generator = Generator(SFC64(SeedSequence(seed, spawn_key=(replicate,))))
        reported = set(self.reported)
        found: list[Array] = []
        kept, counts = self._first(generator)
        for generation in range(self.reported[-1] + 1):
            if generation > 0:
                counts = self._next(generator, counts, kept, generation)
            if generation in reported:
                found.append(self._measured(counts))
        return np.concatenate(found)

    def _first(self, generator: Generator) -> tuple[Counts, Counts]:
        """Generation 0 sees real data only: what is retained of them, and all of them."""
        retained = int(self.real[0]) if self.workflow == "retained" else self.sizes[0]
        kept = np.asarray(generator.multinomial(retained, self.probabilities))
        if retained == self.sizes[0]:
            return kept, kept
        return kept, kept + generator.multinomial(self.sizes[0] - retained, self.probabilities)

    def _next(self, generator: Generator, counts: Counts, kept: Counts, generation: int) -> Counts:
        size, real = self.sizes[generation], self.real[generation]
        model = self._decoded(counts / counts.sum())
        match self.workflow:
            case "replace":
                return np.asarray(generator.multinomial(size, model))
            case "iid":
                fresh = int(generator.binomial(size, min(real / size, 1.0)))
            case "stratified":
                fresh = int(real)
            case "retained":
                return np.asarray(kept + generator.multinomial(size - int(real), model))
            case "accumulate":
                return np.asarray(counts + generator.multinomial(size, model))
        synthetic = generator.multinomial(size - fresh, model)
        return np.asarray(synthetic + generator.multinomial(fresh, self.probabilities))

    def _decoded(self, model: Array) -> Array:
        """Temperature, then the top k of this very model, then the fewest that have top_p."""
        if self.temperature != 1.0:
            with np.errstate(divide="ignore"):
                logs = np.log(model) / self.temperature
            model = np.exp(logs - logs.max())
            model = model / model.sum()
        if self.top_k is None and self.top_p == 1.0:
            return model
        order = np.argsort(-model, kind="stable")
        ordered = model[order]
        if self.top_k is not None:
            ordered[self.top_k :] = 0.0
            ordered /= ordered.sum()
        if self.top_p < 1.0:
            last = int(np.searchsorted(np.cumsum(ordered), self.top_p * (1.0 - 1e-12)))
            ordered[last + 1 :] = 0.0
        cut = np.empty_like(model)
        cut[order] = ordered / ordered.sum()
        return cut

    def _measured(self, counts: Counts) -> Array:
        present = counts[counts > 0]
        x = present / present.sum()
        absent = [float(counts[rank - 1] == 0) if rank <= counts.size else 1.0 for rank in self.ranks]
        missing = float(self.probabilities[counts == 0].sum())
        alone = float(present.size == 1)
        logs, apart = np.log(x), counts / counts.sum() - self.probabilities
        divergence = float(x @ (logs - np.log(self.probabilities[counts > 0])))
        return np.array([
            1.0 - float(x @ x), float(present.size), missing, -float(x @ logs), alone, divergence, float(apart @ apart),
            *absent,
        ])  # fmt: skip
