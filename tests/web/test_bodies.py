"""What no route may ever see: checked on the function and through the whole application."""

import gzip
import json

import httpx
import pytest

from service.errors import InvalidInput
from service.web.bodies import check_json
from tests.web.asking import assert_problem

JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize(
    ("body", "pointer", "code"),
    [
        (b'{"a": [1, NaN]}', "/a/1", "finite_number"),
        (b'{"a": Infinity}', "/a", "finite_number"),
        (b'{"a": {"b/c": -Infinity}}', "/a/b~1c", "finite_number"),
        (b'{"a": 1, "b": 1e999}', "/b", "finite_number"),
        (b"[-1E+400]", "/0", "finite_number"),
        (b'{"a": 1' + b"0" * 400 + b"}", "/a", "finite_number"),
        (b'{"a": "x\\u0000y"}', "/a", "nul_character"),
        (b'{"a": {"\\u0000": 1}}', "/a", "nul_character"),
        (b'{"\\ud800": NaN}', "/?", "finite_number"),
        (b'{"a": "\\ud800"}', "", "json_invalid"),
        (b'{"a": "\xff"}', "", "json_invalid"),
        (b'{"a": tru', "", "json_invalid"),
        (b'{"a": 1' + b"0" * 5000 + b"}", "", "json_invalid"),
        (b"[" * 100_000 + b"]" * 100_000, "", "json_invalid"),
        (b"[" * 100_000, "", "json_invalid"),
        (b"[" * 100_000 + b"NaN" + b"]" * 100_000, "", "json_invalid"),
        (b'{"a":' * 10_000 + b"1" + b"}" * 10_000, "", "json_invalid"),
        (b'{"a": 1, "a": 1}', "/a", "duplicate_key"),
        (b'{"a": {"b": 1}, "c": 2, "a": {"b": 1}}', "/a", "duplicate_key"),
        (b'{"a": {"b": {"c": 1}, "b": 2}, "a": 3}', "/a", "duplicate_key"),
        (b'{"a": [[1], [{"x": ":{", "b/c": 1, "\\u0062/c": 1}]]}', "/a/1/0/b~1c", "duplicate_key"),
        (b'[[[{"": [], "": []}]]]', "/0/0/0/", "duplicate_key"),
        (b'{"a":' * 190 + b'{"b": 1, "b": 2}' + b"}" * 190, "/a" * 190 + "/b", "duplicate_key"),
        (b"'a'", "", "json_invalid"),
        (b'{"a": 1}{"b": 2}', "", "json_invalid"),
    ],
)
def test_what_is_not_strict_json_is_refused_with_its_place(body: bytes, pointer: str, code: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        check_json(body)
    (error,) = caught.value.errors
    assert (error.pointer, error.code) == (pointer, code)


@pytest.mark.parametrize(
    "value",
    [
        0,
        -1.5e300,
        1e-400,
        2**1000,
        "Infinity",
        "NaN 1e999",
        "\\u0000",
        "\x01",
        {"a": [None, True, {"b": ""}]},
        {"a": {"a": {"a": [{"a": 1}, {"a": 1}]}}},
        {"::": ":{", "{": [{":": ":"}]},
        [],
    ],
)
def test_strict_json_passes(value: object) -> None:
    check_json(json.dumps(value).encode())


@pytest.mark.anyio
class TestThroughTheApplication:
    async def test_nan_is_refused_wherever_it_stands(self, http: httpx.AsyncClient) -> None:
        for path in ("/v1/predictions", "/v1/simulations"):
            answer = await http.post(path, content=b'{"dataset": {"noise_variance": NaN}}', headers=JSON)
            body = assert_problem(answer, 422, "invalid_input")
            assert body["errors"] == [
                {
                    "pointer": "/dataset/noise_variance",
                    "parameter": None,
                    "code": "finite_number",
                    "message": "It should be a finite number.",
                }
            ]

    @pytest.mark.parametrize("declared", [True, False], ids=["declared", "chunked"])
    @pytest.mark.parametrize("content_type", ["application/json", "text/plain"])
    async def test_a_body_over_the_limit_is_a_413(
        self, http: httpx.AsyncClient, declared: bool, content_type: str
    ) -> None:
        size = 65 * 2**20

        async def chunks() -> object:
            for _ in range(size // 2**20):
                yield b" " * 2**20

        content = b" " * size if declared else chunks()
        answer = await http.post(
            "/v1/predictions",
            content=content,  # type: ignore[arg-type]
            headers={"Content-Type": content_type},
        )
        body = assert_problem(answer, 413, "payload_too_large")
        assert str(64 * 2**20) in str(body["detail"])

    async def test_a_body_of_another_type_is_a_415_that_says_what_to_send(
        self, http: httpx.AsyncClient
    ) -> None:
        for headers in ({"Content-Type": "application/x-www-form-urlencoded"}, {}):
            answer = await http.post("/v1/predictions", content=b'{"dataset": 1}', headers=headers)
            body = assert_problem(answer, 415, "unsupported_media_type")
            assert "application/json" in str(body["detail"])

    async def test_compressed_bodies_are_refused(self, http: httpx.AsyncClient) -> None:
        headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
        answer = await http.post("/v1/predictions", content=gzip.compress(b"{}"), headers=headers)
        assert "Content-Encoding" in str(assert_problem(answer, 415, "unsupported_media_type")["detail"])

    async def test_no_body_is_a_422(self, http: httpx.AsyncClient) -> None:
        body = assert_problem(await http.post("/v1/predictions"), 422, "invalid_input")
        assert body["errors"] == [
            {"pointer": "", "parameter": None, "code": "missing", "message": "This field is required."}
        ]

    async def test_nul_in_path_and_query(self, http: httpx.AsyncClient) -> None:
        assert_problem(await http.get("/v1/datasets/a%00b"), 404, "not_found")
        body = assert_problem(
            await http.get("/v1/simulations?state=queued&cursor=a%00b"), 422, "invalid_input"
        )
        [error] = body["errors"]  # type: ignore[misc]
        assert (error["parameter"], error["pointer"], error["code"]) == (
            "query.cursor",
            None,
            "nul_character",
        )
        assert "leave it out" in error["message"]
        body = assert_problem(await http.get("/v1/simulations?a%00=1"), 422, "invalid_input")
        assert [error["parameter"] for error in body["errors"]] == ["query.a"]  # type: ignore[attr-defined]
