"""The endpoints of kernel density estimates and mixtures."""

from typing import Any

import httpx
import pytest

from tests.web.asking import assert_problem

pytestmark = pytest.mark.anyio


async def ask(http: httpx.AsyncClient, kind: str, **body: Any) -> httpx.Response:
    return await http.post(f"/v1/distributions/{kind}/predictions", json=body)


async def test_a_fixed_kernel_spreads(http_without_database: httpx.AsyncClient) -> None:
    body = {"generations": 9, "samples": 50, "workflow": {"kind": "replace"}}
    answer = (
        await ask(http_without_database, "kde", **body, bandwidth={"kind": "fixed", "value": 0.3})
    ).json()
    assert answer["final"]["sample_variance"] == pytest.approx(1.5502451758935862, rel=1e-12)
    assert answer["curve"][0]["sample_variance"] == pytest.approx(0.98, rel=1e-13)
    assert answer["limit_variance"] == pytest.approx(49 * 0.09, rel=1e-10)
    assert answer["limit_drift"] is None
    assert answer["final"]["integrated_squared_error"] > answer["curve"][0]["integrated_squared_error"]
    rule = (await ask(http_without_database, "kde", **body, bandwidth={"kind": "silverman"})).json()
    assert rule["limit_variance"] is None
    assert rule["final"]["integrated_squared_error"] is None
    assert {one["code"] for one in rule["validity"]["warnings"]} == {"no_formula", "divergent"}


async def test_mixtures_lose_their_rare_components(http_without_database: httpx.AsyncClient) -> None:
    body = {"generations": 29, "samples": 100, "weights": [0.3, 0.7], "separation": 10.0}
    answer = (await ask(http_without_database, "mixture", **body)).json()
    rare = answer["final"]["components"][0]
    assert rare["variance"] == pytest.approx(0.28639957016451256, rel=1e-10)
    assert answer["final"]["surviving_components"] == pytest.approx(2 - rare["lost"], abs=0.01)
    large = (await ask(http_without_database, "mixture", **{**body, "samples": 10**9})).json()
    assert large["validity"]["method"] == "approximate"


@pytest.mark.parametrize(
    ("kind", "body", "pointer"),
    [
        ("mixture", {"generations": 5, "samples": 100, "weights": [0.5, 0.5], "separation": 4.0}, "/separation"),
        ("mixture", {"generations": 5, "samples": 100, "weights": [0.5, 0.4], "separation": 9.0}, "/weights"),
        ("mixture", {"generations": 10_000, "samples": 1000, "weights": [1.0], "separation": 9.0}, "/generations"),
        (
            "kde",
            {
                "generations": 1, "samples": [5, 6], "workflow": {"kind": "replace"},
                "bandwidth": {"kind": "silverman"},
            },
            "/bandwidth",
        ),
    ],
)  # fmt: skip
async def test_what_has_no_formula_is_refused(
    http_without_database: httpx.AsyncClient, kind: str, body: dict[str, Any], pointer: str
) -> None:
    problem: Any = assert_problem(await ask(http_without_database, kind, **body), 422, "invalid_input")
    assert problem["errors"][0]["pointer"] == pointer
