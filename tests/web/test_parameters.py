"""A query parameter that a route does not have is refused; pages and their assets take what links carry."""

import httpx
import pytest

from tests.web.asking import assert_problem
from tests.web.test_problems import OPERATIONS, filled

pytestmark = pytest.mark.anyio


async def test_every_operation_refuses_it(http_without_database: httpx.AsyncClient) -> None:
    for method, path in OPERATIONS:
        answer = await http_without_database.request(method, filled(path), params={"ordr": "1", "b": ""})
        body = assert_problem(answer, 422, "invalid_input")
        errors = body["errors"]
        assert isinstance(errors, list)
        assert [(error["parameter"], error["pointer"], error["code"]) for error in errors] == [
            ("query.ordr", None, "unknown_parameter"),
            ("query.b", None, "unknown_parameter"),
        ], path


async def test_it_says_which_there_are(http_without_database: httpx.AsyncClient) -> None:
    for path, known in (
        ("/v1/simulations", "cursor, kind, limit, state, submitter"),
        ("/v1/simulations/sim_00000000000000000000000000/results", "format"),
    ):
        body = assert_problem(await http_without_database.get(path, params={"SIZE": 1}), 422, "invalid_input")
        assert body["detail"] == f"query.SIZE: There is no such parameter; those there are: {known}."
    # of a dependency's own
    answer = await http_without_database.post("/v1/simulations", params={"validate-only": "true"})
    assert "validate_only" in str(assert_problem(answer, 422, "invalid_input")["detail"])
    assert "none is taken" in (await http_without_database.get("/healthz", params={"a": 1})).text


async def test_once_and_no_more(http_without_database: httpx.AsyncClient) -> None:
    answer = await http_without_database.post("/v1/predictions?order=0&order=1", json={})
    body = assert_problem(answer, 422, "invalid_input")
    errors = body["errors"]
    assert isinstance(errors, list)
    assert [(error["parameter"], error["code"]) for error in errors] == [
        ("query.order", "repeated_parameter")
    ]


async def test_very_many_of_them(http_without_database: httpx.AsyncClient) -> None:
    query = "&".join(f"{'x' * 300}{k}" for k in range(150))
    answer = await http_without_database.get(f"/healthz?{query}")
    errors = assert_problem(answer, 422, "invalid_input")["errors"]
    assert isinstance(errors, list)
    assert len(errors) == 50
    assert len(answer.content) < 20_000


async def test_pages_take_what_links_carry(http_without_database: httpx.AsyncClient) -> None:
    for path in ("/docs", "/static/docs.js"):
        assert (await http_without_database.get(path, params={"utm_source": "mail"})).status_code == 200
