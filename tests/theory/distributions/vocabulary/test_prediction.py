"""Whole predictions against Monte Carlo of whole vocabularies, limits, and what is refused."""

from math import inf

import numpy as np
import pytest
from scipy.stats import binom

from service.theory.distributions.schedule import Schedule, reported_models
from service.theory.distributions.vocabulary.decoding import Decoding
from service.theory.distributions.vocabulary.levels import from_counts, zipf
from service.theory.distributions.vocabulary.prediction import Question, predict, predict_plentiful
from service.theory.distributions.vocabulary.training import (
    Accumulate,
    FreshReal,
    Replace,
    Retained,
    Training,
)
from service.theory.errors import Unsupported
from tests.theory.distributions.vocabulary.chains import Run, by_hand, gone_by_chain, statistics

PLAIN = Decoding()
TYPES, EXPONENT = 400, 1.1
P = np.arange(1.0, TYPES + 1) ** -EXPONENT / (np.arange(1.0, TYPES + 1) ** -EXPONENT).sum()


@pytest.mark.parametrize(
    ("kind", "training", "samples", "real", "share"),
    [
        ("replace", Replace(Schedule.constant(300, 12)), 300, 0, 0.0),
        ("replace", Replace(Schedule.constant(2500, 12)), 2500, 0, 0.0),
        ("stratified", FreshReal(Schedule.constant(120, 12), (12,)), 120, 12, 0.0),
        ("stratified", FreshReal(Schedule.constant(800, 12), (40,)), 800, 40, 0.0),
        ("iid", FreshReal(Schedule.constant(800, 12), (80,), iid=True), 800, 0, 0.1),
        ("retained", Retained(500, 100, 12), 500, 100, 0.0),
        ("accumulate", Accumulate(Schedule.constant(300, 12)), 300, 0, 0.0),
    ],
)
def test_against_monte_carlo(kind: str, training: Training, samples: int, real: int, share: float) -> None:
    run, ranks = Run(P, seed=2026), (1, 10, 100)
    found = []
    for _ in range(400):
        counts = run.counts(kind, samples, 12, real, share)
        found.append((*statistics(counts, P), *(float(counts[rank - 1] == 0) for rank in ranks)))
    mean, error = np.mean(found, axis=0), np.std(found, axis=0, ddof=1) / np.sqrt(len(found))
    answer = predict(Question(zipf(TYPES, EXPONENT), training, PLAIN, np.array([12]), ranks))
    state = answer.generations[0].state
    assert answer.generations[0].generation == 11
    predicted = np.array(
        [state.diversity, state.surviving_types, state.missing_mass, state.entropy, *state.gone], dtype=float
    )
    closure = np.zeros_like(predicted)
    closure[3] = next(a.expected_relative_error for a in answer.accuracy if a.quantity == "entropy") * mean[3]
    gone = np.array(state.gone, dtype=float)  # events: their error is known, also where none was seen
    error[4:] = np.sqrt(gone * (1 - gone) / len(found)) + 1 / len(found)
    excess = np.maximum(np.abs(predicted - mean) - closure, 0.0)
    assert np.all(excess <= 3.5 * error + 1e-9), (predicted, mean, error)


@pytest.mark.parametrize(
    ("types", "exponent", "samples", "models", "missing", "distinct"),
    [
        (10**5, 1.1, 10**4, 50, 0.472743031, 215.66053674451965),
        (10**6, 1.5, 10**8, 10, 0.00288273329, 81061.24272192255),
        (10**6, 1.1, 10**9, 10**6, 0.405602752, 954.2585328649405),
    ],
)
def test_published_points(  # noqa: PLR0917
    types: int, exponent: float, samples: int, models: int, missing: float, distinct: float
) -> None:
    training = Replace(Schedule.constant(samples, models))
    answer = predict(Question(zipf(types, exponent), training, PLAIN, np.array([models])))
    state = answer.generations[0].state
    assert state.surviving_types == pytest.approx(distinct, rel=1e-5)
    assert state.missing_mass == pytest.approx(missing, rel=1e-5)


def test_generation_zero_is_trained_on_real_data_only() -> None:
    """Multinomial sampling: E H = H_0 (1 − 1/M), P(gone) = (1 − p)^M, whatever comes later."""
    for training in (
        Replace(Schedule.constant(50, 9)),
        FreshReal(Schedule.constant(50, 9), (5,)),
        Retained(80, 50, 9),
        Accumulate(Schedule.constant(50, 9)),
    ):
        state = predict(Question(zipf(20, 1.0), training, PLAIN, np.array([1]), (3,))).generations[0].state
        vocabulary = zipf(20, 1.0)
        assert state.diversity == pytest.approx((1 - vocabulary.simpson) * (1 - 1 / 50), rel=1e-12)
        assert state.gone[0] == pytest.approx((1 - vocabulary.of_rank(3)) ** 50, rel=1e-9)


def test_all_real_is_never_older_than_one_generation() -> None:
    """A real share of 1: every generation is generation 0."""
    for samples in (60, 10_000):
        for iid in (True, False):
            training = FreshReal(Schedule.constant(samples, 9), (samples,), iid)
            answer = predict(Question(zipf(100, 1.0), training, PLAIN, np.array([1, 9]), (50,)))
            first, last = (one.state for one in answer.generations)
            assert last.diversity == pytest.approx(first.diversity)
            assert last.gone[0] == pytest.approx(first.gone[0], rel=1e-6)
            assert answer.limit.surviving_types == pytest.approx(first.surviving_types, rel=1e-6)


def test_no_fresh_data_is_replacement() -> None:
    for samples in (60, 10_000):
        plain = predict(
            Question(zipf(100, 1.0), Replace(Schedule.constant(samples, 30)), PLAIN, np.array([30]))
        )
        for iid in (True, False):
            training = FreshReal(Schedule.constant(samples, 30), (0,), iid)
            answer = predict(Question(zipf(100, 1.0), training, PLAIN, np.array([30])))
            assert answer.generations[0].state.entropy == pytest.approx(plain.generations[0].state.entropy)
            assert answer.limit.diversity == pytest.approx(0, abs=1e-12)
            assert answer.limit.surviving_types == plain.limit.surviving_types == pytest.approx(1, rel=1e-14)


@pytest.mark.parametrize("samples", [1, 2, 20, 90])
def test_one_type_left_is_the_absence_of_all_others(samples: int) -> None:
    """By the chain of one type: all the others together are one type too."""
    counts, n = np.array([5.0, 3, 2]), np.array([1, 4, 30, 200])
    answer = predict(Question(from_counts(counts), Replace(Schedule.constant(samples, 200)), PLAIN, n))
    for model, one in zip(n, answer.generations, strict=True):
        alone = sum(gone_by_chain(1.0 - x / 10.0, samples, int(model)) for x in counts)
        assert one.state.one_type_left == pytest.approx(alone, rel=1e-10)
    assert answer.limit.one_type_left == pytest.approx(1, rel=1e-14)


def test_one_type_left_elsewhere() -> None:
    """Retained tokens stay; of a million types next to nothing is left of one; with fresh data there is no formula."""
    retained = predict(Question(from_counts(np.array([3.0, 1])), Retained(50, 2, 9), PLAIN, np.array([9])))
    assert retained.limit.one_type_left == pytest.approx(10 / 16, rel=1e-14)
    many = predict(Question(zipf(10**6, 1.1), Replace(Schedule.constant(10**9, 9)), PLAIN, np.array([9])))
    assert 0.0 <= (many.generations[0].state.one_type_left or 0.0) < 1e-100
    late = predict(
        Question(zipf(None, 1.05), Replace(Schedule.constant(10**4, 10**6)), PLAIN, np.array([10**6]))
    )
    assert late.generations[0].state.one_type_left == pytest.approx(1, abs=1e-12)
    fresh = predict(
        Question(zipf(9, 1.0), FreshReal(Schedule.constant(40, 9), (4,)), PLAIN, np.array([1, 9]))
    )
    assert fresh.generations[1].state.one_type_left is None
    assert "one_type_left" in {one.quantity for one in fresh.cautions}


def test_no_fresh_data_is_replacement_where_sizes_differ() -> None:
    """Few lineages for very long, too: their moments alone would run away."""
    schedule, models = Schedule((17, 1500), (97_621, 2380)), np.array([1, 5, 99_000, 100_001])
    plain, fresh = (
        predict(Question(zipf(100, 1.0), training, PLAIN, models, (1,)))
        for training in (Replace(schedule), FreshReal(schedule, (0, 0)))
    )
    assert [one.state for one in fresh.generations] == [one.state for one in plain.generations]


def test_fresh_data_after_a_long_time_without() -> None:
    """500 fresh tokens of 2,000, once, after 50,000 generations of 20: all the others descend from one real token."""
    schedule, n = Schedule((20, 2000), (50_000, 1)), np.array([50_001])
    p = zipf(50, 1.0)
    [found] = predict(Question(p, FreshReal(schedule, (0, 500)), PLAIN, n, (1, 50))).generations
    for rank, gone in zip((1, 50), found.state.gone, strict=True):
        assert gone == pytest.approx((1 - p.of_rank(rank)) ** 501, abs=2e-6)


def test_the_limit_is_where_late_generations_are() -> None:
    for training in (
        Replace(Schedule.constant(40, 1)),
        FreshReal(Schedule.constant(100, 1), (10,)),
        FreshReal(Schedule.constant(5000, 1), (50,)),
        Retained(100, 30, 1),
    ):
        answer = predict(Question(zipf(100, 1.0), training, PLAIN, np.array([10**5]), (5,)))
        late, limit = answer.generations[0].state, answer.limit
        assert late.diversity == pytest.approx(limit.diversity, abs=1e-9)
        assert late.surviving_types == pytest.approx(limit.surviving_types, rel=1e-6)
        assert late.entropy == pytest.approx(limit.entropy, abs=1e-6)
        assert late.gone == pytest.approx(limit.gone, rel=1e-6)


def test_top_k_on_finite_samples() -> None:
    """A simulation that cuts every model at its own top k, against the true top k."""
    types, k, samples = 200, 20, 20_000
    p = np.arange(1.0, types + 1) ** -1.1
    p /= p.sum()
    generator, found = np.random.default_rng(5), []
    for _ in range(200):
        counts = generator.multinomial(samples, p)
        for _ in range(5):
            order = np.argsort(-counts, kind="stable")
            model = np.where(np.isin(np.arange(types), order[:k]), counts, 0)
            counts = generator.multinomial(samples, model / model.sum())
        found.append(statistics(counts, p))
    mean, error = np.mean(found, axis=0), np.std(found, axis=0) / np.sqrt(200)
    question = Question(
        zipf(types, 1.1), Replace(Schedule.constant(samples, 6)), Decoding(top_k=k), np.array([6]), (30,)
    )
    state = predict(question).generations[0].state
    predicted = np.array([state.diversity, state.surviving_types, state.missing_mass, state.entropy])
    assert np.all(np.abs(predicted - mean) <= 3.5 * error + np.array([1e-3, 1e-3, 1e-3, 1e-2]) * mean)
    assert state.gone == (1.0,)


def test_top_k_beyond_the_ranks_that_samples_can_tell() -> None:
    question = Question(zipf(200, 1.1), Replace(Schedule.constant(100, 6)), Decoding(top_k=50), np.array([6]))
    with pytest.raises(Unsupported, match="ranks are noise"):
        predict(question)


def test_few_founders_are_not_answered_with() -> None:
    training = FreshReal(Schedule.constant(10**4, 1), (0.01,), iid=True)
    answer = predict(Question(zipf(100, 1.0), training, PLAIN, np.array([1, 10**5]), (2,)))
    late = answer.generations[1].state
    assert late.diversity is not None
    assert (late.entropy, late.surviving_types, late.gone) == (None, None, (None,))
    assert {one.code for one in answer.cautions} == {"few_founders"}


def test_a_type_that_never_was_is_gone() -> None:
    answer = predict(
        Question(
            from_counts(np.array([3.0, 1])), Replace(Schedule.constant(9, 2)), PLAIN, np.array([2]), (3,)
        )
    )
    assert answer.truth.gone == (1.0,)
    assert answer.generations[0].state.gone == (1.0,)


def test_plentiful_samples_without_cut_change_nothing() -> None:
    answer = predict_plentiful(zipf(None, 1.3), PLAIN, 0.0, (0, 10), (4,))
    for one in answer.generations:
        assert one.state.entropy == pytest.approx(answer.truth.entropy)
        assert one.state.surviving_types == inf


@pytest.mark.parametrize(
    "how", [Decoding(0.9, 30), Decoding(1.2), Decoding(top_k=20, top_p=0.95), Decoding(0.9, None, 0.9)]
)
@pytest.mark.parametrize("share", [0.0, 0.2])
def test_what_is_left_for_ever_under_a_decoding(how: Decoding, share: float) -> None:
    p0 = np.arange(1.0, 61) ** -1.3
    late = by_hand(p0 / p0.sum(), how, share, 600)[-1]
    limit = predict_plentiful(zipf(60, 1.3), how, share, (0, 1), (1, 60)).limit
    assert limit.diversity == pytest.approx(1 - late @ late, rel=1e-9, abs=1e-12)
    positive = late[late > 0]
    assert limit.entropy == pytest.approx(-positive @ np.log(positive), rel=1e-9, abs=1e-12)
    assert limit.gone == (0.0, float(how.top_k is not None or how.top_p < 1) if share == 0.0 else 0.0)


def test_a_limit_that_takes_long_is_left_out() -> None:
    """A millionth of fresh data and hardly any heat settle in millions of steps; generation 3 needs three."""
    answer = predict_plentiful(zipf(20_000, 1.1), Decoding(0.9999), 1e-6, (3,))
    assert answer.generations[0].state.diversity is not None
    assert answer.limit.diversity is None
    assert "no_limit" in {one.code for one in answer.cautions}


@pytest.mark.parametrize("samples", [1000, 10**6, 10**12])
def test_a_million_generations_of_a_million_types(samples: int) -> None:
    """Every report is finite, falls, and ends at one type where samples are few."""
    models = reported_models(10**6 + 1, 31)
    training = Replace(Schedule.constant(samples, 10**6 + 1))
    answer = predict(Question(zipf(10**6, 1.1), training, PLAIN, models))
    for name in ("diversity", "surviving_types", "entropy", "founders"):
        values = np.array([getattr(one.state, name) for one in answer.generations])
        assert np.all(np.isfinite(values))
        assert np.all(np.diff(values) <= 1e-9 * values[0])


@pytest.mark.parametrize(("samples", "k"), [(6000, 30), (20_000, 30), (50_000, 100)])
def test_mass_that_top_k_loses_to_the_noise_of_ranks(samples: int, k: int) -> None:
    """The mass of the k types most frequent in a sample, drawn; and no probability for types next to the k-th."""
    p = np.arange(1.0, 201.0) ** -1.1
    p /= p.sum()
    generator = np.random.default_rng(17)
    drawn = generator.multinomial(samples, p, size=4000)
    missed = 1.0 - p[np.argsort(-drawn, axis=1, kind="stable")[:, :k]].sum(axis=1)
    error = missed.std() / np.sqrt(missed.size)
    training = Replace(Schedule((samples, 10**9), (1, 1)))  # a second fit that loses nothing more
    for law in (zipf(200, 1.1), from_counts(np.round(p * 1e9))):
        found = predict(Question(law, training, Decoding(top_k=k), np.array([2]), (1, k, k + 1, 200)))
        state = found.generations[0].state
        assert state.missing_mass == pytest.approx(missed.mean(), abs=4 * error + 5e-4 * missed.mean())
        assert abs(1 - float(p[:k].sum()) - missed.mean()) > 10 * error  # it is not what the true ranks lose
        assert state.gone == (pytest.approx(0.0, abs=1e-9), None, None, 1.0)
        assert "rank_noise" in {one.code for one in found.cautions}


@pytest.mark.parametrize(("samples", "real", "models"), [(12, 0, 1), (12, 0, 5), (9, 3, 7), (9, 1, 40)])
def test_spread_of_a_type_is_that_of_its_chain(samples: int, real: int, models: int) -> None:
    """The law of one type's count by matrices of binomial laws: its mean stays, its variance is Φ p (1 − p)."""
    p, j = 0.3, np.arange(samples + 1)
    law = binom.pmf(j, samples, p)
    matrix = np.array([
        np.convolve(binom.pmf(np.arange(samples - real + 1), samples - real, n / samples),
                    binom.pmf(np.arange(real + 1), real, p))
        for n in j
    ])  # fmt: skip
    for _ in range(models - 1):
        law = law @ matrix
    schedule = Schedule.constant(samples, models)
    training = FreshReal(schedule, (float(real),)) if real else Replace(schedule)
    question = Question(from_counts(np.array([7.0, 3.0])), training, Decoding(), np.array([models]), (2,))
    (found,) = predict(question).generations[0].state.spread
    assert law @ j / samples == pytest.approx(p, rel=1e-12)
    assert found == pytest.approx(float(np.sqrt(law @ (j / samples - p) ** 2)), rel=1e-12)
