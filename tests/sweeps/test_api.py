"""POST /v1/sweeps: every row is the prediction of its request; formats; what is refused."""

import copy
import io
from typing import Any

import httpx
import numpy as np
import pyarrow.csv
import pyarrow.parquet
import pytest

from service.theory.slots import COLUMNS
from tests.predictions.bodies import body, recursive
from tests.web.asking import assert_problem

pytestmark = pytest.mark.anyio


def sweep(axes: list[dict[str, Any]], **fields: Any) -> dict[str, Any]:
    return {"base": body(training_mix=recursive()), "axes": axes, **fields}


def replaced(base: dict[str, Any], pointer: str, value: float) -> dict[str, Any]:
    found = copy.deepcopy(base)
    *path, last = [int(step) if step.isdecimal() else step for step in pointer.split("/")[1:]]
    here = found
    for step in path:
        here = here[step]
    here[last] = int(value) if float(value).is_integer() else value
    return found


async def rows_of(http: httpx.AsyncClient, request: dict[str, Any]) -> list[dict[str, Any]]:
    response = await http.post("/v1/sweeps", json=request)
    assert response.status_code == 200, response.text
    found = response.json()
    assert found["points"] == len(found["rows"])
    return [dict(zip(found["columns"], row, strict=True)) for row in found["rows"]]


AXES = [
    [{"pointer": "/training_mix/penalty", "from": 1e-4, "to": 10, "points": 7, "scale": "log"}],
    [{"pointer": "/training_mix/generator/samples", "values": [70, 400]},
     {"pointer": "/training_mix/samples", "from": 50, "to": 500, "points": 3}],
    [{"pointer": "/training_mix/generations", "values": [0, 1, 4]},
     {"pointer": "/dataset/noise_variance", "values": [0.1, 2]}],
    [{"pointer": "/dataset/spectrum/exponent", "values": [1.1, 2]},
     {"pointer": "/training_mix/penalty", "values": [0, 0.1]}],
    [{"pointer": "/dataset/spectrum/dimension", "values": [20, 30]},
     {"pointer": "/dataset/target/squared_norm", "values": [0.5, 2]}],
]  # fmt: skip


@pytest.mark.parametrize("order", [0, 1])
@pytest.mark.parametrize("axes", AXES, ids=lambda axes: axes[0]["pointer"])
async def test_every_row_is_the_prediction_of_its_request(
    http: httpx.AsyncClient, axes: list[dict[str, Any]], order: int
) -> None:
    request = sweep(axes, order=order)
    found = await rows_of(http, request)
    for row in found:
        single = request["base"]
        for axis in axes:
            single = replaced(single, axis["pointer"], row[axis["pointer"]])
        answer = (await http.post(f"/v1/predictions?order={order}", json=single)).json()
        error, regularization = answer["test_error"], answer["regularization"]
        assert row["problem"] is None
        for name in ("total", "bias", "variance", "generation"):
            assert row[name] == pytest.approx(error[name], rel=1e-9, abs=1e-12 * error["total"])
        assert row["total_at_recommended"] == pytest.approx(
            regularization["test_error_at_recommended"]["total"], rel=1e-8
        )
        assert row["recommended_penalty"] == pytest.approx(regularization["recommended_penalty"], rel=1e-3)
        assert row["effective_samples"] == pytest.approx(regularization["effective_samples"], rel=1e-5)


async def test_the_order_may_be_in_the_query(http: httpx.AsyncClient) -> None:
    axes = [{"pointer": "/training_mix/penalty", "values": [0.1]}]
    asymptotic = await rows_of(http, sweep(axes, order=0))
    plain = {name: value for name, value in sweep(axes).items() if name != "order"}
    answer = (await http.post("/v1/sweeps?order=0", json=plain)).json()
    assert answer["order"] == 0
    assert answer["rows"][0][answer["columns"].index("total")] == asymptotic[0]["total"]
    problem = assert_problem(
        await http.post("/v1/sweeps?order=0", json=sweep(axes, order=1)), 422, "invalid_input"
    )
    assert problem["errors"][0]["pointer"] == "/order"  # type: ignore[index]
    uncertain = {**plain["base"], "samples": 64}
    uncertain["dataset"] = {**uncertain["dataset"], "noise_variance": {"low": 0.2, "high": 0.3}}
    assert (await http.post("/v1/predictions:uncertain?order=0", json=uncertain)).json()["order"] == 0


async def test_a_grid_runs_through_its_last_axis_first(http: httpx.AsyncClient) -> None:
    found = await rows_of(http, sweep(AXES[1], columns=["total"]))
    assert [(row["/training_mix/generator/samples"], row["/training_mix/samples"]) for row in found] == [
        (70, 50), (70, 275), (70, 500), (400, 50), (400, 275), (400, 500),
    ]  # fmt: skip
    assert set(found[0]) == {*(axis["pointer"] for axis in AXES[1]), "total", "problem"}


async def test_the_formats_agree(http: httpx.AsyncClient) -> None:
    request = sweep([{"pointer": "/training_mix/samples", "values": [40, 50, 60]}])
    request["base"]["training_mix"] |= {"penalty": 0.0}
    request["base"]["dataset"]["spectrum"]["dimension"] = 50  # the second point is at its threshold
    expected = await rows_of(http, request)
    assert expected[1]["total"] is None
    csv = await http.post("/v1/sweeps", json=request, headers={"Accept": "text/csv"})
    assert csv.headers["content-type"].startswith("text/csv")
    preference = {"Accept": "application/vnd.apache.parquet;q=0.9, image/*"}
    parquet = await http.post("/v1/sweeps", json=request, headers=preference)
    tables = (
        pyarrow.csv.read_csv(io.BytesIO(csv.content)),
        pyarrow.parquet.read_table(io.BytesIO(parquet.content)),
    )
    for table in tables:
        for row, expect in zip(table.to_pylist(), expected, strict=True):
            for name in COLUMNS:
                assert (
                    row[name] == pytest.approx(expect[name])
                    if expect[name] is not None
                    else row[name] is None
                )
    refused = await http.post("/v1/sweeps", json=request, headers={"Accept": "image/png"})
    assert_problem(refused, 406, "not_acceptable")


async def test_points_without_a_prediction_say_why(http: httpx.AsyncClient) -> None:
    axes = [{"pointer": "/dataset/spectrum/dimension", "values": [30, 31, 40]},
            {"pointer": "/training_mix/penalty", "values": [0.1, 1]}]  # fmt: skip
    request = sweep(axes)
    request["base"]["dataset"]["spectrum"] = {"kind": "power_law", "dimension": 30, "exponent": 1.5}
    found = await rows_of(http, request)
    assert [row["problem"] for row in found] == [None] * 6


@pytest.mark.parametrize(
    ("axes", "pointer", "words"),
    [
        ([{"pointer": "/training_mix/penalty", "values": [-1, 1]}], "/axes/0", "greater than or equal to 0"),
        ([{"pointer": "/training_mix/samples", "values": [1.5, 3]}], "/axes/0/values", "integer"),
        ([{"pointer": "/training_mix/nothing", "values": [1, 2]}], "/axes/0", "no such field"),
        ([{"pointer": "/training_mix/kind", "values": [1, 2]}], "/axes/0", "no number"),
        ([{"pointer": "/training_mix/samples/3", "values": [1, 2]}], "/axes/0", "no number"),
        (
            [{"pointer": "/dataset/spectrum/dimension", "values": [0, 10]}],
            "/axes/0",
            "greater than or equal to 1",
        ),
    ],
)
async def test_what_an_axis_cannot_take(
    http: httpx.AsyncClient, axes: list[dict[str, Any]], pointer: str, words: str
) -> None:
    problem = assert_problem(await http.post("/v1/sweeps", json=sweep(axes)), 422, "invalid_input")
    assert problem["errors"][0]["pointer"] == pointer
    assert words in problem["errors"][0]["message"]


@pytest.mark.parametrize(
    ("axis", "pointer", "words"),
    [
        ({"from": 0, "to": 1, "points": 5, "scale": "log"}, "/axes/0", "above 0"),
        ({"from": 1, "to": 2}, "/axes/0/points", "required"),
        ({"values": []}, "/axes/0/values", "at least 1"),
        ({"values": [1], "points": 3}, "/axes/0/points", "no such field"),
    ],
)
async def test_a_wrong_axis_is_told_about_its_own_kind(
    http: httpx.AsyncClient, axis: dict[str, Any], pointer: str, words: str
) -> None:
    refused = await http.post("/v1/sweeps", json=sweep([{"pointer": "/training_mix/penalty", **axis}]))
    assert_problem(refused, 422, "invalid_input")
    errors = refused.json()["errors"]
    assert [error["pointer"] for error in errors] == [pointer]
    assert words in errors[0]["message"]


async def test_limits(http: httpx.AsyncClient) -> None:
    axis = {"pointer": "/training_mix/penalty", "from": 0.0, "to": 1, "points": 2000}
    other = {"pointer": "/training_mix/samples", "from": 1, "to": 4000, "points": 2000}
    problem = assert_problem(await http.post("/v1/sweeps", json=sweep([axis, other])), 422, "invalid_input")
    assert "1000000 are computed" in problem["errors"][0]["message"]
    problem = assert_problem(
        await http.post("/v1/sweeps", json=sweep([axis, {**axis, "points": 3}])), 422, "invalid_input"
    )
    assert "one axis" in problem["errors"][0]["message"]
    slow = [
        {"pointer": "/dataset/spectrum/exponent", "from": 1.0, "to": 2.0, "points": 1000},
        {**axis, "points": 1000},
    ]
    request = sweep(slow)
    request["base"]["dataset"]["spectrum"]["dimension"] = 2000
    request["base"]["training_mix"] |= {"generations": 40}
    problem = assert_problem(await http.post("/v1/sweeps", json=request), 422, "invalid_input")
    assert "seconds" in problem["errors"][0]["message"]


async def test_whole_numbers_of_a_range(http: httpx.AsyncClient) -> None:
    axes = [{"pointer": "/training_mix/samples", "from": 1, "to": 100, "points": 30, "scale": "log"}]
    found = [row["/training_mix/samples"] for row in await rows_of(http, sweep(axes, columns=["total"]))]
    assert found == sorted(set(found))
    assert np.all(np.array(found) == np.round(found))


@pytest.mark.parametrize("kind", ["recursive", "replace_with_real"])
async def test_a_chain_that_forgets(http: httpx.AsyncClient, kind: str) -> None:
    """A strong penalty keeps a fraction of what a generation knew: what hundreds keep is the least of numbers, or 0."""
    mix: dict[str, Any] = {"kind": kind, "generations": 5, "samples": 40, "penalty": 6.0}
    if kind == "recursive":
        mix["generator"] = {"samples": 40, "noise_variance": 0.1, "penalty": 8.5}
    else:
        mix["real_fraction"] = 0.1
    base = {
        "dataset": {
            "spectrum": {"kind": "levels", "values": [2.7, 1.9, 0.2], "multiplicities": [7, 6, 7]},
            "target": {"kind": "isotropic", "squared_norm": 0.8},
            "noise_variance": 0.6,
        },
        "training_mix": mix,
    }
    axes = [
        {"pointer": "/training_mix/generations", "values": [100, 300, 340]},
        {"pointer": "/training_mix/penalty", "values": [6.0, 3.0]},
    ]
    for order in (0, 1):
        request = {"base": base, "axes": axes, "columns": ["total"], "order": order}
        totals = [row["total"] for row in await rows_of(http, request)]
        assert totals == pytest.approx(totals[:2] * 3, rel=1e-12)
        if kind == "recursive":
            for n in (300, 340):
                one = {**base, "training_mix": {**mix, "generations": n}}
                response = await http.post(f"/v1/predictions?order={order}", json=one)
                assert response.status_code == 200, response.text
                assert response.json()["test_error"]["total"] == pytest.approx(totals[0], rel=1e-12)
