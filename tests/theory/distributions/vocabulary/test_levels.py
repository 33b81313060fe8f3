"""Sums over a vocabulary's levels against sums over its types."""

import math

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.theory.distributions.vocabulary.levels import MAX_LEVELS, from_counts, zipf


@pytest.mark.parametrize("exponent", [0.0, 0.5, 1.0, 1.1, 2.0, 6.0])
@pytest.mark.parametrize("types", [1, 7, 128, 129, 5000, 10**6])
def test_zipf_sums_are_sums_over_types(exponent: float, types: int) -> None:
    vocabulary = zipf(types, exponent)
    p = np.arange(1.0, types + 1) ** -exponent
    p /= p.sum()
    assert vocabulary.multiplicities.sum() == pytest.approx(types, rel=1e-12)
    assert vocabulary.simpson == pytest.approx(p @ p, rel=1e-11)
    assert vocabulary.entropy == pytest.approx(-p @ np.log(p), rel=1e-11, abs=1e-12)
    for samples in (10.0, 1e4, 1e9):
        present = -np.expm1(samples * np.log1p(-np.minimum(p, 1 - 1e-16)))
        levels = -np.expm1(samples * np.log1p(-np.minimum(vocabulary.probabilities, 1 - 1e-16)))
        assert vocabulary.total(levels) == pytest.approx(present.sum(), rel=1e-10)
    for rank in (1, 2, 100, types):
        if rank <= types:
            assert vocabulary.of_rank(rank) == pytest.approx(p[rank - 1], rel=1e-11)
            assert vocabulary.kept(rank) == pytest.approx(p[:rank].sum(), rel=1e-11)
            assert vocabulary.beyond(rank) == pytest.approx(p[rank:].sum(), rel=1e-10, abs=1e-15)
    assert vocabulary.of_rank(types + 1) == 0


@pytest.mark.parametrize("exponent", [1.01, 1.2, 2.0, 5.0, 20.0])
def test_endless_zipf_against_zeta(exponent: float) -> None:
    vocabulary = zipf(None, exponent)
    with mpmath.workdps(30):
        zeta = mpmath.zeta(exponent)
        entropy = mpmath.log(zeta) - exponent * mpmath.zeta(exponent, derivative=1) / zeta
        simpson = mpmath.zeta(2 * exponent) / zeta**2
        beyond = mpmath.zeta(exponent, 1001) / zeta
    assert vocabulary.total(vocabulary.probabilities) == pytest.approx(1, rel=1e-12)
    assert vocabulary.entropy == pytest.approx(float(entropy), rel=1e-11)
    assert vocabulary.simpson == pytest.approx(float(simpson), rel=1e-11)
    assert vocabulary.beyond(1000) == pytest.approx(float(beyond), rel=1e-11)


@pytest.mark.parametrize("types", [10**15, 10**18, 10**30])
def test_more_types_than_whole_numbers_can_tell(types: int) -> None:
    vocabulary = zipf(types, 1.05)
    with mpmath.workdps(40):
        normalizer = mpmath.zeta(1.05) - mpmath.zeta(1.05, types + 1)
    assert vocabulary.normalizer == pytest.approx(float(normalizer), rel=1e-13)


def test_distinct_types_of_an_endless_law() -> None:
    """E[distinct] = Γ(1 − 1/β) (T/ζ(β))^(1/β) for Poisson(T) samples of an endless law, T → ∞, less 1/2."""
    exponent, samples = 2.0, 1e9
    vocabulary = zipf(None, exponent)
    seen = vocabulary.total(-np.expm1(-samples * vocabulary.probabilities))
    law = float(mpmath.gamma(0.5)) * (samples / float(mpmath.zeta(2))) ** 0.5
    assert seen == pytest.approx(law - 0.5, rel=1e-9)


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=60).filter(any))
def test_counts_are_their_distribution(counts: list[int]) -> None:
    vocabulary = from_counts(np.array(counts, dtype=float))
    p = np.array(sorted((c for c in counts if c), reverse=True), dtype=float)
    p /= p.sum()
    assert vocabulary.types == p.size
    assert vocabulary.simpson == pytest.approx(p @ p)
    assert vocabulary.entropy == pytest.approx(-p @ np.log(p), abs=1e-12)
    assert [vocabulary.of_rank(i + 1) for i in range(p.size)] == pytest.approx(p.tolist())
    assert vocabulary.kept(2) == pytest.approx(p[:2].sum())
    # the order of the types says nothing
    assert from_counts(np.array(counts[::-1], dtype=float)).entropy == vocabulary.entropy


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("types", [5_000, 50_000])
def test_many_distinct_counts_are_condensed_for_sums_alone(types: int, seed: int) -> None:
    counts = np.floor(np.random.default_rng(seed).pareto(1.1, types) * 1e6 + 1)
    vocabulary = from_counts(counts)
    p = np.sort(counts)[::-1] / counts.sum()
    levels = vocabulary.condensed
    assert levels.probabilities.size <= MAX_LEVELS < vocabulary.probabilities.size
    assert levels.multiplicities.sum() == pytest.approx(types, rel=1e-12)
    assert levels.total(levels.probabilities) == pytest.approx(1.0, rel=1e-12)
    # what is said of single ranks, and Σ p², is of the list itself
    assert vocabulary.simpson == pytest.approx(p @ p, rel=1e-13)
    for rank in (1, 10, 1000, types // 2, types):
        assert vocabulary.of_rank(rank) == pytest.approx(p[rank - 1], rel=1e-13)
        assert vocabulary.kept(rank) == pytest.approx(p[:rank].sum(), rel=1e-12)
    for samples in (1e2, 1e3, 1e4, 1e5, 1e6):
        absent = np.exp(samples * np.log1p(-p))
        smooth = np.exp(samples * np.log1p(-levels.probabilities))
        assert levels.total(smooth * levels.probabilities) == pytest.approx(float(absent @ p), rel=1e-9)
        assert levels.total(1.0 - smooth) == pytest.approx(float((1.0 - absent).sum()), rel=1e-9)


@pytest.mark.parametrize(
    "counts",
    [
        np.append(
            10**12 + np.arange(50_000, 0, -1), 1
        ),  # all but one in one interval, a millionth wide or less
        10**17 + 16 * np.arange(50_000, 0, -1),
        np.append(10**18, np.arange(30_000, 9_999, -1)),
        np.unique(np.exp(np.linspace(0.0, 41.4, 60_000)).astype(np.int64))[::-1],
    ],
)
def test_condensed_lists_of_every_width(counts: np.ndarray) -> None:
    vocabulary = from_counts(counts)
    p = counts.astype(float) / math.fsum(counts)
    assert vocabulary.condensed.probabilities.min() > 0
    assert vocabulary.simpson == pytest.approx(math.fsum(p * p), rel=2e-12)
    assert vocabulary.entropy == pytest.approx(-math.fsum(p * np.log(p)), abs=3e-10)


def test_counts_that_hold_nothing() -> None:
    with pytest.raises(ValueError, match="positive count"):
        from_counts(np.zeros(3))
