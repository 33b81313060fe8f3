"""Kinship against plain loops over generations, published points and closed limits."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.theory.distributions.schedule import Schedule
from service.theory.distributions.vocabulary.diversity import generations_to, kinship, kinship_limit
from service.theory.distributions.vocabulary.levels import zipf
from service.theory.distributions.vocabulary.training import (
    Accumulate,
    FreshReal,
    Replace,
    Retained,
    Training,
)

TRUTH = zipf(50, 1.2)


def simpson(training: Training, model: int) -> float:
    return 1 - (1 - TRUTH.simpson) * (1 - float(kinship(training, np.array([model]))[0]))


def test_published_points() -> None:
    assert pytest.approx(0.12602299507832138, rel=1e-12) == TRUTH.simpson
    assert simpson(Replace(Schedule.of([100, 10, 500, 37])), 4) == pytest.approx(
        0.24384813413383707, rel=1e-12
    )
    iid = FreshReal(Schedule.constant(40, 25), (4,), iid=True)
    assert simpson(iid, 25) == pytest.approx(0.22965975093483543, rel=1e-12)
    assert simpson(Retained(30, 6, 13), 13) == pytest.approx(0.32177205843072676, rel=1e-12)


sizes = st.lists(st.tuples(st.integers(1, 60), st.integers(1, 5)), min_size=1, max_size=4)


@given(sizes, st.floats(0, 1), st.booleans())
def test_recursions_run_as_loops(runs: list[tuple[int, int]], share: float, stratified: bool) -> None:
    """F' of the theory's own recursions for a truth with F_0, generation by generation."""
    schedule = Schedule(tuple(m for m, _ in runs), tuple(r for _, r in runs))
    real = tuple(int(share * m) for m, _ in runs)
    expected = real if stratified else tuple(share * m for m, _ in runs)
    training = FreshReal(schedule, expected, not stratified)
    f0 = f = TRUTH.simpson
    n = 0
    for size, m, repetitions in zip(schedule.sizes, real, schedule.repetitions, strict=True):
        for _ in range(repetitions):
            a = m / size if stratified else share
            b = 1 - a
            if stratified:
                f = (a * (1 - f0) + b * (1 - f)) / size + (1 - b * b) * f0 + b * b * f
            else:
                f = 1 / size + (1 - 1 / size) * ((1 - b * b) * f0 + b * b * f)
            n += 1
            assert simpson(training, n) == pytest.approx(f, rel=1e-9)


def test_retained_runs_as_a_loop() -> None:
    samples, real = 30, 6
    a, b, f0 = real / samples, 1 - real / samples, TRUTH.simpson
    f_real = 1 / real + (1 - 1 / real) * f0
    f = g = f_real
    for n in range(2, 40):
        g, f = a * f_real + b * g, a * a * f_real + 2 * a * b * g + b * b * (f + (1 - f) / (samples - real))
        assert simpson(Retained(samples, real, n), n) == pytest.approx(f, rel=1e-12)


@pytest.mark.parametrize("schedule", [Schedule((7, 3, 12), (1, 5000, 6000)), Schedule((10,), (20_000,))])
def test_accumulation_runs_as_a_loop(schedule: Schedule) -> None:
    total, log = 0, 0.0
    for size, repetitions in zip(schedule.sizes, schedule.repetitions, strict=True):
        for _ in range(repetitions):
            total += size
            log += np.log1p(-size / total**2)
    found = kinship(Accumulate(schedule), np.array([schedule.fits]))[0]
    assert found == pytest.approx(-np.expm1(log), rel=1e-11)


@pytest.mark.parametrize("size", [2, 10, 1000, 10**12])
def test_limits(size: int) -> None:
    x = np.pi * size**-0.5
    sinc = 1 - np.sin(x) / x if size < 10**6 else x * x / 6
    assert kinship_limit(Accumulate(Schedule.constant(size, 1))) == pytest.approx(sinc, rel=1e-6)
    m = max(size // 10, 1)
    for training in (
        FreshReal(Schedule.constant(size, 1), (m,)),
        FreshReal(Schedule.constant(size, 1), (0.1 * size,), iid=True),
        Retained(size, m, 1),
    ):
        late = np.array([2**40])
        assert kinship(training, late)[0] == pytest.approx(kinship_limit(training), rel=1e-12)


def test_fixed_points_in_closed_form() -> None:
    """H* = H_0 (1 − b² − a/M)/(1 − b² + b/M) stratified, H_0 (1 − 1/M)(1 − b²)/(1 − (1 − 1/M) b²) i.i.d."""
    size, m = 40, 4
    a, b = m / size, 1 - m / size
    stratified = FreshReal(Schedule.constant(size, 1), (m,))
    assert 1 - kinship_limit(stratified) == pytest.approx((1 - b * b - a / size) / (1 - b * b + b / size))
    iid = FreshReal(Schedule.constant(size, 1), (m,), iid=True)
    s = 1 - 1 / size
    assert 1 - kinship_limit(iid) == pytest.approx(s * (1 - b * b) / (1 - s * b * b))


def test_small_kinship_keeps_its_digits() -> None:
    training = Replace(Schedule.constant(10**12, 2))
    assert kinship(training, np.array([2]))[0] == pytest.approx(2e-12, rel=1e-11)


def test_half_life() -> None:
    training = Replace(Schedule.constant(1000, 1))
    n = generations_to(training, 0.5)
    assert n == np.ceil(np.log(0.5) / np.log1p(-1e-3))
    assert generations_to(FreshReal(Schedule.constant(1000, 1), (100,)), 0.5) == np.inf
