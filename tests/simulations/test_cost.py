"""The cost that is told, against counted work: where arrays are small, calls are what takes the time.

A call of Python or numpy on a small array takes half a microsecond, 0.37 to 0.73 in all the orders below (AMD EPYC).
"""

import sys
from pathlib import Path
from types import FrameType
from typing import Any, Final

import pytest

from benchmarks.simulation_orders import Order, orders
from service.errors import InvalidInput
from service.jobs.compute import Work
from service.simulation.costs import MICROSECOND, NORMAL
from service.simulations.kinds import Planned
from service.simulations.registry import KINDS
from service.simulations.submit import plan

CALL: Final = 0.5 * MICROSECOND
SMALL: Final = (
    "T = 5, 500 generations", "T = 20, d = 10", "T = 100, d = 20", "rows: linear, T = 10, ", "rows: kernel, T = 20",
    "d = 1, 3 samples", "all reported", "10 samples, 1,000 generations", "100 samples, 1,000 generations, fresh",
    "5 samples, 10,000", "20 samples", "2 types", "1,000 tokens, order 2", "2 samples", "accumulated, 50 samples",
    "real, 10 samples", "recursive, 10 samples",
)  # fmt: skip
"""Parts of the names of orders that are nothing but calls."""
DRAWN: Final = {
    "literal, T = 10⁶, d = 1": 4 * 2e6,
    "literal, T = 10⁶, d = 30": 2 * 31e6,
    "gaussian, d = 1, 10⁶ samples, 10 generations": 11e6,
    "kde, 10⁶ samples, 10 generations, fresh": 11e6,
    "estimator, exponential, 10⁶ samples": 21e6,
}
"""Normal numbers (and others that take as long) that a replicate draws: samples, and the noise of their labels."""


HELD: Final[dict[str, dict[str, Any]]] = {
    "gaussian": {"workflow": {"kind": "replace"}, "generations": 1},
    "kde": {"workflow": {"kind": "replace"}, "generations": 1, "bandwidth": {"kind": "silverman"}},
    "mixture": {"generations": 1, "weights": [0.5, 0.5], "separation": 20.0},
    "estimator": {"workflow": {"kind": "replace"}, "generations": 1},
    "tail": {"law": {"kind": "zipf", "exponent": 1.5}, "training": {"kind": "real"}},
}
"""A GiB is 1.3e8 numbers: forty million samples leave no room for copies of them."""


def planned(order: Order, folder: Path) -> tuple[Planned, Work]:
    kind = KINDS[order.kind]
    request = kind.request.model_validate(order.body | {"replicates": 1})
    data = order.data(folder) if order.data else None
    found = kind.plan(request, data)
    return found, kind.work(request, found.points, data)


def calls(work: Work) -> int:
    """Of Python and of C in one replicate."""
    work.outcomes(0, 0, 1)  # what is done once
    count = 0

    def counted(frame: FrameType, event: str, argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(counted)
    try:
        work.outcomes(0, 1, 2)
    finally:
        sys.setprofile(None)
    return count


@pytest.mark.parametrize(
    "order",
    [one for one in orders() if any(part in one.name for part in SMALL)],
    ids=lambda order: order.name,
)
def test_small_work_costs_its_calls(order: Order, tmp_path: Path) -> None:
    found, work = planned(order, tmp_path)
    assert 1 / 3 < found.flops / (CALL * calls(work)) < 3


@pytest.mark.parametrize("name", DRAWN)
def test_many_samples_cost_at_least_what_drawing_them_takes(name: str, tmp_path: Path) -> None:
    [order] = [one for one in orders() if one.name == name]
    found, _ = planned(order, tmp_path)
    assert NORMAL * DRAWN[name] < found.flops < 6 * NORMAL * DRAWN[name]


@pytest.mark.parametrize("kind", HELD)
def test_what_does_not_fit_into_a_child_is_refused(kind: str) -> None:
    """Before it is computed for minutes, and killed for its memory three times."""

    def submitted(samples: int) -> None:
        request = KINDS[kind].request.model_validate(HELD[kind] | {"samples": samples, "replicates": 1})
        plan(KINDS[kind], request, None, 3600.0)

    submitted(1_000_000)
    with pytest.raises(InvalidInput) as raised:
        submitted(40_000_000)
    assert raised.value.errors[0].code == "too_large"
