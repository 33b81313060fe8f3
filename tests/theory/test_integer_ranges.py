"""Ranges of whole numbers within a bound, against looking at every number."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.theory.integer_ranges import Range, Ranges

HIGH = 3000


def brute(error: Callable[[int], float], bound: float, low: int, high: int) -> list[tuple[int, int]]:
    within = [error(n) <= bound for n in range(low, high + 1)]
    edges = np.flatnonzero(np.diff([False, *within, False]))
    return [(low + int(a), low + int(b) - 1) for a, b in zip(edges[::2], edges[1::2], strict=True)]


SHAPES: dict[str, Callable[[int], float]] = {
    "falling": lambda n: 100.0 / (n + 1),
    "rising": lambda n: 0.01 * n,
    "a dip": lambda n: abs(math.log((n + 1) / 301)) + 0.2,
    "double descent": lambda n: (
        1.0 - 0.5 * n / 250 + 40 / (1 + abs(n - 250)) if n < 250 else 0.02 + 60 / (n - 249)
    ),
    "a bump": lambda n: 1.0 + 3.0 * math.exp(-(((n - 900) / 200) ** 2)),
    "infinite at a point": lambda n: math.inf if n == 250 else 0.5,
}


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("bound", [0.05, 0.21, 0.45, 0.7, 1.5, 3.9, 30.0])
def test_every_shape(name: str, bound: float) -> None:
    error = SHAPES[name]
    found = Ranges(error, bound, 0, HIGH, [250], open_end=False).found
    assert [(one.first, one.last) for one in found] == brute(error, bound, 0, HIGH)


@given(st.floats(0.1, 50), st.floats(0.1, 3), st.floats(0.001, 0.2), st.integers(1, 40), st.integers(0, 50))
@settings(max_examples=40, deadline=None)
def test_a_valley(scale: float, power: float, slope: float, percent: int, low: int) -> None:
    """a n^-p + b n: convex, so at most one range; its ends are exact."""

    def error(n: int) -> float:
        return scale * (n + 1) ** -power + slope * n

    least = min(error(n) for n in range(low, HIGH + 1))
    for bound in (least * (1 + percent / 100), least, least * 0.999):
        found = Ranges(error, bound, low, HIGH, open_end=False).found
        assert [(one.first, one.last) for one in found] == brute(error, bound, low, HIGH)


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("bound", [0.05, 0.21, 0.45, 0.7, 1.5, 3.9, 30.0])
def test_what_is_seen_together_is_confirmed(name: str, bound: float) -> None:
    """Errors seen side by side that are wrong by up to three per cent: the ends are those of the errors one by one."""
    error = SHAPES[name]

    def together(numbers: Sequence[int]) -> list[float]:
        return [error(n) * (1.0 + 0.03 * math.sin(n / 400)) for n in numbers]

    found = Ranges(error, bound, 0, HIGH, [250], errors=together, open_end=False)
    assert [(one.first, one.last) for one in found.found] == brute(error, bound, 0, HIGH)
    assert found.error(found.least()[0]) == found.least()[1]


def test_what_is_seen_rightly_is_confirmed_by_few() -> None:
    calls = []

    def alone(n: int) -> float:
        calls.append(n)
        return 100.0 / (n + 1)

    found = Ranges(alone, 0.21, 0, HIGH, errors=lambda ns: [100.0 / (n + 1) for n in ns], open_end=False)
    assert found.found == (Range(476, HIGH),)
    assert sorted(calls) == [0, 475, 476, HIGH]


def test_far_numbers_cost_little() -> None:
    calls = 0

    def error(n: int) -> float:
        nonlocal calls
        calls += 1
        return 7.0 / (n + 1)

    found = Ranges(error, 7e-13, 0, 10**18)
    assert found.found == (Range(10**13 - 1, None),)
    assert found.within(10**13 - 1)
    assert not found.within(10**13 - 2)
    assert calls < 350


def constant(value: float) -> Callable[[int], float]:
    return lambda n: value + 0 * n


def test_nothing_and_everything() -> None:
    nothing = Ranges(constant(2.0), 1.0, 0, 100)
    assert nothing.found == ()
    assert nothing.smallest() is None
    assert nothing.least() == (0, 2.0)
    assert Ranges(constant(0.5), 1.0, 0, 100).found == (Range(0, None),)
    assert Ranges(constant(0.5), 1.0, 3, 3, open_end=False).found == (Range(3, 3),)
