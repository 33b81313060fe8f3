"""Exact sums over the items, against sums item by item, 50-digit arithmetic, brute force and published points."""

from itertools import product
from math import exp, log

import mpmath as mp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.theory.distributions.ranks import rank_rule
from service.theory.distributions.tail.bigram import Bigram, bigram_error
from service.theory.distributions.tail.memory import Memory
from service.theory.distributions.tail.training import CLEAN, Counts, Mixed, Narrowed, Training, unseen_mass
from service.theory.distributions.tail.zipf import Zipf

TYPES = 300_000


def item_by_item(exponent: float, training: Training, samples: float, memory: float = np.inf) -> float:
    """The sum of the definition, every item by itself, the smallest first."""
    i = np.arange(1.0, TYPES + 1)
    p = i**-exponent / np.sum((i**-exponent)[::-1])
    match training:
        case Mixed(pi, rank):
            q = np.where(i <= rank, p, 0.0) / p[i <= rank].sum()
            unseen = (1.0 - np.minimum(pi * p + (1.0 - pi) * q, 1.0)) ** samples
        case Counts(real, rank):
            q = np.where(i <= rank, p, 0.0) / p[i <= rank].sum()
            unseen = (1.0 - p) ** real * (1.0 - np.minimum(q, 1.0)) ** samples
        case Narrowed(steeper):
            q = i**-steeper / np.sum((i**-steeper)[::-1])
            unseen = (1.0 - q) ** samples
        case _:
            raise AssertionError
    return float(np.sum((p * np.where(i > memory, 1.0, unseen))[::-1]))


@pytest.mark.parametrize("exponent", [0.4, 1.0, 1.3, 2.0, 5.0])
@pytest.mark.parametrize(
    "training",
    [
        CLEAN,
        Mixed(0.0, 1.0),
        Mixed(0.0, 777.0),
        Mixed(0.03, 5_000.0),
        Mixed(0.5, 299_999.0),
        Counts(0.0, 777.0),
        Counts(40.0, 3.0),
        Counts(1e5, 5_000.0),
        Narrowed(5.5),
    ],
    ids=str,
)
def test_finite_laws_are_the_sum_item_by_item(exponent: float, training: Training) -> None:
    """(1 − p)^T of the referee loses T × 1e-16 itself: hence no more than 1e5 samples."""
    law = Zipf(exponent, TYPES)
    for samples, memory in product((1.0, 7.0, 1e3, 1e5), (np.inf, 1_234.0)):
        expected = item_by_item(exponent, training, samples, memory)
        assert unseen_mass(law, training, samples, memory) == pytest.approx(expected, rel=2e-10, abs=1e-300)


@pytest.mark.parametrize(
    ("exponent", "samples"), [(1.2, 1e5), (1.5, 1e9), (2.0, 1e3), (2.0, 1e15), (3.0, 1e5), (4.0, 1e18)]
)
def test_endless_laws_to_thirty_digits(exponent: float, samples: float) -> None:
    """Σ p (1 − p)^T by Euler and Maclaurin in 30 digits: 400 ranks, then an integral in ln i."""
    with mp.workdps(30):
        b, T = mp.mpf(exponent), mp.mpf(samples)
        Z = mp.zeta(b)
        N = 400

        def f(x: mp.mpf) -> mp.mpf:
            p = x**-b / Z
            return p * mp.exp(T * mp.log1p(-p))

        head = mp.fsum(f(mp.mpf(i)) for i in range(1, N))
        scale = float(mp.log(T / Z) / b)
        points = sorted({log(N), *(max(scale + d, log(N)) for d in (-3, -2, -1, 0, 1, 2, 4, 7))})
        inner = mp.quad(lambda y: f(mp.exp(y)) * mp.exp(y), points)
        X = exp(points[-1])
        # beyond X: Σ_j (-T)^j/j! ∫ p^(j+1) to second order in T p, which is below 1e-5 there
        tail = mp.mpf(0)
        for j in range(8):
            tail += (-T / Z) ** j / mp.factorial(j) * X ** (1 - b * (j + 1)) / (b * (j + 1) - 1) / Z
        correction = f(mp.mpf(N)) / 2 - mp.diff(f, N) / 12 + mp.diff(f, N, 3) / 720
        expected = float(head + inner + tail + correction)
    tail_error = float(samples * X ** (-exponent)) ** 2  # (1 − p)^T against e^(-Tp), relative
    assert unseen_mass(Zipf(exponent), CLEAN, samples) == pytest.approx(
        expected, rel=1e-11 + 1e-8 * tail_error
    )


@pytest.mark.parametrize(
    ("law", "training", "samples", "value"),
    [
        (Zipf(1.2), CLEAN, 1e5, 0.16222106407143136),
        (Zipf(1.5), CLEAN, 1e5, 0.02028523954258451),
        (Zipf(2.0), CLEAN, 1e5, 0.0021850886671135705),
        (Zipf(3.0), CLEAN, 1e5, 0.00019704155005149666),
        (Zipf(2.0), Mixed(0.0, 10_000.0), 1e3, 0.021842114969490265),
        (Zipf(2.0), Mixed(0.1, 1_000.0), 1e6, 0.0007822553718871441),
        (Zipf(2.0), Narrowed(2.5), 1e5, 0.006066492724041014),
    ],
)
def test_published_points(law: Zipf, training: Training, samples: float, value: float) -> None:
    assert unseen_mass(law, training, samples) == pytest.approx(value, rel=1e-12)


@pytest.mark.parametrize(
    ("samples", "b1", "b2", "value"),
    [
        (100, 2.0, 2.0, 0.21183355696408993),
        (10**6, 2.0, 2.0, 0.004604383193310986),
        (10**4, 2.0, 1.5, 0.09822162851822418),
    ],
)
def test_published_pairs(samples: int, b1: float, b2: float, value: float) -> None:
    for one, other in ((b1, b2), (b2, b1)):  # the sum does not know which is the context
        assert bigram_error(Bigram(Zipf(one), Zipf(other)), samples) == pytest.approx(value, rel=1e-11)


def test_pairs_of_finite_laws_are_the_sum_pair_by_pair() -> None:
    i = np.arange(1.0, 701)
    a, b = i**-1.5 / np.sum(i**-1.5), i**-2.5 / np.sum(i**-2.5)
    law = Bigram(Zipf(1.5, 700), Zipf(2.5, 700))
    pairs = np.multiply.outer(a, b)
    for T in (10.0, 1e4):
        assert bigram_error(law, T) == pytest.approx(np.sum(pairs * (1 - pairs) ** T), rel=1e-10)
        kept = b[:40].sum()
        cut = np.multiply.outer(a, b[:40])
        expected = np.sum(cut * (1 - cut / kept) ** T) + 1 - kept
        assert bigram_error(law, T, 40.0) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize(
    ("training", "draws"), [(Mixed(0.3, 2.0), [[0.3, 2]]), (Counts(2.0, 2.0), [[1.0, 2], [0.0, 2]])]
)
def test_all_sequences_of_four_samples(training: Training, draws: list[list[float]]) -> None:
    """Three items, every sequence of samples with its probability: the unseen mass, without any formula."""
    law = Zipf(1.0, 3)
    p = np.array([law.probability(i) for i in (1, 2, 3)])
    q = np.array([*p[:2] / p[:2].sum(), 0.0])
    laws = [pi * p + (1 - pi) * q for pi, count in draws for _ in range(int(count))]
    if len(draws) == 1:
        laws *= 2
    expected = 0.0
    for sequence in product(range(3), repeat=4):
        chance = np.prod([law_of[item] for law_of, item in zip(laws, sequence, strict=True)])
        expected += chance * p[[item for item in range(3) if item not in sequence]].sum()
    samples = 2.0 if isinstance(training, Counts) else 4.0
    assert unseen_mass(law, training, samples) == pytest.approx(expected, rel=1e-13)


@settings(max_examples=40, deadline=None)
@given(
    exponent=st.floats(1.02, 6.0),
    samples=st.floats(1.0, 1e18),
    rank=st.integers(1, 10**12),
    share=st.floats(0.0, 1.0),
)
def test_more_real_data_never_hurt_and_nothing_leaves_its_bounds(
    exponent: float, samples: float, rank: int, share: float
) -> None:
    law = Zipf(exponent)
    mixed = unseen_mass(law, Mixed(share, float(rank)), samples)
    cut = unseen_mass(law, Mixed(0.0, float(rank)), samples)
    clean = unseen_mass(law, CLEAN, samples)
    assert 0.0 <= mixed <= 1.0
    assert cut >= law.beyond(rank) * (1 - 1e-12)
    more = unseen_mass(law, Counts(samples, float(rank)), samples)
    assert more <= min(clean, cut) * (1 + 1e-12)
    assert unseen_mass(law, Mixed(share, float(rank)), 2 * samples) <= mixed * (1 + 1e-12)
    assert unseen_mass(law, Mixed(1.0, float(rank)), samples) == clean
    assert unseen_mass(law, Narrowed(exponent), samples) == pytest.approx(clean, rel=1e-11)


def test_a_law_of_more_and_more_items_becomes_the_endless_one() -> None:
    endless = unseen_mass(Zipf(1.5), Mixed(0.01, 500.0), 1e6)
    finite = unseen_mass(Zipf(1.5, 10**15), Mixed(0.01, 500.0), 1e6)
    # what lies beyond 1e15: p-mass 2 × 1e15^-0.5 / ζ
    assert finite == pytest.approx(endless, abs=2 * 10**-7.5)
    missing = Zipf(1.5).normalizer - Zipf(1.5, 10**15).normalizer
    assert missing == pytest.approx(2 * 10**-7.5, rel=1e-6)


def test_the_rule_of_ranks_has_no_block_across_a_break() -> None:
    ranks, weights = rank_rule(1e6, (1_000.0, 2_000.0))
    inside = (ranks > 1_000.0) & (ranks <= 2_000.0)
    assert weights[inside].sum() == pytest.approx(1_000, rel=1e-13)
    assert weights.sum() == pytest.approx(1e6, rel=1e-13)


def test_a_memory_that_nobody_can_rank_is_refused() -> None:
    """Kept: the K most frequent items of a sample. All that is seen, the true ones, or nobody knows which."""
    law = Zipf(2.0)
    assert Memory(1e6, noisy=True).reach(law, CLEAN, 100.0) == np.inf
    assert Memory(10.0, noisy=True).reach(law, CLEAN, 1e6) == 10.0
    assert np.isnan(Memory(100.0, noisy=True).reach(law, CLEAN, 1e4))
    assert Memory(100.0).reach(law, CLEAN, 1e4) == 100.0
    # expected samples of the last item that is kept: 30 is the limit
    T = 30.0 / -np.log1p(-law.probability(100.0))
    assert Memory(100.0, noisy=True).reach(law, CLEAN, T * 1.001) == 100.0
    assert np.isnan(Memory(100.0, noisy=True).reach(law, CLEAN, T * 0.999))


@pytest.mark.parametrize(("exponent", "visits"), [(1.2, 30.5), (2.0, 30.5), (2.0, 100.0)])
def test_a_noisy_memory_is_worse_than_a_true_one_by_the_stated_error(exponent: float, visits: float) -> None:
    """Monte Carlo of the K most frequent in the sample: worse, by no more than stated and no less than half of it."""
    law, K, runs = Zipf(exponent, 2_000), 20, 400
    p = np.arange(1.0, 2_001) ** -exponent / law.normalizer
    T = int(visits / p[K - 1])
    rng = np.random.default_rng(5)
    counts = rng.multinomial(T, p, size=runs) + rng.random((runs, p.size)) * 0.5  # ties at random
    measured = 1.0 - p[np.argsort(counts, axis=1)[:, -K:]].sum(axis=1)
    error = measured.std(ddof=1) / np.sqrt(runs) / measured.mean()
    worse = measured.mean() / unseen_mass(law, CLEAN, T, float(K)) - 1.0
    stated = Memory(float(K), noisy=True).expected_error(law, CLEAN, T)
    assert 0.5 * stated - 3 * error < worse < stated + 3 * error
    assert stated == pytest.approx(0.14 * exponent / visits, rel=0.02)


@pytest.mark.parametrize("steepness", [1e-300, 0.5, 1.0, 50.0])
def test_sums_of_any_steepness(steepness: float) -> None:
    ranks, weights = rank_rule(5000.0, (), steepness)
    exact = float((np.arange(1.0, 5001.0) ** -steepness).sum())
    assert float(weights @ ranks**-steepness) == pytest.approx(exact, rel=1e-12)
