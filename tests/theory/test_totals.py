"""Totals of many mixes side by side, against the general engine and against predictions one by one."""

from dataclasses import replace

import numpy as np
import pytest

from service.theory.general import General
from service.theory.mixes.totals import totals
from service.theory.model import OPTIMAL, REAL, Shift, Source, Stage, TrainingMix
from service.theory.prediction import predict
from tests.theory.problems import power_law

POPULATION = power_law(60, 1.2)
SHIFT = Shift(np.full(60, 0.02))


def mixes(penalty: float | str) -> list[TrainingMix]:
    """Of two structures, with a threshold and a stage without data among them."""
    rng, found = np.random.default_rng(5), []
    for i in range(24):
        first = Stage("a", (Source(REAL, REAL, float(rng.integers(30, 300)), 0.5),), 0.01 * (i % 2))
        sources = (
            Source(REAL, REAL, float(rng.integers(0, 200)), 0.3),
            Source(
                "a", "a" if i % 3 else SHIFT, float(rng.integers(0, 900)), 0.2, float(rng.uniform(0.1, 3))
            ),
        )
        found.append(TrainingMix((first, Stage("final", sources, penalty))))  # type: ignore[arg-type]
    threshold = replace(found[0].stages[0], sources=(Source(REAL, REAL, 60.0, 0.5),))
    empty = replace(found[0].stages[0], sources=(Source(REAL, REAL, 0.0, 0.5),))
    return [*found, *(TrainingMix((stage, found[1].stages[1])) for stage in (threshold, empty))]


@pytest.mark.parametrize("penalty", [0.02, 0.0, OPTIMAL])
def test_totals_are_those_of_the_general_engine(penalty: float | str) -> None:
    given = mixes(penalty)
    found = totals(POPULATION, given, 0)
    known = ~np.isnan(found)
    expected = np.array([General(POPULATION, mix).total() for mix in given])
    assert known[:-2].all()
    assert not known[-2:].any(), "these have to be looked at by themselves"
    assert found[known] == pytest.approx(expected[known], rel=1e-9)


@pytest.mark.parametrize("penalty", [0.02, OPTIMAL])
def test_totals_of_order_one(penalty: float | str) -> None:
    given = mixes(penalty)
    found = totals(POPULATION, given, 1)
    known = np.flatnonzero(~np.isnan(found))
    assert known.size >= 22
    for i in known:
        expected = predict(POPULATION, given[i], order=1)
        assert found[i] == pytest.approx(expected.test_error.total, rel=1e-9), i
