"""The resource through ASGI, PostgreSQL and a real child process: describing, refusing, reading."""

import asyncio
import io
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi import FastAPI
from uploads import CSV, LABELS, RNG, ROWS, created, nothing_left, post

from service.datasets.describer import Describer
from service.errors import TooManyRequests
from service.settings import Settings

pytestmark = pytest.mark.anyio


def leaves(value: Any, pointer: str = "") -> list[str]:
    """Pointers of all numbers."""
    if isinstance(value, dict):
        return [p for key, child in value.items() for p in leaves(child, f"{pointer}/{key}")]
    if isinstance(value, list):
        return [p for i, child in enumerate(value) for p in leaves(child, f"{pointer}/{i}")]
    return [pointer] if isinstance(value, int | float) and not isinstance(value, bool) else []


# --- create -------------------------------------------------------------------------------------------


async def test_a_description_says_what_the_rows_are(client: httpx.AsyncClient) -> None:
    response = await post(client)
    assert response.status_code == 201
    answer = response.json()
    assert response.headers["location"] == f"/v1/datasets/{answer['id']}"
    distances = np.linalg.norm(ROWS[:, None] - ROWS[None], axis=2)
    assert answer["feature_map"]["bandwidth"] == pytest.approx(np.median(distances), rel=1e-12)
    assert (answer["rows"]["count"], answer["rows"]["columns"], answer["rows"]["sampled"]) == (60, 3, False)
    dataset = answer["dataset"]
    K = np.exp(-(distances**2) / (2 * np.median(distances) ** 2))
    s = np.linalg.eigvalsh(K / 60)[::-1]
    np.testing.assert_allclose(dataset["spectrum"]["values"], s, rtol=1e-6, atol=1e-14)
    power = np.array(dataset["target"]["values"]) @ np.array(dataset["spectrum"]["values"])
    assert power == pytest.approx(np.mean(LABELS**2), rel=1e-9)
    assert dataset["noise_variance"] == 0.01
    assert answer["target"]["mean"] == pytest.approx(np.mean(LABELS))
    assert answer["target"]["name"] == "y"
    assert answer["name"] == "sine"


@pytest.mark.parametrize("noise_variance", [None, "0.01"])
@pytest.mark.parametrize("feature_map", ["linear", "rbf", "polynomial"])
async def test_every_number_has_a_provenance(
    client: httpx.AsyncClient, noise_variance: str | None, feature_map: str
) -> None:
    degree = ', "degree": 3' if feature_map == "polynomial" else ""
    answer = await created(
        client, noise_variance=noise_variance, feature_map=f'{{"kind": "{feature_map}"{degree}}}'
    )
    known = [entry["pointer"] for entry in answer["provenance"]]
    told = [p for p in leaves(answer) if not p.startswith("/provenance")]
    missing = [p for p in told if not any(p == k or p.startswith(f"{k}/") for k in known)]
    assert not missing
    for pointer in set(known) - {"/exponents"}:  # 60 rows have none, which is said in their place
        assert any(p == pointer or p.startswith(f"{pointer}/") for p in leaves(answer)), pointer
    origin = {entry["pointer"]: entry["origin"] for entry in answer["provenance"]}
    if noise_variance is None:
        assert origin["/dataset/noise_variance"] == "estimated"
    else:
        assert origin["/dataset/noise_variance"] == ("declared" if feature_map == "rbf" else "measured")


async def test_the_answer_can_be_pasted_as_an_inline_data_set(client: httpx.AsyncClient) -> None:
    answer = await created(client)
    mix = {
        "kind": "recursive", "generations": 1, "generator": {"samples": 40, "penalty": 0.01},
        "samples": 30, "penalty": 0.01,
    }  # fmt: skip
    inline = await client.post("/v1/predictions", json={"dataset": answer["dataset"], "training_mix": mix})
    stored = await client.post("/v1/predictions", json={"dataset": answer["id"], "training_mix": mix})
    assert inline.status_code == stored.status_code == 200, inline.text + stored.text
    assert inline.json()["test_error"]["total"] == pytest.approx(
        stored.json()["test_error"]["total"], rel=1e-9
    )
    # of its rows more is known: how far from Gaussian they are
    expected = [one.json()["validity"]["expected_relative_error"] for one in (stored, inline)]
    assert expected[0] > 2 * expected[1]


async def test_the_same_upload_is_the_same_resource(client: httpx.AsyncClient) -> None:
    first = await created(client)
    again = await post(client, name="another name")
    assert again.status_code == 200
    assert again.json() == first
    # The same rows in another format, too.
    buffer = io.BytesIO()
    np.savez(buffer, rows=ROWS, y=LABELS)
    assert (await post(client, file=buffer.getvalue())).json() == first
    for change in (
        {"noise_variance": "0.02"},
        {"feature_map": '{"kind": "linear"}'},
        {"noise_variance": None},
    ):
        assert (await created(client, **change))["id"] != first["id"]


async def test_estimated_noise_needs_no_declaration(client: httpx.AsyncClient) -> None:
    answer = await created(client, noise_variance=None, feature_map='{"kind": "rbf", "bandwidth": 2}')
    assert answer["noise"]["mode"] == "estimated"
    assert answer["noise"]["declared"] is None
    assert 0 < answer["dataset"]["noise_variance"] < 0.1
    assert answer["noise"]["smoothing_penalty"] > 0


async def test_labels_in_a_file_of_their_own(client: httpx.AsyncClient) -> None:
    rows, labels = io.BytesIO(), io.BytesIO()
    np.save(rows, ROWS)
    np.save(labels, LABELS)
    response = await client.post(
        "/v1/datasets",
        files={"file": ("x.npy", rows.getvalue()), "target_file": ("y.npy", labels.getvalue())},
        data={"feature_map": '{"kind": "rbf"}', "noise_variance": "0.01"},
    )
    assert response.status_code == 201, response.text
    np.testing.assert_allclose(
        response.json()["dataset"]["target"]["values"], (await created(client))["dataset"]["target"]["values"]
    )


async def test_unreachable_labels_are_noise_and_said_to_be(client: httpx.AsyncClient) -> None:
    answer = await created(client, feature_map='{"kind": "linear"}')
    residual = np.linalg.lstsq(ROWS, LABELS)[1]
    assert answer["noise"]["unreachable"] == pytest.approx(residual[0] / 60, rel=1e-9)
    assert answer["dataset"]["noise_variance"] == pytest.approx(0.01 + residual[0] / 60, rel=1e-9)
    assert [warning["code"] for warning in answer["warnings"]] == ["unreachable_target"]


# --- idempotency ----------------------------------------------------------------------------------------


async def test_idempotency_key(client: httpx.AsyncClient) -> None:
    key = {"Idempotency-Key": "one"}
    first = await post(client, headers=key)
    again = await post(client, headers=key)
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json() == again.json()
    for change in ({"name": "other"}, {"noise_variance": "0.5"}, {"file": CSV + "\n1,2,3,4"}):
        other = await post(client, headers=key, **change)
        assert (other.status_code, other.json()["code"]) == (409, "idempotency_key_reused")


async def test_a_key_is_not_spent_on_a_refused_upload(client: httpx.AsyncClient) -> None:
    key = {"Idempotency-Key": "two"}
    assert (await post(client, headers=key, target="nope")).status_code == 422
    assert (await post(client, headers=key)).status_code == 201


# --- refusals -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "pointer", "code"),
    [
        ({"feature_map": None}, "/feature_map", "missing"),
        ({"feature_map": "rbf"}, "/feature_map", "json_invalid"),
        ({"feature_map": '{"kind": "rbf", "bandwidth": NaN}'}, "/feature_map", "json_invalid"),
        ({"feature_map": '{"kind": "sigmoid"}'}, "/feature_map", "union_tag_invalid"),
        ({"feature_map": '{"kind": "rbf", "bandwidth": -1}'}, "/feature_map/bandwidth", "greater_than_equal"),
        ({"feature_map": '{"kind": "rbf", "width": 1}'}, "/feature_map/width", "extra_forbidden"),
        ({"feature_map": '{"kind": "polynomial"}'}, "/feature_map/degree", "missing"),
        ({"feature_map": '{"kind": "polynomial", "degree": 11}'}, "/feature_map/degree", "less_than_equal"),
        ({"feature_map": '{"kind": "polynomial", "degree": "5"}'}, "/feature_map/degree", "int_type"),
        ({"target_transform": '{"kind": "modulo", "divisor": 1}'}, "/target_transform/divisor", "greater_than_equal"),
        ({"target_transform": "[" * 5000}, "/target_transform", "json_invalid"),
        ({"noise_variance": "-1"}, "/noise_variance", "greater_than_equal"),
        ({"noise_variance": "nan"}, "/noise_variance", "finite_number"),
        ({"noise_variance": "much"}, "/noise_variance", "float_parsing"),
        ({"name": "a\x00b"}, "/name", None),
        ({"target": "label"}, "/target", "unknown_column"),
        ({"file": ""}, "/file", "empty"),
        ({"file": CSV + "\n1,2,3"}, "/file", "ragged"),
        ({"file": "a,y\n" + "0,1\n1,2\n" * 400_000}, "/file", "too_large"),
        ({"file": "a,y\n" + "".join(f"7,{i}\n" for i in range(50))}, "/feature_map", "degenerate_rows"),
    ],
)  # fmt: skip
async def test_what_is_wrong_is_said_where_it_is(
    client: httpx.AsyncClient, settings: Settings, change: Any, pointer: str, code: str | None
) -> None:
    response = await post(client, **change)
    assert response.status_code == 422, response.text
    problem = response.json()
    assert problem["code"] == "invalid_input"
    assert problem["errors"][0]["pointer"] == pointer
    if code is not None:
        assert problem["errors"][0]["code"] == code
    assert nothing_left(settings)
    assert (await client.get("/v1/datasets")).json()["items"] == []


async def test_an_upload_above_the_limit_is_413(database_url: str, tmp_path: Path, app: FastAPI) -> None:
    from service.app import create_app

    small = create_app(Settings(database_url=database_url, data_dir=tmp_path, max_upload_bytes=1000))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=small), base_url="http://test") as client:
        response = await post(client)
    await small.state.database.dispose()
    assert (response.status_code, response.json()["code"]) == (413, "payload_too_large")
    assert "1000 bytes" in response.json()["detail"]


async def test_busy_is_429(client: httpx.AsyncClient, app: FastAPI) -> None:
    busy = Describer()
    app.state.describer = busy
    async with busy.admitted(), busy.admitted():
        response = await post(client)
    assert (response.status_code, response.json()["code"]) == (429, "too_many_requests")
    assert int(response.headers["retry-after"]) > 0
    with pytest.raises(TooManyRequests):
        async with busy.admitted(), busy.admitted(), busy.admitted():
            pass
    async with busy.admitted():
        pass


async def test_the_event_loop_is_free_while_a_data_set_is_described(client: httpx.AsyncClient) -> None:
    rows = RNG.standard_normal((900, 5))
    text = "a,b,c,d,y\n" + "\n".join(",".join(map(repr, map(float, row))) for row in rows)
    upload = asyncio.create_task(post(client, file=text))
    turns = 0
    # what this thread computes, not how long it waits: a busy machine does not count
    computed, began = time.thread_time(), time.perf_counter()
    while not upload.done():
        await asyncio.sleep(0.01)
        turns += 1
    assert (await upload).status_code == 201
    assert turns > 5
    assert time.thread_time() - computed < 0.5 * (time.perf_counter() - began)


# --- read -------------------------------------------------------------------------------------------------


async def test_get_and_conditional_get(client: httpx.AsyncClient) -> None:
    answer = await created(client)
    found = await client.get(f"/v1/datasets/{answer['id']}")
    assert found.json() == answer
    etag = found.headers["etag"]
    again = await client.get(f"/v1/datasets/{answer['id']}", headers={"If-None-Match": etag})
    assert (again.status_code, again.content) == (304, b"")
    await client.delete(f"/v1/datasets/{answer['id']}")
    changed = await client.get(f"/v1/datasets/{answer['id']}", headers={"If-None-Match": etag})
    assert changed.status_code == 200


@pytest.mark.parametrize("identity", ["dst_" + 26 * "a", "nonsense", "prd_" + 26 * "a"])
async def test_what_is_not_there_is_404(client: httpx.AsyncClient, identity: str) -> None:
    for method in ("GET", "DELETE"):
        response = await client.request(method, f"/v1/datasets/{identity}")
        assert (response.status_code, response.json()["code"]) == (404, "not_found")


async def test_pages_hold_every_data_set_once(client: httpx.AsyncClient) -> None:
    made = [(await created(client, noise_variance=str(0.01 + i)))["id"] for i in range(5)]
    seen, cursor = [], None
    while True:
        response = await client.get(
            "/v1/datasets", params={"limit": 2} | ({"cursor": cursor} if cursor else {})
        )
        page = response.json()
        seen += [item["id"] for item in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == made[::-1]
    item = page["items"][0]
    assert (item["noise_variance"], item["rows"]["count"], item["target"]["name"]) == (0.01, 60, "y")
    assert (await client.get("/v1/datasets", params={"cursor": "x"})).status_code == 422
