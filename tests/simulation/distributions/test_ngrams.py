"""The n-gram model against one made of dictionaries, and chains of models against the law of multinomial samples."""

import pickle
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from service.simulation.distributions.ngram import BINS, NgramWork
from service.simulation.distributions.ngrams import Corpus, NgramModel, excerpt, layout, whole
from tests.theory.distributions.vocabulary.chains import moments_by_chain

TYPES = 7
TEXT = np.random.default_rng(3).zipf(1.6, 400) % TYPES


class ByHand:
    """Absolute discounting with back-off, word by word."""

    def __init__(self, text: np.ndarray, order: int, discount: float) -> None:
        ring = (
            [int(w) for w in [*text[text.size - order + 1 :], *text]] if order > 1 else [int(w) for w in text]
        )
        self.order, self.discount = order, discount
        self.counts = [
            Counter(tuple(ring[end - k + 1 : end + 1]) for end in range(order - 1, len(ring)))
            for k in range(1, order + 1)
        ]

    def probability(self, history: tuple[int, ...], word: int) -> float:
        shorter = self.probability(history[1:], word) if history else 1.0 / TYPES
        after = {g[-1]: c for g, c in self.counts[len(history)].items() if g[:-1] == history}
        if not after:
            return shorter
        total = sum(after.values())
        own = max(after.get(word, 0) - self.discount, 0.0)
        return (own + self.discount * len(after) * shorter) / total


@pytest.mark.parametrize("order", [1, 2, 3, 4])
@pytest.mark.parametrize("discount", [0.0, 0.6])
def test_counts_and_probabilities_by_hand(order: int, discount: float) -> None:
    model, by_hand = NgramModel([whole(TEXT, order)], order, TYPES, discount), ByHand(TEXT, order, discount)
    for length in range(1, order + 1):
        assert sorted(model.frequencies(length)) == sorted(by_hand.counts[length - 1].values())
    other = np.random.default_rng(4).integers(0, TYPES, 60)
    with np.errstate(divide="ignore"):
        logs = model.log_probabilities(whole(other, order))
    ring = [int(w) for w in [*other[other.size - order + 1 :], *other]] if order > 1 else other.tolist()
    for i, found in enumerate(logs):
        end = i + order - 1
        expected = by_hand.probability(tuple(ring[end - order + 1 : end]), ring[end])
        assert np.exp(found) == pytest.approx(expected, rel=1e-12)


def test_probabilities_sum_to_one() -> None:
    model = NgramModel([whole(TEXT, 3)], 3, TYPES, 0.75)
    histories = [(a, b) for a in range(TYPES) for b in range(TYPES)]
    windows = np.array([[*h, w] for h in histories for w in range(TYPES)])
    p = np.exp(model.log_probabilities(Corpus(windows, 3))).reshape(len(histories), TYPES)
    assert p.sum(axis=1) == pytest.approx(1.0, rel=1e-12)


@pytest.mark.parametrize("discount", [0.0, 0.75])
def test_what_is_generated_has_the_model_s_probabilities(discount: float) -> None:
    """Words after each history: a chi-square over all histories that occur often."""
    model = NgramModel([whole(TEXT, 2)], 2, TYPES, discount)
    corpus = model.generate(200_000, whole(TEXT, 2), np.random.default_rng(5))
    pairs = np.zeros((TYPES, TYPES))
    np.add.at(pairs, (corpus.tokens[:, :-1].ravel(), corpus.tokens[:, 1:].ravel()), 1)
    windows = np.array([[h, w] for h in range(TYPES) for w in range(TYPES)])
    with np.errstate(divide="ignore"):
        p = np.exp(model.log_probabilities(Corpus(windows, 2))).reshape(TYPES, TYPES)
    expected = pairs.sum(axis=1, keepdims=True) * p
    used = expected > 5
    assert np.all(pairs[p == 0] == 0)
    chi2 = float(((pairs - expected)[used] ** 2 / expected[used]).sum())
    freedom = used.sum() - (pairs.sum(axis=1) > 0).sum()
    assert abs(chi2 - freedom) < 4 * np.sqrt(2 * freedom)


def test_an_excerpt_is_text() -> None:
    text = np.arange(5000)
    found = excerpt(text, 3, 2500, np.random.default_rng(0))
    assert found.size == pytest.approx(2500, rel=0.01)
    assert np.all((np.diff(found.tokens, axis=1) == 1) | (found.tokens[:, 1:] == 0))


def _work(folder: Path, text: np.ndarray, held_out: int, **changes: object) -> NgramWork:
    path = folder / "tokens.npy"
    np.save(path, text.astype(np.int32))
    fields: dict[str, object] = {
        "path": path, "types": int(text.max()) + 1, "training": text.size - held_out, "held_out": held_out,
        "order": 3, "discount": 0.75, "generations": 3, "kept": 0.0, "workflow": "replace",
    }  # fmt: skip
    return NgramWork(**(fields | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize("changes", [{}, {"kept": 0.1}, {"workflow": "accumulate"}, {"kept": 1.0}])
def test_replicates_do_not_depend_on_shards(tmp_path: Path, changes: dict[str, object]) -> None:
    work = pickle.loads(pickle.dumps(_work(tmp_path, TEXT, 50, **changes)))
    together = work.outcomes(9, 0, 3)
    assert together.shape == (work.rows, 3)
    assert np.isfinite(together).all()
    apart = np.column_stack([work.outcomes(9, r, r + 1) for r in (0, 1, 2)])
    assert np.array_equal(together, apart)
    shares = together.reshape(4, work.rows_of_generation, 3)[:, -2 * BINS :]
    assert shares[:, :BINS].sum(axis=1) == pytest.approx(1.0)
    assert shares[:, BINS:].sum(axis=1) == pytest.approx(1.0)


def test_accumulated_text_loses_nothing_and_replaced_text_does(tmp_path: Path) -> None:
    for workflow, lost in (("accumulate", False), ("replace", True)):
        found = _work(tmp_path, TEXT, 50, workflow=workflow).outcomes(1, 0, 1)[:, 0].reshape(4, -1)
        missing = found[:, [1, 4, 7]]
        assert not missing[0].any()
        assert missing[1:].any() == lost


def test_unigrams_are_multinomial_samples(tmp_path: Path) -> None:
    """Order 1, maximum likelihood: distinct words and entropy of generation 3 by the exact chain of every type."""
    text = np.random.default_rng(8).zipf(1.5, 200) % 30
    held_out = 20
    work = _work(tmp_path, text, held_out, order=1, discount=0.0)
    outcomes = work.outcomes(4, 0, 100).reshape(4, -1, 100)[3]
    counts = np.bincount(text[:-held_out])
    p = counts[counts > 0] / counts.sum()
    passages, length = layout(work.training)
    assert passages * length == work.training
    entropy = sum(moments_by_chain(float(x), work.training, 3)[1] for x in p)
    measured, error = outcomes[2].mean(), outcomes[2].std(ddof=1) / 10
    assert abs(measured - entropy) < 3.5 * error
