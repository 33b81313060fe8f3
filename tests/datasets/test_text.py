"""Texts: tokens, counts and the Zipf exponent; what is no text is refused; vocabularies are predicted from them."""

import gzip
import os
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from service.datasets.describe_text import describe_text
from service.datasets.ingest import Upload
from service.datasets.text import IngestedText, ingest_text
from service.datasets.text_schemas import TextDescription, TextOptions, Tokens
from service.datasets.words import ranks_of
from service.errors import InvalidInput
from service.theory.distributions.vocabulary.zipf_fit import ZipfFit, fit_zipf
from tests.web.asking import assert_problem

WIKITEXT = Path(os.environ.get("COLLAPSE_TEST_DATA", "../shared/data")) / "wikitext-2"
TEXT = "The cat sat on the mat .\n\nThe dog's dog — l’été — sat, too! éé\r\n" * 3


def ingested(tmp_path: Path, data: bytes, tokens: Tokens = "whitespace", limit: int = 10**7) -> Any:
    (tmp_path / "file").write_bytes(data)
    return ingest_text(Upload(tmp_path / "file", None, TextOptions(tokens=tokens), tmp_path, limit))


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [
        ("whitespace", TEXT.split()),
        ("character", list(TEXT)),
        (
            "word",
            ["the", "cat", "sat", "on", "the", "mat", "the", "dog's", "dog", "l’été", "sat", "too", "éé"] * 3,
        ),
    ],
)
def test_tokens(tmp_path: Path, tokens: Tokens, expected: list[str]) -> None:
    found = ingested(tmp_path, b"\xef\xbb\xbf" + TEXT.encode(), tokens)
    assert isinstance(found, IngestedText)
    assert [found.types[i] for i in np.load(found.rows)] == expected
    counts = Counter(expected)
    assert dict(zip(found.types, np.load(found.labels).tolist(), strict=True)) == counts


@pytest.mark.parametrize("tokens", ["whitespace", "word", "character"])
@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_pieces_of_any_size_are_one_text(
    tmp_path: Path, tokens: Tokens, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Characters of several bytes and tokens are cut by no chunk."""
    whole = ingested(tmp_path, TEXT.encode(), tokens)
    rows = np.load(whole.rows)
    monkeypatch.setattr("service.datasets.text._CHUNK", size)
    parts = ingested(tmp_path, TEXT.encode(), tokens)
    assert (parts.types, parts.content_hash, parts.rows_hash) == (
        whole.types,
        whole.content_hash,
        whole.rows_hash,
    )
    assert np.array_equal(np.load(parts.rows), rows)


def test_gzip_is_the_text_itself(tmp_path: Path) -> None:
    plain, packed = (
        ingested(tmp_path, TEXT.encode()),
        ingested(tmp_path, gzip.compress(TEXT.encode())),
    )
    assert (plain.content_hash, plain.rows_hash) == (packed.content_hash, packed.rows_hash)


@pytest.mark.parametrize(
    ("data", "code", "says"),
    [
        (b"", "too_few_tokens", "at least 10"),
        (b"one two", "too_few_tokens", "at least 10"),
        (b"word " * 20 + "é".encode("latin1"), "invalid_utf8", "byte 100"),
        ("wide " .encode("utf-16") * 20, "invalid_utf8", "byte 0"),
        (b"a \x00 b " * 20, "not_text", "NUL"),
        (b"PK\x03\x04 abc" * 20, "not_text", "zip"),
        (b"x" * 5000, "token_too_long", "1000 characters"),
        (b"a b " * 20 + b"\xc3", "invalid_utf8", "byte 80"),
        (gzip.compress(TEXT.encode())[:-12], "invalid_gzip", "damaged"),
        (gzip.compress(gzip.compress(TEXT.encode())), "nested_compression", "twice"),
        (gzip.compress(b"bomb " * 3_000_000), "too_large", "10000000 bytes"),
    ],
)  # fmt: skip
def test_what_is_no_text_is_refused(tmp_path: Path, data: bytes, code: str, says: str) -> None:
    error = ingested(tmp_path, data)
    assert isinstance(error, InvalidInput)
    assert error.errors[0].code == code
    assert says in error.errors[0].message


def test_limits_on_tokens_and_types(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.datasets.text.MAX_TOKENS", 50)
    assert ingested(tmp_path, b"a b " * 100).errors[0].code == "too_many_tokens"
    monkeypatch.setattr("service.datasets.text.MAX_TOKENS", 5000)
    monkeypatch.setattr("service.datasets.text.MAX_TYPES", 20)
    assert ingested(tmp_path, " ".join(map(str, range(100))).encode()).errors[0].code == "too_many_types"


# --- the Zipf exponent ----------------------------------------------------------------------------


@pytest.mark.parametrize("exponent", [0.6, 1.0, 1.3])
def test_the_exponent_of_a_sampled_zipf_law(exponent: float) -> None:
    p = np.arange(1.0, 201) ** -exponent
    scores = []
    for seed in range(20):
        counts = np.random.default_rng(seed).multinomial(200_000, p / p.sum())
        distinct, types = np.unique(counts[counts > 0], return_counts=True)
        fit = fit_zipf(distinct[::-1].astype(float), types[::-1])
        assert isinstance(fit, ZipfFit)
        assert (fit.first, fit.last) == (1, 200)
        assert fit.exponent == pytest.approx(exponent, rel=0.01)
        scores.append((fit.exponent - exponent) / fit.standard_error)
    # Ranks are those of the sample, which lends the fit a bias below its standard error; the scatter is right.
    assert 0.5 < np.std(scores, ddof=1) < 1.6
    assert abs(np.mean(scores)) < 1.5


def test_counts_without_an_exponent() -> None:
    assert "only 3 types" in str(fit_zipf(np.array([30.0, 20, 10]), np.array([1, 1, 1])))
    assert "equally often" in str(fit_zipf(np.array([30.0]), np.array([40])))


def test_a_description_is_of_the_counts(tmp_path: Path) -> None:
    found = describe_text(ingested(tmp_path, TEXT.encode()), TextOptions(tokens="whitespace"))
    assert isinstance(found, TextDescription)
    counts = Counter(TEXT.split())
    p = np.array(list(counts.values())) / counts.total()
    assert (found.count, found.types, found.once) == (counts.total(), len(counts), 0)
    assert found.entropy == pytest.approx(-p @ np.log(p))
    assert found.diversity == pytest.approx(1 - p @ p)
    assert found.exponent.value is None
    assert found.exponent.reason
    assert {one.token: one.count for one in found.most_frequent} == counts
    assert {one.pointer: one.origin for one in found.provenance}["/frequencies"] == "measured"


@pytest.mark.skipif(not WIKITEXT.exists(), reason=f"no wikitext-2 under COLLAPSE_TEST_DATA ({WIKITEXT})")
def test_wikitext(tmp_path: Path) -> None:
    data = (WIKITEXT / "valid.txt.gz").read_bytes()
    found = describe_text(ingested(tmp_path, data), TextOptions(tokens="whitespace"))
    assert isinstance(found, TextDescription)
    words = gzip.decompress(data).decode().split()
    assert (found.count, found.types) == (len(words), len(set(words)))
    assert found.exponent.value is not None
    assert 0.8 < found.exponent.value < 1.2
    assert "undersampled" not in {one.code for one in found.warnings} or found.once > 0.05 * found.count


# --- over HTTP ------------------------------------------------------------------------------------


async def upload(client: httpx.AsyncClient, data: Any = TEXT, **form: Any) -> httpx.Response:
    return await client.post("/v1/datasets", files={"file": ("text", data)}, data={"tokens": "word"} | form)


@pytest.mark.anyio
async def test_a_text_data_set_and_what_is_predicted_from_it(client: httpx.AsyncClient) -> None:
    response = await upload(client, name="cats")
    assert response.status_code == 201, response.text
    text = response.json()
    assert (text["kind"], text["tokens"], text["name"]) == ("text", "word", "cats")
    assert (await upload(client, gzip.compress(TEXT.encode()))).status_code == 200, "the same content"
    assert (await client.get(f"/v1/datasets/{text['id']}")).json() == text
    (item,) = (await client.get("/v1/datasets")).json()["items"]
    assert (item["kind"], item["count"], item["types"]) == ("text", text["count"], text["types"])
    body = {
        "vocabulary": text["id"], "samples": 100, "generations": 5, "workflow": {"kind": "replace"}, "ranks": [1],
    }  # fmt: skip
    path = "/v1/distributions/vocabulary/predictions"
    answer = (await client.post(path, json=body)).json()
    counts = {
        "kind": "counts",
        **{k: text["frequencies"][v] for k, v in (("values", "counts"), ("types", "types"))},
    }
    assert answer["curve"] == (await client.post(path, json={**body, "vocabulary": counts})).json()["curve"]
    assert answer["truth"]["types"] == text["types"]
    ridge = {"dataset": text["id"], "training_mix": {"kind": "mixture", "real": {"samples": 9}, "synthetic": [],
             "penalty": 1.0}}  # fmt: skip
    wrong = await client.post("/v1/predictions", json=ridge)
    assert_problem(wrong, 422, "invalid_input")
    assert wrong.json()["errors"][0]["code"] == "wrong_kind"
    missing = await client.post(path, json={**body, "vocabulary": "dst_" + "a" * 26})
    assert_problem(missing, 404, "not_found")
    assert (await client.delete(f"/v1/datasets/{text['id']}")).status_code == 204
    assert (await client.post(path, json=body)).json()["curve"] == answer["curve"], "a description stays"


@pytest.mark.anyio
async def test_texts_and_rows_are_told_apart(client: httpx.AsyncClient) -> None:
    both = await upload(client, feature_map='{"kind": "linear"}')
    assert_problem(both, 422, "invalid_input")
    assert both.json()["errors"][0]["pointer"] == "/feature_map"
    neither = await client.post("/v1/datasets", files={"file": ("text", TEXT)})
    assert_problem(neither, 422, "invalid_input")
    assert neither.json()["errors"][0]["pointer"] == "/feature_map"
    unknown = await upload(client, tokens="syllable")
    assert_problem(unknown, 422, "invalid_input")
    damaged = await upload(client, b"\xff\xfe" * 100)
    assert_problem(damaged, 422, "invalid_input")
    assert damaged.json()["errors"][0]["code"] == "invalid_utf8"


@pytest.mark.parametrize("tokens", ["whitespace", "word", "character"])
def test_ranks_of_tokens(tmp_path: Path, tokens: Tokens) -> None:
    """Counted afresh: by falling count, ties as they first occur; what is a part of a token is none."""
    found = ingested(tmp_path, TEXT.encode(), tokens)
    counts = np.load(found.labels)
    order = sorted(range(len(found.types)), key=lambda i: (-counts[i], i))
    expected = {found.types[i]: rank for rank, i in enumerate(order, start=1)}
    asked = [*expected, "sa", "nowhere", "mat ."]
    assert ranks_of(asked, found.strings, found.labels) == [expected.get(token) for token in asked]


@pytest.mark.anyio
async def test_the_fate_of_a_token_by_its_string(client: httpx.AsyncClient) -> None:
    text = (await upload(client)).json()
    path = "/v1/distributions/vocabulary/predictions"
    body = {
        "vocabulary": text["id"], "samples": 20, "generations": 3, "workflow": {"kind": "replace"}, "ranks": [1],
        "tokens": ["dog", "the"],
    }  # fmt: skip
    answer = (await client.post(path, json=body)).json()
    by_rank, dog, the = answer["curve"][0]["gone"]
    assert (by_rank["token"], dog["token"], the["token"]) == (None, "dog", "the")
    assert the["rank"] == 1
    assert the["true_probability"] == by_rank["true_probability"] == pytest.approx(9 / 39)
    assert dog["true_probability"] == pytest.approx(3 / 39)
    assert dog["probability"] == pytest.approx((1 - 3 / 39) ** 20, rel=1e-12)
    assert the["probability"] == pytest.approx((1 - 9 / 39) ** 20, rel=1e-12)

    unknown = await client.post(path, json={**body, "tokens": ["the", "Dog"]})
    assert_problem(unknown, 422, "invalid_input")
    (error,) = unknown.json()["errors"]
    assert (error["pointer"], error["code"]) == ("/tokens/1", "unknown_token")
    assert "lower case" in error["message"]
    zipf = {"kind": "zipf", "types": 10, "exponent": 1.0}
    assert_problem(await client.post(path, json={**body, "vocabulary": zipf}), 422, "invalid_input")

    recommend = "/v1/distributions/vocabulary/recommendations"
    bound = {"quantity": "gone", "limit": 0.2, "token": "dog"}
    asked = {"vocabulary": text["id"], "samples": 20, "generations": 3, "bound": bound}
    found = (await client.post(recommend, json=asked)).json()
    same = {**asked, "bound": {"quantity": "gone", "limit": 0.2, "rank": dog["rank"]}}
    assert found["recommended"] == (await client.post(recommend, json=same)).json()["recommended"]
    missing = await client.post(recommend, json={**asked, "bound": {**bound, "token": "Dog"}})
    assert missing.json()["errors"][0]["pointer"] == "/bound/token"
    both = await client.post(recommend, json={**asked, "bound": {**bound, "rank": 1}})
    assert_problem(both, 422, "invalid_input")

    assert (await client.delete(f"/v1/datasets/{text['id']}")).status_code == 204
    assert_problem(await client.post(path, json=body), 409, "rows_deleted")
    assert (await client.post(path, json={**body, "tokens": []})).status_code == 200, "ranks stay"
    assert (await upload(client)).status_code == 200, "the same text brings them back"
    assert (await client.post(path, json=body)).json()["curve"] == answer["curve"]
