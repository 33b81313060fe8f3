"""Many penalties side by side: against 50 digits, and against the stage solved penalty by penalty."""

import dataclasses

import numpy as np
import pytest

from service.theory.chain import covariances_of
from service.theory.general import General
from service.theory.model import OPTIMAL, REAL, Array, Population, Shift, Source, Stage, TrainingMix
from service.theory.prediction import predict, test_error
from service.theory.several_penalties import errors
from tests.theory.referee import RefereeSource, RefereeStage, total_error

test_error.__test__ = False  # type: ignore[attr-defined]

SIGMA, POWER, D = np.array([3.0, 1.0, 0.3, 0.02]), np.array([0.1, 1.0, 0.5, 2.0]), 4
OWN, OTHER, SHIFT = (
    np.array([1.0, 0.5, 2.0, 0.1]),
    np.array([0.0, 0.0, 1.0, 4.0]),
    np.array([0.1, 0.2, 0.0, 1.0]),
)
POPULATION = Population(SIGMA, np.ones(D), POWER, 0.1)
PENALTIES = [1e-9, 1e-3, 0.2, 5.0, 1e6]


def mix(penalty: float) -> TrainingMix:
    """A last stage of real labels, a model's, a shift, and rows of weight 0."""
    sources = (
        Source("r", REAL, 3.0, 0.1),
        Source("m", "g", 9.0, 0.3, 0.5, OWN),
        Source("s", Shift(SHIFT), 4.0, 0.2, 2.0, OTHER),
        Source("idle", "g", 5.0, 0.2, 0.0, OWN),
    )
    return TrainingMix((Stage("g", (Source(REAL, REAL, 6.0, 0.2),), 0.05), Stage("f", sources, penalty)))


def side_by_side(population: Population, training: TrainingMix, penalties: list[float]) -> Array:
    general = General(population, training)
    covariances = covariances_of(general.final, population)
    assert covariances is not None
    return errors(
        population, covariances, general.design, general.noise, general.past.labels, np.array(penalties)
    )


def test_fifty_digits_agree() -> None:
    found = side_by_side(POPULATION, mix(0.1), PENALTIES)
    first = RefereeStage([RefereeSource(0, 6.0, 0.2)], 0.05)
    for penalty, value in zip(PENALTIES, found.tolist(), strict=True):
        # rows of weight 0 count in N alone, by which the penalty is multiplied
        last = [
            RefereeSource(0, 3.0, 0.1),
            RefereeSource(1, 9.0, 0.3, 0.5, OWN.tolist()),
            RefereeSource(SHIFT.tolist(), 4.0, 0.2, 2.0, OTHER.tolist()),
        ]
        expected = total_error(SIGMA.tolist(), POWER.tolist(), [first, RefereeStage(last, penalty * 21 / 16)])
        assert value == pytest.approx(float(expected), rel=1e-11)


@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e9])
def test_as_solved_one_by_one(scale: float) -> None:
    """Over twenty orders of magnitude, spectra over twelve, modes that no source sees."""
    rng = np.random.default_rng(3)
    sigma, own = scale * 10.0 ** rng.uniform(-12, 0, 30), scale * 10.0 ** rng.uniform(-6, 0, 30)
    own[:5] = 0.0
    population = Population(sigma, np.ones(30), rng.random(30) / scale, 0.1)
    sources = (Source("a", REAL, 8.0, 0.3, 1.0, own), Source("b", REAL, 11.0, 0.1, 3.0, own[::-1].copy()))
    training = TrainingMix((Stage("f", sources, OPTIMAL),))
    penalties = [scale * 10.0**x for x in range(-13, 8)]
    for penalty, value in zip(penalties, side_by_side(population, training, penalties), strict=True):
        last = dataclasses.replace(training.stages[0], penalty=penalty)
        assert value == pytest.approx(test_error(population, TrainingMix((last,))), rel=1e-9)


def test_the_flat_range_is_beside_all_else() -> None:
    training = dataclasses.replace(mix(0.1), stages=mix(0.1).stages[:2])
    full, short = (
        predict(POPULATION, training, order=1),
        predict(POPULATION, training, order=1, flat_range=False),
    )
    assert full.regularization.flat_range.low < full.regularization.recommended.penalty
    assert np.isnan(short.regularization.flat_range.low)
    chosen = dataclasses.replace(short.regularization, flat_range=full.regularization.flat_range)
    assert repr(dataclasses.replace(short, regularization=chosen)) == repr(full)
