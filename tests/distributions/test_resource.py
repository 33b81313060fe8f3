"""What every kind of distribution has in common: identity, storage, convention, limits, reasons for every null."""

from typing import Any

import httpx
import pytest

from tests.web.asking import assert_problem

pytestmark = pytest.mark.anyio

REPLACE: dict[str, Any] = {"generations": 3, "samples": 20, "workflow": {"kind": "replace"}}
PATH = "/v1/distributions/gaussian/predictions"


async def test_the_determinant_has_a_law_under_replacement_alone(http: httpx.AsyncClient) -> None:
    body = {**REPLACE, "spectrum": {"kind": "isotropic", "dimension": 3}, "determinant_thresholds": [0.5]}
    replaced = (await http.post(PATH, json=body)).json()
    assert 0 < replaced["curve"][0]["determinant_below"][0]["probability"] < 1
    accumulated = (await http.post(PATH, json={**body, "workflow": {"kind": "accumulate"}})).json()
    first, second = (row["determinant_below"][0]["probability"] for row in accumulated["curve"][:2])
    assert (first, second) == (replaced["curve"][0]["determinant_below"][0]["probability"], None)
    assert "determinant_below" in {one["pointer"] for one in accumulated["validity"]["warnings"]}


@pytest.mark.parametrize("workflow", [{"kind": "replace"}, {"kind": "fresh", "real_samples": 1}])
async def test_validity_names_fields_of_the_answer(
    http_without_database: httpx.AsyncClient, workflow: Any
) -> None:
    body = {"samples": 7, "generations": 40, "workflow": workflow, "thresholds": [0.5]}
    answer = (
        await http_without_database.post(
            PATH, json={**body, "spectrum": {"kind": "isotropic", "dimension": 6}}
        )
    ).json()
    validity = answer["validity"]
    named = {one["quantity"] for one in validity["quantities"]} | {
        one["pointer"] for one in validity["warnings"]
    }
    assert "wasserstein2_squared" in named
    assert named <= {*answer["final"], *answer}


async def test_one_sample_at_a_time_adds_to_an_unbiased_fit(http_without_database: httpx.AsyncClient) -> None:
    """Only the pool needs two samples. E v ← E v (1 − M/(N'(N' − 1))), by hand for 3 + 1 + 1."""
    body = {
        "samples": [3, 1, 1],
        "generations": 2,
        "workflow": {"kind": "accumulate"},
        "estimator": "unbiased",
    }
    answer = (await http_without_database.post(PATH, json=body)).json()
    assert answer["final"]["variance"] == pytest.approx((1 - 1 / 12) * (1 - 1 / 20), rel=1e-13)
    refused = await http_without_database.post(PATH, json={**body, "samples": [1, 1, 1]})
    assert_problem(refused, 422, "invalid_input")


async def test_a_prediction_is_stored_under_its_content(http: httpx.AsyncClient) -> None:
    first = (await http.post(PATH, json=REPLACE)).json()
    again = await http.post(PATH, json={**REPLACE, "thresholds": [], "estimator": "mle"})
    assert again.json() == first, "defaults spelt out are the same input"
    assert first["record"] == {"stored": True, "reason": None}
    stored = await http.get(f"/v1/distributions/predictions/{first['id']}")
    assert stored.json() == first
    assert stored.headers["etag"] == again.headers["etag"] == f'"{first["id"]}"'
    unchanged = await http.get(
        f"/v1/distributions/predictions/{first['id']}", headers={"If-None-Match": stored.headers["etag"]}
    )
    assert unchanged.status_code == 304
    other = (await http.post(PATH, json={**REPLACE, "samples": 21})).json()
    assert other["id"] != first["id"]
    assert_problem(await http.get(f"/v1/distributions/predictions/dpr_{'a' * 26}"), 404, "not_found")


async def test_an_idempotency_key_belongs_to_one_body(http: httpx.AsyncClient) -> None:
    headers = {"Idempotency-Key": "k"}
    assert (await http.post(PATH, json=REPLACE, headers=headers)).status_code == 200
    assert (await http.post(PATH, json=REPLACE, headers=headers)).status_code == 200
    reused = await http.post(PATH, json={**REPLACE, "samples": 7}, headers=headers)
    assert_problem(reused, 409, "idempotency_key_reused")


async def test_without_a_database_the_numbers_are_answered_all_the_same(
    http_without_database: httpx.AsyncClient,
) -> None:
    answer = (await http_without_database.post(PATH, json=REPLACE)).json()
    assert answer["record"]["stored"] is False
    assert answer["record"]["reason"]
    assert answer["final"]["variance"] == pytest.approx((1 - 1 / 20) ** 4, rel=1e-12)


async def test_generation_zero_is_the_model_trained_on_real_data(http: httpx.AsyncClient) -> None:
    answer = (await http.post(PATH, json={**REPLACE, "generations": 0})).json()
    assert [(row["generation"], row["model"]) for row in answer["curve"]] == [(0, 1)]
    assert answer["final"]["variance"] == pytest.approx(1 - 1 / 20, rel=1e-14)
    assert "generation 0 is the model trained on real data only" in answer["convention"]


async def test_the_three_ways_to_give_samples_agree(http: httpx.AsyncClient) -> None:
    ways: list[Any] = [30, [30] * 4, [{"samples": 30, "repetitions": 3}, {"samples": 30, "repetitions": 1}]]
    answers = [(await http.post(PATH, json={**REPLACE, "samples": way})).json() for way in ways]
    for answer in answers[1:]:
        for mine, first in zip(answer["curve"], answers[0]["curve"], strict=True):
            for name, value in first.items():
                assert mine[name] == (pytest.approx(value, rel=1e-14) if value is not None else None), name


async def test_a_million_generations_report_the_ends_and_what_was_asked_for(http: httpx.AsyncClient) -> None:
    long = {**REPLACE, "generations": 10**6, "samples": 10**9}
    rows = (await http.post(PATH, json=long)).json()["curve"]
    assert (rows[0]["generation"], rows[-1]["generation"]) == (0, 10**6)
    assert len(rows) <= 101
    asked = (await http.post(PATH, json={**long, "at": [0, 5, 1000]})).json()["curve"]
    assert [row["generation"] for row in asked] == [0, 5, 1000]


@pytest.mark.parametrize(
    ("change", "pointer", "says"),
    [
        ({"samples": [5, 5]}, "", "4"),
        ({"samples": 0}, "/samples", "1"),
        ({"samples": 10**19}, "/samples", "1000000000000000000"),
        ({"samples": [], "generations": 0}, "/samples", "1"),
        ({"generations": 10**6 + 1}, "/generations", "1000000"),
        ({"at": [2, 1]}, "", "above"),
        ({"at": [4]}, "", "beyond"),
        ({"thresholds": [0.0]}, "/thresholds/0", "greater"),
        ({"spectrum": {"kind": "isotropic", "dimension": 10_001}}, "/spectrum", "10,000"),
        ({"spectrum": {"kind": "eigenvalues", "values": [1.0, 0.0]}}, "/spectrum", "positive"),
        ({"samples": 1, "estimator": "unbiased"}, "/samples", "2"),
        ({"unknown": 1}, "/unknown", "no such field"),
    ],
)
async def test_bad_input_is_a_problem_that_names_the_field_and_the_way_out(
    http: httpx.AsyncClient, change: dict[str, Any], pointer: str, says: str
) -> None:
    problem = assert_problem(await http.post(PATH, json={**REPLACE, **change}), 422, "invalid_input")
    errors: Any = problem["errors"]
    assert errors[0]["pointer"] == pointer
    assert says in errors[0]["message"]


@pytest.mark.parametrize(
    "body",
    [
        {"workflow": {"kind": "fresh", "real_samples": 1}, "samples": 2, "estimator": "unbiased", "generations": 10**6},
        {"workflow": {"kind": "retained", "real_samples": 1}, "samples": 100, "generations": 1000},
        {
            "workflow": {"kind": "fresh", "real_samples": 1}, "samples": 3, "generations": 5,
            "spectrum": {"kind": "eigenvalues", "values": [1e-60, 1e60, 1.0]},
        },
        {"workflow": {"kind": "replace"}, "samples": 1, "generations": 5},
        {"workflow": {"kind": "replace"}, "samples": 2, "estimator": "unbiased", "generations": 10**6},
        {"workflow": {"kind": "accumulate"}, "samples": 1, "generations": 50},
        {"workflow": {"kind": "retained", "real_samples": 10**18}, "samples": 10**18, "generations": 3},
    ],
    ids=lambda body: f"{body['workflow']['kind']} {body['samples']}",
)  # fmt: skip
async def test_at_the_ends_of_the_range_every_null_has_a_reason(
    http_without_database: httpx.AsyncClient, body: dict[str, Any]
) -> None:
    answer = await http_without_database.post(PATH, json={**body, "thresholds": [0.5]})
    assert answer.status_code == 200, answer.text
    found = answer.json()
    missing = [name for name, value in found["final"].items() if value is None]
    assert bool(found["validity"]["warnings"]) == bool(missing)
