"""Survival where real tokens stay: drawn under every decoding, with nothing else predicted."""

import numpy as np
import pytest

from service.simulation.distributions.vocabulary import QUANTITIES, VocabularyWork
from service.theory.distributions.schedule import Schedule
from service.theory.distributions.vocabulary.decoding import Decoding
from service.theory.distributions.vocabulary.levels import zipf
from service.theory.distributions.vocabulary.prediction import Question, predict
from service.theory.distributions.vocabulary.training import Accumulate, Retained, Training
from service.theory.errors import Unsupported

DECODINGS = [
    Decoding(0.7, None, 1.0), Decoding(1.5, 20, 1.0), Decoding(1.0, None, 0.8), Decoding(1.0, 5, 1.0),
]  # fmt: skip


@pytest.mark.parametrize("how", DECODINGS)
@pytest.mark.parametrize("training", [Accumulate(Schedule.of([40, 60, 30])), Retained(60, 40, 3)])
def test_survival_does_not_depend_on_the_decoding(training: Training, how: Decoding) -> None:
    law, ranks = zipf(60, 1.0), (1, 10, 60)
    found = predict(Question(law, training, how, np.array([1, 3]), ranks))
    first, last = (one.state for one in found.generations)
    assert first.diversity is not None
    assert (last.diversity, last.entropy, last.divergence, last.spread[0]) == (None, None, None, None)
    assert last.founders == 40.0
    assert last.gone == pytest.approx([(1 - law.of_rank(rank)) ** 40 for rank in ranks], rel=1e-12)
    p = np.arange(1.0, 61.0) ** -1.0
    sizes = (40, 60, 30) if isinstance(training, Accumulate) else (40, 60, 60)
    work = VocabularyWork(
        probabilities=p / p.sum(), workflow="accumulate" if isinstance(training, Accumulate) else "retained",
        sizes=sizes, real=(40.0,) * 3, reported=(2,), temperature=how.temperature, top_k=how.top_k, top_p=how.top_p,
    )  # fmt: skip
    drawn = dict(zip(QUANTITIES, work.outcomes(5, 0, 1500), strict=True))
    for name in ("surviving_types", "missing_mass"):
        values = drawn[name]
        z = (values.mean() - getattr(last, name)) / (values.std() / np.sqrt(values.size))
        assert abs(z) < 4.0
    assert not {"diversity", "entropy"} & {one.quantity for one in found.accuracy}


def test_retained_out_of_more_is_refused() -> None:
    for how in DECODINGS:
        with pytest.raises(Unsupported, match="simulate"):
            predict(Question(zipf(60, 1.0), Retained(60, 40, 3, 100), how, np.array([3])))
