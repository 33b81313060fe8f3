"""The endpoints of kernel density estimates and mixtures."""

from typing import Any

import httpx
import numpy as np
import pytest
from scipy.stats import binom

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


async def test_a_component_of_many_samples_is_exact_while_that_is_affordable(
    http_without_database: httpx.AsyncClient,
) -> None:
    """E[variance] at generation 0 by the law of the count N: Σ_N P(N) (1 − 1/N)."""
    body = {"samples": 1100, "weights": [0.2, 0.8], "separation": 10.0, "at": [0]}
    few, many = [
        (await ask(http_without_database, "mixture", generations=n, **body)).json() for n in (3, 2000)
    ]
    n = np.arange(1, 1101)
    expected = float(binom.pmf(n, 1100, 0.2) @ (1.0 - 1.0 / n))
    assert few["final"]["components"][0]["variance"] == pytest.approx(expected, rel=1e-11)
    assert few["validity"]["method"] == "exact"
    assert many["validity"]["method"] == "approximate"


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
