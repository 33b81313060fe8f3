"""Requests for the tests."""

from typing import Any


def dataset(**changes: Any) -> dict[str, Any]:
    return {
        "spectrum": {"kind": "power_law", "dimension": 60, "exponent": 1.5},
        "target": {"kind": "isotropic", "squared_norm": 1.0},
        "noise_variance": 0.25,
        **changes,
    }


def recursive(**changes: Any) -> dict[str, Any]:
    generator = {"samples": 120, "noise_variance": 0.5}
    return {
        "kind": "recursive", "generations": 3, "generator": generator, "samples": 90, "penalty": 0.05, **changes,
    }  # fmt: skip


def body(training_mix: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    return {"dataset": dataset(**changes), "training_mix": training_mix or recursive()}
