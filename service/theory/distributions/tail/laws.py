"""Closed laws of the tail: what the exact sums tend to, with their constants. Section 3.2 of the theory."""

from math import exp, inf, isinf, lgamma, log
from typing import Final

from scipy.optimize import brentq
from scipy.special import gamma, gammainc, gammaincc, gammaln

from service.theory.distributions.tail.generations import Recursive
from service.theory.distributions.tail.training import Counts, Mixed, Narrowed, Training
from service.theory.distributions.tail.zipf import Zipf

_LARGE: Final = 1e4
_LARGEST_LOG: Final = 700.0
LEAST: Final = 10.0
"""Samples and known items from which the laws hold: to 2 % at 10 samples, 0.4 % at 100, ever better beyond."""


def gamma_ratio(T: float, c: float) -> float:
    """Γ(T + 1)/Γ(T + 1 + c), relative accuracy 1e-11 for 1 ≤ T ≤ 1e18 and 0 < c ≤ 1.

    From 1e4 on T^-c [1 − c(c+1)/(2T) + c(c+1)(c+2)(3c+1)/(24T²)]: log-gamma functions would cancel.
    """
    if T < _LARGE:
        return float(exp(gammaln(T + 1) - gammaln(T + 1 + c)))
    bracket = 1 - c * (c + 1) / (2 * T) + c * (c + 1) * (c + 2) * (3 * c + 1) / (24 * T**2)
    return float(T**-c * bracket)


def clean_law(law: Zipf, samples: float) -> float:
    """E = K Γ(T+1)/Γ(T+1+c) ~ K T^-c, for β > 1; of a finite law the items that do not exist left out (law a)."""
    reach = 0.0 if isinf(law.last) else samples * law.probability(law.last + 0.5)
    return float(law.amplitude * gamma_ratio(samples, law.decay) * gammaincc(law.decay, reach))


def stretch(law: Zipf, exposure: float, first: float, last: float) -> float:
    """∫ p e^(-S p) over the ranks first + ½ … last + ½ = K S^-c [Q(c, S p(last + ½)) − Q(c, S p(first + ½))].

    ``exposure`` S: expected samples per unit of probability. Q: the regularised upper incomplete gamma function.
    Without exposure it is the items' mass, exactly. ``first`` 0 begins with the first item.
    """
    if exposure == 0.0:
        return law.beyond(first) - law.beyond(last)
    c = law.decay
    low = 0.0 if isinf(last) else exposure * law.probability(last + 0.5)
    scale = law.amplitude * exposure**-c
    if first == 0.0:
        return float(scale * gammaincc(c, low))
    high = exposure * law.probability(first + 0.5)
    # the difference of two Q, as that of two P where both are near 1
    if high < 1.0:
        return float(scale * (gammainc(c, high) - gammainc(c, low)))
    return float(scale * (gammaincc(c, low) - gammaincc(c, high)))


def closed_law(law: Zipf, training: Training, samples: float) -> float | None:
    """The law of the kind of training; None where there is none: β ≤ 1, fewer than 10 samples or known items.

    a clean, b tail cut, e mixed, f fixed counts: a stretch of items the generator knows and one it does not;
    c narrowed: (1/(Z β')) (T/Z')^-x Γ(x), x = (β − 1)/β'; d recursive: the clean law at E A founders.
    """
    if law.exponent <= 1.0 or samples < LEAST:
        return None
    if isinstance(training, Recursive):
        founders = training.founders(samples).mean
        return clean_law(law, founders) if founders >= LEAST else None  # NaN: not known
    if isinstance(training, Mixed | Counts) and training.rank < LEAST:
        return None
    if isinstance(training, Narrowed):
        return narrowed_law(law, training.exponent, samples)
    if isinstance(training, Mixed):
        if training.real_fraction == 1.0 or training.rank >= law.last:
            return clean_law(law, samples)
        return two_stretches(
            law, training.rank, training.real_fraction * samples, (1 - training.real_fraction) * samples
        )
    if isinstance(training, Counts):
        if training.rank >= law.last:
            return clean_law(law, training.real_samples + samples)
        return two_stretches(law, training.rank, training.real_samples, samples)
    return None


def two_stretches(law: Zipf, rank: float, real: float, synthetic: float) -> float:
    """Laws b, e, f: items up to ``rank`` have exposure real + synthetic/C_k, those beyond only real."""
    known = real + synthetic / (1.0 - law.beyond(rank))
    return stretch(law, known, 0.0, rank) + stretch(law, real, rank, law.last)


def narrowed_law(law: Zipf, exponent: float, samples: float) -> float:
    """Law c; of a finite law the items that do not exist left out."""
    generator = Zipf(exponent, law.types)
    x = narrowed_decay(law, exponent)
    reach = 0.0 if isinf(law.last) else samples * generator.probability(law.last + 0.5)
    scale = gamma(x) / (law.normalizer * exponent) * (samples / generator.normalizer) ** -x
    return float(scale * gammaincc(x, reach))


def narrowed_decay(law: Zipf, exponent: float) -> float:
    """x = (β − 1)/β': the narrowed error falls like T^-x."""
    return (law.exponent - 1.0) / exponent


def plateau_begins(law: Zipf, rank: float) -> float:
    """T_c = (K/P_k)^(1/c): the samples at which the clean law meets the plateau P_k; of the order of k^β."""
    plateau = law.beyond(rank)
    return inf if plateau == 0.0 else _exp(log(law.amplitude / plateau) / law.decay)


def half_plateau_constant(exponent: float) -> float:
    """x_½ with c x^-c γ(c, x) = ½, γ the lower incomplete gamma function: 5.690 at β = 1.5, 3.058 at β = 2."""
    c = 1.0 - 1.0 / exponent

    def excess(log_x: float) -> float:
        return lgamma(c + 1.0) - c * log_x + log(float(gammainc(c, _exp(log_x)))) - log(0.5)

    # γ(c, x) ≤ Γ(c): the root lies below x^c = 2 Γ(c + 1), and above ½ where the left side is above 2/3
    upper = (log(2.0) + lgamma(c + 1.0)) / c + 1.0
    return _exp(brentq(excess, log(0.5), max(upper, 1.0), xtol=1e-13))


def half_plateau_law(law: Zipf, rank: float) -> float:
    """Real samples that halve the plateau: x_½ k^β Z."""
    return float(half_plateau_constant(law.exponent) * rank**law.exponent * law.normalizer)


def _exp(x: float) -> float:
    """e^x, infinite instead of an overflow: with β near 1 plateaus last for ever."""
    return exp(x) if x < _LARGEST_LOG else inf
