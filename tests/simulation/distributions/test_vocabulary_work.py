"""Drawn vocabularies: sharding, workflows against the chain of one type, decodings."""

import pickle

import numpy as np
import pytest

from service.simulation.distributions.vocabulary import QUANTITIES, VocabularyWork
from tests.theory.distributions.vocabulary.chains import gone_by_chain

P = np.array([0.4, 0.3, 0.2, 0.07, 0.03])
ROWS = len(QUANTITIES) + 2


def _work(**changes: object) -> VocabularyWork:
    fields: dict[str, object] = {
        "probabilities": P, "workflow": "replace", "sizes": (20,) * 6, "real": (0.0,) * 6, "reported": (0, 3, 5),
        "ranks": (4, 5),
    }  # fmt: skip
    return VocabularyWork(**(fields | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize("workflow", ["replace", "stratified", "iid", "retained", "accumulate"])
def test_replicates_do_not_depend_on_shards(workflow: str) -> None:
    work = pickle.loads(pickle.dumps(_work(workflow=workflow, real=(4.0,) * 6)))
    together = work.outcomes(2, 0, 8)
    assert together.shape == (work.rows, 8) == (3 * (len(QUANTITIES) + 2), 8)
    assert np.array_equal(together, np.column_stack([work.outcomes(2, r, r + 1) for r in range(8)]))


@pytest.mark.parametrize(
    ("workflow", "real", "chain"),
    [("replace", 0.0, {}), ("stratified", 4.0, {"real": 4}), ("iid", 4.0, {"real": None, "share": 0.2})],
)
def test_absence_is_the_chain_of_one_type(workflow: str, real: float, chain: dict[str, object]) -> None:
    outcomes = _work(workflow=workflow, real=(real,) * 6).outcomes(7, 0, 4000)
    gone = outcomes.reshape(3, ROWS, -1)[:, -1].mean(axis=1)
    for found, models in zip(gone, (1, 4, 6), strict=True):
        expected = gone_by_chain(0.03, 20, models, **chain)  # type: ignore[arg-type]
        assert abs(found - expected) < 3.5 * np.sqrt(expected * (1 - expected) / 4000)


def test_what_stays_is_never_lost() -> None:
    for workflow in ("retained", "accumulate"):
        outcomes = _work(workflow=workflow, real=(15.0,) * 6, sizes=(15, *[20] * 5)).outcomes(1, 0, 50)
        surviving = outcomes.reshape(3, ROWS, -1)[:, 1]
        assert np.array_equal(surviving[0], surviving[2])


@pytest.mark.parametrize(
    ("decoding", "most"), [({"top_k": 2}, 2), ({"top_p": 0.5}, 2), ({"temperature": 0.05}, 1)]
)
def test_decodings_cut(decoding: dict[str, object], most: int) -> None:
    outcomes = _work(sizes=(1000,) * 6, **decoding).outcomes(1, 0, 20)
    assert np.all(outcomes.reshape(3, ROWS, -1)[1:, 1] <= most)
