"""The next order in 1/N with covariance matrices: finite_size.py with matrices in the place of eigenmodes.

The saddle point and M are the same, M_jk = T_j δ_jk − tr L_j L_k over the fields j, k (ln a_s of the sources and, with
m random features, ln κ: L_κ = U, and M_κκ = m − tr (1 − U)²). Its part linear in the labels' moments is

    F_1 = Σ_j β_j (E f_j' K_j f_j + a_j σ_j²) − Σ_jk W_jk E f_j' K_j Q K_k f_k,     W = M^-1,   K_j = a_j Σ_j, K_κ = κ,
    β = W τ,   τ_l = Σ_k W_lk tr L_l L_k − Σ_jk W_jk tr L_l L_j L_k   (+ terms of tr U for κ),

with f_j what the mean model leaves of the labels of source j (e_j − ē; −ē − w for κ). Along the probe C, the weights of
the error, the fields move by η = W (tr L_j Q C)_j and Q by −Q Γ Q, Γ = C + Σ_j η_j K_j; the derivative of F_1 along it
is the correction. With commuting covariances all of it is finite_size.py.
"""

from collections.abc import Sequence

import numpy as np

from service.theory.chain import TRUTH, label_indices
from service.theory.finite_size import Contributions
from service.theory.matrices.algebra import Moment, added
from service.theory.matrices.expansion import Expansion, Pair
from service.theory.matrices.response import MatrixResponse
from service.theory.model import REAL, Population, Shift, Stage, TrainingMix

MAX_PRODUCTS = 100
"""Products of d × d matrices, at d = 2,000, that the correction of a prediction may take: a minute of one core."""


def products(population: Population, mix: TrainingMix) -> float:
    """About how many products of d × d matrices a correction takes, in units of those at d = 2,000."""
    count = 0.0
    for f, stage in enumerate(mix.stages):
        fields = len(stage.sources) + (stage.width is not None)
        full = len({id(source.covariance) for source in stage.sources if source.covariance is not None})
        models = sum(source.labels != REAL for source in stage.sources)
        directions = models + (population.target is None)
        again = 3 if f == len(mix.stages) - 1 else 1
        count += again * (2 * (full + 1) ** 2 + directions * (5 * fields + 4 + directions))
    return count * (population.eigenvalues.size / _UNIT) ** 3


_UNIT = 2000


def contributions(
    population: Population, stages: Sequence[Stage], responses: Sequence[MatrixResponse]
) -> Contributions:
    """The final test error by its origins, to both orders, see finite_size.contributions; finite chains only."""
    final, indices = len(stages) - 1, label_indices(stages)
    carrier = (
        np.diag(np.sqrt(population.target_power)) if population.target is None else population.target[:, None]
    )
    truth, lost = np.zeros((len(stages), 2)), np.zeros(len(stages))
    noise = [np.zeros((2, len(stage.sources))) for stage in stages]
    shift = [np.zeros((2, len(stage.sources))) for stage in stages]
    # weights of E[e_f e_u'] for stages f not yet passed, by u <= f or TRUTH
    pending: dict[int, dict[int, Pair]] = {final: {final: (population.eigenvalues, None)}}
    expansions: dict[int, Expansion] = {}

    def add(f: int, u: int, v: int, pair: tuple[Moment, Moment]) -> None:
        """Stage f's weights of E[e_u e_v'], kept under the later of both; of the carrier's components for the truth."""
        if u == v == TRUTH:
            truth[f] += [0.0 if one is None else float(one.trace()) for one in pair]
            return
        if u < v:
            u, v, pair = v, u, tuple(None if one is None else one.T for one in pair)  # type: ignore[assignment]
        kept = pending.setdefault(u, {})
        before = kept.get(v, (None, None))
        kept[v] = added(before[0], pair[0]), added(before[1], pair[1])

    for f in range(final, -1, -1):
        wanted = pending.pop(f, None)
        if wanted is None:
            continue
        expansion = expansions.get(id(responses[f]))
        if expansion is None:
            expansion = expansions[id(responses[f])] = Expansion(stages[f], responses[f], carrier)
        sources = stages[f].sources
        named = {s: u for s, u in enumerate(indices[f]) if u != TRUTH} | {len(sources): TRUTH}
        shifted = [s for s, source in enumerate(sources) if isinstance(source.labels, Shift)]
        own = wanted.pop(f, None)
        if own is not None:
            back = expansion.back(own, [*named, *shifted])
            noise[f] += back.noise
            lost[f] = expansion.lost(own)
            for s in shifted:
                labels = sources[s].labels
                assert isinstance(labels, Shift)
                shift[f][:, s] += back.diagonal(s) @ labels.power
            for s, u in named.items():
                for t, v in named.items():
                    if u == v == TRUTH:
                        truth[f] += back.diagonal(s).sum(axis=1)
                    else:
                        add(f, u, v, back.square(s, t))
        for u, (value, correction) in wanted.items():
            for s, v in named.items():
                mean = expansion.mean(s)
                assert value is not None
                more = expansion.mean_correction(s).T @ value
                second = more if correction is None else mean.T @ correction + more
                add(f, v, u, (mean.T @ value, second))
    return Contributions(truth, noise, shift, lost)
