"""The law of the founders against the chain of a single type, Kingman's series and the exact law of small samples."""

from itertools import groupby

import mpmath
import numpy as np
import pytest

from service.theory.distributions.schedule import Schedule
from service.theory.distributions.vocabulary import ancestors, refreshed
from service.theory.distributions.vocabulary.founders import Founders
from service.theory.distributions.vocabulary.moments import NO_FRESH, Fresh, Lineages, across, back
from tests.theory.distributions.vocabulary.chains import founders_by_chain, gone_by_chain, gone_by_sizes


@pytest.mark.parametrize(
    ("p", "samples", "models"),
    [(0.3, 20, 1), (0.3, 20, 200), (0.01, 200, 30), (0.5, 100, 30), (0.9, 3, 4), (0.4, 2, 9)],
)
def test_gone_is_the_chain_of_one_type(p: float, samples: int, models: int) -> None:
    (founders,) = ancestors.by_model(samples, [models])
    expected = gone_by_chain(p, samples, models)
    assert founders.absent(np.array(p)) == pytest.approx(expected, rel=1e-12)
    assert founders.present(np.array(p)) == pytest.approx(1 - expected, rel=1e-12)


@pytest.mark.parametrize(
    ("p", "samples", "models", "real", "share"),
    [(0.02, 50, 20, 5, 0), (0.005, 100, 15, 20, 0), (0.2, 10, 30, 1, 0), (0.3, 40, 12, None, 0.1),
     (0.001, 60, 50, None, 0.02), (0.6, 30, 7, 29, 0), (0.995, 12, 3, 4, 0), (0.01, 150, 10, None, 0.3),
     (0.2, 24, 30_000, None, 1e-5), (0.05, 40, 700, 1, 0)],
)  # fmt: skip
def test_gone_with_fresh_samples_is_the_chain_of_one_type(
    p: float, samples: int, models: int, real: int | None, share: float
) -> None:
    fresh = Fresh(share if real is None else real / samples, stratified=real is not None)
    (founders,) = refreshed.by_model(samples, fresh, [models])
    expected = gone_by_chain(p, samples, models, real, share)
    assert founders.absent(np.array(p)) == pytest.approx(expected, rel=1e-9)
    assert founders.present(np.array(p)) == pytest.approx(1 - expected, rel=1e-9)


@pytest.mark.parametrize("stratified", [True, False])
@pytest.mark.parametrize(
    ("sizes", "real"),
    [
        ([300] * 3, [300, 60, 60]),  # the largest that is exact
        ([60, 1, 2, 149, 2], [60, 0, 0, 70, 1]),
        ([20] * 30 + [7, 90], [20] + [0] * 30 + [30]),  # a long stretch without real samples
        ([25] * 3 + [12] * 15, [25] * 3 + [1] * 15),
    ],
)
def test_gone_where_sizes_and_real_samples_change(
    sizes: list[int], real: list[int], stratified: bool
) -> None:
    runs = [(pair, len(list(run))) for pair, run in groupby(zip(sizes, real, strict=True))]
    schedule = Schedule(tuple(size for (size, _), _ in runs), tuple(count for _, count in runs))
    shares = tuple(m / size for (size, m), _ in runs)
    models = [len(sizes) - 1, len(sizes)]
    found = refreshed.of_schedule(schedule, shares, models, stratified=stratified, largest=300)
    for founders, n in zip(found, models, strict=True):
        for p in (0.01, 0.6):
            expected = gone_by_sizes(p, sizes[:n], real[:n], stratified=stratified)
            assert founders.absent(np.array(p)) == pytest.approx(expected, rel=1e-9, abs=1e-13)


@pytest.mark.parametrize(("samples", "real", "models"), [(12, 2, 6), (9, 4, 3), (7, 1, 12)])
def test_moments_of_founders_with_fresh_samples(samples: int, real: int, models: int) -> None:
    (founders,) = refreshed.by_model(samples, Fresh(real / samples, stratified=True), [models])
    mean, variance = founders_by_chain(samples, real, models)
    assert founders.mean == pytest.approx(mean, rel=1e-12)
    assert founders.variance == pytest.approx(variance, rel=1e-9)


def test_present_keeps_its_digits_for_the_rarest_types() -> None:
    """P(alive) = p E A for p → 0, where 1 − P(gone) has no digits left."""
    p = np.array([1e-18, 1e-30])
    laws: list[Founders] = [
        *ancestors.by_model(300, [40]),
        *ancestors.by_model(10**7, [40]),
        *refreshed.by_model(100, Fresh(0.1, stratified=True), [20]),
        *refreshed.by_model(10**6, Fresh(0.1, stratified=True), [20]),
    ]
    for law in laws:
        assert law.present(p) == pytest.approx(p * law.mean, rel=1e-9)


@pytest.mark.parametrize("models", [2, 5, 10, 30, 100, 1000])
def test_moments_agree_with_the_exact_law(models: int, monkeypatch: pytest.MonkeyPatch) -> None:
    p = np.geomspace(1e-5, 0.5, 100)
    (exact,) = ancestors.by_model(1200, [models])
    monkeypatch.setattr(ancestors, "EXACT_SAMPLES", 1)
    (moments,) = ancestors.by_model(1200, [models])
    assert moments.mean == pytest.approx(exact.mean, rel=2e-6)
    assert np.abs(moments.absent(p) - exact.absent(p)).max() < 2e-6


@pytest.mark.parametrize("real", [1, 2, 5, 15, 75])
@pytest.mark.parametrize("stratified", [True, False])
def test_normal_founders_are_as_good_as_stated(
    real: int, stratified: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """|error of P(gone)| ≤ 0.3 / (E R)², the bound that answers state."""
    p, models = np.geomspace(1e-5, 0.9, 60), [2, 10, 100, 1000]
    fresh = Fresh(real / 150, stratified)
    exact = list(refreshed.by_model(150, fresh, models))
    monkeypatch.setattr(refreshed, "EXACT_SAMPLES", 1)
    for one, other in zip(exact, refreshed.by_model(150, fresh, models), strict=True):
        assert np.abs(one.absent(p) - other.absent(p)).max() < 0.3 / one.mean**2


@pytest.mark.parametrize("stratified", [True, False])
@pytest.mark.parametrize(
    ("sizes", "repetitions", "real"),
    [
        ((300, 200), (100, 10), (0, 60)),  # a long stretch without real samples, then many
        ((100, 300, 300), (100, 100, 10), (0, 3, 15)),
        ((200, 300, 200, 100, 300), (3, 30, 100, 100, 30), (0, 0, 1, 0, 15)),
    ],
)
def test_normal_founders_where_sizes_change_are_as_good_as_stated(
    sizes: tuple[int, ...], repetitions: tuple[int, ...], real: tuple[int, ...], stratified: bool
) -> None:
    """|error of P(gone)| ≤ 0.1 / E R, the bound that answers state for changing sizes."""
    p, schedule = np.geomspace(1e-4, 0.9, 60), Schedule(sizes, repetitions)
    shares = tuple(m / size for m, size in zip(real, sizes, strict=True))
    exact, other = (
        next(refreshed.of_schedule(schedule, shares, [schedule.fits], stratified=stratified, largest=largest))
        for largest in (300, 0)
    )
    assert np.abs(exact.absent(p) - other.absent(p)).max() < 0.1 / exact.mean


@pytest.mark.parametrize(
    ("samples", "models", "mean"),
    [(10**6, 30, 62595.70708599138), (10**9, 10**5, 19999.406207329317), (10**9, 10**9, 2.370336585423163)],
)
def test_published_means(samples: int, models: int, mean: float) -> None:
    (founders,) = ancestors.by_model(samples, [models])
    assert founders.mean == pytest.approx(mean, rel=1e-6)


@pytest.mark.parametrize("time", [0.02, 0.5, 2.0])
def test_kingman(time: float) -> None:
    """E A = Σ (2k − 1) exp(−k (k − 1) n / (2M)) for M → ∞ at fixed n/M, to O(1/M)."""
    samples = 10**9
    series = float(
        mpmath.nsum(lambda k: (2 * k - 1) * mpmath.exp(-k * (k - 1) * time / 2), [1, mpmath.inf], method="d")
    )
    (founders,) = ancestors.by_model(samples, [int(time * samples) + 1])
    assert founders.mean == pytest.approx(series, rel=2e-6)


@pytest.mark.parametrize(("real", "rel"), [(5, 1e-6), (1000, 1e-4)])
def test_few_fresh_samples_among_very_many(real: int, rel: float) -> None:
    """E R for ever grows with the samples M as Ewens's law does: 2m per e-fold, however rare a lineage's end is."""
    thousand, most = (
        next(refreshed.by_model(samples, Fresh(real / samples, stratified=True), [10**30])).mean
        for samples in (10**15, 10**18)
    )
    assert most - thousand == pytest.approx(2 * real * np.log(1000.0), rel=rel)


def test_strides_are_steps() -> None:
    """A stride of generations is the same as one after the other."""
    for samples, fresh in ((10**7, NO_FRESH), (10**7, Fresh(2e-3, True)), (10**5, Fresh(1e-4, False))):
        state = Lineages(float(samples))
        for _ in range(3000):
            state = across(state, samples, samples, fresh)
        strode, left = back(Lineages(float(samples)), samples, 3000, fresh)
        assert left == 0
        assert strode.founders_mean == pytest.approx(state.founders_mean, rel=1e-6)
        assert strode.founders_variance == pytest.approx(state.founders_variance, rel=1e-5)


def test_one_sample_is_one_founder() -> None:
    for founders in ancestors.by_model(1, [1, 2, 10**6]):
        assert founders.mean == 1
        assert founders.absent(np.array([0.0, 0.25, 1.0])) == pytest.approx([1, 0.75, 0])


def test_sizes_that_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    """A schedule of equal sizes in two runs is the constant one; the order of different sizes matters not at all."""
    split = Schedule((50, 50), (3, 4))
    (constant,) = ancestors.by_model(50, [7])
    p = np.array([0.01, 0.2, 0.7])
    assert ancestors.of_schedule(split, 7).absent(p) == pytest.approx(constant.absent(p), rel=1e-12)
    (first,) = ancestors.by_model(50, [7], first=20)
    mixed = ancestors.of_schedule(Schedule((20, 50), (1, 6)), 7)
    assert first.absent(p) == pytest.approx(mixed.absent(p), rel=1e-12)
    # large sizes, by moments: the same split
    big = ancestors.of_schedule(Schedule((10**6, 10**6), (10, 90)), 100)
    (other,) = ancestors.by_model(10**6, [100])
    assert big.mean == pytest.approx(other.mean, rel=1e-8)
    fresh = next(
        refreshed.of_schedule(Schedule((10**5, 10**5), (5, 20)), (0.1, 0.1), [25], stratified=True, largest=0)
    )
    (same,) = refreshed.by_model(10**5, Fresh(0.1, True), [25])
    assert (fresh.mean, fresh.variance) == pytest.approx((same.mean, same.variance), rel=1e-6)


@pytest.mark.parametrize(("p", "sizes"), [(0.1, [30, 7, 60, 15]), (0.01, [300, 420, 250, 260])])
def test_mixed_sizes_against_throwing_balls(p: float, sizes: list[int]) -> None:
    """P(gone) by the chain of one type with binomial steps of different sizes."""
    from scipy.stats import binom

    law, last = binom.pmf(np.arange(sizes[0] + 1), sizes[0], p), sizes[0]
    for size in sizes[1:]:
        matrix = np.array([binom.pmf(np.arange(size + 1), size, c / last) for c in range(last + 1)])
        law, last = law @ matrix, size
    founders = ancestors.of_schedule(Schedule.of(sizes), 4)
    assert founders.absent(np.array(p)) == pytest.approx(law[0], rel=1e-12)


@pytest.mark.parametrize(("balls", "boxes"), [(500, 60), (1400, 150), (2000, 40), (160, 3), (10**6, 7)])
def test_few_parents_that_are_nearly_all_drawn(balls: int, boxes: int) -> None:
    """A large sample of a model of a small one: E z^A = Σ_j C(M, j) z^j (1 − z)^(M − j) (j/M)^k (colour boxes)."""
    schedule = Schedule((boxes, balls), (1, 1))
    for p in (1e-3, 0.02, 0.3):
        with mpmath.workdps(40):
            z, m = 1 - mpmath.mpf(p), mpmath.mpf(boxes)
            terms = (
                mpmath.binomial(boxes, j) * z**j * (1 - z) ** (boxes - j) * (j / m) ** balls
                for j in range(1, boxes + 1)
            )
            expected = float(mpmath.fsum(terms))
        found = float(ancestors.of_schedule(schedule, 2).absent(np.array(p)))
        assert found == pytest.approx(expected, rel=1e-11, abs=1e-15)
        (again,) = ancestors.by_model(balls, [2], boxes)
        if balls > ancestors.EXACT_SAMPLES:
            assert float(again.absent(np.array(p))) == pytest.approx(expected, rel=1e-11, abs=1e-15)
