"""Power laws in closed form: how the best penalty and the least error of a recursion scale.

For eigenvalues σ_i = s i^-β (capacity β > 1), w_i² σ_i = c i^(-1-2βr) (source r > 0, r̄ = min(r, 1)), generators without
penalty on T_k well above d samples of noise σ_k², and a last fit on T samples of noise σ², the test error at effective
ridge κ = s q is, for 1 ≪ q^(-1/β) ≪ min(d, T),

    E(κ) = A q^(2r̄) + D q^(-1/β)/T_eff,        1/T_eff = σ²/T + Σ_k σ_k²/(T_k − d),

so that λ* ∝ T_eff^(-β/(2βr̄+1)) and E* ∝ T_eff^(-2βr̄/(2βr̄+1)). Source: Dohmatob, Feng, Kempe, Model Collapse
Demystified (arXiv 2402.07712), section on power laws; Cui et al. 2022 for the clean case. The amplitudes are the
integrals that the sums tend to, with u = i^-β/q:

    Σ_i w_i² σ_i U_i² → A q^(2r̄),  A = (c/β) Γ(2r) Γ(2−2r) for r < 1, c ζ(1+2β(r−1)) for r > 1;
    Σ_i S_i² → D q^(-1/β),  D = (1 − 1/β) (π/β)/sin(π/β).

At r = 1 the bias has a logarithm and no amplitude. Errors are in units of the squared labels.
"""

from dataclasses import dataclass
from math import gamma, inf, isfinite, log, pi, sin

from scipy.special import zeta


@dataclass(frozen=True)
class PowerLaw:
    """σ_i = scale i^-capacity and w_i² σ_i = power i^(-1 - 2 capacity source); ``capacity`` > 1, ``source`` > 0.

    ``dimension``: number of modes, infinite allowed; ``scale`` and ``power`` None where only the exponents are known.
    """

    capacity: float
    source: float
    dimension: float
    scale: float | None = None
    power: float | None = None

    @property
    def saturated_source(self) -> float:
        """r̄ = min(r, 1): ridge regression learns no smoother target faster."""
        return min(self.source, 1.0)

    @property
    def penalty_exponent(self) -> float:
        """ℓ_crit = β/(2βr̄ + 1): λ* ∝ T_eff^-ℓ_crit."""
        return self.capacity / (2.0 * self.capacity * self.saturated_source + 1.0)

    @property
    def error_exponent(self) -> float:
        """c = 2βr̄/(2βr̄ + 1): E* ∝ T_eff^-c."""
        return 2.0 * self.saturated_source * self.penalty_exponent

    @property
    def noise_free_exponent(self) -> float:
        """2βr̄: E ∝ T^(-2βr̄) without any label noise."""
        return 2.0 * self.capacity * self.saturated_source

    @property
    def bias_amplitude(self) -> float | None:
        """A, see the module; None where it is not known."""
        if self.power is None or self.source == 1:
            return None
        if self.source < 1:
            return self.power / self.capacity * gamma(2 * self.source) * gamma(2 - 2 * self.source)
        return self.power * float(zeta(1.0 + 2.0 * self.capacity * (self.source - 1.0)))

    @property
    def freedom_amplitude(self) -> float:
        """D, see the module."""
        a = 1.0 / self.capacity
        return (1.0 - a) * pi * a / sin(pi * a)


@dataclass(frozen=True)
class Recursion:
    """``generators``: (samples, noise variance) of each generation, without penalty; the last fit's own of both."""

    samples: float
    noise_variance: float
    generators: tuple[tuple[float, float], ...]


def inherited_noise(law: PowerLaw, recursion: Recursion) -> float:
    """Σ_k σ_k²/(T_k − d): what the generators add to σ²/T. Infinite unless T_k > d for all of noise > 0."""
    total = 0.0
    for samples, noise in recursion.generators:
        if samples <= law.dimension:
            return inf
        total += noise / (samples - law.dimension)
    return total


def effective_samples(law: PowerLaw, recursion: Recursion) -> float:
    """T_eff = 1/(σ²/T + Σ_k σ_k²/(T_k − d)), per unit of noise variance; T/σ² if clean, infinite without noise."""
    rate = recursion.noise_variance / recursion.samples + inherited_noise(law, recursion)
    return 1.0 / rate if rate > 0 else inf


@dataclass(frozen=True)
class Crossover:
    """Where the generators' noise equals the last fit's own, σ²/T = Σ_k σ_k²/(T_k − d).

    Beyond it the penalty for clean data is wrong, and more samples of the last fit hardly help. ``ratio``:
    Σ_k σ_k²/(T_k − d) ÷ (σ²/T), 1 at the crossover; ``samples``: T there; ``generations``: how many equal generations
    reach it (of the mean one where they differ).
    """

    ratio: float
    samples: float
    generations: float


def crossover(law: PowerLaw, recursion: Recursion) -> Crossover:
    """See Crossover; infinite where it is never reached, 0 where it always is."""
    own, inherited = recursion.noise_variance / recursion.samples, inherited_noise(law, recursion)
    if inherited == 0:
        return Crossover(0.0, inf, inf)
    count = len(recursion.generators)
    return Crossover(
        inherited / own if own > 0 else inf,
        recursion.noise_variance / inherited,
        count * own / inherited,
    )


@dataclass(frozen=True)
class ClosedForm:
    """The optimum of E(κ) in closed form; ``learned``: q^(-1/β), about how many modes are learned there."""

    penalty: float
    test_error: float
    learned: float


def closed_form(law: PowerLaw, effective: float) -> ClosedForm | None:
    """q* = (D/(2βr̄ A T_eff))^(β/(2βr̄+1)): penalty s q*, error A q*^(2r̄) (1 + 2βr̄).

    None without amplitudes or noise, and beyond the range of floats.
    """
    amplitude = law.bias_amplitude
    if amplitude is None or amplitude == 0 or law.scale is None or effective in (0.0, inf):
        return None
    beta, r = law.capacity, law.saturated_source
    try:
        q = (law.freedom_amplitude / (2 * beta * r * amplitude * effective)) ** law.penalty_exponent
        found = ClosedForm(law.scale * q, amplitude * q ** (2 * r) * (1 + 2 * beta * r), q ** (-1 / beta))
    except (OverflowError, ZeroDivisionError):  # beyond what floats can say
        return None
    return found if isfinite(found.penalty + found.test_error + found.learned) else None


@dataclass(frozen=True)
class Growth:
    """How the generators grow with the last fit's samples: Σ_k σ_k² ∝ T^noise, T_k − d ∝ T^samples."""

    noise: float
    samples: float


@dataclass(frozen=True)
class Schedule:
    """λ = T^-ℓ: ``optimal`` ℓ*, the clean choice ``clean``, and the exponents of the error in 1/T under both."""

    optimal: float
    clean: float
    error: float
    error_of_clean_choice: float


def schedule(law: PowerLaw, growth: Growth, *, noisy: bool) -> Schedule:
    """Exponents of λ = T^-ℓ and of the error, with T_eff ∝ T^τ, τ = b − a, at most 1 where the last fit has noise.

    ℓ* = min(τ ℓ_crit, β), E* ∝ T^(-min(τ c, 2βr̄)); keeping the clean ℓ_crit, E ∝ T^-min(c, c + τ − 1). A negative
    exponent: the error grows with T. For τ < 0 the generators' noise buries the signal: λ* ≫ s shrinks the model as
    1/λ, its gain ∝ 1/λ against a variance ∝ 1/(λ² T_eff), so that ℓ* = τ and E* tends to predicting zero.
    """
    rate = growth.samples - growth.noise
    if noisy:
        rate = min(rate, 1.0)
    critical, c = law.penalty_exponent, law.error_exponent
    kept = min(c, c + rate - 1.0)
    if rate < 0:
        return Schedule(rate, critical, 0.0, kept)
    return Schedule(
        min(rate * critical, law.capacity), critical, min(rate * c, law.noise_free_exponent), kept
    )


def implied_growth(law: PowerLaw, recursion: Recursion) -> Growth | None:
    """a = ln Σσ_k²/ln T, b = ln(harmonic mean of T_k − d)/ln T, as if constants were 1; None without generators."""
    inherited = inherited_noise(law, recursion)
    noise = sum(variance for _, variance in recursion.generators)
    if not 0 < inherited < inf or recursion.samples < 2:
        return None
    scale = log(recursion.samples)
    return Growth(log(noise) / scale, log(noise / inherited) / scale)
