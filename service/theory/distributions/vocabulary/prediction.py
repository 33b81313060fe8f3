"""The entrance: a vocabulary, how its models are trained and how they are sampled; out comes every generation."""

from dataclasses import dataclass, replace
from math import inf
from typing import Final

import numpy as np

from service.theory.distributions.accuracy import Caution, approximate, exact
from service.theory.distributions.schedule import Models, Schedule
from service.theory.distributions.vocabulary import decoding
from service.theory.distributions.vocabulary.decoding import Decoding, Narrowed, narrowed
from service.theory.distributions.vocabulary.kept import keeps_the_first, predict_kept
from service.theory.distributions.vocabulary.levels import Vocabulary
from service.theory.distributions.vocabulary.results import Generation, State, VocabularyPrediction
from service.theory.distributions.vocabulary.sampled import (
    SURVIVAL,
    predict_sampled,
    truth_state,
    unknown_state,
)
from service.theory.distributions.vocabulary.tempered import predict_tempered
from service.theory.distributions.vocabulary.training import Replace, Training
from service.theory.errors import Unsupported

SAFE_RANK: Final = 30.0
"""Expected tokens of the k-th type that top-k needs for its ranks to be the true ones."""


@dataclass(frozen=True)
class Question:
    """What is asked: ``ranks`` are the types whose P(gone) is wanted; ``models`` the indices to report, from 1."""

    vocabulary: Vocabulary
    training: Training
    decoding: Decoding
    models: Models
    ranks: tuple[int, ...] = ()


def predict(question: Question) -> VocabularyPrediction:
    """Every reported generation in expectation; exact but where ``accuracy`` says otherwise.

    Plain sampling: E H = (1 − Φ) H_0; P(gone) = E (1 − p)^A with A the founders; E surviving types and missing mass
    are its sums over types; entropy by a closure. Top-k on finite samples: the same on the k most frequent types.
    Temperature on finite samples: the limit of many, while noise takes little off it. Where the real tokens of
    generation 0 stay, what survives does not depend on the decoding, and is all that is given.
    Raises Unsupported for decodings without a formula, naming what to change.
    """
    if question.decoding.plain:
        return predict_sampled(question.vocabulary, question.training, question.models, question.ranks)
    if keeps_the_first(question.training):
        return predict_kept(question.vocabulary, question.training, question.models, question.ranks)
    if question.decoding.temperature == 1.0 and question.decoding.top_p == 1.0:
        return _top_k(question)
    if question.decoding.top_k is None and question.decoding.top_p == 1.0:
        return predict_tempered(
            question.vocabulary,
            question.training,
            question.decoding.temperature,
            question.models,
            question.ranks,
        )
    raise Unsupported(
        "top_p, and temperature with top_k, have no formula for finitely many samples: give samples null for the "
        "limit of infinitely many, or simulate"
    )


def predict_plentiful(
    vocabulary: Vocabulary,
    how: Decoding,
    share: float,
    generations: tuple[int, ...],
    ranks: tuple[int, ...] = (),
) -> VocabularyPrediction:
    """As ``predict`` where every generation has infinitely many samples: only the decoding narrows.

    ``share``: of every generation's samples, real ones. ``generations``: to report, from 0. Raises Unsupported.
    """
    truth = truth_state(vocabulary, ranks)
    cautions: list[Caution] = []
    found = []
    states = narrowed(vocabulary, how, share, (*generations, decoding.FOR_EVER))
    for generation, state in zip(generations, states, strict=False):
        if state is None:
            cautions.append(
                Caution(
                    "not_normalizable",
                    "From some generation on, the exponent of the endless Zipf law is at most 1 and its probabilities "
                    "have no finite sum; give a finite number of types.",
                )
            )
            found.append(Generation(generation, unknown_state(len(ranks))))
        else:
            found.append(Generation(generation, _narrow_state(vocabulary, state, ranks)))
    limit = unknown_state(len(ranks))
    try:
        last = next(states)
        limit = limit if last is None else _narrow_state(vocabulary, last, ranks)
    except Unsupported:
        last = None
    if last is None:
        message = (
            "What is left after infinitely many generations is no distribution, or takes too long to compute."
        )
        cautions.append(Caution("no_limit", message, "limit"))
    cautions.append(
        Caution("no_half_life", "A half-life is given for plain sampling only.", "diversity_half_life")
    )
    basis = "The decoding rule applied to the truth, generation after generation, without sampling noise."
    return VocabularyPrediction(
        truth,
        tuple(found),
        limit,
        None,
        tuple(
            exact(q, basis)
            for q in (
                "diversity",
                "spread",
                "entropy",
                "surviving_types",
                "missing_mass",
                "gone",
                "one_type_left",
            )
        ),
        tuple(dict.fromkeys(cautions)),
    )


# --- top-k on finite samples ----------------------------------------------------------------------


def _top_k(question: Question) -> VocabularyPrediction:
    """Generation 0 keeps what it saw of all types; from generation 1 on, only the k most frequent are drawn.

    A token of generation 1 copies one of generation 0's tokens among the k types, of which M C_k are expected: the same
    duality on k types, with that many first samples.
    """
    vocabulary, training = question.vocabulary, question.training
    k = question.decoding.top_k
    assert k is not None
    if not isinstance(training, Replace):
        raise Unsupported(
            "top_k with fresh real data, or retained ones out of a larger generation 0, has no formula for finitely "
            "many samples: give samples null (fresh data), or simulate"
        )
    plain = predict_sampled(vocabulary, training, np.array([1]), question.ranks)
    if k >= vocabulary.types:
        return predict_sampled(vocabulary, training, question.models, question.ranks)
    kept = vocabulary.kept(k)
    if training.schedule.at(1) * vocabulary.of_rank(k) < SAFE_RANK:
        raise Unsupported(
            f"generation 0 expects {training.schedule.at(1) * vocabulary.of_rank(k):.3g} tokens of the type of rank "
            f"{k}; below {SAFE_RANK:g} its ranks are noise and top_k has no formula: a smaller top_k, more "
            "samples, or simulate"
        )
    seen = float(training.schedule.at(1))
    misranked = _misranked_mass(vocabulary, k, seen)
    asked = tuple(not _is_noise(vocabulary, k, seen, rank) for rank in question.ranks)
    inner = decoding.truncated(vocabulary, k)
    first = max(round(training.schedule.at(1) * kept), 1)
    inside = Replace(_with_first(training.schedule, first))
    later = question.models[question.models > 1]
    found: list[Generation] = [plain.generations[0]] if 1 in question.models else []
    cautions: tuple[Caution, ...] = ()
    if later.size:
        cut = predict_sampled(inner, inside, later, question.ranks)
        outside = vocabulary.beyond(k) + misranked
        found += [
            Generation(one.generation, _rescaled(one.state, kept, outside, question.ranks, k, asked))
            for one in cut.generations
        ]
        cautions = cut.cautions
        if not all(asked):
            cautions += (Caution(
                "rank_noise",
                f"Whether a type near rank {k} is among the {k} most frequent of generation 0 is chance: no value is "
                "given for it. Simulate, or take more samples.",
                "gone",
            ),)  # fmt: skip
    limit = predict_sampled(inner, inside, np.array([2]), question.ranks).limit
    return VocabularyPrediction(
        plain.truth,
        tuple(found),
        _rescaled(limit, kept, vocabulary.beyond(k) + misranked, question.ranks, k, asked),
        None,
        (
            *(
                approximate(q, 1e-3, "Ranks of generation 0 taken as the true ones.")
                for q in ("diversity", "spread")
            ),
            *(
                approximate(
                    q,
                    max(1e-3, off),
                    "Ranks of generation 0 taken as the true ones, but for the mass that is lost.",
                )
                for q, off in zip(
                    SURVIVAL, (0.0, 0.3 * misranked / vocabulary.beyond(k), 0.0, 0.0, 0.0), strict=True
                )
            ),
            approximate("entropy", 0.015, "Symmetric Dirichlet families of the exact mean square."),
        ),
        (
            *cautions,
            Caution("no_half_life", "A half-life is given for plain sampling only.", "diversity_half_life"),
        ),
    )


def _with_first(schedule: Schedule, first: int) -> Schedule:
    """The schedule with another first size."""
    sizes, repetitions = list(schedule.sizes), list(schedule.repetitions)
    repetitions[0] -= 1
    if repetitions[0] == 0:
        del sizes[0], repetitions[0]
    return Schedule((first, *sizes), (1, *repetitions))


def _misranked_mass(vocabulary: Vocabulary, k: int, samples: float) -> float:
    """What the k types most frequent in M samples lack of C_k, in the mean: ½ ρ(p_k) p_k/M.

    A count near M p_k has the variance M p_k, and ρ(p_k) dp types have a probability within dp. A type that is x above
    the threshold is missed, and one x below it taken, with probability Φ(−x √(M/p_k)): ρ ∫ |x| Φ(−|x| √(M/p_k)) dx.
    """
    p = vocabulary.of_rank(k)
    if vocabulary.exponent is not None:
        per_log = k / vocabulary.exponent if vocabulary.exponent > 0.0 else 0.0
    else:
        reach = 2.0 / np.sqrt(samples * p)
        rising = vocabulary.probabilities[::-1]
        low, high = (
            np.searchsorted(rising, p * np.exp(-reach)),
            np.searchsorted(rising, p * np.exp(reach), "right"),
        )
        per_log = float(vocabulary.multiplicities[::-1][low:high].sum()) / (2.0 * reach)
    return float(0.5 * per_log / samples)


def _is_noise(vocabulary: Vocabulary, k: int, samples: float, rank: int) -> bool:
    """Whether a type's count in generation 0 is within four standard deviations of the k-th's."""
    p, last = vocabulary.of_rank(rank), vocabulary.of_rank(k)
    return abs(p - last) < 4.0 * float(np.sqrt(max(p, last) / samples))


def _rescaled(  # noqa: PLR0917
    state: State, kept: float, outside: float, ranks: tuple[int, ...], k: int, asked: tuple[bool, ...]
) -> State:
    """From probabilities among the k types to true ones; the others are gone, ``asked``: if that can be told."""
    missing = None if state.missing_mass is None else min(kept * state.missing_mass + outside, 1.0)
    gone = tuple(
        (1.0 if rank > k else value) if known else None
        for rank, value, known in zip(ranks, state.gone, asked, strict=True)
    )
    spread = tuple(value if known else None for value, known in zip(state.spread, asked, strict=True))
    return replace(
        state, missing_mass=missing, gone=gone, spread=spread, divergence=None, squared_distance=None
    )


def _narrow_state(vocabulary: Vocabulary, state: Narrowed, ranks: tuple[int, ...]) -> State:
    gone = tuple(1.0 if rank > state.kept or vocabulary.of_rank(rank) <= 0.0 else 0.0 for rank in ranks)
    return State(
        diversity=1.0 - state.simpson,
        surviving_types=state.surviving,
        missing_mass=state.missing_mass,
        entropy=state.entropy,
        one_type_left=float(state.surviving == 1),
        founders=inf,
        gone=gone,
        spread=(0.0,) * len(ranks),
    )
