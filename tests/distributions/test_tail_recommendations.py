"""POST /v1/distributions/tail/recommendations: each answer is tried on both sides with the prediction."""

from typing import Any

import httpx
import numpy as np
import pytest

from service.theory.distributions.tail.training import CLEAN, Mixed, unseen_mass
from service.theory.distributions.tail.zipf import Zipf
from tests.web.asking import assert_problem

pytestmark = pytest.mark.anyio

PATH = "/v1/distributions/tail"
ZIPF: dict[str, Any] = {"kind": "zipf", "exponent": 1.5}
CUT = {"kind": "cut", "rank": 100}
MIXED = {"kind": "mixed", "rank": 100, "real_fraction": 0.0}
COUNTS = {"kind": "counts", "rank": 100, "real_samples": 0}
RECURSIVE = {"kind": "recursive", "generations": 20, "generator_samples": 10_000}


async def ask(http: httpx.AsyncClient, **changed: Any) -> Any:
    body = {"law": ZIPF, "samples": 10**6, **changed}
    response = await http.post(f"{PATH}/recommendations", json=body)
    assert response.status_code == 200, response.text
    return response.json()


@pytest.mark.parametrize(
    ("vary", "training", "limit", "field"),
    [
        ("samples", {"kind": "real"}, 0.01, "samples"),
        ("samples", CUT, 0.08, "samples"),
        ("real_samples", COUNTS, 0.05, "training/real_samples"),
        ("real_fraction", MIXED, 0.05, "training/real_fraction"),
        ("generations", RECURSIVE, 0.1, "training/generations"),
        ("real_fraction", {**RECURSIVE, "real_fraction": 0.0}, 0.07, "training/real_fraction"),
    ],
)
async def test_the_prediction_keeps_the_bound_here_and_not_beyond(
    http_without_database: httpx.AsyncClient, vary: str, training: Any, limit: float, field: str
) -> None:
    answer = await ask(http_without_database, vary=vary, training=training, bound={"limit": limit})
    assert answer["reachable"]
    for side, keeps in (("recommended", True), ("just_beyond", False)):
        value = answer[side]["value"]
        body: dict[str, Any] = {"law": ZIPF, "samples": 10**6, "training": dict(training), "curve": [1]}
        target = body["training"] if "/" in field else body
        target[field.rpartition("/")[2]] = value if vary == "real_fraction" else int(value)
        predicted = (await http_without_database.post(f"{PATH}/predictions", json=body)).json()
        assert predicted["test_error"] == pytest.approx(answer[side]["test_error"], rel=1e-12)
        assert (predicted["test_error"] <= limit) is keeps
    if vary != "real_fraction":
        assert abs(answer["recommended"]["value"] - answer["just_beyond"]["value"]) == 1
    else:
        assert answer["just_beyond"]["value"] == pytest.approx(answer["recommended"]["value"], rel=1e-8)


async def test_no_value_keeps_what_the_plateau_forbids(http_without_database: httpx.AsyncClient) -> None:
    plateau = Zipf(1.5).beyond(100.0)
    answer = await ask(http_without_database, vary="samples", training=CUT, bound={"limit": 0.99 * plateau})
    assert not answer["reachable"]
    assert answer["recommended"] is None
    assert answer["best"]["test_error"] == pytest.approx(plateau, rel=1e-9)
    assert answer["sentence"].startswith("No samples reach")


async def test_a_bound_by_the_clean_error(http_without_database: httpx.AsyncClient) -> None:
    clean = unseen_mass(Zipf(1.5), CLEAN, 1e6)
    bound = {"limit": 2.0, "relative": True}
    answer = await ask(http_without_database, vary="real_fraction", training=MIXED, bound=bound)
    assert answer["limit"] == pytest.approx(2 * clean, rel=1e-12)
    # beyond the plateau the error is that of π T clean samples: 2 = π^-(1/3)
    assert answer["recommended"]["value"] == pytest.approx(1 / 8, rel=1e-3)


async def test_few_samples_of_a_cut_generator_can_be_better_than_real_ones(
    http_without_database: httpx.AsyncClient,
) -> None:
    """The error is convex in the fraction, not monotone: the least fraction lies below the best one."""
    law, T = Zipf(1.5), 100.0
    grid = np.linspace(0, 1, 2001)
    errors = [unseen_mass(law, Mixed(pi, 100.0), T) for pi in grid]
    assert errors[0] < errors[-1]
    answer = await ask(
        http_without_database, vary="real_fraction", training=MIXED, samples=100, bound={"limit": 0.2}
    )
    assert answer["best"]["test_error"] <= min(errors) * (1 + 1e-9)
    assert answer["best"]["value"] == pytest.approx(grid[int(np.argmin(errors))], abs=1e-3)
    assert answer["recommended"]["value"] == 0.0


async def test_for_ever_is_after_so_many_generations_that_more_change_nothing(
    http_without_database: httpx.AsyncClient,
) -> None:
    asked: dict[str, Any] = {"vary": "real_fraction", "samples": 10_000, "bound": {"limit": 0.06}}
    training = {**RECURSIVE, "generations": 0}
    forever = await ask(http_without_database, training=training, for_ever=True, **asked)
    assert "after any number of generations" in forever["sentence"]
    thousands = await ask(http_without_database, training={**training, "generations": 10_000}, **asked)
    assert forever["recommended"]["value"] == pytest.approx(thousands["recommended"]["value"], rel=1e-6)
    assert " needs a real fraction of at least 0." in forever["sentence"]
    few = await ask(http_without_database, training={**training, "generations": 3}, **asked)
    assert few["recommended"]["value"] < forever["recommended"]["value"]


async def test_where_nothing_is_known_nothing_is_recommended(
    http_without_database: httpx.AsyncClient,
) -> None:
    """Eight samples have no ten founders, and of 400 their law is not exact: no answer that pretends to one."""
    training = {**RECURSIVE, "generator_samples": 400}
    answer = await ask(
        http_without_database, vary="real_fraction", training=training, samples=8, bound={"limit": 0.001}
    )
    assert not answer["reachable"]
    assert answer["best"]["test_error"] is None
    assert "few_founders" in {one["code"] for one in answer["validity"]["warnings"]}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"vary": "real_samples", "training": MIXED}, "counts"),
        ({"vary": "generations", "training": MIXED}, "recursive"),
        ({"vary": "samples", "training": MIXED, "for_ever": True}, "recursive"),
        (
            {
                "vary": "samples",
                "training": {"kind": "real"},
                "memory": {"kind": "items", "items": 3, "keeps": "most_frequent"},
            },
            "most_probable",
        ),
    ],
)
async def test_what_cannot_be_varied_is_refused(
    http_without_database: httpx.AsyncClient, change: dict[str, Any], says: str
) -> None:
    body = {"law": ZIPF, "samples": 100, "bound": {"limit": 0.1}, **change}
    response = await http_without_database.post(f"{PATH}/recommendations", json=body)
    errors: Any = assert_problem(response, 422, "invalid_input")["errors"]
    assert says in errors[0]["message"]


async def test_a_recommendation_is_stored(http: httpx.AsyncClient) -> None:
    answer = await ask(http, vary="samples", training={"kind": "real"}, bound={"limit": 0.01})
    stored = await http.get(f"/v1/distributions/predictions/{answer['id']}")
    assert stored.json() == answer
