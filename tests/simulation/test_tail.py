"""The learner item by item: the same bits however it is cut, and the process that it says it is."""

import numpy as np
import pytest

from service.simulation.tail import DrawnLaw, TailWork
from service.theory.distributions.tail.zipf import Zipf

LAW = DrawnLaw(1.5, Zipf(1.5).normalizer)
WORKS = [
    TailWork(LAW, (10, 500)),
    TailWork(LAW, (10, 500), real_fraction=0.2, rank=30),
    TailWork(LAW, (10, 500), real_fraction=0.0, rank=30, real_samples=50),
    TailWork(LAW, (500,), generator=DrawnLaw(2.0, Zipf(2.0).normalizer)),
    TailWork(LAW, (300,), sizes=(100, 50, 80), reported=(0, 1, 3), real_fraction=0.1),
    TailWork(LAW, (100, 400), token=DrawnLaw(2.0, Zipf(2.0).normalizer), rank=40),
    TailWork(LAW, (500,), memory=20, noisy=True),
]


@pytest.mark.parametrize("work", WORKS, ids=range(len(WORKS)))
def test_replicates_do_not_depend_on_how_they_are_cut(work: TailWork) -> None:
    whole = work.outcomes(5, 0, 7)
    assert whole.shape == (len(work.reported or work.samples), 7)
    assert np.array_equal(whole, np.concatenate([work.outcomes(5, 0, 2), work.outcomes(5, 2, 7)], axis=1))
    assert not np.array_equal(whole, work.outcomes(6, 0, 7))
    assert (whole >= 0).all()
    assert (whole <= 1).all()


@pytest.mark.parametrize("law", [LAW, DrawnLaw(1.2, Zipf(1.2, 50).normalizer, 50)], ids=["endless", "finite"])
def test_items_have_the_probabilities_of_the_law(law: DrawnLaw) -> None:
    rng = np.random.default_rng(1)
    items = law.draw(200_000, rng)
    assert items.min() >= 1
    counts = np.bincount(np.minimum(items, 11), minlength=12)[1:11]
    p = law.probability(np.arange(1, 11))
    z = (counts - 200_000 * p) / np.sqrt(200_000 * p * (1 - p))
    assert np.abs(z).max() < 3.5
    known = law.known(200_000, 5, rng)
    assert known.max() == 5
    q = p[:5] / p[:5].sum()
    z = (np.bincount(known)[1:] - 200_000 * q) / np.sqrt(200_000 * q * (1 - q))
    assert np.abs(z).max() < 3.5


def test_what_is_unseen_is_what_was_not_drawn() -> None:
    law = DrawnLaw(1.0, 1 + 1 / 2 + 1 / 3 + 1 / 4, 4)
    p = law.probability(np.arange(1, 5))
    rng = np.random.default_rng(0)
    items = np.array([2, 2, 4, 4, 4, 1])
    assert TailWork(law, (6,)).unseen(items, rng) == pytest.approx(p[2])
    assert TailWork(law, (6,), memory=2).unseen(items, rng) == pytest.approx(p[2] + p[3])
    assert TailWork(law, (6,), memory=2, noisy=True).unseen(items, rng) == pytest.approx(p[0] + p[2])
    assert TailWork(law, (6,), memory=9, noisy=True).unseen(items, rng) == pytest.approx(p[2])


def test_a_generation_knows_nothing_that_the_one_before_did_not() -> None:
    """Without fresh data the last learner's items are among those of the first generator's 3 samples."""
    law = DrawnLaw(1.5, Zipf(1.5).normalizer)
    work = TailWork(law, (1_000,), sizes=(3, 50), reported=(0, 1, 2), real_fraction=0.0)
    real, first, second = work.outcomes(2, 0, 200)
    most = 1 - law.probability(np.arange(1, 4)).sum()
    assert real.max() < first.min()
    assert first.min() >= most - 1e-12
    assert second.min() >= most - 1e-12
