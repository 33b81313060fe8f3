"""Temperature, top-k and top-p: closed forms against plain lists of types, carried through generation by generation."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import zeta

from service.theory.distributions.vocabulary import decoding as module
from service.theory.distributions.vocabulary import nucleus
from service.theory.distributions.vocabulary.decoding import Decoding, Narrowed, narrowed
from service.theory.distributions.vocabulary.levels import Vocabulary, from_counts, zipf
from service.theory.errors import Unsupported
from tests.theory.distributions.vocabulary.chains import by_hand


def agree(found: Narrowed | None, p: np.ndarray, p0: np.ndarray) -> None:
    assert found is not None
    positive = p[p > 0]
    assert found.simpson == pytest.approx(p @ p, rel=1e-9)
    assert found.entropy == pytest.approx(-positive @ np.log(positive), rel=1e-9, abs=1e-12)
    assert found.surviving == pytest.approx((p > 0).sum())
    assert found.missing_mass == pytest.approx(p0[p == 0].sum(), rel=1e-9, abs=1e-13)


@pytest.mark.parametrize("share", [0.0, 0.2])
@pytest.mark.parametrize(
    "decoding",
    [Decoding(0.9), Decoding(1.1), Decoding(top_k=7), Decoding(0.8, 12), Decoding(top_p=0.9),
     Decoding(top_k=20, top_p=0.95), Decoding(0.95, 30, 0.97), Decoding(1.2, None, 0.9)],
)  # fmt: skip
@pytest.mark.parametrize("vocabulary", [zipf(60, 1.3), zipf(400, 0.7)])
def test_zipf_by_hand(vocabulary: Vocabulary, decoding: Decoding, share: float) -> None:
    assert vocabulary.exponent is not None
    p0 = np.arange(1.0, vocabulary.types + 1) ** -vocabulary.exponent
    p0 /= p0.sum()
    expected = by_hand(p0, decoding, share, 6)
    for found, p in zip(narrowed(vocabulary, decoding, share, range(7)), expected, strict=True):
        agree(found, p, p0)


@given(
    st.lists(st.integers(1, 1000), min_size=1, max_size=40),
    st.sampled_from([Decoding(0.7), Decoding(top_k=3), Decoding(top_p=0.8), Decoding(top_k=6, top_p=0.9)]),
    st.sampled_from([0.0, 0.3]),
)
def test_counts_by_hand(counts: list[int], decoding: Decoding, share: float) -> None:
    p0 = np.sort(np.array(counts, dtype=float))[::-1]
    p0 /= p0.sum()
    expected = by_hand(p0, decoding, share, 4)
    found = narrowed(from_counts(np.array(counts, dtype=float)), decoding, share, range(5))
    for state, p in zip(found, expected, strict=True):
        agree(state, p, p0)


@pytest.mark.parametrize("share", [0.0, 0.1])
@pytest.mark.parametrize(
    "decoding", [Decoding(0.9, None, 0.9), Decoding(1.3, None, 0.97), Decoding(1.1, 50_000, 0.99)]
)
def test_temperature_and_top_p_of_a_long_law_by_hand(decoding: Decoding, share: float) -> None:
    """The cut moves in, and with temperatures above 1 out again; nothing beyond it is carried along."""
    p0 = np.arange(1.0, 200_001) ** -1.1
    p0 /= p0.sum()
    expected = by_hand(p0, decoding, share, 8)
    for found, p in zip(narrowed(zipf(200_000, 1.1), decoding, share, range(9)), expected, strict=True):
        agree(found, p, p0)


def test_temperature_keeps_an_endless_zipf_a_zipf() -> None:
    (state,) = narrowed(zipf(None, 1.2), Decoding(0.9), 0.0, [3])
    exponent = 1.2 / 0.9**3
    assert state is not None
    assert state.simpson == pytest.approx(float(zeta(2 * exponent) / zeta(exponent) ** 2))
    assert state.missing_mass == 0
    assert list(narrowed(zipf(None, 1.2), Decoding(1.1), 0.0, [1, 2])) == [
        pytest.approx(next(narrowed(zipf(None, 1.2), Decoding(1.1), 0.0, [1]))),
        None,
    ]


def test_top_p_of_an_endless_zipf_is_that_of_a_long_one() -> None:
    """K_g = min{k: C(k) ≥ top_p C(K_{g-1})} with C by the Hurwitz zeta function, every rank tried."""
    beta, top_p = 1.5, 0.95
    beyond = zeta(beta, np.arange(1.0, 10**6) + 1) / zeta(beta)
    kept = np.inf
    for state in narrowed(zipf(None, beta), Decoding(top_p=top_p), 0.0, range(1, 40)):
        total = 1.0 if np.isinf(kept) else 1 - beyond[int(kept) - 1]
        kept = float(np.argmax(1 - beyond >= top_p * total * (1 - 1e-14)) + 1)
        assert state is not None
        assert state.kept == kept
        assert state.missing_mass == pytest.approx(beyond[int(kept) - 1])


def test_top_p_where_ranks_are_no_whole_numbers_any_more() -> None:
    """Of β = 1.05, 90 % of the mass lie on some 1e19 types: the cut is all but continuous there."""
    first, second = narrowed(zipf(None, 1.05), Decoding(top_p=0.9), 0.0, [1, 2])
    assert first is not None
    assert second is not None
    assert first.surviving > 1e16
    assert (first.missing_mass, second.missing_mass) == pytest.approx((0.1, 0.19), rel=1e-9)


def test_a_steep_temperature_leaves_one_type() -> None:
    for vocabulary in (zipf(None, 1.1), zipf(10**6, 0.5), from_counts(np.array([5.0, 4, 1]))):
        (state,) = narrowed(vocabulary, Decoding(0.5), 0.0, [10**6])
        assert state is not None
        assert state.entropy == pytest.approx(0, abs=1e-12)


def test_a_hot_temperature_forgets_all_differences() -> None:
    (state,) = narrowed(from_counts(np.array([5.0, 4, 1])), Decoding(2.0), 0.0, [10**6])
    assert state is not None
    assert state.entropy == pytest.approx(np.log(3))


def test_fresh_data_has_a_fixed_point() -> None:
    """p* = a p_0 + (1 − a) softmax(ln p* / T): reached, and left unchanged by one more step."""
    late = list(narrowed(zipf(500, 1.1), Decoding(0.8), 0.1, [3000, 3001]))
    assert late[0] == late[1]
    assert late[0] is not None
    assert 0 < late[0].entropy < zipf(500, 1.1).entropy


@pytest.mark.parametrize("share", [1e-3, 0.02, 0.3])
@pytest.mark.parametrize(
    "decoding", [Decoding(top_p=0.9), Decoding(top_p=0.999), Decoding(top_k=25, top_p=0.97)]
)
@pytest.mark.parametrize("counts", [np.arange(1.0, 60) ** -1.2, np.repeat([9.0, 5, 5, 2, 1], 8), np.ones(30)])
def test_cuts_many_generations_at_once(counts: np.ndarray, decoding: Decoding, share: float) -> None:
    """Where the cut rests, and every time it moves: each generation up to the fixed point is drawn by hand."""
    p0 = np.sort(counts)[::-1] / counts.sum()
    late = [0, 1, 2, 7, 30, 100, 101, 400, 3000]
    expected = by_hand(p0, decoding, share, late[-1])
    for generation, state in zip(late, narrowed(from_counts(p0), decoding, share, late), strict=True):
        agree(state, expected[generation], p0)
    (ever,) = narrowed(from_counts(p0), decoding, share, [10**9])
    if share > 0.01:
        agree(ever, expected[-1], p0)


@pytest.mark.parametrize("share", [0.01, 0.5])
def test_top_k_of_an_endless_zipf_with_fresh_data(share: float) -> None:
    """From generation 1 on, p_0 (a + (1 − a)/C_k) up to rank k and a p_0 beyond; by zeta functions."""
    beta, k = 1.4, 50
    mass = 1 - float(zeta(beta, k + 1) / zeta(beta))
    inner, outer = (float(part / zeta(beta) ** 2) for part in
                    (zeta(2 * beta) - zeta(2 * beta, k + 1), zeta(2 * beta, k + 1)))  # fmt: skip
    factor = share + (1 - share) / mass
    for state in narrowed(zipf(None, beta), Decoding(top_k=k), share, [1, 2, 10**6]):
        assert state is not None
        assert state.simpson == pytest.approx(factor**2 * inner + share**2 * outer, rel=1e-10)
        assert (state.surviving, state.missing_mass) == (np.inf, 0)


@pytest.mark.parametrize("temperature", [0.8, 1.3])
@pytest.mark.parametrize("top_k", [None, 30_000])
def test_temperature_on_a_long_list(temperature: float, top_k: int | None) -> None:
    """50,000 different counts, as p^(T^-g) over every one of them."""
    counts = np.unique(np.rint(1e10 / np.arange(1.0, 50_001) ** 0.9 + np.arange(50_000.0)[::-1]))[::-1]
    p = counts / counts.sum()
    kept = p if top_k is None else p[:top_k]
    wanted = [1, 2, 5, 9, 20, 50]
    found = narrowed(from_counts(counts), Decoding(temperature, top_k), 0.0, wanted)
    for generation, state in zip(wanted, found, strict=True):
        raised = np.exp((np.log(kept) - np.log(kept[0])) * temperature**-generation)
        raised /= raised.sum()
        assert state is not None
        positive = raised[raised > 0]
        assert state.simpson == pytest.approx(raised @ raised, rel=1e-9)
        assert state.entropy == pytest.approx(-positive @ np.log(positive), rel=1e-9, abs=1e-12)
        assert state.missing_mass == pytest.approx(p[kept.size :].sum(), abs=1e-13)


@pytest.mark.parametrize(
    ("vocabulary", "decoding", "share", "generations"),
    [
        (zipf(None, 1.5), Decoding(0.9), 0.1, 3),
        (zipf(10**6 + 1, 1.1), Decoding(0.9, None, 0.9), 0.0, 3),
        (zipf(10**6, 1.1), Decoding(0.999, None, 0.999), 1e-3, 10**6),
        (zipf(10**7, 1.1), Decoding(top_p=0.9), 0.0, 3),
        (zipf(1000, 1.1), Decoding(0.999), 1e-3, 10**6),
    ],
)
def test_what_cannot_be_computed_says_what_could(
    vocabulary: Vocabulary,
    decoding: Decoding,
    share: float,
    generations: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MAX_WORK", 10**5)
    monkeypatch.setattr(nucleus, "MAX_WORK", 10**5)
    with pytest.raises(Unsupported, match=r"finite number|at most|endless law|fewer"):
        list(narrowed(vocabulary, decoding, share, [generations]))
