"""Chains of estimators, drawn sample by sample: every family and workflow beside its prediction."""

from typing import Any

import httpx
import numpy as np
import pytest

from service.distributions.estimator.engine import predicted
from service.distributions.estimator.simulation import ESTIMATOR, EstimatorSimulationRequest
from service.errors import InvalidInput
from service.simulations.submit import plan
from tests.distributions.test_simulations import scores, simulated

REPLACE = {"kind": "replace"}
REGRESSION = {"kind": "least_squares", "dimension": 2}
SCALE, COUNT = {"kind": "exponential"}, {"kind": "poisson", "mean": 2.0}


def fresh(real: Any, weight: Any = "pooled") -> dict[str, Any]:
    return {"kind": "fresh", "real_samples": real, "weight": weight}


CHAINS: list[dict[str, Any]] = [
    {"workflow": REPLACE, "samples": [7, 12, 9, 20], "family": {"kind": "linear", "parameters": 2}},
    {"workflow": fresh(4), "samples": 12},
    {"workflow": fresh([3, 0, 12], 0.3), "samples": 12},
    {"workflow": fresh(4, "optimal"), "samples": 12},
    {"workflow": fresh(4, "kalman"), "samples": 12},
    {"workflow": {"kind": "retained", "real_samples": 5}, "samples": 12},
    {"workflow": {"kind": "retained", "real_samples": 5, "weight": 0.2}, "samples": 12},
    {"workflow": {"kind": "accumulate"}, "samples": [9, 12, 5, 7]},
    {"workflow": {"kind": "accumulate", "real_fraction": 0.25}, "samples": 12},
    {"workflow": REPLACE, "samples": 12, "family": REGRESSION},
    {"workflow": fresh(8, 0.4), "samples": 18, "family": REGRESSION},
    {"workflow": {"kind": "retained", "real_samples": 9, "weight": 0.4}, "samples": 20, "family": REGRESSION},
    {"workflow": REPLACE, "samples": [9, 12, 20, 30], "family": SCALE},
    {"workflow": REPLACE, "samples": 4, "family": {"kind": "poisson", "mean": 0.4}},
    {"workflow": {"kind": "accumulate"}, "samples": 8, "family": COUNT},
    {"workflow": fresh(3), "samples": 8, "family": COUNT},
]


@pytest.mark.parametrize(
    "body", CHAINS, ids=lambda body: f"{body.get('family', {}).get('kind')} {body['workflow']}"
)
def test_exact_chains_agree_with_their_prediction(body: dict[str, Any]) -> None:
    request = EstimatorSimulationRequest.model_validate({**body, "generations": 3, "replicates": 3000})
    found = dict(scores(simulated(ESTIMATOR, request, 3000)))
    assert len(found) >= 4
    assert max(abs(z) for z in found.values()) < 4.5, found


APPROXIMATE: list[dict[str, Any]] = [
    {"workflow": {"kind": "accumulate"}, "samples": 30, "family": REGRESSION},
    {"workflow": fresh(10), "samples": 40, "family": REGRESSION},
    {"workflow": {"kind": "retained", "real_samples": 20}, "samples": 40, "family": REGRESSION},
    {"workflow": {"kind": "accumulate", "real_fraction": 0.5}, "samples": 30, "family": REGRESSION},
    {"workflow": fresh(10), "samples": 40, "family": SCALE},
    {"workflow": {"kind": "accumulate"}, "samples": 20, "family": SCALE},
    {"workflow": {"kind": "retained", "real_samples": 10}, "samples": 30, "family": SCALE},
    {"workflow": {"kind": "accumulate", "fixed_budget": True}, "samples": 10},
    {"workflow": {"kind": "accumulate", "fixed_budget": True}, "samples": 12, "family": SCALE},
    {"workflow": {"kind": "accumulate", "fixed_budget": True}, "samples": 30, "family": REGRESSION},
    {"workflow": REPLACE, "samples": 15, "family": COUNT},
]


@pytest.mark.parametrize(
    "body", APPROXIMATE, ids=lambda body: f"{body.get('family', {}).get('kind')} {body['workflow']}"
)
def test_first_orders_are_within_their_stated_error(body: dict[str, Any]) -> None:
    request = EstimatorSimulationRequest.model_validate({**body, "generations": 4, "replicates": 3000})
    found = dict(scores(simulated(ESTIMATOR, request, 3000)))  # which asserts it
    assert all(abs(z) < 4.5 for z in found.values()), found


def pooled_budget(samples: int, fits: int) -> list[float]:
    """E (mean of M draws with replacement from the pool)², exactly: P its mean's, q its scatter's expectation."""
    P, q, N, found = 1 / samples, samples - 1.0, samples, []
    for _ in range(fits):
        drawn = q / (N * samples)
        found.append(P + drawn)
        q += samples - 1 + N * samples / (N + samples) * (drawn + 1 / samples)
        P += (samples / (N + samples)) ** 2 * (drawn + 1 / samples)
        N += samples
    return found


@pytest.mark.parametrize("samples", [1, 2, 5, 15, 100])
def test_the_fixed_budget_is_a_first_order_and_says_how_far_off(samples: int) -> None:
    workflow = {"kind": "accumulate", "fixed_budget": True}
    body = {"workflow": workflow, "samples": samples, "generations": 60, "replicates": 2}
    request = EstimatorSimulationRequest.model_validate(body)
    answer = predicted(request)
    stated = {one.quantity: one.expected_relative_error for one in answer.validity.quantities}[
        "squared_error"
    ]
    law = np.array([row.squared_error for row in answer.curve], dtype=float)
    off = np.abs(law / np.array(pooled_budget(samples, 61)) - 1)
    assert off.max() == pytest.approx(stated, rel=1e-9)
    assert answer.validity.method == "approximate"


def test_the_exact_fixed_budget_is_what_is_drawn() -> None:
    body = {
        "workflow": {"kind": "accumulate", "fixed_budget": True},
        "samples": 3,
        "generations": 4,
        "replicates": 2,
    }
    request = EstimatorSimulationRequest.model_validate(body)
    outcomes = ESTIMATOR.work(request, [], None).outcomes(11, 0, 6000)[:5]
    error = outcomes.std(axis=1, ddof=1) / np.sqrt(6000)
    assert np.abs((outcomes.mean(axis=1) - pooled_budget(3, 5)) / error).max() < 4


def test_a_mean_that_rare_runs_carry_gets_no_z_score() -> None:
    body = {
        "workflow": REPLACE,
        "samples": 10,
        "generations": 40,
        "at": [0, 40],
        "replicates": 200,
        "family": SCALE,
    }
    request = EstimatorSimulationRequest.model_validate(body)
    curves = {curve.quantity: curve.points for curve in simulated(ESTIMATOR, request, 200).curves}
    assert curves["squared_error"][0].z_score is not None
    assert curves["squared_error"][1].z_score is None
    assert abs(curves["kl"][1].z_score or 9.0) < 4


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"family": {"kind": "efficient"}}, "/family"),
        ({"family": {"kind": "poisson", "mean": 1e20}}, "/family/mean"),
        ({"samples": 10**12}, ""),
        (
            {"samples": 10, "workflow": {"kind": "accumulate", "real_fraction": 0.33}},
            "/workflow/real_fraction",
        ),
        ({"samples": 10, "workflow": fresh(1, 0.5), "family": REGRESSION}, "/samples"),
    ],
)
def test_what_cannot_be_drawn_is_refused(change: dict[str, Any], pointer: str) -> None:
    body = {"samples": 100, "generations": 2, "workflow": REPLACE, "replicates": 2}
    request = EstimatorSimulationRequest.model_validate({**body, **change})
    with pytest.raises(InvalidInput) as raised:
        plan(ESTIMATOR, request, None, 3600.0)
    assert raised.value.errors[0].pointer == pointer


@pytest.mark.anyio
async def test_they_are_queued(http: httpx.AsyncClient) -> None:
    body = {**CHAINS[4], "generations": 3, "replicates": 10}
    made = await http.post("/v1/distributions/estimator/simulations", json=body)
    assert made.status_code == 202, made.text
    fetched = (await http.get(made.headers["location"])).json()
    assert (fetched["kind"], fetched["state"]) == ("estimator", "queued")
    assert fetched["curves"][0]["points"][0]["predicted"] == pytest.approx(1 / 12)


def test_kalman_weights_are_those_of_the_law() -> None:
    request = EstimatorSimulationRequest.model_validate({**CHAINS[4], "generations": 3, "replicates": 2})
    work: Any = ESTIMATOR.work(request, [], None)
    V = 1 / 12
    for weight in work.weights[1:]:
        carried = V + 1 / 8
        assert weight == pytest.approx(carried / (1 / 4 + carried), rel=1e-12)
        V = 1 / (4 + 1 / carried)
    assert np.isfinite(work.weights).all()
