"""The short form of ``make chaos``."""

import pytest
from chaos import Disturbances, run

pytestmark = pytest.mark.processes


def test_killed_frozen_and_restarted_it_comes_to_the_same_bits() -> None:
    plan = Disturbances(kills=3, freezes=1, restarts=1)
    figures = run(10, 12, plan, seconds=240)
    assert figures["kills"] >= 1
    assert figures["attempts"] >= figures["shards"]
