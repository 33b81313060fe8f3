"""The estimator endpoint: its families and workflows, reference values, what it refuses."""

from typing import Any

import httpx
import pytest

from tests.web.asking import assert_problem

pytestmark = pytest.mark.anyio

PATH = "/v1/distributions/estimator/predictions"


async def ask(http: httpx.AsyncClient, **body: Any) -> Any:
    answer = await http.post(PATH, json={"generations": 9, "samples": 50, **body})
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_optimal_weights(http_without_database: httpx.AsyncClient) -> None:
    fresh = {"kind": "fresh", "real_samples": 5, "weight": "optimal"}
    answer = await ask(http_without_database, workflow=fresh)
    assert answer["limit"] == pytest.approx(0.05647513922553578, rel=1e-12)
    assert answer["optimal_weight"]["error_variance"] == pytest.approx(answer["limit"], rel=1e-12)
    assert answer["validity"]["method"] == "exact"
    golden = await ask(http_without_database, workflow={**fresh, "real_samples": 25})
    assert golden["optimal_weight"]["weight"] == pytest.approx(0.6180339887498949, rel=1e-14)


async def test_generation_zero_and_the_off_by_one(http_without_database: httpx.AsyncClient) -> None:
    """n generations of synthetic data are n + 1 fits."""
    answer = await ask(http_without_database, workflow={"kind": "replace"}, generations=3)
    assert [row["error_variance"] for row in answer["curve"]] == pytest.approx([0.02, 0.04, 0.06, 0.08])
    assert answer["limit"] is None
    kept = await ask(http_without_database, workflow={"kind": "retained", "real_samples": 10}, generations=10)
    assert kept["curve"][0]["error_variance"] == pytest.approx(0.1)
    assert kept["final"]["error_variance"] == pytest.approx(0.14393203488684142, rel=1e-12)
    pool = {"kind": "accumulate", "fixed_budget": True}
    budget = await ask(http_without_database, workflow=pool, samples=15)
    assert budget["final"]["error_variance"] == pytest.approx(0.2066356974888721, rel=1e-12)


async def test_families_have_their_exact_laws(http_without_database: httpx.AsyncClient) -> None:
    replace = {"kind": "replace"}
    scale = (await ask(http_without_database, workflow=replace, family={"kind": "exponential"}))["final"]
    assert scale["squared_error"] == pytest.approx(1.02**10 - 1, rel=1e-12)
    poisson = await ask(http_without_database, workflow=replace, family={"kind": "poisson", "mean": 0.1})
    assert poisson["final"]["extinction"] > 0.4
    assert poisson["final"]["kl"] is None
    assert [one["code"] for one in poisson["validity"]["warnings"]] == ["first_order"]
    regression = {"kind": "least_squares", "dimension": 3}
    line = (await ask(http_without_database, workflow=replace, family=regression))["final"]
    assert line["squared_error"] == pytest.approx(10 * 3 / 46, rel=1e-12)
    short = await ask(http_without_database, workflow=replace, family=regression, samples=4)
    assert short["final"]["squared_error"] is None
    assert short["validity"]["warnings"][0]["code"] == "divergent"


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"workflow": {"kind": "retained", "real_samples": 10}, "samples": [20] * 10}, "/samples"),
        ({"workflow": {"kind": "retained", "real_samples": 60}}, "/workflow/real_samples"),
        ({"workflow": {"kind": "fresh", "real_samples": 51}}, "/workflow/real_samples"),
        ({"workflow": {"kind": "fresh", "real_samples": [1, 2]}}, "/workflow/real_samples"),
        ({"workflow": {"kind": "fresh", "real_fraction": 0.33}}, "/workflow/real_fraction"),
        ({"workflow": {"kind": "fresh", "real_samples": 5, "weight": 1.5}}, "/workflow/fresh/weight"),
        (
            {"workflow": {"kind": "accumulate", "fixed_budget": True}, "samples": list(range(1, 11))},
            "/samples",
        ),
        (
            {"workflow": {"kind": "accumulate"}, "family": {"kind": "least_squares", "dimension": 40}},
            "/samples",
        ),
    ],
)
async def test_what_has_no_formula_is_refused(
    http_without_database: httpx.AsyncClient, change: dict[str, Any], pointer: str
) -> None:
    answer = await http_without_database.post(PATH, json={"generations": 9, "samples": 50, **change})
    problem = assert_problem(answer, 422, "invalid_input")
    errors: Any = problem["errors"]
    assert errors[0]["pointer"] in (pointer, pointer.replace("/fresh", ""))


@pytest.mark.parametrize("kind", ["fresh", "retained"])
async def test_one_synthetic_sample_among_very_many(
    http_without_database: httpx.AsyncClient, kind: str
) -> None:
    """V = 0.7² (1 + 0.7²): the one sample is not lost among 10^18, though its share is."""
    body = {
        "samples": 10**18,
        "generations": 2,
        "workflow": {"kind": kind, "real_samples": 10**18 - 1, "weight": 0.3},
    }
    answer = await http_without_database.post(PATH, json=body)
    assert answer.json()["final"]["error_variance"] == pytest.approx(0.7301, rel=1e-12)
