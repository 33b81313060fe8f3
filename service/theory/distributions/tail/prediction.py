"""All that is said about one learner: its error, the law it follows, where the plateau begins and what ends it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil, exp, floor, inf, log
from typing import Final, Literal

import numpy as np
from scipy.optimize import brentq

from service.theory.distributions.tail import laws
from service.theory.distributions.tail.generations import Recursive
from service.theory.distributions.tail.memory import UNLIMITED, Memory
from service.theory.distributions.tail.training import (
    CLEAN,
    Counts,
    Mixed,
    Narrowed,
    Training,
    missed,
    unseen_mass,
)
from service.theory.distributions.tail.zipf import Zipf
from service.theory.model import Array

MOST: Final = 1e18  # samples, beyond which nothing is computed
_STEP: Final = 1e-3
_FEWEST: Final = -600.0  # ln of a number of samples that is as good as none
_WHOLE_STEP: Final = 0.05

Regime = Literal["scaling", "plateau", "recovered"]
Cause = Literal["tail_cut", "memory", "generations"]


@dataclass(frozen=True)
class Plateau:
    """The error that more samples of the same kind do not lower, or not for long.

    ``height``; ``begins``: real samples with that error (T_c), exactly; ``begins_law``: (K/P_k)^(1/c), NaN: no law;
    ``halved_at``: samples of this mix at which half of it is left ("grokking"), inf: never;
    ``real_to_halve``: real samples that halve it, however many synthetic ones there are, exactly;
    ``real_to_halve_law``: x_½ k^β Z; of generations E A (2^(1/c) − 1), and E A founders for ``begins_law``.
    NaN where the cause is none that real samples end.
    """

    cause: Cause
    height: float
    begins: float
    begins_law: float
    halved_at: float
    real_to_halve: float
    real_to_halve_law: float


@dataclass(frozen=True, eq=False)
class TailPrediction:
    """``test_error``; ``clean_error``: with as many real samples; ``law``: the closed one, NaN: none.

    ``effective_samples``: real samples whose clean error is the same; inf beyond 1e18.
    ``decay``: the exponent of the law, error ~ T^-decay before a plateau, NaN where there is no law;
    ``local_decay``: −d ln E / d ln T here.
    ``curve_errors``, ``curve_laws``: at the samples asked for, shape (points,).
    """

    test_error: float
    clean_error: float
    law: float
    effective_samples: float
    decay: float
    local_decay: float
    regime: Regime
    plateau: Plateau | None
    curve_errors: Array
    curve_laws: Array


def predict_tail(
    law: Zipf, training: Training, samples: float, curve: Array, memory: Memory = UNLIMITED
) -> TailPrediction:
    """The learner at ``samples``, and its errors at the samples of ``curve``; 1 ≤ samples ≤ 1e18.

    NaN where ``memory`` cannot be computed.
    """

    def error(T: float) -> float:
        reach = memory.reach(law, training, T)
        return np.nan if np.isnan(reach) else unseen_mass(law, training, T, reach)

    def closed(T: float) -> float:
        value = laws.closed_law(law, training, T) if memory.items >= law.last else None
        return np.nan if value is None else value

    value = error(samples)
    plateau = plateau_of(law, training, memory.items)
    return TailPrediction(
        value,
        unseen_mass(law, CLEAN, samples),
        closed(samples),
        effective_samples(law, value),
        decay_of(law, training),
        local_decay(error, samples, whole=isinstance(training, Recursive)),
        regime_of(plateau, samples),
        plateau,
        np.array([error(float(T)) for T in curve]),
        np.array([closed(float(T)) for T in curve]),
    )


def decay_of(law: Zipf, training: Training) -> float:
    """The exponent before any plateau: (β − 1)/β, narrowed (β − 1)/β'; NaN for β ≤ 1: no power law."""
    if law.exponent <= 1.0:
        return np.nan
    if isinstance(training, Narrowed):
        return laws.narrowed_decay(law, training.exponent)
    return law.decay


def local_decay(error: Callable[[float], float], samples: float, *, whole: bool = False) -> float:
    """−d ln E / d ln T by a central difference; NaN where the error has vanished or is not known.

    ``whole``: the error is only known at whole numbers of samples, so the difference is of 5 % instead of 0.1 %.
    """
    low, high = samples * exp(-_STEP), samples * exp(_STEP)
    if whole:
        low, high = max(floor(samples * (1 - _WHOLE_STEP)), 1.0), min(ceil(samples * (1 + _WHOLE_STEP)), MOST)
    above, below = error(low), error(high)
    return log(above / below) / log(high / low) if below > 0.0 else np.nan


def effective_samples(law: Zipf, value: float) -> float:
    """T with E_clean(T) = value: what the learner knows, in real samples; 0 at value 1, inf beyond 1e18."""
    return crossing(lambda T: unseen_mass(law, CLEAN, T), value)


def crossing(error: Callable[[float], float], bound: float) -> float:
    """The least T in (0, 1e18] with error(T) ≤ bound, for a falling error; 0: any number keeps it; inf: none does.

    Any number does where real samples beside those counted here keep it alone, however few the latter are.
    """
    if np.isnan(bound):
        return np.nan
    if bound >= 1.0:
        return 0.0

    def excess(log_samples: float) -> float:
        return error(exp(log_samples)) - bound

    low, high = 0.0, log(MOST)
    if bound <= 0.0 or excess(high) > 0.0:
        return inf
    while excess(low) <= 0.0:
        low = 4.0 * low - 3.0
        if low < _FEWEST:
            return 0.0
    return exp(brentq(excess, low, high, xtol=1e-12, rtol=1e-14))


def plateau_of(law: Zipf, training: Training, memory: float = inf) -> Plateau | None:
    """The plateau of a cut, of generations or of a memory, or None: a narrowed generator knows all items."""
    if isinstance(training, Recursive) and memory >= law.last:
        # with fresh real samples in its own data the learner has no plateau
        return _plateau_of_generations(law, training) if training.real_fraction == 0.0 else None
    rank = training.rank if isinstance(training, Mixed | Counts) else inf
    if isinstance(training, Mixed) and training.real_fraction == 1.0:
        rank = inf
    if memory < law.last and memory <= rank:
        return Plateau("memory", *_beginning(law, memory), inf, np.nan, np.nan)
    if rank >= law.last:
        return None
    height, begins, begins_law = _beginning(law, rank)
    real = crossing(lambda R: _beyond_cut(law, rank, R) / height, 0.5)
    real_law = laws.half_plateau_law(law, rank) if _lawful(law, rank) else np.nan
    halved = crossing(lambda T: unseen_mass(law, training, T), height / 2.0)
    return Plateau("tail_cut", height, begins, begins_law, halved, real, real_law)


def _beginning(law: Zipf, rank: float) -> tuple[float, float, float]:
    """Height of the plateau beyond a rank, and where the clean error meets it: exactly, and by its law."""
    height = law.beyond(rank)
    return (
        height,
        effective_samples(law, height),
        laws.plateau_begins(law, rank) if _lawful(law, rank) else np.nan,
    )


def _lawful(law: Zipf, rank: float) -> bool:
    return law.types is None and rank >= laws.LEAST


def _plateau_of_generations(law: Zipf, training: Recursive) -> Plateau | None:
    """What is left when the learner has seen all that its generators passed on: founders alone."""
    nodes = law.nodes()
    left = nodes.weights * nodes.p * training.unseen(law, nodes, MOST)
    height = float(np.sum(left))
    if height <= 0.0:  # below double precision: all items were passed on
        return None
    founders = training.founders(MOST).mean
    real = crossing(lambda R: float(left @ missed(nodes.p, R)) / height, 0.5)
    lawful = law.types is None and founders >= laws.LEAST
    real_law = founders * (2.0 ** (1.0 / law.decay) - 1.0) if lawful else np.nan
    begins_law = founders if lawful else np.nan
    return Plateau("generations", height, effective_samples(law, height), begins_law, inf, real, real_law)


def _beyond_cut(law: Zipf, rank: float, real: float) -> float:
    """Σ_{i > k} p_i (1 − p_i)^R: what is left of the plateau where the generator's items are all known."""
    nodes = law.nodes((rank,))
    unseen = CLEAN.unseen(law, nodes, real)
    return float(np.sum((nodes.weights * nodes.p * unseen)[nodes.ranks > rank]))


def regime_of(plateau: Plateau | None, samples: float) -> Regime:
    """Before the plateau, on it, or beyond the samples that halve it."""
    if plateau is None:
        return "scaling"
    if samples >= plateau.halved_at:
        return "recovered"
    return "plateau" if samples >= plateau.begins else "scaling"


@dataclass(frozen=True)
class Generation:
    """The same learner after fewer generations: its founders (E A) and its error."""

    generation: int
    founders: float
    test_error: float


def by_generation(
    law: Zipf, training: Recursive, samples: float, generations: Sequence[int], memory: float = inf
) -> tuple[Generation, ...]:
    """The learner of ``samples`` at the end of so many generations, rising; 0: it is trained on real samples."""
    found = []
    for generation in generations:
        if generation == 0:
            found.append(Generation(0, samples, unseen_mass(law, CLEAN, samples, memory)))
            continue
        shorter = training.first(generation)
        error = unseen_mass(law, shorter, samples, memory)
        found.append(Generation(generation, shorter.founders(samples).mean, error))
    return tuple(found)
