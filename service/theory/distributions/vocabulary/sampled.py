"""Plain sampling: every reported generation of a vocabulary in expectation, and how far each number can be trusted."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import inf
from typing import Final

import numpy as np

from service.theory.distributions.accuracy import Accuracy, Caution, approximate, exact
from service.theory.distributions.schedule import Models
from service.theory.distributions.vocabulary import ancestors, refreshed, retained
from service.theory.distributions.vocabulary.diversity import generations_to, kinship, kinship_limit
from service.theory.distributions.vocabulary.entropy import Entropies
from service.theory.distributions.vocabulary.founders import Founders
from service.theory.distributions.vocabulary.levels import Vocabulary
from service.theory.distributions.vocabulary.moments import Fresh
from service.theory.distributions.vocabulary.results import Generation, State, VocabularyPrediction
from service.theory.distributions.vocabulary.training import (
    Accumulate,
    FreshReal,
    Replace,
    Retained,
    Training,
)

FEWEST_FOUNDERS: Final = 9.0
"""Founders below which their law, taken as normal, is not answered with (measured error: 3e-3 in P(gone) at 9)."""

SURVIVAL: Final = ("surviving_types", "missing_mass", "gone", "founders", "one_type_left")
_FOR_EVER: Final = 10**30
_LOST: Final = 1e-8  # of the entropy


def predict_sampled(
    vocabulary: Vocabulary, training: Training, models: Models, ranks: tuple[int, ...] = ()
) -> VocabularyPrediction:
    """Each of ``models`` (increasing, from 1); ``ranks``: the types whose P(gone) is wanted.

    E H = (1 − Φ) H_0; P(gone) = E (1 − p)^A with A the founders; E surviving types and missing mass are its sums over
    types; entropy by a closure. Exact but where ``accuracy`` says otherwise.
    """
    related = kinship(training, models)
    lineages, last = _all_founders(training, models)
    entropies = Entropies(vocabulary)
    found = tuple(
        Generation(int(model) - 1, _state(vocabulary, entropies, founders, float(phi), ranks))
        for model, founders, phi in zip(models, lineages, related, strict=True)
    )
    limit = _state(vocabulary, entropies, last, kinship_limit(training), ranks)
    half = generations_to(training, 0.5) - 1.0 if vocabulary.simpson < 1.0 else inf
    return VocabularyPrediction(
        truth_state(vocabulary, ranks),
        found,
        limit,
        half,
        _accuracy(training, lineages),
        _cautions(lineages, last),
    )


def state_after(
    vocabulary: Vocabulary, training: Training, model: int | None, ranks: tuple[int, ...] = ()
) -> State:
    """The state of one model, or of infinitely many generations (None), as ``predict_sampled`` has it."""
    entropies = Entropies(vocabulary)
    if model is None:
        return _state(vocabulary, entropies, _last_founders(training), kinship_limit(training), ranks)
    models = np.array([model])
    (founders,) = _founders(training, models)
    return _state(vocabulary, entropies, founders, float(kinship(training, models)[0]), ranks)


def _all_founders(training: Training, models: Models) -> tuple[list[Founders], Founders]:
    """Founders of the models, and of infinitely many generations, in one pass where sizes are equal."""
    if isinstance(training, FreshReal) and len(training.schedule.sizes) == 1 and training.shares()[0] > 0.0:
        *lineages, last = _founders(training, [*models, _FOR_EVER])
        return lineages, last
    return list(_founders(training, models)), _last_founders(training)


def _founders(training: Training, models: Sequence[int] | Models) -> Iterator[Founders]:
    match training:
        case Replace(schedule):
            if schedule.ends[-1] - schedule.repetitions[-1] <= 1:  # all equal, but for the first one perhaps
                yield from ancestors.by_model(schedule.last, map(int, models), schedule.at(1))
            else:
                largest = ancestors.largest_exact(len(models))
                yield from (ancestors.of_schedule(schedule, int(n), largest) for n in models)
        case FreshReal(schedule):
            if not any(training.real):
                yield from _founders(Replace(schedule), models)
            elif len(schedule.sizes) == 1:
                fresh = Fresh(training.shares()[0], training.stratified)
                yield from refreshed.by_model(schedule.last, fresh, map(int, models))
            else:
                yield from refreshed.of_schedule(
                    schedule, training.shares(), map(int, models), stratified=training.stratified,
                    largest=refreshed.largest_exact(len(models), len(schedule.sizes)),
                )  # fmt: skip
        case Retained():
            yield from retained.by_model(training, map(int, models))
        case Accumulate(schedule):
            yield from (Founders.certain(schedule.sizes[0]) for _ in models)


def _last_founders(training: Training) -> Founders:
    """Of infinitely many generations, the last sample size going on."""
    match training:
        case FreshReal(schedule) if training.shares()[-1] > 0.0:
            fresh = Fresh(training.shares()[-1], training.stratified)
            return next(refreshed.by_model(schedule.last, fresh, [_FOR_EVER]))
        case Replace() | FreshReal():
            return Founders.of(1, np.ones(1))
        case Retained():
            return Founders.certain(training.real)
        case Accumulate():
            return next(_founders(training, np.array([1])))


def _state(
    vocabulary: Vocabulary, entropies: Entropies, founders: Founders, related: float, ranks: tuple[int, ...]
) -> State:
    levels = vocabulary.condensed
    p = levels.probabilities
    known = _is_known(founders)
    asked = np.array([vocabulary.of_rank(rank) for rank in ranks])
    absent, present = founders.fates(p)
    alike = founders.alike(p) if known else None
    entropy = entropies.expected(founders, related) if known else None
    return State(
        diversity=(1.0 - related) * (1.0 - vocabulary.simpson),
        surviving_types=levels.total(present) if known else None,
        missing_mass=levels.total(p * absent) if known else None,
        entropy=entropy,
        one_type_left=None if alike is None else min(levels.total(alike), 1.0),
        founders=founders.mean if known else None,
        gone=tuple(founders.absent(asked).tolist()) if known else (None,) * len(ranks),
        spread=tuple(np.sqrt(related * asked * (1.0 - asked)).tolist()),  # Var p = Φ p_0 (1 − p_0)
        divergence=None if entropy is None else _divergence(vocabulary.entropy, entropy),
        squared_distance=related * (1.0 - vocabulary.simpson),
    )


def _divergence(truth: float, entropy: float) -> float | None:
    """E KL(model ‖ truth) is what is missing of the entropy, since E p = p_0; None where that is lost in rounding."""
    value = truth - entropy
    return 0.0 if truth == 0.0 else value if value >= _LOST * truth else None


def _is_known(founders: Founders) -> bool:
    """Whether the law is exact, or of so many founders that a normal one will do."""
    by_value = founders.weights is not None or isinstance(founders, refreshed.TransformedFounders)
    return by_value or founders.variance == 0.0 or founders.mean >= FEWEST_FOUNDERS


def truth_state(vocabulary: Vocabulary, ranks: tuple[int, ...]) -> State:
    """The truth itself."""
    return State(
        diversity=1.0 - vocabulary.simpson,
        surviving_types=vocabulary.types,
        missing_mass=0.0,
        entropy=vocabulary.entropy,
        one_type_left=float(vocabulary.types == 1),
        founders=inf,
        gone=tuple(0.0 if vocabulary.of_rank(rank) > 0.0 else 1.0 for rank in ranks),
        spread=(0.0,) * len(ranks),
        divergence=0.0,
        squared_distance=0.0,
    )


def unknown_state(asked: int) -> State:
    """No formula for anything."""
    return State(None, None, None, None, None, None, (None,) * asked, (None,) * asked)


def _accuracy(training: Training, lineages: list[Founders]) -> tuple[Accuracy, ...]:
    basis = "Kinship of two tokens: a linear recursion without approximation."
    found = [exact("diversity", basis), exact("spread", basis), exact("squared_distance", basis)]
    normal = [one for one in lineages if one.variance > 0.0 and not _by_value(one)]
    known = [one for one in lineages if _is_known(one)]
    with_real = isinstance(training, Retained) or (isinstance(training, FreshReal) and any(training.real))
    if with_real and normal:
        means = [one.mean for one in normal if _is_known(one)]
        changing = isinstance(training, FreshReal) and len(training.schedule.sizes) > 1
        error = max((0.1 / mean if changing else 0.3 / mean**2 for mean in means), default=0.0)
        bound = "0.1 / founders where sizes change" if changing else "0.3 / founders²"
        basis = f"Founders' number taken as normal; absolute error of P(gone), at most {bound}, measured."
        found += [approximate(q, error, basis) for q in SURVIVAL]
    elif (
        isinstance(training, Replace | FreshReal) and not with_real and not _is_exact(training, len(lineages))
    ):
        basis = "Founders' law normal above 200 of them, exact below; absolute error of P(gone), measured."
        found += [approximate(q, 2e-6, basis) for q in SURVIVAL]
    else:
        found += [exact(q, "P(gone) = E (1 − p)^A with the exact law of the founders A.") for q in SURVIVAL]
    first = isinstance(training, Replace) and len(lineages) == 1 and lineages[0].variance == 0.0
    if known:
        error, of_divergence = (1e-9, 2e-3) if first else _entropy_errors(training)
        found += [
            approximate("entropy", error, "Symmetric Dirichlet families of the exact mean square."),
            approximate("divergence", of_divergence, "What is missing of the entropy, by the same families."),
        ]
    return tuple(found)


_SMALL: Final = 50  # samples below which the entropy of few families is another percent off
_ALMOST_NONE: Final = 5  # samples from which no closure knows what is left, once fresh data come after


def _entropy_errors(training: Training) -> tuple[float, float]:
    """Of the entropy and of what is missing of it, relative, measured against exact chains of 5 to 1,000 samples.

    With few fresh samples m of M families are more unequal than any symmetric law has them: 0.045 (1 − m/M)² m^-0.2 at
    worst, long after they begin.
    """
    match training:
        case Retained():
            return 0.01, 0.05
        case Accumulate():
            return 0.005, 0.02
        case Replace(schedule):
            return (0.01, 0.02) if min(schedule.sizes) < _SMALL else (0.005, 0.02)
        case FreshReal(schedule):
            if not any(training.real):
                return _entropy_errors(Replace(schedule))
            if len(schedule.sizes) > 1 and min(schedule.sizes) < _ALMOST_NONE:
                return 0.3, 0.3
            few = max(
                (1.0 - share) ** 2 * max(real, 1.0) ** -0.2
                for share, real in zip(training.shares(), training.real, strict=True)
            )
            return max(0.015, 0.045 * few), 0.1


def _by_value(founders: Founders) -> bool:
    return founders.weights is not None or isinstance(founders, refreshed.TransformedFounders)


def _is_exact(training: Replace | FreshReal, models: int) -> bool:
    schedule, sizes = training.schedule, training.schedule.sizes
    equal = schedule.ends[-1] - schedule.repetitions[-1] <= 1
    return max(sizes) <= (ancestors.EXACT_SAMPLES if equal else ancestors.largest_exact(models))


def _cautions(lineages: list[Founders], last: Founders) -> tuple[Caution, ...]:
    """Of the reported models, and of infinitely many generations (``last``) where only there something is missing."""
    found = _missing(lineages)
    reported = {one.quantity for one in found}
    return (*found, *(
        replace(one, quantity=f"limit/{one.quantity}") for one in _missing([last]) if one.quantity not in reported
    ))  # fmt: skip


def _missing(lineages: list[Founders]) -> tuple[Caution, ...]:
    unlike = [one for one in lineages if _is_known(one) and one.alike(np.ones(1)) is None]
    found: tuple[Caution, ...] = ()
    if unlike:
        message = (
            "The probability that one type is all that is left has no formula with fresh real samples; there are "
            f"{unlike[-1].mean:.3g} founders. Simulate it."
        )
        found = (Caution("no_formula", message, "one_type_left"),)
    if all(map(_is_known, lineages)):
        return found
    message = (
        f"Fewer than {FEWEST_FOUNDERS:g} founders are expected, and their law is not exact for this many samples: "
        "no value is given. Simulate, or ask for fewer generations or more fresh real samples."
    )
    return (*found, *(Caution("few_founders", message, quantity) for quantity in (*SURVIVAL, "entropy")))
