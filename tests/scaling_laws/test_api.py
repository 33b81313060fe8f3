"""POST /v1/scaling-laws, and the same closed form in predictions."""

import math
from typing import Any

import httpx
import pytest

from tests.predictions.bodies import dataset
from tests.predictions.test_api import nulls, predict

pytestmark = pytest.mark.anyio

LAW = {
    "spectrum": {"kind": "power_law", "dimension": 10**5, "exponent": 2.0},
    "target": {"kind": "source", "exponent": 0.375},
}


def request(generations: int = 5, **changes: Any) -> dict[str, Any]:
    mix = {
        "kind": "recursive", "generations": generations, "generator": {"samples": 10**9}, "samples": 10**8,
        "penalty": 0.01,
    }  # fmt: skip
    return {"dataset": dataset(**LAW), "training_mix": mix, **changes}


async def ask(http: httpx.AsyncClient, body: dict[str, Any]) -> dict[str, Any]:
    response = await http.post("/v1/scaling-laws", json=body)
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    reasons = {warning["pointer"] for warning in found["validity"]["warnings"]}
    assert set(nulls({**found, "validity": None})) - {"/validity"} == reasons
    return found


async def test_closed_form_beside_the_numbers(http: httpx.AsyncClient) -> None:
    found = await ask(http, request())
    law, numerical = found["power_law"], found["numerical"]
    assert found["origin"] == "exact"
    assert math.isclose(law["penalty"], numerical["penalty"], rel_tol=0.01)
    assert math.isclose(law["test_error"], numerical["test_error"], rel_tol=0.01)
    assert math.isclose(law["clean_penalty"], numerical["clean_penalty"], rel_tol=0.01)
    assert math.isclose(law["exponents"]["penalty"], numerical["penalty_exponent"], rel_tol=0.01)
    assert math.isclose(law["exponents"]["test_error"], numerical["test_error_exponent"], rel_tol=0.01)
    assert math.isclose(law["effective_samples"], 1 / (0.25 / 1e8 + 5 * 0.25 / (1e9 - 1e5)), rel_tol=1e-12)
    assert {one["name"]: one["status"] for one in law["assumptions"]} == {
        "power_law_range": "met", "enough_last_samples": "met", "source_away_from_saturation": "met",
    }  # fmt: skip
    prediction = await predict(http, request())
    assert prediction["regularization"]["power_law"] == law


async def test_isotropic_targets_are_power_laws_too(http: httpx.AsyncClient) -> None:
    spectrum = {**LAW["spectrum"], "dimension": 10**7}
    target = {"kind": "isotropic", "squared_norm": 3e6}
    found = await ask(http, {**request(generations=0), "dataset": dataset(spectrum=spectrum, target=target)})
    assert math.isclose(found["power_law"]["exponents"]["source"], 0.25)
    assert math.isclose(found["power_law"]["test_error"], found["numerical"]["test_error"], rel_tol=0.01)


async def test_clean_and_noiseless(http: httpx.AsyncClient) -> None:
    clean = await ask(http, request(generations=0))
    assert clean["schedule"] is None
    assert clean["power_law"]["crossover"] == {"ratio": 0.0, "samples": None, "generations": None}
    assert math.isclose(clean["power_law"]["penalty"], clean["power_law"]["clean_penalty"])
    silent = await ask(http, {**request(generations=0), "dataset": dataset(**LAW, noise_variance=0.0)})
    assert silent["power_law"]["effective_samples"] is None
    assert silent["numerical"]["penalty_exponent"] is None


async def test_growth_and_exponents_may_be_given(http: httpx.AsyncClient) -> None:
    body = request(growth={"noise": 0.1, "samples": 0.5}, exponents={"capacity": 3.0, "source": 0.5})
    found = await ask(http, body)
    assert found["origin"] == "given"
    assert found["power_law"]["penalty"] is None  # no amplitude is known
    assert found["schedule"]["given"] is True
    assert math.isclose(found["schedule"]["optimal"], 0.4 * 3 / (2 * 3 * 0.5 + 1))


async def test_what_has_no_power_law_is_refused(http_without_database: httpx.AsyncClient) -> None:
    mixture = {"kind": "mixture", "real": {"samples": 9}, "synthetic": [], "penalty": 1.0}
    few = {**request()["training_mix"], "generator": {"samples": 10}}
    penalized = {**request()["training_mix"], "generator": {"samples": 10**9, "penalty": 0.1}}
    two = {"kind": "mixture", "real": {"samples": 9}, "penalty": 1.0}
    two["synthetic"] = [{"samples": 9, "quality": {"kind": "shift", "test_error": 0.1}}]
    flat = dataset(spectrum={"kind": "isotropic", "dimension": 5})
    for change, pointer in (
        ({"dataset": flat}, "/dataset"),
        ({"training_mix": few}, "/training_mix"),
        ({"training_mix": penalized}, "/training_mix"),
        ({"training_mix": two}, "/training_mix"),
        ({"exponents": {"capacity": 1.0, "source": 0.5}}, "/exponents/capacity"),
    ):
        response = await http_without_database.post("/v1/scaling-laws", json={**request(), **change})
        assert response.status_code == 422, response.text
        assert [error["pointer"] for error in response.json()["errors"]] == [pointer]
    plain = await http_without_database.post("/v1/scaling-laws", json={**request(), "training_mix": mixture})
    assert plain.status_code == 200  # real data alone: the clean law
    prediction = await http_without_database.post("/v1/predictions", json={**request(), "training_mix": few})
    assert prediction.json()["regularization"]["power_law"] is None
