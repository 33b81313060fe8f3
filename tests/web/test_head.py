"""HEAD is GET without the body: the same status, the same headers, and an end."""

import asyncio
import gc
from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from fastapi.sse import EventSourceResponse, ServerSentEvent

from service.web.head import Head
from tests.web.asking import assert_problem
from tests.web.test_problems import OPERATIONS, filled

pytestmark = pytest.mark.anyio

OTHERS = ["/", "/docs", "/static/docs.js", "/nothing", "/metrics?x"]


async def test_the_same_without_a_body(http: httpx.AsyncClient) -> None:
    for path in [*(filled(path) for method, path in OPERATIONS if method == "GET"), *OTHERS]:
        answer = await http.get(path, headers={"X-Request-ID": "named"})
        head = await http.head(path, headers={"X-Request-ID": "named"})
        assert head.content == b"", path
        assert head.status_code == answer.status_code, path
        if path == "/metrics":  # it counts these requests
            del head.headers["content-length"], answer.headers["content-length"]
        assert head.headers == answer.headers, path


async def test_where_there_is_no_get_there_is_no_head(http_without_database: httpx.AsyncClient) -> None:
    for method, path in OPERATIONS:
        refused = await http_without_database.patch(filled(path))
        allowed = refused.headers["allow"].split(", ")
        assert method in allowed
        assert ("HEAD" in allowed) == ("GET" in allowed)
        if "GET" not in allowed:
            head = await http_without_database.head(filled(path))
            assert (head.status_code, head.content) == (405, b""), path
            assert head.headers["allow"] == refused.headers["allow"]
        else:
            assert_problem(refused, 405, "method_not_allowed")


async def test_a_stream_without_an_end_ends() -> None:
    app, left = FastAPI(), list[str]()

    async def endless(name: str) -> AsyncIterator[str]:
        try:
            while True:
                yield name
                await asyncio.sleep(0.001)
        finally:
            left.append(name)

    @app.get("/bytes")
    async def stream() -> StreamingResponse:
        return StreamingResponse(endless("bytes"))

    @app.get("/events", response_class=EventSourceResponse)
    async def events() -> AsyncIterator[ServerSentEvent]:
        async for name in endless("events"):
            yield ServerSentEvent(data=name)

    transport = httpx.ASGITransport(app=Head(app))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        for name in ("bytes", "events"):
            head = await asyncio.wait_for(client.head(f"/{name}"), 5)
            assert (head.status_code, head.content) == (200, b"")
    for _ in range(500):  # the loop closes what nobody reads once it is collected
        if len(left) < 2:
            gc.collect()
            await asyncio.sleep(0.01)
    assert sorted(left) == ["bytes", "events"]
