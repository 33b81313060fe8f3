"""Temperature on finite samples: against simulation within what is stated, the limit of many, and where it ends."""

import numpy as np
import pytest

from service.theory.distributions.schedule import Schedule
from service.theory.distributions.vocabulary.decoding import Decoding
from service.theory.distributions.vocabulary.levels import zipf
from service.theory.distributions.vocabulary.prediction import (
    Question,
    VocabularyPrediction,
    predict,
    predict_plentiful,
)
from service.theory.distributions.vocabulary.training import FreshReal, Replace, Retained, Training
from service.theory.errors import Unsupported
from tests.theory.distributions.vocabulary.chains import by_hand, statistics

GENERATIONS = (1, 2, 4, 8, 16)


def _predicted(
    types: int, exponent: float, temperature: float, share: float, samples: int
) -> VocabularyPrediction:
    schedule = Schedule.constant(samples, GENERATIONS[-1] + 1)
    training: Training = FreshReal(schedule, (share * samples,), iid=True) if share else Replace(schedule)
    models = np.array(GENERATIONS) + 1
    return predict(Question(zipf(types, exponent), training, Decoding(temperature), models, (1,)))


@pytest.mark.parametrize(
    ("law", "temperature", "share", "samples", "shown"),
    [
        ((20, 1.0), 0.9, 0.1, 20_000, 4),
        ((20, 1.0), 0.8, 0.0, 3000, 1),
        ((10, 0.3), 1.1, 0.0, 3000, 5),
        ((200, 1.1), 2.0, 0.1, 6000, 5),
    ],
)
def test_diversity_and_entropy_against_simulation(
    law: tuple[int, float], temperature: float, share: float, samples: int, shown: int
) -> None:
    types, exponent = law
    found = _predicted(types, exponent, temperature, share, samples)
    off = {one.quantity: one.expected_relative_error for one in found.accuracy}
    generator, truth = np.random.default_rng(5), np.arange(1.0, types + 1) ** -exponent
    truth /= truth.sum()
    values = np.empty((60, GENERATIONS[-1] + 1, 2))
    for replicate in values:
        p = truth
        for generation in range(GENERATIONS[-1] + 1):
            counts = generator.multinomial(samples, p)
            replicate[generation] = np.array(statistics(counts, truth))[[0, 3]]
            p = by_hand(counts / samples, Decoding(temperature), 0.0, 1)[1]
            p = share * truth + (1.0 - share) * p
    known = [one for one in found.generations if one.state.entropy is not None]
    assert len(known) >= shown
    for one in known:
        sample = values[:, one.generation]
        error = sample.std(axis=0, ddof=1) / len(values) ** 0.5
        expected = np.array([one.state.diversity, one.state.entropy], dtype=float)
        stated = expected * [off["diversity"], off["entropy"]]
        assert (np.abs(sample.mean(axis=0) - expected) < stated + 4.0 * error).all()
        assert one.state.surviving_types is None


@pytest.mark.parametrize("share", [0.0, 0.2])
def test_very_many_samples_are_infinitely_many(share: float) -> None:
    found = _predicted(50, 1.2, 0.9, share, 10**18)
    limit = predict_plentiful(zipf(50, 1.2), Decoding(0.9), share, GENERATIONS)
    for one, other in zip(found.generations, limit.generations, strict=True):
        assert one.state.entropy == pytest.approx(other.state.entropy, rel=1e-12)
        assert one.state.diversity == pytest.approx(other.state.diversity, rel=1e-12)
    assert max(one.expected_relative_error for one in found.accuracy if one.quantity == "entropy") < 1e-9


def test_a_contest_of_equal_types_is_not_foretold() -> None:
    """At T = ½ and half real data equal types stay equal on average until noise makes one of them win."""
    found = _predicted(200, 0.0, 0.5, 0.5, 10**5)
    assert found.generations[1].state.entropy == pytest.approx(np.log(200.0))
    assert found.generations[-1].state.entropy is None
    assert ("simulate", "entropy") in {(one.code, one.quantity) for one in found.cautions}


def test_generation_0_is_a_plain_sample_and_a_settled_law_goes_on() -> None:
    schedule = Schedule.constant(10**6, 10**6 + 1)
    training = FreshReal(schedule, (3e5,), iid=True)
    question = Question(zipf(30, 1.0), training, Decoding(1.3), np.array([1, 1000, 10**6 + 1]), (2,))
    first, *later = predict(question).generations
    plain = predict(Question(zipf(30, 1.0), training, Decoding(), np.array([1]), (2,))).generations[0]
    assert first.state == plain.state
    assert later[0].state.entropy == pytest.approx(later[1].state.entropy, rel=1e-12)


def test_what_has_no_formula_is_refused() -> None:
    schedule = Schedule.constant(1000, 3)
    for vocabulary, training, how in (
        (zipf(None, 1.2), Replace(schedule), Decoding(0.9)),
        (zipf(50, 1.2), Retained(1000, 100, 3, 200), Decoding(0.9)),
        (zipf(50, 1.2), Replace(schedule), Decoding(0.9, top_k=10)),
        (zipf(50, 1.2), Replace(schedule), Decoding(0.9, top_p=0.9)),
    ):
        with pytest.raises(Unsupported, match="simulate"):
            predict(Question(vocabulary, training, how, np.array([2])))
