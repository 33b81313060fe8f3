"""Simulations of Gaussians, kernel estimates and mixtures: equal bits in parts, agreement with their predictions."""

from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest

from service.distributions.curves_by_generation import Generational, SimulatedCurves
from service.distributions.gaussian.simulation import GAUSSIAN, GaussianSimulationRequest
from service.distributions.kde.simulation import KDE, KdeSimulationRequest
from service.distributions.mixture.simulation import MIXTURE, MixtureSimulationRequest
from tests.web.asking import assert_problem

GAUSSIANS: list[dict[str, Any]] = [
    {"workflow": {"kind": "replace"}, "samples": 12, "generations": 3, "thresholds": [0.5]},
    {
        "workflow": {"kind": "replace"}, "samples": [20, 12, 30], "generations": 2, "estimator": "unbiased",
        "spectrum": {"kind": "eigenvalues", "values": [1.0, 2.0, 5.0]}, "determinant_thresholds": [0.3],
    },
    {"workflow": {"kind": "fresh", "real_samples": 4}, "samples": 12, "generations": 4},
    {"workflow": {"kind": "fresh", "real_fraction": 0.3, "allocation": "iid"}, "samples": 10, "generations": 3},
    {"workflow": {"kind": "retained", "real_samples": 5}, "samples": 12, "generations": 4},
    {"workflow": {"kind": "retained", "real_samples": 5}, "samples": [9, 12, 14], "generations": 2},
    {
        "workflow": {"kind": "accumulate"}, "samples": [10, 5, 8, 6], "generations": 3, "thresholds": [0.7],
        "spectrum": {"kind": "isotropic", "dimension": 1, "variance": 4.0},
    },
]  # fmt: skip
KDES: list[dict[str, Any]] = [
    {"workflow": {"kind": "replace"}, "samples": 25, "generations": 3, "bandwidth": {"kind": "fixed", "value": 0.4}},
    {
        "workflow": {"kind": "fresh", "real_fraction": 0.4, "allocation": "iid"}, "samples": 20, "generations": 2,
        "bandwidth": {"kind": "silverman", "corrected": True},
    },
]  # fmt: skip


def simulated(kind: Generational[Any], request: Any, replicates: int) -> SimulatedCurves:
    plan = kind.plan(request, None)
    work = kind.work(request, plan.points, None)
    outcomes = work.outcomes(7, 0, replicates)
    assert outcomes.shape == (plan.outcomes, replicates)
    parts = np.hstack([work.outcomes(7, 0, 3), work.outcomes(7, 3, 5)])
    assert parts.tobytes() == np.ascontiguousarray(outcomes[:, :5]).tobytes(), (
        "results do not depend on the shards"
    )
    return kind.result(request.model_dump(mode="json"), plan.points, outcomes)


def scores(found: SimulatedCurves) -> Iterator[tuple[str, float]]:
    """Of exact predictions; approximate ones have to be within their stated error."""
    for curve in found.curves:
        for point in curve.points:
            if point.z_score is None or point.predicted is None or curve.expected_relative_error is None:
                continue
            if curve.expected_relative_error == 0:
                yield f"{curve.quantity} at {point.generation}", point.z_score
                continue
            assert point.mean is not None
            assert point.standard_error is not None
            scale = 1.0 if curve.quantity.startswith("below") else abs(point.mean)
            slack = curve.expected_relative_error * scale + 4.5 * point.standard_error
            assert abs(point.mean - point.predicted) < slack, (curve.quantity, point)


@pytest.mark.parametrize("body", GAUSSIANS, ids=lambda body: f"{body['workflow']['kind']} {body['samples']}")
def test_gaussians_agree_with_their_prediction(body: dict[str, Any]) -> None:
    request = GaussianSimulationRequest.model_validate({**body, "replicates": 1500})
    found = dict(scores(simulated(GAUSSIAN, request, 1500)))
    assert len(found) >= 3 * (body["generations"] + 1)
    assert max(abs(z) for z in found.values()) < 4.8, found


@pytest.mark.parametrize("body", KDES, ids=lambda body: body["bandwidth"]["kind"])
def test_kernel_estimates_agree_with_their_prediction(body: dict[str, Any]) -> None:
    request = KdeSimulationRequest.model_validate({**body, "replicates": 1500})
    found = dict(scores(simulated(KDE, request, 1500)))
    assert len(found) >= 9
    assert max(abs(z) for z in found.values()) < 4.5, found


def test_mixtures_agree_where_components_are_far_apart_and_say_so_where_not() -> None:
    body = {"generations": 2, "samples": 40, "weights": [0.1, 0.9], "replicates": 100}
    far = simulated(MIXTURE, MixtureSimulationRequest.model_validate({**body, "separation": 20.0}), 100)
    found = dict(scores(far))
    assert len(found) >= 20
    assert max(abs(z) for z in found.values()) < 4.5, found
    near = MIXTURE.plan(MixtureSimulationRequest.model_validate({**body, "separation": 2.0}), None)
    assert all("no formula" in curve["reason"] for curve in near.points[0]["curves"])


@pytest.mark.parametrize("allocation", ["stratified", "iid"])
def test_mixtures_with_fresh_real_samples(allocation: str) -> None:
    """A lost component comes back with the real samples; weights follow the vocabulary's exact laws."""
    workflow = {"kind": "fresh", "real_fraction": 0.2, "allocation": allocation}
    body = {"generations": 3, "samples": 20, "weights": [0.1, 0.9], "separation": 25.0, "workflow": workflow}
    request = MixtureSimulationRequest.model_validate({**body, "replicates": 150})
    far = simulated(MIXTURE, request, 150)
    found = dict(scores(far))
    assert len(found) >= 20
    assert max(abs(z) for z in found.values()) < 4.5, found
    reasons = {curve.quantity: curve.no_prediction for curve in far.curves}
    assert "fresh" in (reasons["component_1/variance"] or "")


def test_a_precision_is_about_the_last_generation_of_what_is_plotted() -> None:
    request = GaussianSimulationRequest.model_validate({**GAUSSIANS[0], "replicates": 2})
    plan = GAUSSIAN.plan(request, None)
    names = [curve["quantity"] for curve in plan.points[0]["curves"]]
    generations = len(plan.points[0]["generations"])
    found = [divmod(row, generations) for row in GAUSSIAN.wanted(plan.points)]
    assert [(names[k], column) for k, column in found] == [("variance", 3), ("drift", 3)]


def test_infinite_outcomes_have_no_mean() -> None:
    request = GaussianSimulationRequest.model_validate(
        {"workflow": {"kind": "replace"}, "samples": 1, "generations": 1, "replicates": 5}
    )
    curves = {curve.quantity: curve for curve in simulated(GAUSSIAN, request, 5).curves}
    assert curves["kl_fit_true"].points[0].mean is None
    assert curves["variance"].points[0].mean == 0.0
    assert "warnings" in (curves["kl_fit_true"].no_prediction or "")


def test_a_mean_that_rare_runs_carry_gets_no_z_score() -> None:
    """After 100 fits to 10 samples 1,000 runs say nothing of the expected variance, and do of its logarithm."""
    request = GaussianSimulationRequest.model_validate(
        {"workflow": {"kind": "replace"}, "samples": 10, "generations": 60, "at": [3, 60], "replicates": 200}
    )
    curves = {curve.quantity: curve.points for curve in simulated(GAUSSIAN, request, 200).curves}
    assert curves["variance"][0].z_score is not None
    assert curves["variance"][1].z_score is None
    assert curves["variance"][1].standard_error is not None
    assert abs(curves["log_variance_mean"][1].z_score or 9.0) < 4


EXTREME: list[tuple[Generational[Any], dict[str, Any]]] = [
    (GAUSSIAN, {"workflow": {"kind": "replace"}, "samples": 2, "generations": 5_000}),
    (GAUSSIAN, {
        "workflow": {"kind": "replace"}, "samples": 3, "generations": 2_000,
        "spectrum": {"kind": "isotropic", "dimension": 2},
    }),
    (KDE, {
        "workflow": {"kind": "replace"}, "samples": 20, "generations": 60,
        "bandwidth": {"kind": "relative", "factor": 1e9},
    }),
    (KDE, {
        "workflow": {"kind": "replace"}, "samples": 2, "generations": 3_000,
        "bandwidth": {"kind": "silverman", "corrected": True},
    }),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "body"), EXTREME)
def test_what_collapses_or_explodes_beyond_all_numbers_is_reported_still(
    kind: Generational[Any], body: dict[str, Any]
) -> None:
    """Variances of 1e-300 and errors of 1e300, whose squares are no numbers: nothing fails, what is known is told."""
    request = kind.request.model_validate(body | {"replicates": 5})
    found = simulated(kind, request, 5)
    assert found.model_validate_json(found.model_dump_json()) == found
    drift = next(curve for curve in found.curves if curve.quantity == "drift")
    assert drift.points[0].standard_error is not None


@pytest.mark.parametrize(("d", "samples", "generations"), [(2, 10, 400), (20, 50, 150), (3, 3, 4)])
def test_directions_that_collapse_faster_than_others_keep_their_precision(
    d: int, samples: int, generations: int
) -> None:
    """After 400 fits of ten pairs the variances are 23 orders of magnitude apart: no matrix holds both."""
    request = GaussianSimulationRequest.model_validate({
        "spectrum": {"kind": "power_law", "dimension": d, "exponent": 0.5}, "workflow": {"kind": "replace"},
        "samples": samples, "generations": generations, "replicates": 200,
        "at": [1, generations // 2, generations],
    })  # fmt: skip
    found = simulated(GAUSSIAN, request, 200)
    known = dict(scores(found))
    assert max(abs(z) for z in known.values()) < 4.8, known
    [log_det] = [curve for curve in found.curves if curve.quantity == "log_determinant_mean"]
    if samples > d:
        assert all(abs(point.z_score or 9.0) < 4 for point in log_det.points)
    else:  # of rank d − 1 after the first fit
        assert [point.mean for point in log_det.points] == [None] * 3


@pytest.mark.anyio
async def test_they_are_queued_and_live_with_the_other_simulations(http: httpx.AsyncClient) -> None:
    body = {**GAUSSIANS[0], "replicates": 10}
    estimate = await http.post("/v1/distributions/gaussian/simulations?validate_only=true", json=body)
    assert estimate.status_code == 200
    made = await http.post("/v1/distributions/gaussian/simulations", json=body)
    assert made.status_code == 202, made.text
    fetched = (await http.get(made.headers["location"])).json()
    assert (fetched["kind"], fetched["state"]) == ("gaussian", "queued")
    assert fetched["curves"][0]["points"][0]["predicted"] == pytest.approx(1 - 1 / 12)
    assert fetched["curves"][0]["points"][0]["mean"] is None
    for kind, other in (
        ("kde", KDES[0]),
        ("mixture", {"generations": 1, "samples": 9, "weights": [1.0], "separation": 9.0}),
    ):
        answer = await http.post(f"/v1/distributions/{kind}/simulations", json={**other, "replicates": 2})
        assert answer.status_code == 202, answer.text
    huge = await http.post("/v1/distributions/gaussian/simulations", json={**body, "samples": 10**15})
    assert_problem(huge, 422, "invalid_input")
