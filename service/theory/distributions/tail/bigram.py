"""Pairs of a context and the token that follows: two exponents, one error. Sections 3.1 g and 3.2 g of the theory."""

from collections.abc import Callable
from dataclasses import dataclass
from math import log
from typing import Final

import numpy as np
from scipy.special import gamma, psi, zeta

from service.theory.distributions.tail.laws import LEAST
from service.theory.distributions.tail.prediction import (
    Plateau,
    TailPrediction,
    crossing,
    local_decay,
    regime_of,
)
from service.theory.distributions.tail.training import missed
from service.theory.distributions.tail.zipf import Nodes, Zipf
from service.theory.model import Array

_EQUAL: Final = 1e-6
_EULER: Final = 0.5772156649015329
# Stieltjes constants: ζ(1 + ε) = 1/ε + γ_0 − γ_1 ε + γ_2 ε²/2 − γ_3 ε³/6 + …
_STIELTJES: Final = (_EULER, -0.07281584548367672, -0.00969036319287232, 0.00205383442030335)
_NEAR_POLE: Final = 1e-3
_UNSEEN: Final = 1e-18
_CHUNK: Final = 4_000_000  # pairs of nodes at once


@dataclass(frozen=True)
class Bigram:
    """Context i with probability ∝ i^-b1, after it the token of rank j with ∝ j^-b2, both endless: b1, b2 > 1."""

    context: Zipf
    token: Zipf

    @property
    def decay(self) -> float:
        """The error falls like T^-(1 − 1/min(b1, b2)), times a logarithm where they are equal."""
        return 1.0 - 1.0 / min(self.context.exponent, self.token.exponent)


def bigram_error(law: Bigram, samples: float, rank: float = np.inf) -> float:
    """E = Σ_ij P_i P_j (1 − P_i P_j)^T, exact; relative accuracy 1e-11.

    ``rank``: the data are drawn from a generator that knows only the so many first tokens of every context:
    P_j/C_k in the exponent's base for j ≤ k, and 1 − C_k besides. That the visits of a context are binomial gives
    exactly this sum.
    """
    cut = (float(rank),) if rank < law.token.last else ()
    plateau = law.token.beyond(rank)
    tokens = law.token.nodes(cut)
    known = Nodes(*(part[tokens.ranks <= rank] for part in (tokens.ranks, tokens.weights, tokens.p)))
    # what nobody sees, whatever it is paired with, needs no pairs
    context, never_context = _visible(law.context.nodes(), samples)
    token, never_token = _visible(known, samples / (1.0 - plateau))
    weights = token.weights * token.p
    rows = max(1, _CHUNK // max(token.p.size, 1))
    total = never_context * (float(np.sum(weights)) + never_token)
    total += float(np.sum(context.weights * context.p)) * never_token
    for start in range(0, context.p.size, rows):
        part = slice(start, start + rows)
        pairs = np.multiply.outer(context.p[part], token.p / (1.0 - plateau))
        total += float(context.weights[part] * context.p[part] @ missed(pairs, samples) @ weights)
    return total + plateau


def _visible(nodes: Nodes, samples: float) -> tuple[Nodes, float]:
    """The items that are seen with a chance above 1e-18, and the mass of the others."""
    seen = nodes.p * samples > _UNSEEN
    never = float(np.sum((nodes.weights * nodes.p)[~seen]))
    return Nodes(nodes.ranks[seen], nodes.weights[seen], nodes.p[seen]), never


def bigram_law(law: Bigram, samples: float) -> float:
    """The law of two poles, Σ over (x, y) in {(b1, b2), (b2, b1)} of K(x) T^-(1 − 1/x) ζ(y/x) / ζ(y)^(1/x).

    Where b1 = b2 = b it becomes K_2 T^-c [(ln(aT) − ψ(c))/b + 2γ], a = ζ(b)^-2, K_2 = a^(1/b) Γ(c)/b: no pure power.
    Relative error 2e-3 at T = 100, 2e-5 at 1e4, 2e-7 at 1e6 for (2, 1.5).
    """
    x, y = law.context.exponent, law.token.exponent
    if abs(x - y) < _EQUAL:
        b = (x + y) / 2.0
        c = 1.0 - 1.0 / b
        a = float(zeta(b)) ** -2
        scale = a ** (1.0 / b) * float(gamma(c)) / b
        return float(scale * samples**-c * ((log(a * samples) - psi(c)) / b + 2.0 * _EULER))
    return _pole(law.context, law.token, samples) + _pole(law.token, law.context, samples)


def _pole(one: Zipf, other: Zipf, samples: float) -> float:
    x, y = one.exponent, other.exponent
    ratio = zeta_of_ratio(y, x)
    return float(one.amplitude * samples**-one.decay * ratio * zeta(y) ** (-1.0 / x))


def zeta_of_ratio(y: float, x: float) -> float:
    """ζ(y/x), continued below 1; near the pole by its Laurent series in (y − x)/x, which does not round."""
    epsilon = (y - x) / x
    if abs(epsilon) < _NEAR_POLE:
        g0, g1, g2, g3 = _STIELTJES
        return 1.0 / epsilon + g0 - g1 * epsilon + g2 * epsilon**2 / 2.0 - g3 * epsilon**3 / 6.0
    return float(zeta(y / x))


def predict_bigram(law: Bigram, samples: float, curve: Array, rank: float = np.inf) -> TailPrediction:
    """The learner of pairs at ``samples`` and along ``curve``; the closed law only without a cut."""

    def error(T: float) -> float:
        return bigram_error(law, T, rank)

    def clean(T: float) -> float:
        return bigram_error(law, T)

    def law_at(T: float) -> float:
        return np.nan if cut or T < LEAST else bigram_law(law, T)

    cut = rank < np.inf
    plateau = _plateau(law, rank, clean) if cut else None
    value = error(samples)
    return TailPrediction(
        value,
        clean(samples) if cut else value,
        law_at(samples),
        crossing(clean, value) if cut else samples,
        law.decay,
        local_decay(error, samples),
        regime_of(plateau, samples),
        plateau,
        np.array([error(float(T)) for T in curve]),
        np.array([law_at(float(T)) for T in curve]),
    )


def _plateau(law: Bigram, rank: float, clean: Callable[[float], float]) -> Plateau:
    """1 − C_k, and what ends it: the pairs beyond the cut, seen in real samples."""
    height = law.token.beyond(rank)
    context, token = law.context.nodes(), law.token.nodes((float(rank),))
    beyond = token.ranks > rank
    p, weights = token.p[beyond], (token.weights * token.p)[beyond]

    def left(real: float) -> float:
        pairs = missed(np.multiply.outer(context.p, p), real)
        return float(context.weights * context.p @ pairs @ weights) / height

    return Plateau("tail_cut", height, crossing(clean, height), np.nan, np.inf, crossing(left, 0.5), np.nan)
