"""Every error of every route has the one shape; a defect shows nothing of itself."""

import json
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts

from service.app import create_app
from service.errors import Conflict, FieldError, InvalidInput, NotFound, ServiceError, TooManyRequests
from service.settings import Settings
from service.web.problems import responses
from tests.web.asking import assert_problem, client_of

pytestmark = pytest.mark.anyio

OPERATIONS = [
    (method.upper(), path)
    for path, operations in create_app(Settings()).openapi()["paths"].items()
    for method in operations
]
WITHOUT_BODY = (":cancel", ":retry")
WITH_BODY = [
    (method, path) for method, path in OPERATIONS if method == "POST" and not path.endswith(WITHOUT_BODY)
]
IDS = {
    "distributions/predictions/{prediction_id}": "distributions/predictions/dpr_00000000000000000000000000",
    "{prediction_id}": "prd_00000000000000000000000000",
    "{dataset_id}": "dst_00000000000000000000000000",
    "{simulation_id}": "sim_00000000000000000000000000",
}


def filled(path: str) -> str:
    for name, value in IDS.items():
        path = path.replace(name, value)
    assert "{" not in path, f"tell this test an id for {path}"
    return path


def test_the_walk_sees_the_whole_application() -> None:
    resources = {path.split("/")[2] for _, path in OPERATIONS if path.startswith("/v1/")}
    assert resources >= {
        "predictions", "predictions:batch", "sweeps",
        "predictions:uncertain", "scaling-laws", "distributions", "datasets", "simulations",
    }  # fmt: skip


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
async def test_a_method_that_is_not_there(http: httpx.AsyncClient, method: str, path: str) -> None:
    body = assert_problem(await http.request("PATCH", filled(path)), 405, "method_not_allowed")
    assert method in str(body["detail"])


@pytest.mark.parametrize("path", [path for _, path in OPERATIONS if "{" in path])
async def test_an_id_that_is_not_there_and_one_that_is_none(http: httpx.AsyncClient, path: str) -> None:
    method = "POST" if path.endswith(WITHOUT_BODY) else "GET"
    assert_problem(await http.request(method, filled(path)), 404, "not_found")
    none = path.partition("{")[0] + "SECRET" + path.partition("}")[2]
    answer = await http.request(method, none)
    assert answer.status_code in (404, 422)
    assert "SECRET" not in answer.text.replace(answer.json()["request_id"], "")
    assert_problem(answer, answer.status_code, "not_found" if answer.status_code == 404 else "invalid_input")


@pytest.mark.parametrize(("method", "path"), WITH_BODY)
@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"7", b'"SECRET"', b'{"SECRET": 1}', b"{", b"\xff"])
async def test_a_body_that_is_wrong(http: httpx.AsyncClient, method: str, path: str, content: bytes) -> None:
    answer = await http.request(
        method, filled(path), content=content, headers={"Content-Type": "application/json"}
    )
    body = assert_problem(answer, 422, "invalid_input")
    errors: Any = body["errors"]
    assert errors
    for error in errors:
        assert set(error) == {"pointer", "parameter", "code", "message"}
        assert (error["pointer"] is None) != (error["parameter"] is None)
        assert "SECRET" not in error["message"]
        if content == b'"SECRET"':
            assert "SECRET" not in answer.text


@pytest.mark.parametrize("path", ["/nothing", "/v1", "/v1/predictions/", "/static/nothing.js", "/static"])
async def test_a_path_that_is_not_there(http: httpx.AsyncClient, path: str) -> None:
    assert_problem(await http.get(path), 404, "not_found")


async def test_without_a_database_what_needs_it_is_a_503(http_without_database: httpx.AsyncClient) -> None:
    for path in ("/v1/datasets", "/v1/simulations", filled("/v1/predictions/{prediction_id}")):
        body = assert_problem(await http_without_database.get(path), 503, "database_unavailable")
        assert "127.0.0.1" not in json.dumps(body)
    assert_problem(await http_without_database.get("/readyz"), 503, "not_ready")


class SomethingBrokeError(Exception):
    pass


@pytest.fixture
def broken(app_without_database: FastAPI) -> FastAPI:
    app = app_without_database

    async def unforeseen() -> None:
        raise SomethingBrokeError("SECRET")

    async def late() -> None:
        raise TooManyRequests("Later.", headers={"Retry-After": "7"})

    async def wrong() -> None:
        raise InvalidInput("No.", errors=[FieldError("/a", "one", "A."), FieldError("/b", "two", "B.")])

    app.add_api_route("/unforeseen", unforeseen)
    app.add_api_route("/late", late)
    app.add_api_route("/wrong", wrong)
    return app


async def test_a_defect_is_a_500_that_shows_nothing_and_is_logged(
    broken: FastAPI, caplog: pytest.LogCaptureFixture
) -> None:
    async with client_of(broken) as client:
        answer = await client.get("/unforeseen", headers={"X-Request-ID": "find-me"})
    assert_problem(answer, 500, "internal_error")
    assert "SECRET" not in answer.text
    assert "SomethingBroke" not in answer.text
    failures = [record for record in caplog.records if record.levelname == "ERROR"]
    assert len(failures) == 1
    assert failures[0].msg["request_id"] == "find-me"  # type: ignore[index]
    assert failures[0].msg["exc_info"]  # type: ignore[index]


async def test_errors_of_the_service_carry_their_fields_and_headers(broken: FastAPI) -> None:
    async with client_of(broken) as client:
        late = await client.get("/late")
        wrong = await client.get("/wrong")
    assert_problem(late, 429, "too_many_requests")
    assert late.headers["retry-after"] == "7"
    errors = assert_problem(wrong, 422, "invalid_input")["errors"]
    assert errors == [
        {"pointer": "/a", "parameter": None, "code": "one", "message": "A."},
        {"pointer": "/b", "parameter": None, "code": "two", "message": "B."},
    ]


async def test_ten_thousand_errors_do_not_make_a_large_answer(http: httpx.AsyncClient) -> None:
    spectrum = {"kind": "eigenvalues", "values": ["x"] * 10_000}
    target = {"kind": "isotropic", "squared_norm": 1}
    dataset = {"spectrum": spectrum, "target": target, "noise_variance": 0.1}
    mix = {"kind": "recursive", "generations": 0, "generator": {"samples": 1}, "samples": 1, "penalty": 1}
    answer = await http.post("/v1/predictions", json={"dataset": dataset, "training_mix": mix})
    body = assert_problem(answer, 422, "invalid_input")
    assert len(body["errors"]) == 50  # type: ignore[arg-type]
    assert str(body["detail"]).endswith("(and 9999 more)")


def test_errors_of_one_status_are_documented_together() -> None:
    class OtherConflict(Conflict):
        """Something else."""

        code = "other"

    documented = responses(NotFound, Conflict, OtherConflict)
    assert set(documented) == {404, 409}
    assert documented[409]["description"] == (
        "`conflict`: The request conflicts with what is stored. `other`: Something else."
    )


def test_every_error_class_has_a_title_and_a_code_of_its_own() -> None:
    def below(cls: type[ServiceError]) -> list[type[ServiceError]]:
        return [cls, *(deeper for child in cls.__subclasses__() for deeper in below(child))]

    classes = [cls for cls in below(ServiceError) if cls.__module__.startswith("service.")]
    assert all(cls.title().endswith(".") for cls in classes)
    stated = [cls.code for cls in classes if "code" in vars(cls)]
    assert len(stated) == len(set(stated))


def test_no_route_hides_from_the_walk(app_without_database: FastAPI) -> None:
    routes = iter_route_contexts(app_without_database.routes)
    hidden = {route.path for route in routes if not getattr(route, "include_in_schema", False)}
    assert hidden == {"/openapi.json", "/", "/docs", "/static"}
