"""Small builders for the tests of the theory."""

import numpy as np

from service.theory.model import REAL, Array, Population, Shift, Source, Stage, TrainingMix


def power_law(d: int, beta: float = 1.5, noise: float = 0.25, target: Array | None = None) -> Population:
    sigma = np.arange(1.0, d + 1) ** -beta
    return Population(sigma, np.ones(d), np.full(d, 1.0 / d) if target is None else target, noise)


def isotropic(d: float, noise: float = 1.0, norm: float = 1.0) -> Population:
    return Population(np.array([1.0]), np.array([float(d)]), np.array([norm / d]), noise)


def recursive(
    n: int, T0: float, T: float, penalty: float, *, noise0: float, noise: float, penalty0: float = 0.0
) -> TrainingMix:
    stages = []
    for k in range(n):
        label = REAL if k == 0 else f"g{k}"
        stages.append(Stage(f"g{k + 1}", (Source(label, label, T0, noise0),), penalty0))
    label = stages[-1].name if stages else REAL
    return TrainingMix((*stages, Stage("final", (Source(label, label, T, noise),), penalty)))


def two_sources(
    T1: float, T2: float, shift: Array, penalty: float, noise: float, *, width: float | None = None
) -> TrainingMix:
    sources = (Source(REAL, REAL, T1, noise), Source("synthetic", Shift(shift), T2, noise))
    return TrainingMix((Stage("final", sources, penalty, width),))
