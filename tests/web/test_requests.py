"""Request ids in and out, and what is logged of a request."""

import re

import httpx
import pytest

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("identity", ["a", "0123-4567:abc/=~", "x" * 128])
async def test_a_good_id_is_echoed(http_without_database: httpx.AsyncClient, identity: str) -> None:
    for path in ("/healthz", "/nothing", "/docs"):
        answer = await http_without_database.get(path, headers={"X-Request-ID": identity})
        assert answer.headers["x-request-id"] == identity


@pytest.mark.parametrize("identity", ["", "two words", "x" * 129, "tab\there", b"\xc3\xa9", "<script>\x7f"])
async def test_another_id_is_replaced(
    http_without_database: httpx.AsyncClient, identity: str | bytes
) -> None:
    answer = await http_without_database.get("/healthz", headers=[(b"X-Request-ID", _bytes(identity))])
    assert re.fullmatch(r"req_[0-9a-f]{26}", answer.headers["x-request-id"])


async def test_ids_differ(http_without_database: httpx.AsyncClient) -> None:
    ids = {(await http_without_database.get("/healthz")).headers["x-request-id"] for _ in range(20)}
    assert len(ids) == 20


async def test_one_line_per_request_with_what_an_operator_asks_for(
    http_without_database: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    await http_without_database.get("/nothing?token=SECRET", headers={"X-Request-ID": "line"})
    (record,) = [record for record in caplog.records if record.name == "service.access"]
    line = record.msg
    assert isinstance(line, dict)
    assert line["milliseconds"] > 0
    assert {key: line[key] for key in ("event", "method", "path", "status", "request_id", "level")} == {
        "event": "request",
        "method": "GET",
        "path": "/nothing",
        "status": 404,
        "request_id": "line",
        "level": "info",
    }
    assert "SECRET" not in str(line)


def _bytes(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else value.encode("latin-1")
