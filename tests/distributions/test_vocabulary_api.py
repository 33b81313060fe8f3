"""Vocabulary predictions and recommendations over HTTP: every workflow, every null with its reason, every refusal."""

import time
from typing import Any

import httpx
import numpy as np
import pytest

from tests.web.asking import assert_problem

pytestmark = pytest.mark.anyio

PATH = "/v1/distributions/vocabulary/predictions"
ZIPF: dict[str, Any] = {"kind": "zipf", "types": 1000, "exponent": 1.1}
REPLACE: dict[str, Any] = {
    "vocabulary": ZIPF, "generations": 9, "samples": 5000, "workflow": {"kind": "replace"}, "ranks": [1, 500],
}  # fmt: skip
MILLION: dict[str, Any] = {
    "vocabulary": {"kind": "zipf", "types": 10**6, "exponent": 1.1}, "generations": 10**6, "samples": 10**12,
    "workflow": {"kind": "replace"}, "ranks": [1, 10**6],
}  # fmt: skip


async def answered(http: httpx.AsyncClient, body: dict[str, Any]) -> dict[str, Any]:
    response = await http.post(PATH, json=body)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


async def test_a_prediction_and_its_stored_copy(http: httpx.AsyncClient) -> None:
    answer = await answered(http, REPLACE)
    assert [row["generation"] for row in answer["curve"]] == list(range(10))
    assert answer["final"] == answer["curve"][-1]
    first, p = answer["curve"][0], answer["curve"][0]["gone"][1]["true_probability"]
    assert first["gone"][1]["probability"] == pytest.approx((1 - p) ** 5000, rel=1e-9)
    diversity = answer["truth"]["diversity"]
    for row in answer["curve"]:
        assert row["diversity"] == pytest.approx(diversity * (1 - 1 / 5000) ** row["model"], rel=1e-12)
    assert answer["limit"]["surviving_types"] == pytest.approx(1, rel=1e-14)
    assert answer["diversity_half_life"] == np.ceil(np.log(0.5) / np.log1p(-1 / 5000)) - 1
    stored = await http.get(f"/v1/distributions/predictions/{answer['id']}")
    assert stored.json() == answer


WORKFLOWS: list[Any] = [
    {"kind": "fresh", "real_samples": 500},
    {"kind": "fresh", "real_fraction": 0.1},
    {"kind": "fresh", "real_fraction": 0.1, "allocation": "iid"},
    {"kind": "fresh", "real_samples": 500, "allocation": "iid"},
    {"kind": "fresh", "real_samples": [500] * 9, "allocation": "iid"},
    {"kind": "fresh", "real_samples": [500] * 9},
    {"kind": "fresh", "real_samples": [500, 0, 5000, 1, 2, 3, 4, 5, 6]},
    {"kind": "retained", "real_samples": 500},
    {"kind": "accumulate"},
]


async def test_real_data_keep_more(http: httpx.AsyncClient) -> None:
    for workflow in WORKFLOWS:
        answer = await answered(http, {**REPLACE, "workflow": workflow})
        plain = await answered(http, REPLACE)
        assert answer["limit"]["diversity"] > 0.3
        if workflow.get("real_samples") != [500, 0, 5000, 1, 2, 3, 4, 5, 6]:
            assert (
                answer["final"]["diversity"] > plain["final"]["diversity"] or workflow["kind"] == "retained"
            )
        for name in ("surviving_types", "missing_mass", "entropy", "founders"):
            assert answer["final"][name] is not None


async def test_the_ways_to_say_one_thing_agree(http: httpx.AsyncClient) -> None:
    fresh = [
        {"kind": "fresh", "real_samples": 500},
        {"kind": "fresh", "real_fraction": 0.1},
        {"kind": "fresh", "real_samples": [500] * 9},
    ]
    curves = [(await answered(http, {**REPLACE, "workflow": one}))["curve"] for one in fresh]
    assert curves[0] == curves[1] == curves[2]
    counts = [5, 5, 5, 3, 3, 1]
    listed = {"kind": "counts", "values": counts}
    grouped = {"kind": "counts", "values": [5, 3, 1], "types": [3, 2, 1]}
    one, other = [(await answered(http, {**REPLACE, "vocabulary": v}))["curve"] for v in (listed, grouped)]
    assert one == other
    sizes = {**REPLACE, "samples": [5000] * 10}
    assert (await answered(http, sizes))["curve"] == (await answered(http, REPLACE))["curve"]


async def test_decodings_of_infinitely_many_samples(http: httpx.AsyncClient) -> None:
    body = {**REPLACE, "samples": None, "decoding": {"temperature": 0.9}}
    answer = await answered(http, body)
    assert answer["curve"][0]["entropy"] == pytest.approx(answer["truth"]["entropy"])
    assert answer["final"]["entropy"] < answer["truth"]["entropy"]
    assert answer["final"]["samples"] is None
    assert {one["pointer"] for one in answer["validity"]["warnings"]} == {"diversity_half_life"}
    assert (answer["limit"]["diversity"], answer["limit"]["entropy"]) == (0, 0)
    mixed = await answered(
        http, {**body, "generations": 400, "workflow": {"kind": "fresh", "real_fraction": 0.2}}
    )
    assert mixed["curve"][-1]["entropy"] == pytest.approx(mixed["limit"]["entropy"], rel=1e-9)
    endless = {"kind": "zipf", "types": None, "exponent": 1.2}
    nucleus = await answered(http, {**body, "vocabulary": endless, "decoding": {"top_p": 0.9}})
    assert nucleus["curve"][0]["surviving_types"] is None
    assert nucleus["final"]["surviving_types"] >= 1
    assert nucleus["final"]["missing_mass"] == pytest.approx(1 - 0.9**9, rel=0.05)
    hot = await answered(http, {**body, "vocabulary": endless, "decoding": {"temperature": 1.5}})
    assert hot["final"]["entropy"] is None
    assert "not_normalizable" in {one["code"] for one in hot["validity"]["warnings"]}


async def test_top_k_of_finite_samples(http: httpx.AsyncClient) -> None:
    answer = await answered(http, {**REPLACE, "samples": 10**6, "decoding": {"top_k": 50}})
    assert answer["curve"][0]["surviving_types"] > 900
    assert answer["final"]["surviving_types"] == pytest.approx(50, rel=1e-3)
    assert [one["probability"] for one in answer["final"]["gone"]] == [pytest.approx(0, abs=1e-9), 1]


REFUSED: list[Any] = [
    ({"vocabulary": {"kind": "zipf", "types": None, "exponent": 1.0}}, "/vocabulary"),
    ({"vocabulary": {"kind": "counts", "values": [1, 2], "types": [1]}}, "/vocabulary"),
    ({"vocabulary": {"kind": "counts", "values": [0]}}, "/vocabulary"),
    ({"decoding": {"temperature": 0.9, "top_k": 50}}, "/decoding"),
    ({"decoding": {"top_p": 0.9}}, "/decoding"),
    ({"decoding": {"top_k": 900}}, "/decoding"),
    ({"decoding": {"top_k": 3}, "workflow": {"kind": "fresh", "real_fraction": 0.1}}, "/decoding"),
    ({"samples": None, "workflow": {"kind": "accumulate"}}, "/workflow"),
    ({"samples": list(range(1, 251)), "generations": 249}, "/samples"),
    ({"workflow": {"kind": "retained", "real_samples": 5001}}, "/workflow/real_samples"),
    ({"workflow": {"kind": "retained", "real_samples": 5}, "samples": [9] * 9 + [8]}, "/samples"),
    ({"workflow": {"kind": "fresh", "real_samples": 5001}}, "/workflow/real_samples"),
    ({"workflow": {"kind": "fresh", "real_samples": [1, 2]}}, "/workflow/real_samples"),
    ({"workflow": {"kind": "fresh", "real_fraction": 0.00003}}, "/workflow/real_fraction"),
    ({"samples": 0}, "/samples"),
    ({"ranks": [0]}, "/ranks/0"),
]


async def test_what_cannot_be_answered_says_where_and_why(http: httpx.AsyncClient) -> None:
    for change, pointer in REFUSED:
        response = await http.post(PATH, json={**REPLACE, **change})
        assert_problem(response, 422, "invalid_input")
        assert any(one["pointer"].startswith(pointer) for one in response.json()["errors"]), response.text


async def test_retained_data_may_be_part_of_a_larger_first_sample(
    http_without_database: httpx.AsyncClient,
) -> None:
    body = {**REPLACE, "workflow": {"kind": "retained", "real_samples": 40}}
    begun = await answered(http_without_database, {**body, "samples": [900] + [300] * 9})
    alone = await answered(http_without_database, {**body, "samples": 300})
    assert begun["curve"][0]["founders"] == pytest.approx(900, rel=1e-14)
    assert [row["samples"] for row in begun["curve"][:2]] == [900, 300]
    for row, other in zip(begun["curve"], alone["curve"], strict=True):
        assert row["missing_mass"] < other["missing_mass"]
    assert begun["limit"] == alone["limit"]
    runs = [{"samples": 900, "repetitions": 1}, {"samples": 300, "repetitions": 9}]
    assert (await answered(http_without_database, {**body, "samples": runs}))["curve"] == begun["curve"]


EXTREMES: list[Any] = [
    {},
    {"samples": 10**6},
    {"samples": 1000},
    {"workflow": {"kind": "fresh", "real_samples": 10**9}},
    {"workflow": {"kind": "retained", "real_samples": 10**6}},
    {"workflow": {"kind": "accumulate"}},
    {"samples": 1, "vocabulary": {"kind": "counts", "values": [1]}},
    {"samples": 10**18, "vocabulary": {"kind": "zipf", "types": None, "exponent": 1.01}},
    {"samples": 10**6, "decoding": {"top_k": 100}},
]


async def test_extremes_are_numbers_and_fast(http: httpx.AsyncClient) -> None:
    for change in EXTREMES:
        start = time.perf_counter()
        answer = await answered(http, {**MILLION, **change})
        assert time.perf_counter() - start < 2.0  # a hang, not a benchmark: benchmarks/vocabulary.py measures
        assert 0 <= answer["final"]["missing_mass"] <= 1
        assert answer["final"]["entropy"] >= 0


# --- recommendations ------------------------------------------------------------------------------

ADVICE = "/v1/distributions/vocabulary/recommendations"
ASKED: dict[str, Any] = {
    "vocabulary": ZIPF, "samples": 5000, "generations": 100, "bound": {"quantity": "diversity", "limit": 0.99,
    "relative": True},
}  # fmt: skip


BOUNDS: list[Any] = [
    {},
    {"generations": None},
    {"allocation": "iid"},
    {"workflow": "retained"},
    {"bound": {"quantity": "entropy", "limit": 4.2}},
    {"bound": {"quantity": "surviving_types", "limit": 0.6, "relative": True}},
    {"bound": {"quantity": "missing_mass", "limit": 0.1}, "generations": None},
    {"bound": {"quantity": "gone", "limit": 0.05, "rank": 100}},
]


async def test_the_recommended_amount_keeps_the_bound_and_less_does_not(http: httpx.AsyncClient) -> None:
    for change in BOUNDS:
        body = {**ASKED, **change}
        response = await http.post(ADVICE, json=body)
        assert response.status_code == 200, response.text
        advice = response.json()
        assert advice["reachable"]
        falls = body["bound"]["quantity"] in {"missing_mass", "gone"}
        kept, lost = advice["recommended"]["value"], advice["just_below"]["value"]
        assert (kept <= advice["limit"] < lost) if falls else (lost < advice["limit"] <= kept)
        # The prediction says the same of both amounts.
        for tried in (advice["recommended"], advice["just_below"]):
            real = tried["real_samples"]
            workflow: dict[str, Any] = {"kind": "fresh", "real_samples": round(real)}
            if body.get("allocation") == "iid":
                workflow = {"kind": "fresh", "real_fraction": tried["real_fraction"], "allocation": "iid"}
            if body.get("workflow") == "retained":
                workflow = {"kind": "retained", "real_samples": round(real)}
            asked = {
                "vocabulary": ZIPF, "samples": 5000, "workflow": workflow, "ranks": [100],
                "generations": body["generations"] or 0,
            }  # fmt: skip
            prediction = await answered(http, asked)
            state = prediction["limit"] if body["generations"] is None else prediction["final"]
            name = body["bound"]["quantity"]
            value = state["gone"][0]["probability"] if name == "gone" else state[name]
            assert value == pytest.approx(tried["value"], rel=1e-9)


async def test_bounds_that_nothing_or_anything_keeps(http: httpx.AsyncClient) -> None:
    out_of_reach = {"quantity": "surviving_types", "limit": 1000.0}
    advice = (await http.post(ADVICE, json={**ASKED, "bound": out_of_reach})).json()
    assert (advice["reachable"], advice["recommended"]) == (False, None)
    assert advice["sentence"].startswith("Nothing keeps")
    loose = {"quantity": "diversity", "limit": 0.5, "relative": True}
    advice = (await http.post(ADVICE, json={**ASKED, "bound": loose})).json()
    assert advice["recommended"]["real_samples"] == 0
    assert advice["just_below"] is None


NO_BOUNDS: list[Any] = [
    {"quantity": "gone", "limit": 0.1},
    {"quantity": "gone", "limit": 0.1, "rank": 1, "relative": True},
    {"quantity": "diversity", "limit": 0.1, "rank": 1},
    {"quantity": "kl", "limit": 0.1},
]


async def test_bounds_that_say_nothing(http: httpx.AsyncClient) -> None:
    for bound in NO_BOUNDS:
        assert_problem(await http.post(ADVICE, json={**ASKED, "bound": bound}), 422, "invalid_input")


async def test_a_share_of_infinitely_many_types(http: httpx.AsyncClient) -> None:
    bound = {"quantity": "surviving_types", "limit": 0.5, "relative": True}
    endless = {"kind": "zipf", "types": None, "exponent": 1.5}
    response = await http.post(ADVICE, json={**ASKED, "vocabulary": endless, "bound": bound})
    assert_problem(response, 422, "invalid_input")


async def test_the_order_of_counts_does_not_matter(http_without_database: httpx.AsyncClient) -> None:
    """A list, its permutation, and its short form are one request: one hash, one id."""
    values = [5, 1, 7, 1, 5, 5, 1]
    ways = [
        {"values": values},
        {"values": sorted(values)},
        {"values": [7, 5, 1], "types": [1, 3, 3]},
        {"values": [1, 5, 7, 1], "types": [1, 3, 1, 2]},
    ]
    answers = [
        await answered(http_without_database, {**REPLACE, "vocabulary": {"kind": "counts", **way}})
        for way in ways
    ]
    assert len({answer["input_hash"] for answer in answers}) == 1
    other = {**REPLACE, "vocabulary": {"kind": "counts", "values": [*values, 1]}}
    assert (await answered(http_without_database, other))["input_hash"] != answers[0]["input_hash"]
    singles = [{"values": [2, 9]}, {"values": [9, 2], "types": [1, 1]}]
    first, second = [
        await answered(http_without_database, {**REPLACE, "vocabulary": {"kind": "counts", **way}})
        for way in singles
    ]
    assert first["input_hash"] == second["input_hash"]
    assert first["truth"]["diversity"] == pytest.approx(1 - (81 + 4) / 121)
    assert [one["true_probability"] for one in answers[0]["final"]["gone"]] == [pytest.approx(7 / 25), 0.0]


@pytest.mark.parametrize("bad", [0, -1, True, 1.0, "3", None, 10**18 + 1, 10**30, [1]])
async def test_a_count_that_is_none_is_named(http_without_database: httpx.AsyncClient, bad: Any) -> None:
    body = {**REPLACE, "vocabulary": {"kind": "counts", "values": [3, 2, bad, 1]}}
    response = await http_without_database.post(PATH, json=body)
    assert_problem(response, 422, "invalid_input")
    assert response.json()["errors"][0]["pointer"] == "/vocabulary/values/2"
