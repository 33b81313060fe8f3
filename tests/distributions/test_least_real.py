"""The least real data of kernel estimates and mixtures: the prediction says the same on both sides of the answer."""

from typing import Any

import httpx
import numpy as np
import pytest

from service.distributions.kde import recommend as kde
from service.distributions.kde.schemas import KdeRecommendationRequest
from service.distributions.least_real import Search

pytestmark = pytest.mark.anyio

FIXED = {"kind": "fixed", "value": 0.5}
DRIFT = {"quantity": "drift", "limit": 1.0}
KERNELS: list[dict[str, Any]] = [
    {"bandwidth": FIXED, "generations": 30, "bound": {"quantity": "sample_variance", "limit": 1.2}},
    {"bandwidth": FIXED, "generations": None, "bound": {"quantity": "model_variance", "limit": 1.5}},
    {"bandwidth": {"kind": "silverman"}, "generations": 20, "bound": {"quantity": "drift", "limit": 0.02}},
    {
        "bandwidth": {"kind": "silverman", "corrected": True}, "generations": 200,
        "bound": {"quantity": "sample_variance", "limit": 0.9, "sense": "at_least"}, "allocation": "iid",
    },
]  # fmt: skip
MIXTURES: list[dict[str, Any]] = [
    {"samples": 60, "generations": 40, "bound": {"quantity": "lost", "limit": 0.1, "component": 1}},
    {"samples": 60, "generations": None, "bound": {"quantity": "surviving_components", "limit": 2.9}},
    {"samples": 5000, "generations": None, "bound": {"quantity": "weight_variance", "limit": 1e-3, "component": 3}},
    {
        "samples": 60, "generations": 40, "allocation": "iid",
        "bound": {"quantity": "surviving_components", "limit": 2.95},
    },
]  # fmt: skip


def workflow(body: dict[str, Any], amount: dict[str, Any]) -> dict[str, Any]:
    if body.get("allocation") == "iid":
        return {"kind": "fresh", "real_fraction": amount["real_fraction"], "allocation": "iid"}
    return {"kind": "fresh", "real_samples": amount["real_samples"]}


@pytest.mark.parametrize("body", KERNELS, ids=str)
async def test_kernels_on_both_sides(http_without_database: httpx.AsyncClient, body: dict[str, Any]) -> None:
    path, body = "/v1/distributions/kde", {"samples": 80, **body}
    found = (await http_without_database.post(f"{path}/recommendations", json=body)).json()
    assert found["reachable"], found
    name, at_least = body["bound"]["quantity"], body["bound"].get("sense") == "at_least"
    for side, keeps in (("recommended", True), ("just_below", False)):
        amount = found[side]
        asked = {
            "samples": 80, "generations": body["generations"] or 5000, "bandwidth": body["bandwidth"],
            "workflow": workflow(body, amount), "at": [body["generations"] or 5000],
        }  # fmt: skip
        prediction = (await http_without_database.post(f"{path}/predictions", json=asked)).json()
        assert prediction["final"][name] == pytest.approx(amount["value"], rel=1e-9)
        assert (
            (amount["value"] >= found["limit"]) if at_least else (amount["value"] <= found["limit"])
        ) is keeps


@pytest.mark.parametrize("body", MIXTURES, ids=str)
async def test_mixtures_on_both_sides(http_without_database: httpx.AsyncClient, body: dict[str, Any]) -> None:
    path = "/v1/distributions/mixture"
    mixture = {"weights": [0.05, 0.15, 0.8], "separation": 12.0}
    found = (await http_without_database.post(f"{path}/recommendations", json={**mixture, **body})).json()
    assert found["reachable"], found
    bound = body["bound"]
    for side, keeps in (("recommended", True), ("just_below", False)):
        amount = found[side]
        asked = {
            **mixture, "samples": body["samples"], "generations": body["generations"] or 10_000,
            "workflow": workflow(body, amount), "at": [body["generations"] or 10_000],
        }  # fmt: skip
        final = (await http_without_database.post(f"{path}/predictions", json=asked)).json()["final"]
        value = (
            final["surviving_components"] if bound["quantity"] == "surviving_components"
            else final["components"][bound["component"] - 1][bound["quantity"]]
        )  # fmt: skip
        assert value == pytest.approx(amount["value"], rel=1e-9)
        falls = bound["quantity"] != "surviving_components"
        assert ((value <= found["limit"]) if falls else (value >= found["limit"])) is keeps
        assert final["components"][0]["variance"] is None


@pytest.mark.parametrize("width", [0.02, 0.05, 0.063, 0.07, 0.1])
@pytest.mark.parametrize("limit", [0.98, 0.985, 0.9905, 0.993, 1.0])
@pytest.mark.parametrize("sense", ["at_most", "at_least"])
async def test_a_variance_that_is_not_monotone(width: float, limit: float, sense: str) -> None:
    """Narrow kernels: the variance over the real samples falls and rises again. Against trying every number."""
    request = KdeRecommendationRequest.model_validate({
        "samples": 100, "generations": None, "bandwidth": {"kind": "fixed", "value": width},
        "bound": {"quantity": "sample_variance", "limit": limit, "sense": sense},
    })  # fmt: skip
    search = kde.search_of(request)
    assert search.smallest() == next((m for m in range(101) if search.keeps(m)), None)


async def test_a_chance_is_found_however_small() -> None:
    search = Search(lambda real: real, 3.7e-5, at_least=True, least=0, samples=10**12, whole=False)
    found, below = search.sides
    assert found is not None
    assert below is not None
    assert found == pytest.approx(3.7e-5, rel=1e-8)
    assert below < 3.7e-5 <= found
    assert np.isclose(below, found, rtol=2e-9)


@pytest.mark.parametrize(
    ("path", "body", "pointer"),
    [
        ("kde", {**KERNELS[0], "samples": 9, "bound": {**DRIFT, "sense": "at_least"}}, "/bound"),
        ("mixture", {**MIXTURES[0], "weights": [0.5, 0.5], "separation": 3.0}, "/separation"),
        ("mixture", {**MIXTURES[2], "weights": [0.5, 0.5], "separation": 9.0}, ""),
        ("mixture", {**MIXTURES[2], "weights": [0.5, 0.6, 0.1], "separation": 9.0}, "/weights"),
    ],
)  # fmt: skip
async def test_refusals(
    http_without_database: httpx.AsyncClient, path: str, body: dict[str, Any], pointer: str
) -> None:
    answer = await http_without_database.post(f"/v1/distributions/{path}/recommendations", json=body)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == pointer
