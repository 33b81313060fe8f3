"""POST /v1/distributions/tail/predictions: what is asked, answered, refused."""

from typing import Any

import httpx
import pytest

from service.theory.distributions.tail.training import CLEAN, Counts, Mixed, Narrowed, unseen_mass
from service.theory.distributions.tail.zipf import Zipf
from tests.web.asking import assert_problem

pytestmark = pytest.mark.anyio

PATH = "/v1/distributions/tail/predictions"
ZIPF: dict[str, Any] = {"kind": "zipf", "exponent": 2.0}
MIXED: dict[str, Any] = {
    "law": ZIPF,
    "training": {"kind": "mixed", "rank": 1000, "real_fraction": 0.1},
    "samples": 10**6,
}


async def test_a_mixture_and_its_plateau(http: httpx.AsyncClient) -> None:
    answer = (await http.post(PATH, json=MIXED)).json()
    assert answer["test_error"] == pytest.approx(0.0007822553718871441, rel=1e-12)
    assert answer["closed_law"] == pytest.approx(answer["test_error"], rel=1e-6)
    plateau = answer["plateau"]
    # ζ(2, 1001)/ζ(2), and 3.058 k² ζ(2) real samples end it, ten times as many at a tenth
    assert plateau["height"] == pytest.approx(0.000999500166616691 / 1.6449340668482264, rel=1e-9)
    assert plateau["real_samples_to_halve_law"] == pytest.approx(3.058e6 * 1.6449340668, rel=2e-4)
    assert plateau["halved_at"] == pytest.approx(10 * plateau["real_samples_to_halve"], rel=1e-4)
    assert answer["regime"] == "scaling"
    assert len(answer["curve"]) == 33
    assert [p["samples"] for p in answer["curve"]] == sorted({p["samples"] for p in answer["curve"]})
    stored = await http.get(f"/v1/distributions/predictions/{answer['id']}")
    assert stored.json() == answer
    methods = {one["quantity"]: one["method"] for one in answer["validity"]["quantities"]}
    assert methods["test_error"] == "exact"
    assert methods["closed_law"] == "approximate"


@pytest.mark.parametrize(
    ("training", "expected"),
    [
        ({"kind": "real"}, CLEAN),
        ({"kind": "cut", "rank": 30}, Mixed(0.0, 30.0)),
        ({"kind": "narrowed", "exponent": 2.5}, Narrowed(2.5)),
        ({"kind": "counts", "rank": 30, "real_samples": 500}, Counts(500.0, 30.0)),
    ],
)
async def test_every_kind_of_training(
    http_without_database: httpx.AsyncClient, training: dict[str, Any], expected: Any
) -> None:
    body = {"law": {**ZIPF, "types": 5000}, "training": training, "samples": 400, "curve": [1, 20, 400]}
    answer = (await http_without_database.post(PATH, json=body)).json()
    law = Zipf(2.0, 5000)
    assert answer["test_error"] == pytest.approx(unseen_mass(law, expected, 400.0), rel=1e-13)
    assert answer["clean_error"] == pytest.approx(unseen_mass(law, CLEAN, 400.0), rel=1e-13)
    curve = [unseen_mass(law, expected, T) for T in (1.0, 20.0, 400.0)]
    assert [point["test_error"] for point in answer["curve"]] == pytest.approx(curve, rel=1e-13)
    assert answer["curve"][0]["closed_law"] is None  # one sample is too few for a law, and this says so
    assert "no_closed_law" in {one["code"] for one in answer["validity"]["warnings"]}


async def test_memories(http_without_database: httpx.AsyncClient) -> None:
    async def ask(memory: Any, samples: int = 10**6) -> Any:
        body = {"law": ZIPF, "training": {"kind": "real"}, "samples": samples, "memory": memory}
        return (await http_without_database.post(PATH, json=body)).json()

    clean = unseen_mass(Zipf(2.0), CLEAN, 1e6)
    items = await ask({"kind": "items", "items": 100})
    assert items["test_error"] == pytest.approx(Zipf(2.0).beyond(100.0), rel=1e-4)
    assert items["plateau"]["cause"] == "memory"
    assert items["plateau"]["real_samples_to_halve"] is None
    frequent = await ask({"kind": "items", "items": 100, "keeps": "most_frequent"})
    assert frequent["test_error"] == items["test_error"]
    noise = await ask({"kind": "items", "items": 100, "keeps": "most_frequent"}, 10**4)
    assert noise["test_error"] is None
    assert noise["effective_samples"] is None
    assert "rank_noise" in {one["code"] for one in noise["validity"]["warnings"]}
    roomy = await ask({"kind": "items", "items": 10**9, "keeps": "most_frequent"})
    assert roomy["test_error"] == pytest.approx(clean, rel=1e-12)
    associative = await ask({"kind": "associative", "width": 256, "exponent": 0.5})
    assert associative["test_error"] == pytest.approx(clean + 1 / 16, rel=1e-12)
    assert associative["memory_floor"] == 1 / 16


async def test_generations_count_synthetic_data(http_without_database: httpx.AsyncClient) -> None:
    async def ask(generations: int) -> Any:
        training = {"kind": "recursive", "generations": generations, "generator_samples": 10_000}
        body = {"law": {**ZIPF, "exponent": 1.5}, "training": training, "samples": 1000}
        return (await http_without_database.post(PATH, json=body)).json()

    real, one, five = [await ask(generations) for generations in (0, 1, 5)]
    assert real["test_error"] == real["clean_error"]
    assert one["test_error"] == pytest.approx(0.09570220424330977, rel=1e-6)
    assert [row["generation"] for row in five["generations"]] == [0, 1, 2, 3, 4, 5]
    assert five["generations"][0]["test_error"] == real["test_error"]
    assert five["generations"][1]["test_error"] == one["test_error"]
    assert five["generations"][5]["test_error"] == five["test_error"]
    assert five["plateau"]["cause"] == "generations"


async def test_too_few_founders_are_said_to_be_too_few(http_without_database: httpx.AsyncClient) -> None:
    training = {"kind": "recursive", "generations": 10**6, "generator_samples": 10, "real_fraction": 1e-9}
    body = {"law": ZIPF, "training": training, "samples": 10}
    answer = (await http_without_database.post(PATH, json=body)).json()
    assert answer["test_error"] is None
    assert answer["generations"][0]["test_error"] is not None
    assert answer["generations"][-1]["founders"] is None
    assert "few_founders" in {one["code"] for one in answer["validity"]["warnings"]}


async def test_pairs(http_without_database: httpx.AsyncClient) -> None:
    law = {"kind": "bigram", "context_exponent": 2.0, "token_exponent": 1.5}
    body = {"law": law, "training": {"kind": "real"}, "samples": 10**4, "curve": [10**4]}
    answer = (await http_without_database.post(PATH, json=body)).json()
    assert answer["test_error"] == pytest.approx(0.09822162851822418, rel=1e-11)
    assert answer["closed_law"] == pytest.approx(answer["test_error"], rel=3e-5)
    cut = (
        await http_without_database.post(PATH, json={**body, "training": {"kind": "cut", "rank": 9}})
    ).json()
    assert cut["test_error"] > cut["plateau"]["height"] > 0
    assert cut["closed_law"] is None


@pytest.mark.parametrize(
    ("change", "pointer", "says"),
    [
        ({"law": {"kind": "zipf", "exponent": 1.0}}, "/law", "number of types"),
        ({"law": {"kind": "zipf", "exponent": 0.0}}, "/law/exponent", "greater than 0"),
        ({"law": {"kind": "zipf", "exponent": 2.0, "types": 10**16}}, "/law/types", "1000000000000000"),
        ({"samples": 0}, "/samples", "1"),
        ({"samples": 10**18 + 1}, "/samples", "1000000000000000000"),
        ({"training": {"kind": "narrowed", "exponent": 1.5}}, "", "at least"),
        ({"training": {"kind": "mixed", "rank": 0, "real_fraction": 0.5}}, "/training/rank", "1"),
        ({"training": {"kind": "mixed", "rank": 5, "real_fraction": 1.5}}, "/training/real_fraction", "1"),
        ({"curve": [3, 2]}, "", "above"),
        (
            {"training": {"kind": "recursive", "generations": 2, "generator_samples": [5]}},
            "/training",
            "one for each",
        ),
        (
            {
                "training": {"kind": "recursive", "generations": 2, "generator_samples": 5},
                "memory": {"kind": "items", "items": 5, "keeps": "most_frequent"},
            },
            "",
            "simulate",
        ),
        ({"law": {"kind": "bigram", "context_exponent": 2.0, "token_exponent": 2.0}}, "", "bigram"),
    ],
)
async def test_bad_input_is_a_problem_that_names_the_field_and_the_way_out(
    http_without_database: httpx.AsyncClient, change: dict[str, Any], pointer: str, says: str
) -> None:
    response = await http_without_database.post(PATH, json={**MIXED, **change})
    errors: Any = assert_problem(response, 422, "invalid_input")["errors"]
    assert errors[0]["pointer"] == pointer
    assert says in errors[0]["message"]


@pytest.mark.parametrize("exponent", [1.01, 1.5, 20.0])
@pytest.mark.parametrize("samples", [1, 10**18])
@pytest.mark.parametrize("rank", [1, 10**15])
async def test_the_ends_of_every_range_are_answered(
    http_without_database: httpx.AsyncClient, exponent: float, samples: int, rank: int
) -> None:
    law = {"kind": "zipf", "exponent": exponent}
    for training in (
        {"kind": "mixed", "rank": rank, "real_fraction": 1e-12},
        {"kind": "counts", "rank": rank, "real_samples": 0},
    ):
        body = {"law": law, "training": training, "samples": samples, "curve": [samples]}
        response = await http_without_database.post(PATH, json=body)
        assert response.status_code == 200, response.text
        assert 0 <= response.json()["test_error"] <= 1


async def test_real_samples_that_have_ended_the_plateau_by_themselves(
    http_without_database: httpx.AsyncClient,
) -> None:
    """They cover what rank 1 leaves out, however few synthetic ones there are: nothing to search for."""
    for law in ({"exponent": 1.0, "types": 10**9}, {"exponent": 2.0}):
        body = {
            "law": {"kind": "zipf", **law}, "samples": 3,
            "training": {"kind": "counts", "rank": 1, "real_samples": 10**12},
        }  # fmt: skip
        answer = (await http_without_database.post(PATH, json=body)).json()
        assert answer["plateau"]["halved_at"] == 0
        assert answer["regime"] == "recovered"
        assert answer["test_error"] < answer["plateau"]["height"] / 2


async def test_generations_that_lose_nothing_have_no_plateau(
    http_without_database: httpx.AsyncClient,
) -> None:
    """Two items and a trillion samples: what is lost is below the smallest number."""
    body = {
        "law": {"kind": "zipf", "exponent": 0.5, "types": 2}, "samples": 151,
        "training": {"kind": "recursive", "generations": 2, "generator_samples": 10**12},
    }  # fmt: skip
    answer = (await http_without_database.post(PATH, json=body)).json()
    assert answer["plateau"] is None
    p = 1 / (1 + 2**0.5)
    assert answer["test_error"] == pytest.approx(p * (1 - p) ** 151 + (1 - p) * p**151, rel=1e-3)
