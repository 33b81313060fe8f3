"""The theory against the literal process, Gaussian features: within standard errors plus the O(1/N) it leaves out."""

import numpy as np
import pytest

from service.simulation.engine import last_totals, simulate
from service.simulation.process import Process
from service.simulation.spectrum import SpectrumProblem
from service.theory.model import REAL, Population, Shift, Source, Stage, TrainingMix
from service.theory.prediction import predict

REPLICATES = 120
D = 80
SIGMA = np.arange(1.0, D + 1) ** -1.1
POPULATION = Population(SIGMA, np.ones(D), np.random.default_rng(0).exponential(0.05, D), 0.2)


def chain(T0: float, T: float, penalty: float, n: int = 3) -> TrainingMix:
    stages = [Stage("g1", (Source(REAL, REAL, T0, 0.3),), penalty)]
    for k in range(2, n + 1):
        source = Source(f"g{k - 1}", f"g{k - 1}", T0, 0.3)
        stages.append(Stage(f"g{k}", (source,), penalty))
    final = Stage("final", (Source(f"g{n}", f"g{n}", T, 0.2),), 0.02)
    return TrainingMix((*stages, final))


MIXES = {
    "ridge chain": chain(120, 100, 0.01),
    "interpolating generators": chain(40, 100, 0.0),
    "least squares": chain(240, 200, 0.0),
    "real and synthetic": TrainingMix((
        Stage("g", (Source(REAL, REAL, 90, 0.4),), 0.02),
        Stage("final", (Source(REAL, REAL, 60, 0.2), Source("g", "g", 120, 0.1, 0.5)), 0.01),
    )),
    "shifted labels": TrainingMix((
        Stage("final", (Source(REAL, REAL, 60, 0.2), Source("s", Shift(np.full(D, 0.02)), 120, 0.2)), 0.01),
    )),
    "covariate shift": TrainingMix((
        Stage("final", (Source(REAL, REAL, 60, 0.2), Source("r", REAL, 90, 0.2, 1.0, SIGMA[::-1].copy())), 0.01),
    )),
    "random features": TrainingMix((Stage("final", (Source(REAL, REAL, 100, 0.2),), 0.01, 60),)),
}  # fmt: skip


@pytest.mark.parametrize("name", MIXES)
def test_the_process_agrees_with_the_theory(name: str) -> None:
    mix = MIXES[name]
    prediction = predict(POPULATION, mix)
    process = Process.fresh(POPULATION, mix)
    errors = last_totals([process], simulate(SpectrumProblem(POPULATION), [process], 7, 0, REPLICATES))[0]
    mean, standard_error = errors.mean(), errors.std(ddof=1) / np.sqrt(REPLICATES)
    predicted = prediction.test_error.total
    left_out = prediction.expected_relative_error * predicted
    assert abs(mean - predicted) <= 3.5 * standard_error + left_out
    assert standard_error < 0.05 * mean  # else this would prove nothing
