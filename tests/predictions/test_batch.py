"""POST /v1/predictions:batch: each item is answered as if it were alone."""

from typing import Any

import httpx
import pytest

from tests.predictions.bodies import body, recursive
from tests.web.asking import assert_problem

pytestmark = pytest.mark.anyio


def items(*requests: dict[str, Any]) -> dict[str, Any]:
    return {"items": [{"custom_id": f"item {i}", "request": request} for i, request in enumerate(requests)]}


async def test_each_item_is_answered_as_if_it_were_alone(http: httpx.AsyncClient) -> None:
    requests = [body(), body(recursive(penalty=0.3)), body(recursive(generations=0))]
    answer = (await http.post("/v1/predictions:batch", json=items(*requests))).json()
    assert (answer["succeeded"], answer["failed"]) == (3, 0)
    for i, (item, request) in enumerate(zip(answer["items"], requests, strict=True)):
        assert item["custom_id"] == f"item {i}"
        assert item["error"] is None
        assert (await http.get(f"/v1/predictions/{item['prediction']['id']}")).json() == item["prediction"]
        assert (await http.post("/v1/predictions", json=request)).json() == item["prediction"]


async def test_a_wrong_item_does_not_stop_the_others(http: httpx.AsyncClient) -> None:
    wrong = body(recursive(samples=-1))
    mismatch = body(recursive(generator={"samples": [10, 20]}))
    lost = {"dataset": "dst_" + "a" * 26, "training_mix": recursive()}
    answer = (await http.post("/v1/predictions:batch", json=items(wrong, body(), mismatch, lost))).json()
    assert (answer["succeeded"], answer["failed"]) == (1, 3)
    errors = [item["error"] for item in answer["items"]]
    assert errors[1] is None
    assert answer["items"][1]["prediction"]["test_error"]["total"] > 0
    assert errors[0]["errors"][0]["pointer"] == "/items/0/request/training_mix/samples"
    assert errors[2]["errors"][0]["pointer"] == "/items/2/request/training_mix/generator/samples"
    assert [error["status"] for error in errors if error] == [422, 422, 404]
    assert all(item["prediction"] is None for item in answer["items"] if item["error"])


async def test_without_a_database_the_numbers_are_there(http_without_database: httpx.AsyncClient) -> None:
    answer = (await http_without_database.post("/v1/predictions:batch", json=items(body()))).json()
    prediction = answer["items"][0]["prediction"]
    assert prediction["test_error"]["total"] > 0
    assert not prediction["record"]["stored"]


async def test_limits(http_without_database: httpx.AsyncClient) -> None:
    async def refused(content: dict[str, Any]) -> dict[str, Any]:
        return assert_problem(
            await http_without_database.post("/v1/predictions:batch", json=content), 422, "invalid_input"
        )

    twice = items(body(), body())
    twice["items"][1]["custom_id"] = "item 0"
    assert "used twice" in (await refused(twice))["detail"]
    assert "1000" in (await refused(items(*[{}] * 1001)))["detail"]
    await refused({"items": []})
