"""Test errors that are exact at every size, for Gaussian features: fits without penalty.

Random features, as many as modes or more, change nothing about least squares.

A fit of T rows without penalty is least squares where T >= d + 2 (d: modes with variance), for any covariance; with a
flat spectrum and T <= d − 2 it projects on T random directions. With whitened coordinates both are invariant under
rotation, so a chain of them is determined by traces of E[e_u e_v] alone, e_u the error of model u:

    T >= d + 2:  ê = Σ_s B_s e_s + noise,  B_s = G^-1 G_s (G_s the Gram matrix of source s, G their sum),  E B_s = p_s,
                 E‖ê‖² = Ā + c R + ν Σ p_s σ_s²,   Ā = Σ p_s p_t E e_s·e_t,   R = Σ p_s E‖e_s‖² − Ā,
                 ν = d/(T − d − 1),   c = ((d + 1) T² − (d + 5) T + 2 (d + 1))/((T − 1)(T + 2)(T − d − 1));
    T <= d − 2:  E‖ê‖² = q E‖e‖² + (1 − q) E‖w‖² + ν Σ p_s σ_s²,   q = T/d,   ν = T/(d − T − 1).

ν is the mean of the inverse Wishart matrix; c follows from E[G^-1 x x' A x x' G^-1] for one row x: the row of
X G^-1/2 is independent of G, with E u_i u_j u_k u_l = (δδ + δδ + δδ)/(T (T + 2)), and E[tr(AG) G^-1] =
(T tr A − 2A)/(T − d − 1) (Haff 1979). For one label ν is theorem 1 of Dohmatob, Feng, Kempe (arXiv 2402.07712) without
its limit. Between the two, |T − d| <= 1, the expectation is infinite as soon as there is noise.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from service.theory.chain import TRUTH, label_indices
from service.theory.model import REAL, Population, Shift, Source, Stage
from service.theory.results import (
    Baseline,
    Decomposition,
    GenerationParts,
    Method,
    Prediction,
    SourceNoise,
    assemble,
)


def unpenalized_variance(population: Population, samples: float) -> float | None:
    """ν: the variance of a fit without penalty for label noise of variance 1.

    d/(T − d − 1) for T >= d + 2, T/(d − T − 1) for T <= d − 2 and a flat spectrum, infinite in between, 0 for T = 0;
    None where no closed form is known. T -> ∞: d/T.
    """
    d = population.rank
    if samples == 0 or d == 0:
        return 0.0
    if samples >= d + 2:
        return d / (samples - d - 1)
    if samples >= d - 1:
        return float("inf")
    return samples / (d - samples - 1) if is_flat(population) else None


def unpenalized_bias(population: Population, samples: float) -> float | None:
    """The bias of a fit without penalty: 0 for T >= d, (1 − T/d) E‖w‖²_Σ for T < d and a flat spectrum, else None."""
    d = population.rank
    if samples >= d:
        return 0.0
    return (1.0 - samples / d) * population.signal if is_flat(population) or samples == 0 else None


def is_flat(population: Population) -> bool:
    """Whether all modes with variance have the same."""
    positive = population.eigenvalues[population.eigenvalues > 0]
    return positive.size == 0 or bool(positive.min() == positive.max())


@dataclass(frozen=True)
class _Fit:
    """A stage as the formulas above take it.

    ``shares``: p_s; ``q``: what is left of the label's error, 1 for least squares; ``c``, ``nu``: see there.
    """

    shares: tuple[float, ...]
    q: float
    c: float
    nu: float


def refined(population: Population, prediction: Prediction) -> Prediction | None:
    """The prediction with its test error and baselines at the given penalty exact, or None where they are not known.

    The error is linear in every noise and shift: one pass backward over traces gives its derivatives, and with them
    total and decomposition. Cost: O(stages × sources²), no mode is looked at twice.
    """
    stages = prediction.mix.stages
    if (
        prediction.mix.keeps_data
        or prediction.mix.has_matrices
        or any(s.penalty != 0 or s.passes for s in stages)
    ):
        return None
    labels = label_indices(stages)
    known: dict[tuple[object, ...], _Fit | None] = {}
    fits = []
    for stage, label in zip(stages, labels, strict=True):
        key = tuple(
            (s.samples, s.weight, s.eigenvalues is None, v, stage.width)
            for s, v in zip(stage.sources, label, strict=True)
        )
        if key not in known:
            known[key] = _fit(population, stage, label)
        fit = known[key]
        if fit is None:
            return None
        fits.append(fit)
    final = stages[-1]
    samples = sum(source.samples for source in final.sources)
    real = [source for source in final.sources if source.labels == REAL]
    noise = real[0].noise_variance if real else population.noise_variance
    parts = _clean(population, samples, noise)
    if parts is None and fits[-1].nu < float("inf"):
        return None  # nothing is fitted to rows of weight 0, whose clean fit is of another kind
    bias, variance = parts or (prediction.clean.bias, float("inf"))
    error = _decomposition(population, stages, labels, fits, bias, variance, noise)
    clean = replace(prediction.clean, total=bias + variance, bias=bias, variance=variance)
    found = prediction.regularization
    if found.recommended.penalty == 0:
        best = replace(found.recommended, total=error.total)
        found = replace(found, recommended=best, at_recommended=error)
    return replace(
        prediction,
        test_error=error,
        clean=clean,
        real_only=_real_only(population, prediction.real_only, real, final.width),
        regularization=found,
        expected_relative_error=0.0,
        method=Method.EXACT,
    )


def off_the_threshold(
    population: Population, prediction: Prediction, at: Callable[[float], Decomposition]
) -> Prediction:
    """Recommends a small penalty in the place of none, where none is best asymptotically but infinitely bad exactly.

    Next to T = d with hardly any noise the asymptotic error is flat down to penalty 0; the penalty that is best for a
    flat spectrum, σ² d/(T ‖w‖²), lies on the same flat. ``at``: the error at a penalty of the last stage.
    """
    final, found = prediction.mix.stages[-1], prediction.regularization
    norm = float(population.multiplicities @ population.target_power)
    samples, noise = sum(s.samples for s in final.sources), max(s.noise_variance for s in final.sources)
    penalty = noise * population.rank / (samples * norm) if samples * norm > 0 else float("inf")
    error = at(penalty)
    if not error.total < population.signal:
        penalty = float("inf")
        error = at(penalty)
    best = replace(found.recommended, penalty=penalty, total=error.total)
    return replace(prediction, regularization=replace(found, recommended=best, at_recommended=error))


def _fit(population: Population, stage: Stage, labels: tuple[int, ...]) -> _Fit | None:
    used = [s for s, source in enumerate(stage.sources) if source.samples > 0 and source.weight > 0]
    if any(stage.sources[s].eigenvalues is not None for s in used):
        return None
    if len({stage.sources[s].weight for s in used}) > 1:
        return None
    T, d = sum(stage.sources[s].samples for s in used), population.rank
    if not _as_without(stage.width, T, d):
        return None
    nu = unpenalized_variance(population, T)
    if nu is None or (nu == float("inf") and not all(stage.sources[s].noise_variance > 0 for s in used)):
        return None
    shares = tuple(source.samples / T if s in used else 0.0 for s, source in enumerate(stage.sources))
    if T == 0 or d == 0:
        return _Fit(shares, 0.0, 0.0, 0.0)
    if d < T:
        c = 0.0
        if nu < float("inf"):
            c = ((d + 1) * T * T - (d + 5) * T + 2 * (d + 1)) / ((T - 1) * (T + 2) * (T - d - 1))
        return _Fit(shares, 1.0, c, nu)
    one_label = len({labels[s] for s in used}) == 1
    if len(used) > 1 and (not one_label or any(isinstance(stage.sources[s].labels, Shift) for s in used)):
        return None
    return _Fit(shares, T / d, 0.0, nu)


def _clean(population: Population, samples: float, noise: float) -> tuple[float, float] | None:
    bias, nu = unpenalized_bias(population, samples), unpenalized_variance(population, samples)
    if bias is None or nu is None:
        return None
    return bias, noise * nu if noise > 0 else 0.0


def _as_without(width: float | None, samples: float, rank: float) -> bool:
    """Whether a fit is what it is without random features: as many as modes span them all, and least squares is one.

    Of several interpolating models random features choose another one.
    """
    return width is None or samples == 0 or (width >= rank and samples >= rank)


def _real_only(
    population: Population, baseline: Baseline | None, real: list[Source], width: float | None
) -> Baseline | None:
    if baseline is None or any(source.eigenvalues is not None for source in real):
        return baseline
    if not _as_without(width, baseline.samples, population.rank):
        return baseline
    parts = _clean(population, baseline.samples, real[0].noise_variance)
    alike = len({(source.weight, source.noise_variance) for source in real}) == 1 and real[0].weight > 0
    if parts is None or not alike:
        return baseline
    return replace(baseline, total=sum(parts), bias=parts[0], variance=parts[1])


class _Backward:
    """Derivatives of the final error by E e_u·e_v (``pairs``), by E e_u·w (``cross``) and by E‖w‖² (``signal``)."""

    def __init__(self, final: int) -> None:
        self.pairs: dict[int, dict[int, float]] = {final: {final: 1.0}}
        self.cross: dict[int, float] = {}
        self.signal = 0.0

    def add(self, u: int, v: int, value: float) -> None:
        """Errors of real data are 0, so nothing depends on them."""
        if TRUTH not in (u, v):
            row = self.pairs.setdefault(max(u, v), {})
            row[min(u, v)] = row.get(min(u, v), 0.0) + value

    def add_cross(self, u: int, value: float) -> None:
        """See add."""
        if u != TRUTH:
            self.cross[u] = self.cross.get(u, 0.0) + value

    def step(self, f: int, labels: tuple[int, ...], fit: _Fit) -> tuple[list[float], float]:
        """From stage f to its labels: the derivatives by its noises, and what its shifts add per unit of p_s."""
        row, cross = self.pairs.pop(f, {}), self.cross.pop(f, 0.0)
        own = row.pop(f, 0.0)
        rest = 1.0 - fit.q
        self.signal += rest * (own - cross)
        shifted = own * fit.q
        for s, u in enumerate(labels):
            p = fit.shares[s]
            if p == 0 or u == TRUTH:
                continue
            self.add_cross(u, fit.q * p * cross)
            for v, value in row.items():
                self.add(u, v, fit.q * p * value)
            self.add(u, u, shifted * (fit.c * p + (1.0 - fit.c) * p * p))
            for t, v in enumerate(labels[:s]):
                if v != TRUTH and fit.shares[t] > 0:
                    self.add(u, v, 2.0 * shifted * (1.0 - fit.c) * p * fit.shares[t])
        for v, value in row.items():
            self.add_cross(v, -rest * value)
        return [own * fit.nu * p if own > 0 and p > 0 else 0.0 for p in fit.shares], shifted


def _decomposition(  # noqa: PLR0917 - what the passes share
    population: Population,
    stages: Sequence[Stage],
    labels: Sequence[tuple[int, ...]],
    fits: Sequence[_Fit],
    bias: float,
    variance: float,
    real_noise: float,
) -> Decomposition:
    final = len(stages) - 1
    back = _Backward(final)
    noises: list[list[float]] = [[]] * len(stages)
    shift = 0.0
    for f in range(final, -1, -1):
        if f not in back.pairs and f not in back.cross:
            noises[f] = [0.0] * len(stages[f].sources)
            continue
        noises[f], shifted = back.step(f, labels[f], fits[f])
        for p, source in zip(fits[f].shares, stages[f].sources, strict=True):
            if isinstance(source.labels, Shift) and p > 0:
                power = float(population.weight @ source.labels.power)
                shift += shifted * (fits[f].c * p + (1.0 - fits[f].c) * p * p) * power
    by_source = tuple(
        SourceNoise(stage.name, source.name, _times(value, source.noise_variance))
        for stage, values in zip(stages[:-1], noises, strict=False)
        for source, value in zip(stage.sources, values, strict=True)
    )
    last = [_times(v, s.noise_variance) for v, s in zip(noises[-1], stages[-1].sources, strict=True)]
    signal = back.signal * population.signal
    total = signal + shift + sum(last) + sum(source.label_noise for source in by_source)
    if not np.isfinite(total) or not np.isfinite(variance):
        nothing = GenerationParts(np.nan, np.nan, np.nan, np.nan)
        unknown = tuple(replace(source, label_noise=np.nan) for source in by_source)
        return Decomposition(total, bias, variance, np.nan, nothing, unknown)
    mismatch = sum(
        v * (s.noise_variance - real_noise) for v, s in zip(noises[-1], stages[-1].sources, strict=True)
    )
    return assemble(total, bias, variance, by_source, shift=shift, mismatch=mismatch)


def _times(response: float, noise: float) -> float:
    """A fit without noise is exact also where its response to noise is infinite."""
    return response * noise if noise > 0 else 0.0
