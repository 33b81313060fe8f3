"""Covariance matrices through the API: forms of the matrix, refusals, agreement with a spectrum."""

import base64
import math
from functools import partial
from typing import Any

import httpx
import numpy as np
import pytest

from service.predictions.engine import compiled, predicted
from service.predictions.fields import Variant
from service.predictions.schemas import PredictionRequest
from service.predictions.variants import family
from service.recommendations import answer
from service.recommendations.evaluation import Evaluator
from service.recommendations.schemas import RecommendationRequest
from tests.predictions.bodies import body
from tests.predictions.test_api import predict
from tests.web.asking import assert_problem

pytestmark = pytest.mark.anyio
D = 12
OWN = np.linspace(1.0, 0.2, D)


def mixture(**changes: Any) -> dict[str, Any]:
    share = {"samples": 50, "quality": {"kind": "shift", "squared_norm": 0.3}, **changes}
    return {"kind": "mixture", "real": {"samples": 40}, "synthetic": [share], "penalty": 0.05}


def dataset(**changes: Any) -> dict[str, Any]:
    spectrum = {"kind": "power_law", "dimension": D, "exponent": 1.2}
    return {"spectrum": spectrum, "target": {"kind": "coefficients", "values": [0.3] * D}, **changes}


def matrix(values: Any) -> dict[str, Any]:
    return {"kind": "matrix", "values": values}


async def test_a_diagonal_matrix_is_a_spectrum(http: httpx.AsyncClient) -> None:
    own = {"kind": "eigenvalues", "values": OWN.tolist()}
    a = await predict(http, body(mixture(spectrum=own), **dataset()))
    b = await predict(http, body(mixture(covariance=matrix(np.diag(OWN).tolist())), **dataset()))
    assert math.isclose(a["test_error"]["total"], b["test_error"]["total"], rel_tol=1e-10)
    assert math.isclose(
        (await asymptotic(http, mixture(spectrum=own)))["total"],
        (await asymptotic(http, mixture(covariance=matrix(np.diag(OWN).tolist()))))["total"],
        rel_tol=1e-10,
    )
    assert b["stages"][0]["sources"][1]["own_spectrum"] is True
    assert a["validity"]["order"] == b["validity"]["order"] == 1
    assert a["baselines"]["null_predictor"] == b["baselines"]["null_predictor"]
    nulls = {name for name, value in b["collapse"].items() if value is None}
    reasons = {w["pointer"] for w in b["validity"]["warnings"]}
    assert {f"/collapse/{name}" for name in nulls} <= reasons


async def asymptotic(http: httpx.AsyncClient, mix: dict[str, Any]) -> dict[str, Any]:
    found = await http.post("/v1/predictions?order=0", json=body(mix, **dataset()))
    assert found.status_code == 200, found.text
    return dict(found.json()["test_error"])


async def test_both_forms_of_a_matrix_are_one_input(http: httpx.AsyncClient) -> None:
    A = np.random.default_rng(0).normal(size=(D, D))
    C = A @ A.T / D
    packed = base64.b64encode(C.astype("<f8").tobytes()).decode()
    a = await predict(http, body(mixture(covariance=matrix(C.tolist())), **dataset()))
    b = await predict(http, body(mixture(covariance=matrix(packed)), **dataset()))
    assert a["id"] == b["id"]
    assert a["test_error"] == b["test_error"]


@pytest.mark.parametrize(
    ("spectrum", "target"),
    [
        ({"kind": "isotropic", "dimension": D}, {"kind": "isotropic", "squared_norm": 1.0}),
        (
            {"kind": "levels", "values": [1.0, 0.5], "multiplicities": [5, 7]},
            {"kind": "power", "values": [1.0, 0.1]},
        ),
        ({"kind": "eigenvalues", "values": [0.5] * D}, {"kind": "isotropic", "squared_norm": 1.0}),
    ],
    ids=["isotropic", "levels", "equal eigenvalues"],
)
async def test_every_spectrum_is_taken_mode_by_mode(
    http: httpx.AsyncClient, spectrum: dict[str, Any], target: dict[str, Any]
) -> None:
    mix = mixture(covariance=matrix(np.diag(OWN).tolist()))
    found = await predict(http, body(mix, spectrum=spectrum, target=target))
    assert found["test_error"]["total"] > 0


ROWS = np.eye(D).tolist()


@pytest.mark.parametrize(
    ("values", "code"),
    [
        (np.eye(D - 1).tolist(), "wrong_length"),
        ([*ROWS[:-1], ROWS[0]], "not_symmetric"),
        (np.diag([*OWN[:-1], -0.5]).tolist(), "not_positive"),
        ("not base64!", "not_base64"),
        (base64.b64encode(np.full((D, D), np.nan).tobytes()).decode(), "out_of_range"),
        (base64.b64encode(b"12345").decode(), "wrong_length"),
    ],
)
async def test_what_is_no_covariance_is_refused(http: httpx.AsyncClient, values: Any, code: str) -> None:
    response = await http.post("/v1/predictions", json=body(mixture(covariance=matrix(values)), **dataset()))
    problem = assert_problem(response, 422, "invalid_input")
    assert problem["errors"][0]["code"] == code
    assert problem["errors"][0]["pointer"] == "/training_mix/synthetic/0/covariance/values"


@pytest.mark.parametrize("values", [[[1.0, 0.0]], [1.0], [[]], [["x"]], {}, 3, [[True]], [[1e61]], None])
async def test_what_is_no_matrix_is_refused(http: httpx.AsyncClient, values: Any) -> None:
    response = await http.post("/v1/predictions", json=body(mixture(covariance=matrix(values)), **dataset()))
    problem = assert_problem(response, 422, "invalid_input")
    assert problem["errors"][0]["pointer"].startswith("/training_mix/synthetic/0/covariance/values")


async def test_limits_of_size(http: httpx.AsyncClient) -> None:
    small = matrix(ROWS)
    large = {"kind": "power_law", "dimension": 5000, "exponent": 1.2}
    target = {"kind": "isotropic", "squared_norm": 1.0}
    response = await http.post(
        "/v1/predictions", json=body(mixture(covariance=small), spectrum=large, target=target)
    )
    assert "2000 modes" in assert_problem(response, 422, "invalid_input")["detail"]
    both = mixture(covariance=small, spectrum={"kind": "isotropic", "dimension": D})
    response = await http.post("/v1/predictions", json=body(both, **dataset()))
    assert assert_problem(response, 422, "invalid_input")["errors"][0]["code"] == "two_covariances"


async def test_what_would_take_hours_is_refused(http: httpx.AsyncClient) -> None:
    """Thousands of predictions with a matrix each."""
    small = body(
        mixture(covariance=matrix(np.diag(OWN).tolist())), **dataset(noise_variance={"low": 0.1, "high": 0.3})
    )
    response = await http.post("/v1/predictions:uncertain", json=small)
    assert "seconds" in assert_problem(response, 422, "invalid_input")["detail"]


def test_an_entry_of_a_matrix_that_varies_is_compiled_for_each_value() -> None:
    """Not taken for a number that changes nothing."""
    base = body(mixture(covariance=matrix(np.diag(OWN).tolist())), **dataset())
    entry = Variant("/training_mix/synthetic/0/covariance/values/0/0", 0.5, 5.0, whole=False, at="")
    found = family(base, [entry], None, 0).table(np.array([[0.5], [5.0]])).values["total"]
    for value, total in zip((0.5, 5.0), found.tolist(), strict=True):
        request = PredictionRequest.model_validate(entry.replaced(base, value))
        assert math.isclose(
            total, predicted(request, *compiled(request, None), 0).test_error.total, rel_tol=1e-12
        )
    assert abs(found[1] / found[0] - 1) > 1e-3


def test_recommendations(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fewest real samples, looked at again: enough, and one fewer is not."""
    monkeypatch.setattr(answer, "Evaluator", partial(Evaluator, seconds=600.0))  # however slow the machine
    own = matrix((np.diag(OWN) + 0.1).tolist())
    asked = {**body(mixture(covariance=own), **dataset()), "bound": {"relative_to": "clean", "factor": 1.5}}
    request = RecommendationRequest.model_validate(asked)
    found = answer.recommended(request, *compiled(request, None), 0)
    fewest = found.real_samples[0].value
    assert fewest is not None
    assert fewest > 1
    assert found.weights.outcome == "found"
    for count, meets in ((fewest, True), (fewest - 1, False)):
        mix = {**mixture(covariance=own), "real": {"samples": count}}
        varied = PredictionRequest.model_validate(body(mix, **dataset()))
        total = predicted(varied, *compiled(varied, None), 0).test_error.total
        assert (total <= found.bound.test_error) is meets
