"""POST and GET /v1/predictions over HTTP, with and without a database."""

import asyncio
import json
import math
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import select

from service.database.engine import Database
from service.database.schema import prediction_requests, predictions
from tests.predictions.bodies import body, dataset, recursive
from tests.web.asking import assert_problem

pytestmark = pytest.mark.anyio


def nulls(value: Any, pointer: str = "") -> list[str]:
    """Pointers of every null in an answer."""
    if value is None:
        return [pointer]
    if isinstance(value, dict):
        return [p for key, item in value.items() for p in nulls(item, f"{pointer}/{key}")]
    if isinstance(value, list):
        return [p for i, item in enumerate(value) for p in nulls(item, f"{pointer}/{i}")]
    return []


async def predict(http: httpx.AsyncClient, content: dict[str, Any]) -> dict[str, Any]:
    response = await http.post("/v1/predictions", json=content)
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


async def test_a_prediction_is_stored_with_who_asked(http: httpx.AsyncClient, database_url: str) -> None:
    response = await http.post("/v1/predictions", json=body(), headers={"X-Request-ID": "pipeline-7"})
    answer = response.json()
    assert answer["record"] == {"stored": True, "reason": None}
    again = await http.post("/v1/predictions", json=body(), headers={"X-Request-ID": "pipeline-8"})
    assert again.json() == answer
    fetched = await http.get(f"/v1/predictions/{answer['id']}")
    assert fetched.json() == answer
    database = Database(database_url)
    async with database.transaction() as connection:
        rows = (await connection.execute(select(predictions.c.id))).scalars().all()
        asked = (await connection.execute(select(prediction_requests.c.request_id))).scalars().all()
    await database.dispose()
    assert rows == [answer["id"]]
    assert sorted(asked) == ["pipeline-7", "pipeline-8"]


async def test_immutable_answers_are_sent_once(http: httpx.AsyncClient) -> None:
    answer = await predict(http, body())
    path = f"/v1/predictions/{answer['id']}"
    etag = (await http.get(path)).headers["etag"]
    unchanged = await http.get(path, headers={"If-None-Match": f'"other", W/{etag}'})
    assert unchanged.status_code == 304
    assert unchanged.content == b""
    assert (await http.get(path, headers={"If-None-Match": '"other"'})).status_code == 200


async def test_without_a_database_the_numbers_come_and_the_failure_is_said(
    http: httpx.AsyncClient, http_without_database: httpx.AsyncClient
) -> None:
    answer = await predict(http_without_database, body())
    assert answer["record"]["stored"] is False
    assert answer["record"]["reason"]
    stored = await predict(http, body())
    assert {**answer, "record": None} == {**stored, "record": None}
    assert_problem(
        await http_without_database.get(f"/v1/predictions/{answer['id']}"), 503, "database_unavailable"
    )


async def test_equal_inputs_written_differently_are_one(http: httpx.AsyncClient) -> None:
    written_out = body(
        recursive(generator={"samples": 120, "noise_variance": 0.5, "penalty": 0.0, "design": "independent"})
    )
    written_out["dataset"]["spectrum"]["scale"] = 1.0
    text = json.dumps(dict(reversed(list(written_out.items()))))
    response = await http.post("/v1/predictions", content=text, headers={"Content-Type": "application/json"})
    assert response.json()["id"] == (await predict(http, body()))["id"]
    other = await predict(http, body(recursive(penalty=0.06)))
    assert other["id"] != response.json()["id"]


async def test_idempotency_key(http: httpx.AsyncClient) -> None:
    key = {"Idempotency-Key": "run-1"}
    first = await http.post("/v1/predictions", json=body(), headers=key)
    same = await http.post("/v1/predictions", json=body(), headers=key)
    assert same.json() == first.json()
    other = await http.post("/v1/predictions", json=body(recursive(penalty=0.1)), headers=key)
    assert_problem(other, 409, "idempotency_key_reused")


@pytest.mark.parametrize("orders", [("1", "0"), ("0", "1")])
async def test_an_idempotency_key_stands_for_its_order(
    http: httpx.AsyncClient, orders: tuple[str, str]
) -> None:
    key = {"Idempotency-Key": f"order-{orders[0]}"}

    async def ask(parameters: dict[str, str]) -> httpx.Response:
        return await http.post("/v1/predictions", json=body(), headers=key, params=parameters)

    first = await ask({"order": orders[0]})
    assert (await ask({"order": orders[0]})).json() == first.json()
    assert_problem(await ask({"order": orders[1]}), 409, "idempotency_key_reused")
    default = await ask({})
    if orders[0] == "1":
        assert default.json() == first.json()
    else:
        assert_problem(default, 409, "idempotency_key_reused")


async def test_many_at_once(http: httpx.AsyncClient) -> None:
    contents = [body(recursive(penalty=0.01 * (1 + i % 4))) for i in range(24)]
    answers = await asyncio.gather(*(predict(http, content) for content in contents))
    assert len({answer["id"] for answer in answers}) == 4
    assert all(answer["record"]["stored"] for answer in answers)


async def test_every_null_has_its_reason(http: httpx.AsyncClient) -> None:
    """Divergent, no real samples, no recursion: each null is named by a warning, above it or at it."""
    mixes = [
        recursive(penalty=0.0, samples=60),  # as many samples as modes
        recursive(generator={"samples": 60}, penalty=0.1),
        recursive(generations=0),
        recursive(samples=0),
        {"kind": "mixture", "real": {"samples": 0}, "penalty": 0.1,
         "synthetic": [{"samples": 50, "quality": {"kind": "shift", "squared_norm": 0.3}}]},
        recursive(width=30),
        {"kind": "replace_with_real", "generations": 4, "samples": 100, "real_fraction": 0.3, "penalty": 0.1},
        {"kind": "accumulate", "generations": 2, "samples": 100, "penalty_sum": 0.1},
        {"kind": "accumulate", "generations": 2, "samples": [60, 10, 10], "penalty_sum": 0.0},
        {"kind": "accumulate", "generations": 0, "samples": 0, "penalty_sum": "optimal"},
    ]  # fmt: skip
    for mix in mixes:
        answer = await predict(http, body(mix))
        reasons = [w["pointer"] for w in answer["validity"]["warnings"]]
        # a total that is null explains what is beside and below it, any other pointer explains itself
        above = {r.rsplit("/", 1)[0] + "/" for r in reasons if r.endswith(("/total", "/generation"))}
        for pointer in nulls({**answer, "validity": None, "record": None, "stages": None}):
            named = pointer in reasons or any(pointer.startswith(prefix) for prefix in above)
            assert named or pointer in ("/validity", "/record", "/stages"), (mix, pointer, reasons)


async def test_a_baseline_that_is_asymptotic_says_so(http: httpx.AsyncClient) -> None:
    mix = {
        "kind": "mixture", "real": {"samples": 61}, "penalty": 1e-9,
        "synthetic": [{"samples": 200, "quality": {"kind": "shift", "squared_norm": 0.3}}],
    }  # fmt: skip
    for samples, warned in ((61, True), (150, False)):
        validity = (await predict(http, body({**mix, "real": {"samples": samples}})))["validity"]
        found = [(w["code"], w["pointer"]) for w in validity["warnings"]]
        assert validity["order"] == 1
        assert (("asymptotic", "/baselines/real_only") in found) == warned


async def test_no_field_is_missing_and_the_parts_add_up(http: httpx.AsyncClient) -> None:
    answer = await predict(http, body())
    assert set(answer) == {
        "id", "engine_version", "input_hash", "stages", "test_error", "baselines", "regularization", "collapse",
        "validity", "record",
    }  # fmt: skip
    error = answer["test_error"]
    assert math.isclose(
        error["bias"] + error["variance"] + error["generation"], error["total"], rel_tol=1e-12
    )
    assert math.isclose(sum(error["generation_parts"].values()), error["generation"], rel_tol=1e-9)
    regularization = answer["regularization"]
    at_best = regularization["test_error_at_recommended"]["total"]
    assert at_best <= error["total"]
    at_clean = await predict(http, body(recursive(penalty=regularization["clean_optimal_penalty"])))
    assert math.isclose(
        at_clean["test_error"]["total"] - at_best, regularization["cost_of_clean_choice"], rel_tol=1e-6
    )
    again = await predict(http, body(recursive(penalty=regularization["recommended_penalty"])))
    assert math.isclose(again["test_error"]["total"], at_best, rel_tol=1e-9)
    optimal = await predict(http, body(recursive(penalty="optimal")))
    assert math.isclose(optimal["test_error"]["total"], at_best, rel_tol=1e-9)
    assert optimal["stages"][-1]["penalty"] == regularization["recommended_penalty"]


async def test_jointly_optimal_penalties_are_echoed(http: httpx.AsyncClient) -> None:
    generator = {"samples": 120, "noise_variance": 0.5, "penalty": "optimal"}
    answer = await predict(http, body(recursive(generator=generator, penalty="optimal")))
    found = [stage["penalty"] for stage in answer["stages"]]
    assert all(isinstance(penalty, float) for penalty in found)
    given = {**generator, "penalty": found[:-1]}
    again = await predict(http, body(recursive(generator=given, penalty=found[-1])))
    assert math.isclose(again["test_error"]["total"], answer["test_error"]["total"], rel_tol=1e-9)
    alone = await predict(http, body(recursive(generator={**generator, "penalty": 0.0}, penalty="optimal")))
    assert answer["test_error"]["total"] < alone["test_error"]["total"]


@pytest.mark.parametrize("size", [{"squared_norm": 0.3}, {"test_error": 0.02}])
async def test_echoed_stages_are_a_request_again(http: httpx.AsyncClient, size: dict[str, float]) -> None:
    synthetic = [{"samples": 80, "quality": {"kind": "shift", **size}, "weight": 0.5}]
    mix = {"kind": "mixture", "real": {"samples": 70}, "synthetic": synthetic, "penalty": 0.05}
    answer = await predict(http, body(mix))
    stages = [
        {
            **{name: stage[name] for name in ("name", "penalty", "width")},
            "sources": [
                {name: source[name] for name in source if name != "own_spectrum"}
                for source in stage["sources"]
            ],
        }
        for stage in answer["stages"]
    ]
    again = await predict(http, body({"kind": "stages", "stages": stages}))
    assert math.isclose(again["test_error"]["total"], answer["test_error"]["total"], rel_tol=1e-12)
    assert answer["stages"][0]["sources"][1]["labels"] == pytest.approx(
        {"kind": "shift", "squared_norm": None, "test_error": None, **size}
    )


async def test_effective_samples_are_worth_what_they_say(http: httpx.AsyncClient) -> None:
    answer = await predict(http, body(recursive(penalty="optimal")))
    samples = answer["regularization"]["effective_samples"]
    clean = [
        await predict(http, body(recursive(generations=0, samples=n, penalty="optimal")))
        for n in (math.floor(samples), math.ceil(samples))
    ]
    below, above = [found["test_error"]["total"] for found in clean]
    assert above <= answer["test_error"]["total"] <= below


def stages(*found: dict[str, Any]) -> dict[str, Any]:
    return {"training_mix": {"kind": "stages", "stages": list(found)}}


def stage(name: str, labels: str, penalty: Any = 1.0) -> dict[str, Any]:
    return {"name": name, "penalty": penalty, "sources": [{"labels": labels, "samples": 3}]}


ENDLESS = {"kind": "power_law", "dimension": None, "exponent": 1.5}
FIVE = {"kind": "isotropic", "dimension": 5}
LIST = {"kind": "coefficients", "values": [1.0]}
SOURCE = {"kind": "source", "exponent": 1.0}


@pytest.mark.parametrize(
    ("change", "pointer", "code"),
    [
        ({"dataset": dataset(target=LIST)}, "/dataset/target/values", "wrong_length"),
        ({"dataset": dataset(spectrum=FIVE, target=SOURCE)}, "/dataset/target/kind", "needs_power_law"),
        ({"dataset": dataset(spectrum=ENDLESS)}, "/dataset/target/kind", "infinite_dimension"),
        (
            {"training_mix": recursive(generator={"samples": [1, 2]})},
            "/training_mix/generator/samples",
            "wrong_length",
        ),
        (stages(stage("a", "b")), "/training_mix/stages/0/sources/0/labels", "unknown_stage"),
        (stages(stage("a", "real"), stage("a", "a")), "/training_mix/stages/1/name", "name_taken"),
        (
            stages(*(stage(f"s{k}", "real" if k == 0 else f"s{k - 1}", "optimal") for k in range(18))),
            "/training_mix",
            "unsupported",
        ),
        ({"training_mix": recursive(penalty=-1.0)}, "/training_mix/penalty", None),
        ({"training_mix": recursive(samples=10**19)}, "/training_mix/samples", None),
        ({"training_mix": recursive(samples=True)}, "/training_mix/samples", None),
        ({"training_mix": recursive(penalti=1.0)}, "/training_mix/penalti", None),
        (
            {"dataset": dataset(spectrum={"kind": "eigenvalues", "values": []})},
            "/dataset/spectrum/values",
            None,
        ),
    ],
)
async def test_bad_input_names_the_field(
    http_without_database: httpx.AsyncClient, change: dict[str, Any], pointer: str, code: str | None
) -> None:
    response = await http_without_database.post("/v1/predictions", json={**body(), **change})
    problem = response.json()
    assert response.status_code == 422, problem
    assert pointer in [e["pointer"] for e in problem["errors"]]
    if code is not None:
        assert code in [e["code"] for e in problem["errors"]]


async def test_unknown_predictions_are_404(http: httpx.AsyncClient) -> None:
    assert_problem(await http.get("/v1/predictions/prd_aaaaaaaaaaaaaaaaaaaaaaaaaa"), 404, "not_found")
    missing = await http.post("/v1/predictions", json={**body(), "dataset": "dst_aaaaaaaaaaaaaaaaaaaaaaaaaa"})
    assert_problem(missing, 404, "not_found")


async def test_accumulated_data(http: httpx.AsyncClient) -> None:
    """σ² Σ (1/k) d/(kT − d − 1), said to be exact; the asymptotic value on request."""
    mix = {"kind": "accumulate", "generations": 3, "samples": 100, "penalty_sum": 0.0}
    answer = await predict(http, body(mix))
    expected = 0.25 * sum(60 / (100 * k - 61) / k for k in range(1, 5))
    assert math.isclose(answer["test_error"]["total"], expected, rel_tol=1e-12)
    assert answer["validity"]["method"] == "exact"
    assert answer["validity"]["expected_relative_error"] == 0
    assert [stage["sources"][0]["samples"] for stage in answer["stages"]] == [100] * 4
    assert all(stage["keeps_data"] for stage in answer["stages"])
    assert len(answer["test_error"]["by_source"]) == 3
    recommended = answer["regularization"]
    assert math.isclose(
        recommended["recommended_penalty_sum"], 400 * recommended["recommended_penalty"], rel_tol=1e-12
    )
    asymptotic = await http.post("/v1/predictions?order=0", json=body(mix))
    found = asymptotic.json()
    assert found["validity"]["method"] == "deterministic_equivalent"
    assert math.isclose(
        found["test_error"]["total"], 0.25 * sum(60 / (100 * k - 60) / k for k in range(1, 5)), rel_tol=1e-12
    )
    assert found["id"] != answer["id"]


async def test_penalized_generators_on_one_design(http: httpx.AsyncClient) -> None:
    """One stage of several passes; with one generator there is nothing to share; "optimal" is refused."""
    generator = {
        "samples": 80,
        "penalty": [0.1, 0.0, 0.2],
        "noise_variance": [0.1, 0.3, 0.2],
        "design": "shared",
    }
    mix = {"kind": "recursive", "generations": 3, "generator": generator, "samples": 90, "penalty": 0.05}
    answer = await predict(http, body(mix))
    first, last = answer["stages"]
    assert [one["penalty"] for one in first["passes"]] == [0.1, 0.0, 0.2]
    for one, noise in zip(first["passes"], generator["noise_variance"], strict=True):
        assert math.isclose(one["noise_variance"], noise, rel_tol=1e-12)
    assert last["passes"] == []
    assert answer["validity"]["order"] == 0
    apart = await predict(http, body(mix | {"generator": generator | {"design": "independent"}}))
    assert apart["test_error"]["total"] != answer["test_error"]["total"]
    optimal = mix | {"generator": generator | {"penalty": "optimal"}}
    problem = assert_problem(await http.post("/v1/predictions", json=body(optimal)), 422, "invalid_input")
    assert problem["errors"][0]["code"] == "shared_design_optimal"


async def test_accumulated_batches_are_one_more_than_generations(http: httpx.AsyncClient) -> None:
    mix = {"kind": "accumulate", "generations": 3, "samples": [100, 20, 20], "penalty_sum": 0.1}
    response = await http.post("/v1/predictions", json=body(mix))
    problem = assert_problem(response, 422, "invalid_input")
    assert problem["errors"][0]["pointer"] == "/training_mix/samples"
    assert "list of 4" in problem["errors"][0]["message"]


async def test_divergence_next_to_the_threshold(http: httpx.AsyncClient) -> None:
    """Exactly, the mean of the inverse Wishart matrix is infinite at d + 1 samples, too."""
    for samples, finite in ((59, False), (60, False), (61, False), (62, True)):
        answer = await predict(http, body(recursive(generations=0, penalty=0.0, samples=samples)))
        assert (answer["test_error"]["total"] is not None) == finite
        assert ("divergent" in {w["code"] for w in answer["validity"]["warnings"]}) != finite


REFERENCE = json.loads(
    (Path(__file__).parents[1] / "theory" / "regression_reference.json").read_text(encoding="utf-8")
)


@pytest.mark.parametrize("case", REFERENCE, ids=range(len(REFERENCE)))
async def test_reference_mixes_as_a_client_asks_for_them(
    http_without_database: httpx.AsyncClient, case: dict[str, Any]
) -> None:
    """Values computed elsewhere: to 1e-8, the error at the recommended penalty to 1e-6, parts that add up."""
    content = {"dataset": case["dataset"], "training_mix": {"kind": "stages", "stages": case["stages"]}}
    response = await http_without_database.post("/v1/predictions?order=0", json=content)
    assert response.status_code == 200, response.text
    answer, expected = response.json(), case["expected"]
    error = answer["test_error"]
    for name in ("total", "bias", "variance", "generation"):
        assert error[name] == pytest.approx(expected[name], rel=1e-8, abs=0.0), name
    least = answer["regularization"]["test_error_at_recommended"]["total"]
    assert least <= expected["best"]["total"] * (1 + 1e-6)
    if expected["best"]["penalty"] is not None:
        assert least == pytest.approx(expected["best"]["total"], rel=1e-6)
    noise = sum(source["label_noise"] for source in error["by_source"])
    assert noise == pytest.approx(error["generation_parts"]["label_noise"], rel=1e-9, abs=1e-15)
