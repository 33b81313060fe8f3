"""Divergence, squared distance and entropy against the exact chain of every type's count, within what is stated."""

import numpy as np
import pytest
from scipy.stats import binom

from service.theory.distributions.schedule import Schedule
from service.theory.distributions.vocabulary.levels import from_counts, zipf
from service.theory.distributions.vocabulary.results import VocabularyPrediction
from service.theory.distributions.vocabulary.sampled import predict_sampled
from service.theory.distributions.vocabulary.training import FreshReal, Replace, Training
from service.theory.model import Array

CASES = [
    ([97.0, 1, 1, 1], 5, 0), ([97.0, 1, 1, 1], 20, 1), ([5.0, 3, 2], 60, 1), ([97.0, 1, 1, 1], 60, 3),
    ([97.0, 1, 1, 1], 150, 0), ([2900.0, *[10.0] * 10], 300, 30), ([1.0 / i for i in range(1, 31)], 150, 1),
    ([1.0 / i for i in range(1, 31)], 20, 5),
]  # fmt: skip


@pytest.mark.parametrize(("counts", "samples", "real"), CASES)
def test_within_what_is_stated_of_the_exact_chain(counts: list[float], samples: int, real: int) -> None:
    models = np.unique([1, 2, 5, samples // 3, 3 * samples])
    p = np.array(counts) / sum(counts)
    found = _predicted(np.array(counts), samples, real, models)
    stated = {one.quantity: one.expected_relative_error for one in found.accuracy}
    entropy, square = (np.zeros(len(models)) for _ in range(2))
    for x, types in zip(*np.unique(p, return_counts=True), strict=True):
        of_entropy, second = _chain(float(x), samples, real, models)
        entropy += types * of_entropy
        square += types * (second - x * x)
    divergence = -float(p @ np.log(p)) - entropy
    for one, h, kl, apart in zip(found.generations, entropy, divergence, square, strict=True):
        state = one.state
        assert state.entropy == pytest.approx(h, rel=stated["entropy"])
        assert state.divergence == pytest.approx(kl, rel=stated["divergence"])
        assert state.squared_distance == pytest.approx(apart, rel=1e-10)


def test_of_one_type_and_of_too_many_samples_to_tell() -> None:
    alone = _predicted(np.ones(1), 10, 0, np.array([3])).generations[0].state
    assert (alone.divergence, alone.squared_distance) == (0.0, 0.0)
    training = Replace(Schedule.constant(10**18, 1))
    state = predict_sampled(zipf(4, 1.0), training, np.array([1])).generations[0].state
    assert state.divergence is None
    assert state.squared_distance == pytest.approx((1 - zipf(4, 1.0).simpson) * 1e-18, rel=1e-12)


def _predicted(counts: Array, samples: int, real: int, models: np.ndarray) -> VocabularyPrediction:
    schedule = Schedule.constant(samples, int(models[-1]))
    training: Training = FreshReal(schedule, (float(real),)) if real else Replace(schedule)
    return predict_sampled(from_counts(counts), training, models)


def _chain(p: float, samples: int, real: int, models: np.ndarray) -> tuple[Array, Array]:
    """E[−x ln x] and E x² of a type's frequency x, at each model."""
    j, kept = np.arange(samples + 1), samples - real
    x = j / samples
    synthetic, fresh = (
        binom.pmf(j[None, : kept + 1], kept, x[:, None]),
        binom.pmf(np.arange(real + 1), real, p),
    )
    matrix = np.zeros((samples + 1, samples + 1))
    for drawn, weight in enumerate(fresh):
        matrix[:, drawn : drawn + kept + 1] += weight * synthetic
    surprise = np.where(x > 0, -x * np.log(np.where(x > 0, x, 1.0)), 0.0)
    law, found = binom.pmf(j, samples, p), []
    for model in range(1, int(models[-1]) + 1):
        law = law if model == 1 else law @ matrix
        if model in models:
            found.append((law @ surprise, law @ x**2))
    entropies, squares = np.array(found).T
    return entropies, squares
