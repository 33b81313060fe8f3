"""A client that goes away over a real connection stops the computation."""

import json
import socket
import threading
import time
from collections.abc import Iterator

import pytest
import uvicorn
from fastapi import FastAPI

from service.sweeps import metrics, routes
from tests.predictions.bodies import body


@pytest.fixture
def address(app_without_database: FastAPI) -> Iterator[tuple[str, int]]:
    """Where the application is served, in a thread."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app_without_database, log_config=None, lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield listener.getsockname()
    finally:
        server.should_exit = True
        thread.join(timeout=20)
        assert not thread.is_alive()


def wait_until(condition, seconds: float) -> None:  # type: ignore[no-untyped-def]
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_client_that_goes_stops_the_work(address: tuple[str, int]) -> None:
    axes = [
        {"pointer": "/training_mix/penalty", "from": 0.001, "to": 10, "points": 1_000_000, "scale": "log"}
    ]
    content = json.dumps({"base": body(), "axes": axes}).encode()
    head = (
        f"POST /v1/sweeps HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(content)}\r\n\r\n"
    ).encode()
    before = metrics.points()
    with socket.create_connection(address) as client:
        client.sendall(head + content)
        assert client.recv(1024).startswith(b"HTTP/1.1 200")
        wait_until(lambda: metrics.points() > before, 20)
        assert metrics.running() == 1
    wait_until(lambda: metrics.running() == 0, 10)
    stopped = metrics.points()
    assert stopped - before < 500_000
    time.sleep(0.3)
    assert metrics.points() == stopped


def test_a_reader_that_stops_reading_is_cut_off(
    address: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(routes, "SECONDS", 0.5)
    axes = [{"pointer": "/training_mix/penalty", "from": 0.001, "to": 10, "points": 1_000_000}]
    content = json.dumps({"base": body(), "axes": axes}).encode()
    head = (
        f"POST /v1/sweeps HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(content)}\r\n\r\n"
    ).encode()
    with socket.create_connection(address) as client:
        client.sendall(head + content)
        wait_until(lambda: metrics.running() == 1, 20)
        wait_until(lambda: metrics.running() == 0, 20)
        received = b""
        while part := client.recv(1 << 20):
            received += part
    assert received.startswith(b"HTTP/1.1 200")
    assert not received.endswith(b"0\r\n\r\n")  # so the client knows that it is not all
