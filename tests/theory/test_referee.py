"""The engine against the 50-digit referee, on random mixes of every kind and at the edges."""

import math

import numpy as np
import pytest

from service.theory.model import REAL, Population, Shift, Source, Stage, TrainingMix
from service.theory.prediction import predict
from tests.theory.referee import RefereeSource, RefereeStage, total_error

MODES = 6


def as_mix(stages: list[RefereeStage]) -> TrainingMix:
    def labels(value: int | list) -> str | Shift:
        if isinstance(value, list):
            return Shift(np.array(value, float))
        return REAL if value == 0 else f"stage-{value}"

    return TrainingMix(
        tuple(
            Stage(
                f"stage-{k}",
                tuple(
                    Source(
                        f"source-{j}", labels(s.labels), s.samples, s.noise, s.weight,
                        None if s.sigma is None else np.array(s.sigma, float),
                    )
                    for j, s in enumerate(stage.sources)
                ),
                stage.penalty,
                stage.width,
            )
            for k, stage in enumerate(stages, start=1)
        )
    )  # fmt: skip


def engine(sigma: list, power: list, stages: list[RefereeStage]) -> float:
    population = Population(np.array(sigma, float), np.ones(len(sigma)), np.array(power, float), 0.1)
    return predict(population, as_mix(stages)).test_error.total


def random_stages(
    rng: np.random.Generator, *, shifted: bool, weighted: bool, wide: bool
) -> list[RefereeStage]:
    stages = []
    for k in range(1, int(rng.integers(1, 5)) + 1):
        sources = []
        for _ in range(int(rng.integers(1, 4))):
            labels: int | list = int(rng.integers(0, k))
            if rng.random() < 0.25:
                labels = list(rng.exponential(0.3, MODES))
            sources.append(
                RefereeSource(
                    labels, float(rng.integers(3, 40)), float(rng.exponential(0.3)),
                    float(rng.exponential()) if weighted else 1.0,
                    list(rng.exponential(size=MODES)) if shifted and rng.random() < 0.6 else None,
                )
            )  # fmt: skip
        width = float(rng.integers(2, 12)) if wide and rng.random() < 0.6 else None
        stages.append(RefereeStage(sources, float(10 ** rng.uniform(-3, 1)), width))
    return stages


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("shifted", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("wide", [False, True])
def test_random_mixes_agree_to_1e_11(seed: int, shifted: bool, weighted: bool, wide: bool) -> None:
    rng = np.random.default_rng([seed, shifted, weighted, wide])
    sigma, power = list(rng.exponential(size=MODES)), list(rng.exponential(size=MODES))
    stages = random_stages(rng, shifted=shifted, weighted=weighted, wide=wide)
    expected = total_error(sigma, power, stages)
    assert math.isclose(engine(sigma, power, stages), float(expected), rel_tol=1e-11)


@pytest.mark.parametrize(
    ("sigma", "power", "samples", "noise", "penalty"),
    [
        (
            [1.0, 1e-10, 1e-20, 1e-30],
            [1.0, 1.0, 1.0, 1.0],
            [50, 60],
            [0.1, 0.2],
            1e-12,
        ),  # 30 orders of magnitude
        ([1.0, 0.5, 0.25], [1.0, 2.0, 3.0], [10**15, 10**18], [0.1, 0.1], 1e-9),  # errors of 1e-15
        ([1.0, 0.5, 0.25], [1.0, 2.0, 3.0], [2, 2], [0.0, 0.0], 1e-8),  # nearly interpolating, no noise
        ([2.0, 2.0, 1.0], [1.0, 1.0, 0.0], [3, 4], [0.5, 0.5], 1e-6),  # samples = modes, tiny penalty
        ([1.0], [1.0], [5, 7], [1.0, 1.0], 0.3),  # one mode
        ([1e9, 1e-9], [1e-9, 1e9], [5, 7], [1.0, 1.0], 1e-3),
        ([1.0, 0.1], [1.0, 1.0], [1, 1], [1.0, 1.0], 1e6),
    ],
)
def test_chains_at_the_edges_agree_to_1e_10(
    sigma: list, power: list, samples: list, noise: list, penalty: float
) -> None:
    stages = [
        RefereeStage([RefereeSource(k, float(T), v)], penalty)
        for k, (T, v) in enumerate(zip(samples, noise, strict=True))
    ]
    expected = total_error(sigma, power, stages)
    assert math.isclose(engine(sigma, power, stages), float(expected), rel_tol=1e-10)
