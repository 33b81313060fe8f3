"""A prediction that takes seconds is computed in a child process, and ends when its client goes."""

import base64
import json
import math
import socket
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi import FastAPI

from service.predictions import routes
from service.predictions.engine import compiled, predicted
from service.predictions.schemas import PredictionRequest
from tests.predictions.bodies import body
from tests.sweeps.test_cancelled import address, wait_until

__all__ = ["address"]
D = 900


def asked(d: int) -> dict[str, Any]:
    values = base64.b64encode((0.5 * np.eye(d) + 0.5 / d).astype("<f8").tobytes()).decode("ascii")
    mix = {
        "kind": "mixture",
        "real": {"samples": d},
        "synthetic": [
            {
                "samples": d,
                "quality": {"kind": "shift", "squared_norm": 0.3},
                "covariance": {"kind": "matrix", "values": values},
            }
        ],
        "penalty": 0.05,
    }
    spectrum = {"kind": "power_law", "dimension": d, "exponent": 1.2}
    return body(mix, spectrum=spectrum, target={"kind": "isotropic", "squared_norm": 1.0})


def test_a_client_that_goes_stops_the_child(app_without_database: FastAPI, address: tuple[str, int]) -> None:
    calculator = app_without_database.state.calculator
    content = json.dumps(asked(D)).encode()
    head = (
        f"POST /v1/predictions HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(content)}\r\n\r\n"
    ).encode()
    with socket.create_connection(address) as client:
        client.sendall(head + content)
        wait_until(lambda: calculator.running == 1, 30)
        child = calculator._executor._slots[0].child._process
        assert child.is_alive()
    wait_until(lambda: calculator.running == 0, 20)
    wait_until(lambda: not child.is_alive(), 10)
    calculator._executor.interrupt()


@pytest.mark.anyio
async def test_the_child_answers_as_a_thread_does(
    http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same request, computed here and there."""
    small = asked(20)
    request = PredictionRequest.model_validate(small)
    here = predicted(request, *compiled(request, None), 1)
    monkeypatch.setattr(routes, "is_long", lambda *_: True)
    answer = await http.post("/v1/predictions", json=small)
    assert answer.status_code == 200, answer.text
    there = answer.json()
    assert there["id"] == here.id
    assert math.isclose(there["test_error"]["total"], here.test_error.total or 0.0, rel_tol=1e-12)
    small["training_mix"]["penalty"] = 0
    small["training_mix"]["synthetic"][0]["covariance"]["values"] = np.ones((20, 20)).tolist()
    refused = await http.post("/v1/predictions", json=small)
    assert refused.status_code == 422
    assert "positive definite" in refused.json()["detail"]
