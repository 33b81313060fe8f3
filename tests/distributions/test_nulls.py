"""No field is null without a reason in ``validity``: a warning, or why it does not exist for the request."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

pytestmark = pytest.mark.anyio

REPLACE = {"kind": "replace"}
ONE_FRESH = {"kind": "fresh", "real_samples": 1}
SOME_FRESH = {"kind": "fresh", "real_fraction": 0.3, "allocation": "iid"}
POOL = {"kind": "accumulate"}
COUNTS = {"kind": "counts", "values": [5, 3, 1]}
ENDLESS = {"kind": "zipf", "types": None, "exponent": 1.2}
BODIES: list[tuple[str, dict[str, Any]]] = [
    ("gaussian", {"samples": 1, "generations": 2, "workflow": REPLACE, "thresholds": [0.5]}),
    ("gaussian", {"samples": 9, "generations": 2, "workflow": REPLACE, "estimator": "unbiased"}),
    ("gaussian", {"samples": 2, "generations": 3, "workflow": ONE_FRESH, "estimator": "unbiased"}),
    ("gaussian", {"samples": 40, "generations": 3, "workflow": POOL, "determinant_thresholds": [0.1]}),
    ("vocabulary", {"samples": 9, "generations": 2, "workflow": POOL, "vocabulary": COUNTS}),
    ("vocabulary", {"samples": 9, "generations": 0, "workflow": SOME_FRESH, "vocabulary": COUNTS}),
    ("vocabulary", {"samples": None, "generations": 2, "workflow": {"kind": "fresh", "real_fraction": 0.3},
                    "vocabulary": ENDLESS, "decoding": {"top_p": 0.7}}),
    ("vocabulary", {"samples": 5000, "generations": 1, "workflow": ONE_FRESH, "vocabulary": ENDLESS}),
    ("tail", {"samples": 100, "law": {"kind": "zipf", "exponent": 1.5}, "training": {"kind": "real"}}),
    ("kde", {"samples": 9, "generations": 2, "workflow": REPLACE, "bandwidth": {"kind": "silverman"}}),
    ("mixture", {"samples": 5000, "generations": 2, "weights": [0.999, 0.001], "separation": 9.0}),
    ("estimator", {"samples": 9, "generations": 2, "workflow": REPLACE}),
    ("estimator", {"samples": 9, "generations": 2, "workflow": {"kind": "fresh", "real_samples": 9}}),
]  # fmt: skip


def nulls(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Paths, without list indices, of all that is null; which token a rank stands for was not asked."""
    if value is None:
        yield path
    elif isinstance(value, dict):
        for key, inner in value.items():
            if key not in {"validity", "record", "token"}:
                yield from nulls(inner, (*path, key))
    elif isinstance(value, list):
        for inner in value:
            yield from nulls(inner, path)


@pytest.mark.parametrize(("kind", "body"), BODIES, ids=[f"{i}-{kind}" for i, (kind, _) in enumerate(BODIES)])
async def test_every_null_has_a_reason(
    http_without_database: httpx.AsyncClient, kind: str, body: dict[str, Any]
) -> None:
    answer = (await http_without_database.post(f"/v1/distributions/{kind}/predictions", json=body)).json()
    validity = answer["validity"]
    said = {one["pointer"] for one in (*validity["warnings"], *validity["not_applicable"])}
    missing = set(nulls(answer))
    assert missing, "nothing is tested"
    unsaid = [path for path in missing if not said & {"/".join(path), *path}]
    assert not unsaid
