"""Answers that are kept in memory: the same bytes, never another question's, never more than their room."""

from typing import Any

import httpx
import pytest
from sqlalchemy import select

from service.database.engine import Database
from service.database.schema import prediction_requests, predictions
from service.predictions import routes
from service.remembered import Remembered
from tests.predictions.bodies import body


def test_the_answers_asked_for_longest_ago_make_room() -> None:
    recent = Remembered[str](100, 10)
    for name in "abcdefghij":
        recent.put(name, name * 10, 10)
    assert recent.get("a") == "a" * 10  # and now b is the oldest
    recent.put("k", "k" * 10, 10)
    assert recent.get("b") is None
    assert recent.get("a") == "a" * 10
    assert recent.get("k") == "k" * 10
    recent.put("long", "x" * 11, 11)
    assert recent.get("long") is None
    assert (len(recent), recent.bytes) == (10, 100)


@pytest.mark.anyio
async def test_a_question_is_computed_once(http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    times = 0
    original = routes.computed

    async def counted(*arguments: Any) -> Any:
        nonlocal times
        times += 1
        return await original(*arguments)

    monkeypatch.setattr(routes, "computed", counted)
    first = await http.post("/v1/predictions", json=body())
    again = await http.post("/v1/predictions", json=body())
    assert times == 1
    assert first.content == again.content
    assert first.headers["etag"] == again.headers["etag"]
    asymptotic = await http.post("/v1/predictions?order=0", json=body())
    assert times == 2
    assert asymptotic.json()["id"] != first.json()["id"]
    other = body()
    other["dataset"]["noise_variance"] = 0.123
    assert (await http.post("/v1/predictions", json=other)).json()["id"] != first.json()["id"]
    assert times == 3


@pytest.mark.anyio
async def test_a_remembered_answer_is_audited_and_says_when_it_is_not(
    http: httpx.AsyncClient, http_without_database: httpx.AsyncClient, database_url: str
) -> None:
    for name in ("one", "two", "three"):
        await http.post("/v1/predictions", json=body(), headers={"X-Request-ID": name})
    database = Database(database_url)
    async with database.transaction() as connection:
        asked = (await connection.execute(select(prediction_requests.c.request_id))).scalars().all()
        await connection.execute(predictions.delete())  # as after a restore from an older backup
    assert sorted(asked) == ["one", "three", "two"]
    answer = (await http.post("/v1/predictions", json=body())).json()
    assert answer["record"]["stored"] is True
    assert (await http.get(f"/v1/predictions/{answer['id']}")).json() == answer
    await database.dispose()
    for _ in range(2):  # computed, then remembered
        alone = (await http_without_database.post("/v1/predictions", json=body())).json()
        assert alone["record"]["stored"] is False
        assert {**alone, "record": None} == {**answer, "record": None}
