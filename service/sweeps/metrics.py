"""How many sweeps run, and how many points they have computed."""

from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import Counter, Gauge

_RUNNING = Gauge("collapse_sweeps_running", "Sweeps that are being computed.")
_POINTS = Counter("collapse_sweep_points", "Points of sweeps computed.")
_state = {"running": 0, "points": 0}


@contextmanager
def sweep() -> Iterator[None]:
    """Counts one sweep while it runs."""
    _state["running"] += 1
    _RUNNING.set(_state["running"])
    try:
        yield
    finally:
        _state["running"] -= 1
        _RUNNING.set(_state["running"])


def running() -> int:
    """Number of sweeps that run in this process."""
    return _state["running"]


def computed(points: int) -> None:
    """Count points."""
    _state["points"] += points
    _POINTS.inc(points)


def points() -> int:
    """Number of points computed by this process."""
    return _state["points"]
