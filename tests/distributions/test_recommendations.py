"""Recommended amounts of real data: the prediction itself keeps the bound there, and breaks it with one sample less."""

from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.distributions.estimator import recommend as estimator
from service.distributions.estimator.schemas import EstimatorRecommendationRequest
from service.distributions.gaussian import recommend as gaussian
from service.distributions.gaussian.schemas import GaussianRecommendationRequest

GAUSSIAN = "/v1/distributions/gaussian"
CASES: list[tuple[dict[str, Any], str, bool]] = [
    ({"bound": {"quantity": "variance", "limit": 0.95}, "generations": 20}, "variance", True),
    ({"bound": {"quantity": "kl_fit_true", "limit": 0.05}, "generations": 30}, "kl_fit_true", False),
    (
        {"bound": {"quantity": "wasserstein2_squared", "limit": 0.06}, "generations": 9, "workflow": "retained"},
        "wasserstein2_squared", False,
    ),
    (
        {
            "bound": {"quantity": "drift", "limit": 0.06}, "generations": 12, "workflow": "fresh_iid",
            "estimator": "unbiased",
        },
        "drift", False,
    ),
    ({"bound": {"quantity": "typical_variance", "limit": 0.9}, "generations": 15}, "typical_variance", True),
]  # fmt: skip


@pytest.mark.anyio
@pytest.mark.parametrize(("body", "quantity", "at_least"), CASES, ids=lambda case: str(case)[:30])
async def test_predictions_on_both_sides(
    http_without_database: httpx.AsyncClient, body: dict[str, Any], quantity: str, at_least: bool
) -> None:
    answer = await http_without_database.post(f"{GAUSSIAN}/recommendations", json={"samples": 100, **body})
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert found["reachable"]
    for side, keeps in (("recommended", True), ("just_below", False)):
        amount = found[side]
        workflow: dict[str, Any] = {
            "kind": body.get("workflow", "fresh"),
            "real_samples": amount["real_samples"],
        }
        if workflow["kind"] == "fresh_iid":
            workflow = {"kind": "fresh", "allocation": "iid", "real_fraction": amount["real_fraction"]}
        request = {
            "samples": 100, "generations": body["generations"], "workflow": workflow,
            "estimator": body.get("estimator", "mle"),
        }  # fmt: skip
        value = (await http_without_database.post(f"{GAUSSIAN}/predictions", json=request)).json()["final"][
            quantity
        ]
        assert value == pytest.approx(amount["value"], rel=1e-12)
        assert ((value >= found["limit"]) if at_least else (value <= found["limit"])) is keeps


@settings(max_examples=40, deadline=None)
@given(
    st.integers(2, 10**9), st.floats(0.05, 0.999), st.sampled_from([None, 1, 50]),
    st.sampled_from(["fresh", "fresh_iid", "retained"]),
)  # fmt: skip
def test_the_variance_kept_for_ever_or_not_at_all(
    samples: int, limit: float, generations: int | None, workflow: str
) -> None:
    request = GaussianRecommendationRequest.model_validate({
        "samples": samples, "generations": generations, "workflow": workflow,
        "bound": {"quantity": "variance", "limit": limit},
    })  # fmt: skip
    search = gaussian.search_of(request)
    found = search.smallest()
    if found is None:
        assert search.value(samples) < limit
        return
    assert search.value(found) >= limit
    if found > search.least:
        below = found - 1 if search.whole else found * (1 - 1e-8)
        assert search.value(below) < limit
        for part in (0.0, 0.5, 0.75):
            fewer = max(int(part * found) if search.whole else part * found, search.least)
            assert not search.keeps(fewer), "more real data never lose what fewer keep"


def test_for_ever_is_the_fixed_point() -> None:
    """Variance 1 − 1/(M(1 − b²) + b) ≥ 0.9 with M = 50: m = 5 gives 0.9038."""
    body = {"samples": 50, "generations": None, "bound": {"quantity": "variance", "limit": 0.9}}
    found = gaussian.recommended(GaussianRecommendationRequest.model_validate(body))
    assert found.recommended is not None
    assert found.just_below is not None
    assert found.recommended.real_samples == 5
    assert found.recommended.value == pytest.approx(0.9038461538461539, rel=1e-12)
    assert found.just_below.value == pytest.approx(1 - 1 / (50 * (1 - 0.92**2) + 0.92), rel=1e-12)
    assert found.validity.method == "exact"
    out_of_reach = gaussian.recommended(
        GaussianRecommendationRequest.model_validate(
            {**body, "bound": {"quantity": "variance", "limit": 0.99}}
        )
    )
    assert not out_of_reach.reachable
    assert "Only more samples" in out_of_reach.sentence


@settings(max_examples=60, deadline=None)
@given(
    st.integers(2, 10**12), st.floats(1.01, 1e6), st.sampled_from([None, 1, 50]),
    st.sampled_from(["pooled", "optimal", "kalman"]),
)  # fmt: skip
def test_estimators_on_both_sides(samples: int, times: float, generations: int | None, weight: str) -> None:
    request = EstimatorRecommendationRequest.model_validate({
        "samples": samples, "generations": generations, "weight": weight,
        "bound": {"quantity": "error_variance", "limit": times / samples},
    })  # fmt: skip
    search = estimator.search_of(request)
    found = search.smallest()
    assert found is not None
    assert search.keeps(found)
    if found:
        assert not search.keeps(found - 1)
        assert not search.keeps(found // 2) or found // 2 == found
    answer = estimator.recommended(request)
    assert answer.recommended is not None
    assert answer.recommended.real_samples == found


@pytest.mark.anyio
async def test_it_is_stored_and_found_again(http: httpx.AsyncClient) -> None:
    body = {"samples": 50, "generations": None, "bound": {"quantity": "effective_samples", "limit": 20.0}}
    made = (await http.post("/v1/distributions/estimator/recommendations", json=body)).json()
    assert made["kind"] == "estimator_recommendation"
    assert made["recommended"]["value"] >= 20
    assert (await http.get(f"/v1/distributions/predictions/{made['id']}")).json() == made
