"""What takes long is computed in child processes, which end when their client goes; nothing takes for ever."""

import base64
import json
import socket
import time
from collections.abc import AsyncIterator
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi import FastAPI, Request

from service.errors import InvalidInput, TooManyRequests
from service.web.aside import Calculator, ClientGone, Defect, Lane
from tests.predictions.bodies import body, recursive
from tests.sweeps.test_cancelled import address, wait_until
from tests.web.asking import assert_problem

__all__ = ["address"]
PENALTIES = [{"pointer": "/training_mix/penalty", "from": 0.01, "to": 1, "points": 40}]


def with_a_matrix(d: int, penalty: float = 0.05) -> dict[str, Any]:
    values = base64.b64encode((0.5 * np.eye(d) + 0.5 / d).astype("<f8").tobytes()).decode("ascii")
    synthetic = {
        "samples": d,
        "quality": {"kind": "shift", "squared_norm": 0.3},
        "covariance": {"kind": "matrix", "values": values},
    }
    mix = {"kind": "mixture", "real": {"samples": d}, "synthetic": [synthetic], "penalty": penalty}
    spectrum = {"kind": "power_law", "dimension": d, "exponent": 1.2}
    return body(mix, spectrum=spectrum, target={"kind": "isotropic", "squared_norm": 1.0})


def recommendation() -> dict[str, Any]:
    return body(recursive(generations=8)) | {"bound": {"relative_to": "clean", "factor": 1.3}}


def requested(path: str, content: dict[str, Any]) -> bytes:
    sent = json.dumps(content).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\n"
    head += f"Content-Length: {len(sent)}\r\n\r\n"
    return head.encode() + sent


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("/v1/recommendations", recommendation()),
        ("/v1/sweeps", {"base": with_a_matrix(600), "axes": PENALTIES}),
    ],
)
def test_a_client_that_goes_stops_the_child(
    app_without_database: FastAPI, address: tuple[str, int], path: str, content: dict[str, Any]
) -> None:
    calculator = Calculator()
    calculator.seconds = calculator.minutes = lane = Lane(1, most=9, timeout=60.0, retry_after=1)
    app_without_database.state.calculator = calculator
    with socket.create_connection(address) as client:
        client.sendall(requested(path, content))
        wait_until(lambda: lane.busy == 1, 30)
        child = lane._executor._slots[0].child._process  # type: ignore[union-attr]
        assert child.is_alive()
    wait_until(lambda: lane.busy == 0, 20)
    wait_until(lambda: not child.is_alive(), 20)
    lane._executor.interrupt()  # type: ignore[union-attr]


class Here(Request):
    """A request whose client stays."""

    async def is_disconnected(self) -> bool:
        return False


@pytest.fixture
async def lane(anyio_backend: str) -> AsyncIterator[Lane]:
    lane = Lane(1, most=1, timeout=60.0, retry_after=7)
    yield lane
    await lane.close()


def refuse(pointer: str) -> None:
    raise InvalidInput.at(pointer, "too_odd", "It is odd; make it even.")


@pytest.mark.anyio
async def test_what_comes_back_from_a_child(lane: Lane) -> None:
    here = Here({"type": "http"})
    assert await lane.run(here, divmod, 17, 5) == (3, 2)
    with pytest.raises(InvalidInput, match="make it even") as refused:
        await lane.run(here, refuse, "/some/field")
    assert [(one.pointer, one.code) for one in refused.value.errors] == [("/some/field", "too_odd")]
    with pytest.raises(Defect, match="ZeroDivisionError"):  # ours, not the client's
        await lane.run(here, divmod, 1, 0)
    lane._executor._timeout = 0.05  # type: ignore[union-attr]
    with pytest.raises(InvalidInput, match=r"more than 0\.05 seconds and was stopped.*ask for less") as late:
        await lane.run(here, time.sleep, 300)
    assert late.value.errors[0].code == "not_computed"
    assert lane.running == lane.busy == 0
    lane.running = lane.most
    with pytest.raises(TooManyRequests, match="send this one again") as full:
        await lane.run(here, divmod, 1, 1)
    assert full.value.headers == {"Retry-After": "7"}


class Recorder(Lane):
    """A lane whose clients are gone at once."""

    async def run(self, *_: object) -> Any:
        self.running += 1
        raise ClientGone

    async def compute(self, *_: object) -> Any:
        self.running += 1
        raise ClientGone


def large(d: int = 200_000) -> dict[str, Any]:
    """A listed spectrum so long that a prediction takes a second."""
    return body(spectrum={"kind": "eigenvalues", "values": [1.0 / i for i in range(1, d + 1)]})


GAUSSIAN = {"samples": 10**6, "spectrum": {"kind": "power_law", "dimension": 10_000, "exponent": 1.0}}
VARIANCE = {"quantity": "variance", "limit": 0.9}
VARYING = {"generations": 9_999, "samples": list(range(10_000, 20_000)), "workflow": {"kind": "replace"}}
MANY = {"generations": 999_999, "samples": 1000, "at": list(range(0, 999_999, 1001))}
PAIRS = {
    "law": {"kind": "bigram", "context_exponent": 1.1, "token_exponent": 1.1},
    "training": {"kind": "real"},
    "samples": 10**6,
}
ZIPF = {"kind": "zipf", "types": 10**5, "exponent": 1.0}
UNCERTAIN = body(recursive(penalty={"low": 0.01, "high": 0.1})) | {"samples": 2**14, "order": 0}
GRID = [{"pointer": "/training_mix/penalty", "values": [0.01 * i for i in range(1, 101)]}]


LONG: list[tuple[str, dict[str, Any]]] = [
    ("/v1/predictions", large()),
    ("/v1/predictions", with_a_matrix(600)),
    ("/v1/predictions:batch", {"items": [{"custom_id": "long", "request": large()}]}),
    ("/v1/predictions:uncertain", UNCERTAIN),
    ("/v1/recommendations", recommendation()),
    ("/v1/scaling-laws", {**large(), "exponents": {"capacity": 1.5, "source": 1.0}}),
    ("/v1/sweeps", {"base": with_a_matrix(600), "axes": PENALTIES}),
    ("/v1/distributions/gaussian/recommendations", {**GAUSSIAN, "generations": 10, "bound": VARIANCE}),
    (
        "/v1/distributions/gaussian/predictions",
        {**VARYING, "spectrum": GAUSSIAN["spectrum"] | {"dimension": 100}},
    ),
    (
        "/v1/distributions/vocabulary/predictions",
        {**MANY, "vocabulary": ZIPF, "workflow": {"kind": "replace"}},
    ),
    ("/v1/distributions/tail/predictions", PAIRS),
    ("/v1/distributions/tail/recommendations", {**PAIRS, "vary": "samples", "bound": {"limit": 0.1}}),
]


async def assert_aside(app: FastAPI, http: httpx.AsyncClient, path: str, content: dict[str, Any]) -> None:
    lane = Recorder(1, most=1, timeout=1.0, retry_after=1)
    app.state.calculator.seconds = app.state.calculator.minutes = lane
    answer = await http.post(path, json=content)
    assert answer.status_code == 499, answer.text
    assert lane.running == 1


@pytest.mark.anyio
@pytest.mark.parametrize(("path", "content"), LONG)
async def test_what_takes_long_is_computed_where_it_can_be_stopped(
    app_without_database: FastAPI,
    http_without_database: httpx.AsyncClient,
    path: str,
    content: dict[str, Any],
) -> None:
    await assert_aside(app_without_database, http_without_database, path, content)


@pytest.mark.anyio
async def test_so_are_the_predictions_of_a_simulation(app: FastAPI, http: httpx.AsyncClient) -> None:
    await assert_aside(
        app, http, "/v1/simulations?validate_only=true", body() | {"replicates": 8, "grid": GRID}
    )


@pytest.mark.anyio
async def test_a_defect_in_a_child_is_no_bad_input(
    app_without_database: FastAPI, http_without_database: httpx.AsyncClient
) -> None:
    class Broken(Lane):
        async def run(self, *_: object) -> Any:
            raise Defect("Traceback: secret")

    app_without_database.state.calculator.seconds = Broken(1, most=1, timeout=1.0, retry_after=1)
    answer = await http_without_database.post("/v1/recommendations", json=recommendation())
    assert "secret" not in str(assert_problem(answer, 500, "internal_error"))
