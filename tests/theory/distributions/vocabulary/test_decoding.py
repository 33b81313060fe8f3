"""Temperature, top-k and top-p: closed forms against plain lists of types, carried through generation by generation."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import zeta

from service.theory.distributions.vocabulary.decoding import MAX_WORK, Decoding, Narrowed, narrowed
from service.theory.distributions.vocabulary.levels import Vocabulary, from_counts, zipf
from service.theory.errors import Unsupported


def by_hand(p0: np.ndarray, decoding: Decoding, share: float, generations: int) -> list[np.ndarray]:
    """Each generation's distribution, with nothing clever."""
    p, found = p0.copy(), [p0.copy()]
    for _ in range(generations):
        with np.errstate(divide="ignore"):
            q = np.exp(np.log(p) / decoding.temperature - np.log(p.max()) / decoding.temperature)
        q /= q.sum()
        order = np.argsort(-q, kind="stable")
        keep = q.size if decoding.top_k is None else decoding.top_k
        q[order[keep:]] = 0
        q /= q.sum()
        if decoding.top_p < 1:
            reach = np.cumsum(q[order])
            last = int(np.argmax(reach >= decoding.top_p * (1 - 1e-14)))
            q[order[last + 1 :]] = 0
            q /= q.sum()
        p = share * p0 + (1 - share) * q
        found.append(p.copy())
    return found


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


@pytest.mark.parametrize(
    ("vocabulary", "decoding", "share", "generations"),
    [
        (zipf(None, 1.5), Decoding(0.9), 0.1, 3),
        (zipf(10**6, 1.1), Decoding(0.9, None, 0.9), 0.0, 3),
        (zipf(10**7, 1.1), Decoding(top_p=0.9), 0.0, 3),
        (zipf(1000, 1.1), Decoding(0.9), 0.1, MAX_WORK),
    ],
)
def test_what_cannot_be_computed_says_what_could(
    vocabulary: Vocabulary, decoding: Decoding, share: float, generations: int
) -> None:
    with pytest.raises(Unsupported, match=r"finite number|at most|endless law|fewer"):
        list(narrowed(vocabulary, decoding, share, [generations]))
