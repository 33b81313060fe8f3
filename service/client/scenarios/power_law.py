"""The scaling laws of *Model Collapse Demystified*: power-law features, and the penalty that collapse asks for."""

from math import log
from typing import Final

from service.client.scenarios.collapse_demystified import (
    DIMENSION,
    ERROR,
    GENERATIONS,
    SAMPLES,
    SOURCE,
    recursive,
)
from service.client.scenarios.scenario import Panel, Run, Scenario
from service.client.scenarios.sweep import Sweep, computed

CAPACITY: Final = 2.0  # β
SOURCE_EXPONENT: Final = 0.375  # r
T_0: Final = 600
SIZES: Final = tuple(round(10 ** (k / 2)) for k in range(2, 13))
DATA: Final = {
    "spectrum": {"kind": "power_law", "dimension": DIMENSION, "exponent": CAPACITY},
    "target": {"kind": "source", "exponent": SOURCE_EXPONENT},
    "noise_variance": 1.0,
}


def critical_exponent(capacity: float, source_exponent: float) -> float:
    """ℓ_crit = β / (2 β min(r, 1) + 1): λ = T^-ℓ_crit is the optimal order for clean data."""
    return capacity / (2 * capacity * min(source_exponent, 1.0) + 1)


def effective_samples(T: float, n: int) -> float:
    """T_eff with 1/T_eff = σ²/T + n σ_0²/(T_0 − d), for σ = σ_0 = 1."""
    return 1 / (1 / T + n / (T_0 - DIMENSION))


def adapted_exponent(T: float, n: int) -> float:
    """ℓ* with T^-ℓ* = T_eff^-ℓ_crit: the optimal order for n generations of synthetic labels."""
    return critical_exponent(CAPACITY, SOURCE_EXPONENT) * log(effective_samples(T, n)) / log(T)


def _panels(run: Run) -> tuple[Panel, ...]:
    critical = critical_exponent(CAPACITY, SOURCE_EXPONENT)

    def sweep(n: int, *, adapted: bool) -> Sweep:
        penalties = [T ** -(adapted_exponent(T, n) if adapted else critical) for T in SIZES]
        request = {"dataset": DATA, "training_mix": recursive(n, T_0, 10, 0.0, noise=1.0)}
        axes = {"/training_mix/samples": SIZES, "/training_mix/penalty": penalties}
        return Sweep(f"n = {n}", request, SIZES, axes, every=2, method="wishart")

    return tuple(
        Panel(title, SAMPLES, ERROR, computed([sweep(n, adapted=adapted) for n in GENERATIONS], run, 300))
        for title, adapted in (("Clean choice λ = T^-ℓ_crit", False), ("Adapted λ = T^-ℓ*", True))
    )


POWER_LAW: Final = Scenario(
    "mcd-power-law",
    "Power-law features: the scaling law breaks off, and the adapted penalty limits the loss",
    SOURCE,
    {
        "features": "d = 300, eigenvalues i^-2 (β = 2), source exponent r = 0.375",
        "generators": "n of them, T_0 = 600, no penalty, label noise 1",
        "final model": "label noise 1, T from 10 to 10^6, λ = T^-ℓ per sample",
        "ℓ_crit": "β / (2 β r + 1) = 0.8",
        "simulation": "by Wishart matrices (the same distribution as drawing rows), 300 replicates, every second point",
        "ℓ*": "T^-ℓ* = T_eff^-ℓ_crit with 1/T_eff = 1/T + n/(T_0 − d)",
    },
    "The paper reports that for n ≥ 1 the error stops falling with T and, with the classical λ = T^-ℓ_crit, rises "
    "again; with the adapted exponent it levels off.",
    _panels,
)
