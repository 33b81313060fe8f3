"""Small mixes of every kind, and how they are simulated."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from service.simulation.engine import last_totals, simulate
from service.simulation.features import Features, Gaussian
from service.simulation.process import Again, Process, accumulated, shared_design
from service.simulation.spectrum import SpectrumProblem
from service.theory.model import REAL, Array, Population, Shift, Source, Stage, TrainingMix

D = 12
SIGMA = np.arange(1.0, D + 1) ** -1.2
POPULATION = Population(SIGMA, np.ones(D), np.linspace(0.5, 1.5, D), 0.3)


def stage(name: str, penalty: float, *sources: Source, width: float | None = None) -> Stage:
    return Stage(name, sources, penalty, width)


def chain(generator: int, final: int, generator_penalty: float, penalty: float, n: int = 2) -> TrainingMix:
    stages: list[Stage] = []
    for k in range(n):
        label = stages[-1].name if stages else REAL
        stages.append(stage(f"g{k + 1}", generator_penalty, Source("s", label, generator, 0.4)))
    return TrainingMix((*stages, stage("final", penalty, Source("s", f"g{n}" if n else REAL, final, 0.3))))


def accumulating(batches: Sequence[int], penalty_sum: float, *, same_features: bool = False) -> Process:
    """As ``process.accumulated``; ``same_features``: every batch on the features of the first."""
    stages: list[Stage] = []
    for k, T in enumerate(batches):
        label = stages[-1].name if stages else REAL
        stages.append(stage(f"s{k}", penalty_sum / sum(batches[: k + 1]), Source("b", label, T, 0.3)))
    made = accumulated(POPULATION, TrainingMix(tuple(stages)))
    if not same_features:
        return made
    again = dict(made.again) | {(k, k): Again((0, 0), labels=False) for k in range(1, len(batches))}
    return Process(made.mix, made.noise_variance, again)


def fresh(mix: TrainingMix) -> Process:
    return Process.fresh(POPULATION, mix)


_TWO = TrainingMix(
    (
        stage("a", 0.02, Source("r", REAL, 30, 0.3)),
        stage("b", 0.05, Source("r", REAL, 10, 0.3), Source("a", "a", 25, 0.2, 0.5)),
        stage("final", 0.01, Source("a", "a", 20, 0.1, 2.0), Source("b", "b", 15, 0.4), Source("r", REAL, 8, 0.3)),
    )
)  # fmt: skip

PROCESSES = {
    "ridge chain": fresh(chain(30, 25, 0.02, 0.05)),
    "least squares": fresh(chain(30, 25, 0.0, 0.0)),
    "interpolation": fresh(chain(7, 8, 0.0, 0.02)),
    "ridge with few samples": fresh(chain(7, 8, 0.02, 0.02)),
    "two parents and weights": fresh(_TWO),
    "shift and covariate shift": fresh(
        TrainingMix(
            (
                stage(
                    "final", 0.02, Source("r", REAL, 20, 0.3), Source("s", Shift(np.full(D, 0.2)), 15, 0.3),
                    Source("c", REAL, 10, 0.1, 1.5, SIGMA[::-1].copy()),
                ),
            )
        )
    ),
    "random features": fresh(
        TrainingMix(
            (
                stage("g", 0.0, Source("r", REAL, 30, 0.3), width=8),
                stage("final", 0.03, Source("g", "g", 10, 0.3), width=15),
            )
        )
    ),
    "shared design": shared_design(POPULATION, chain(20, 25, 0.02, 0.05, 3)),
    "shared design with few samples": shared_design(POPULATION, chain(7, 25, 0.0, 0.0, 3)),
    "accumulating": accumulating((15, 6, 20), 0.4),
    "accumulating without penalty": accumulating((20, 8, 20), 0.0),
    "accumulating on the same features": accumulating((18, 18, 18), 0.0, same_features=True),
}  # fmt: skip


def values(
    process: Process, replicates: int, *, features: Features | None = None, seed: int = 1, **options: Any
) -> Array:
    """All outcomes, shape (outcomes, replicates)."""
    problem = SpectrumProblem(POPULATION, features or Gaussian())
    return simulate(problem, [process], seed, 0, replicates, **options)


def totals(process: Process, replicates: int, **options: Any) -> Array:
    """Test errors of the last stage, shape (replicates,)."""
    found: Array = last_totals([process], values(process, replicates, **options))[0]
    return found


def z_score(samples: Array, expected: float) -> float:
    return float((samples.mean() - expected) / (samples.std(ddof=1) / np.sqrt(len(samples))))


def two_sample_z(one: Array, other: Array) -> float:
    spread = one.var(ddof=1) / len(one) + other.var(ddof=1) / len(other)
    return float((one.mean() - other.mean()) / np.sqrt(spread))
