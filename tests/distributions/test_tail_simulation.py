"""POST /v1/distributions/tail/simulations: planned, carried out in process, compared with theory; refusals."""

from typing import Any

import httpx
import numpy as np
import pytest

from service.distributions.tail.drawn import TailSimulationRequest
from service.distributions.tail.simulation import TAIL
from tests.web.asking import assert_problem

PATH = "/v1/distributions/tail/simulations"
ZIPF: dict[str, Any] = {"kind": "zipf", "exponent": 1.5}
FINITE: dict[str, Any] = {"kind": "zipf", "exponent": 1.1, "types": 2000}
PAIRS: dict[str, Any] = {"kind": "bigram", "context_exponent": 1.5, "token_exponent": 2.0}
RECURSIVE: dict[str, Any] = {"kind": "recursive", "generations": 6, "generator_samples": 300}


def carried_out(replicates: int, **body: Any) -> Any:
    request = TailSimulationRequest.model_validate(
        {"replicates": replicates, "seed": 3, "samples": 400, **body}
    )
    plan = TAIL.plan(request, None)
    outcomes = TAIL.work(request, plan.points, None).outcomes(request.seed, 0, replicates)
    assert outcomes.shape == (plan.outcomes, replicates)
    return TAIL.result(request.model_dump(mode="json"), plan.points, outcomes)


@pytest.mark.parametrize(
    "body",
    [
        {"law": ZIPF, "training": {"kind": "real"}, "curve": [3, 30, 300, 3000]},
        {"law": FINITE, "training": {"kind": "real"}, "memory": {"kind": "items", "items": 100}},
        {"law": ZIPF, "training": {"kind": "cut", "rank": 20}, "curve": [30, 3000]},
        {"law": FINITE, "training": {"kind": "narrowed", "exponent": 1.6}, "curve": [30, 3000]},
        {
            "law": ZIPF,
            "training": {"kind": "mixed", "rank": 20, "real_fraction": 0.05},
            "curve": [30, 3000],
        },
        {"law": ZIPF, "training": {"kind": "counts", "rank": 20, "real_samples": 50}, "curve": [30, 3000]},
        {"law": ZIPF, "training": RECURSIVE},
        {"law": FINITE, "training": {**RECURSIVE, "real_fraction": 0.1, "allocation": "iid"}},
        {"law": FINITE, "training": {**RECURSIVE, "real_fraction": 0.1}},
        {"law": PAIRS, "training": {"kind": "real"}, "curve": [30, 1000]},
        {"law": PAIRS, "training": {"kind": "cut", "rank": 10}, "curve": [30, 1000]},
        {
            "law": ZIPF,
            "training": {"kind": "real"},
            "samples": 20_000,
            "memory": {"kind": "items", "items": 20, "keeps": "most_frequent"},
        },
    ],
    ids=str,
)
def test_theory_and_process_agree(body: dict[str, Any]) -> None:
    found = carried_out(150, **body)
    assert found.verdict == "agree"
    assert all(point.prediction is not None for point in found.points)
    exact = [point for point in found.points if point.expected_relative_error < 1e-4]
    assert all(abs(point.z_score) < 4 for point in exact if point.z_score is not None)


def test_a_wrong_prediction_is_seen() -> None:
    """The same outcomes beside a prediction that is 5 % off: a verdict that could not be otherwise is none."""
    request = TailSimulationRequest.model_validate(
        {"law": ZIPF, "training": {"kind": "real"}, "samples": 400, "replicates": 400}
    )
    plan = TAIL.plan(request, None)
    outcomes = TAIL.work(request, plan.points, None).outcomes(0, 0, 400)
    plan.points[0]["prediction"] *= 1.05
    assert TAIL.result({}, plan.points, outcomes).verdict == "disagree"


def test_generation_zero_is_the_learner_on_real_data() -> None:
    found = carried_out(50, law=ZIPF, training=RECURSIVE)
    assert [point.generation for point in found.points] == [0, 1, 2, 3, 4, 5, 6]
    none = carried_out(50, law=ZIPF, training={**RECURSIVE, "generations": 0})
    assert [point.generation for point in none.points] == [0]
    assert none.points[0].prediction == found.points[0].prediction


def test_nothing_yet_and_one_replicate() -> None:
    body = {"law": ZIPF, "training": {"kind": "real"}, "samples": 40, "replicates": 8}
    request = TailSimulationRequest.model_validate(body)
    plan = TAIL.plan(request, None)
    empty = TAIL.result({}, plan.points, np.empty((1, 0)))
    assert (empty.verdict, empty.points[0].mean, empty.points[0].replicates) == ("undecided", None, 0)
    one: Any = TAIL.result({}, plan.points, np.array([[0.25]]))
    assert (one.points[0].mean, one.points[0].standard_error, one.points[0].z_score) == (0.25, None, None)
    assert TAIL.figure(one).series[0].measured == (0.25,)
    assert TAIL.rows(one)[0]["samples"] == 40


def test_where_there_is_no_prediction_it_says_so() -> None:
    memory = {"kind": "items", "items": 100, "keeps": "most_frequent"}
    found = carried_out(10, law=ZIPF, training={"kind": "real"}, samples=5_000, memory=memory)
    assert found.verdict == "undecided"
    assert found.points[0].prediction is None
    assert "simulate" in (found.points[0].prediction_missing or "")
    assert found.points[0].mean is not None


@pytest.mark.anyio
async def test_it_is_accepted_and_followed_like_any_other(http: httpx.AsyncClient) -> None:
    body = {"law": ZIPF, "training": {"kind": "real"}, "samples": 400, "replicates": 20}
    estimate = (await http.post(f"{PATH}?validate_only=true", json=body)).json()
    assert estimate["cost"]["replicates"] == 20
    response = await http.post(PATH, json=body)
    assert response.status_code == 202, response.text
    shown = (await http.get(response.headers["Location"])).json()
    assert (shown["kind"], shown["state"], shown["verdict"]) == ("tail", "queued", "undecided")
    assert shown["points"][0]["prediction"] is not None


REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"law": {"kind": "zipf", "exponent": 1.1}}, "/law", "types"),
    ({"law": {"kind": "zipf", "exponent": 1.1, "types": 10**7}}, "/law/types", "1,000,000"),
    ({"samples": 10**9}, "/samples", "at most"),
    ({"memory": {"kind": "associative", "width": 5, "exponent": 1.0}}, "/memory", "process"),
    ({"training": RECURSIVE, "curve": [5]}, "", "generations"),
    ({"replicates": 0}, "/replicates", "1"),
]


@pytest.mark.anyio
async def test_what_cannot_be_carried_out_is_refused(http: httpx.AsyncClient) -> None:
    for change, pointer, says in REFUSED:
        body = {"law": ZIPF, "training": {"kind": "real"}, "samples": 400, "replicates": 20, **change}
        response = await http.post(f"{PATH}?validate_only=true", json=body)
        errors: Any = assert_problem(response, 422, "invalid_input")["errors"]
        assert errors[0]["pointer"] == pointer
        assert says in errors[0]["message"]
