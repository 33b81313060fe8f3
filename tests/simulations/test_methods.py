"""Methods, features, averaged noise and the verdict, from the request to the reported result, without a database."""

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from service.errors import InvalidInput
from service.simulations import workload
from service.simulations.comparison import Compared, compared
from service.simulations.planning import planned
from service.simulations.schemas import SimulationRequest

BODY: dict[str, Any] = {
    "dataset": {
        "spectrum": {"kind": "power_law", "dimension": 20, "exponent": 1.0},
        "target": {"kind": "isotropic", "squared_norm": 1.0},
        "noise_variance": 0.25,
    },
    "training_mix": {
        "kind": "recursive",
        "generations": 2,
        "generator": {"samples": 200, "noise_variance": 1.0},
        "samples": 300,
        "penalty": 0.01,
    },
    "replicates": 120,
    "seed": 3,
}


def run(**changes: Any) -> Compared:
    """The result of a simulation, computed as a worker computes it, in two shards."""
    request = SimulationRequest.model_validate(BODY | changes)
    plan = planned(request, None)
    work = workload.work(request, [point["penalties"] for point in plan.points], None)
    half = request.replicates // 2
    shards = [
        work.outcomes(request.seed, first, last) for first, last in ((0, half), (half, request.replicates))
    ]
    return compared(request.model_dump(mode="json"), plan.points, np.concatenate(shards, axis=1))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"method": "wishart"},
        {"average_noise": True, "replicates": 40},
        {"method": "wishart", "average_noise": True, "replicates": 40},
        {"features": {"kind": "rademacher"}},
        {"features": {"kind": "uniform"}},
        {"features": {"kind": "student_t", "degrees_of_freedom": 30.0}},
        {"features": {"kind": "gaussian"}},
    ],
)
def test_every_method_finds_every_generation(changes: dict[str, Any]) -> None:
    [point] = run(**changes).points
    assert [stage.stage for stage in point.stages] == ["generation-1", "generation-2", "final"]
    for stage in point.stages:
        measured, prediction = stage.test_error, stage.prediction
        assert measured is not None
        assert prediction is not None
        for part in ("bias", "variance", "generation"):
            estimate, predicted = getattr(measured, part), getattr(prediction, part)
            assert abs(estimate.mean - predicted) < 4.5 * estimate.standard_error + 0.04 * prediction.total
        assert measured.mean == pytest.approx(
            measured.bias.mean + measured.variance.mean + measured.generation.mean, rel=1e-9
        )
        assert (measured.quantiles is None) is bool(changes.get("average_noise"))
        assert stage.z_scores.total == stage.z_score
    last = point.stages[-1]
    assert point.test_error == last.test_error
    assert point.z_score == pytest.approx(
        (last.test_error.mean - last.prediction.total) / last.test_error.standard_error, rel=1e-9
    )  # type: ignore[union-attr]


def test_methods_share_nothing_but_the_distribution() -> None:
    literal, wishart = run().points[0].test_error, run(method="wishart").points[0].test_error
    assert literal is not None
    assert wishart is not None
    assert literal.mean != wishart.mean
    spread = np.hypot(literal.standard_error or 0, wishart.standard_error or 0)
    assert abs(literal.mean - wishart.mean) < 4 * spread


def test_no_number_of_samples_is_too_large_for_wishart() -> None:
    mix = BODY["training_mix"] | {"samples": 10**15, "penalty": 0.0}
    result = run(method="wishart", training_mix=mix, average_noise=True, replicates=20)
    assert result.agreement.verdict == "agree"
    with pytest.raises(InvalidInput, match="method wishart takes any"):
        run(training_mix=mix)


def test_a_shared_design_is_simulated_generation_by_generation() -> None:
    generator = {"design": "shared", "samples": 12, "noise_variance": [0.1, 0.3, 0.2]}
    mix = BODY["training_mix"] | {"generations": 3, "generator": generator}
    [point] = run(training_mix=mix, average_noise=True, replicates=400).points
    assert [stage.stage for stage in point.stages] == [
        "generation-1",
        "generation-2",
        "generation-3",
        "final",
    ]
    for stage in point.stages:
        assert stage.prediction is not None
        assert stage.test_error is not None
        allowed = (
            4 * (stage.test_error.standard_error or 0) + 0.12 * stage.prediction.total
        )  # 12 samples: 1/N
        assert abs(stage.test_error.mean - stage.prediction.total) < allowed
    variances = [stage.prediction.variance for stage in point.stages[:2] if stage.prediction]
    assert variances[1] == pytest.approx(
        2.5 * variances[0], rel=1e-9
    )  # clean labels have the data set's noise


@pytest.mark.parametrize("samples", [60, 150])
def test_penalized_generators_on_a_shared_design_agree_with_theory(samples: int) -> None:
    """Every generation and the final fit; one generator does not shrink, one has no noise."""
    generator = {"design": "shared", "samples": samples, "penalty": [0.02, 0.0, 0.05, 0.03],
                 "noise_variance": [0.3, 0.1, 0.0, 0.2]}  # fmt: skip
    mix = {"kind": "recursive", "generations": 4, "samples": 120, "penalty": 0.02, "generator": generator}
    spectrum = {"kind": "power_law", "dimension": 100, "exponent": 0.8}
    result = run(
        dataset=BODY["dataset"] | {"spectrum": spectrum}, training_mix=mix, method="wishart", replicates=300
    )
    assert result.agreement.verdict == "agree"
    assert result.agreement.comparisons == 20
    [point] = result.points
    for stage in point.stages:
        assert stage.prediction is not None
        assert stage.z_scores.total is not None
        assert abs(stage.z_scores.total) < 4


def test_accumulating_data() -> None:
    mix = {"kind": "accumulate", "generations": 3, "samples": [60, 40, 60, 80], "penalty_sum": 2.0}
    result = run(training_mix=mix, average_noise=True, replicates=300)
    [point] = result.points
    assert [stage.stage for stage in point.stages] == [
        "generation-0",
        "generation-1",
        "generation-2",
        "final",
    ]
    for stage in point.stages:
        assert stage.prediction is not None
        assert stage.test_error is not None
        assert stage.difference is not None
        left_out = 4 * stage.prediction.expected_relative_error * stage.prediction.total
        assert abs(stage.difference) < 4 * (stage.test_error.standard_error or 0) + left_out


def test_theory_and_simulation_agree_where_the_theory_is_exact() -> None:
    """Without penalties and more samples than features: d/(T−d−1), to the last replicate."""
    mix = BODY["training_mix"] | {"penalty": 0.0}
    result = run(training_mix=mix, method="wishart", replicates=1500)
    assert result.agreement.verdict == "agree"
    assert result.agreement.disagreements == 0
    assert result.agreement.comparisons == 12
    assert 0.0 < (result.agreement.detectable_relative_difference or 0) < 0.1


def test_a_disagreement_is_flagged_with_its_likely_cause() -> None:
    """Heavy tails: the fit is worse than any Gaussian theory says."""
    mix = BODY["training_mix"] | {"generations": 0, "samples": 40, "penalty": 0.0}
    heavy = {"kind": "student_t", "degrees_of_freedom": 2.2}
    result = run(training_mix=mix, features=heavy, average_noise=True, replicates=300)
    assert result.agreement.verdict == "disagree"
    flagged = {one.part: one for one in result.points[0].stages[0].disagreements}
    assert "total" in flagged
    assert flagged["total"].likely_causes[0].code == "heavy_tails"
    assert flagged["total"].adjusted_p_value <= result.agreement.level
    # without bias the variance is the total: the same comparison
    assert result.agreement.disagreements == len({one.z_score for one in flagged.values()})


def test_a_disagreement_that_points_of_a_grid_share_counts_once() -> None:
    generator = {"samples": 40, "noise_variance": 0.5, "penalty": 0.0}
    mix = BODY["training_mix"] | {"generations": 1, "generator": generator, "samples": 40}
    heavy = {"kind": "student_t", "degrees_of_freedom": 2.2}
    grid = [{"pointer": "/training_mix/penalty", "values": [0.1, 0.3]}]
    result = run(training_mix=mix, features=heavy, average_noise=True, replicates=300, grid=grid)
    listed = [
        (stage.stage, k * (stage.stage == "final"), one.z_score)
        for k, point in enumerate(result.points)
        for stage in point.stages
        for one in stage.disagreements
    ]
    assert len(listed) > len(set(listed)) == result.agreement.disagreements


def test_few_samples_are_told_as_the_cause() -> None:
    """Three samples in five dimensions: even the finite-size prediction is off by what averaged noise can see."""
    spectrum = {"kind": "power_law", "dimension": 5, "exponent": 1.0}
    generator = {"samples": 3, "noise_variance": 0.5, "penalty": 0.3}
    mix = BODY["training_mix"] | {"generations": 1, "generator": generator, "samples": 3, "penalty": 0.3}
    dataset = BODY["dataset"] | {"spectrum": spectrum}
    result = run(dataset=dataset, training_mix=mix, average_noise=True, replicates=1500, method="wishart")
    assert result.agreement.verdict == "disagree"
    flagged = [one for stage in result.points[0].stages for one in stage.disagreements]
    assert "small_n" in {cause.code for one in flagged for cause in one.likely_causes}


def test_too_few_replicates_decide_nothing() -> None:
    assert run(replicates=4).agreement.verdict == "undecided"
    request = SimulationRequest.model_validate(BODY)
    plan = planned(request, None)
    nothing = compared(request.model_dump(mode="json"), plan.points, np.empty((plan.outcomes, 0)))
    assert nothing.agreement.verdict == "undecided"
    assert nothing.points[0].test_error is None
    assert nothing.points[0].stages[0].prediction is not None


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"method": "wishart", "features": {"kind": "rademacher"}}, "/features"),
        ({"method": "wishart", "features": {"kind": "student_t", "degrees_of_freedom": 5.0}}, "/features"),
        ({"average_noise": True, "training_mix": {"kind": "accumulate", "generations": 40, "samples": 3000,
          "penalty_sum": 0.1}, "dataset": BODY["dataset"] | {"spectrum": {"kind": "isotropic", "dimension": 1500}},
          "replicates": 1}, "/training_mix"),
    ],
)  # fmt: skip
def test_what_does_not_go_together_is_refused(changes: dict[str, Any], pointer: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        planned(SimulationRequest.model_validate(BODY | changes), None)
    assert [error.pointer for error in refused.value.errors] == [pointer]


def test_an_endless_data_set_is_told_to_state_a_dimension() -> None:
    dataset = BODY["dataset"] | {
        "spectrum": {"kind": "power_law", "dimension": None, "exponent": 1.5},
        "target": {"kind": "source", "exponent": 0.5},
    }
    with pytest.raises(
        InvalidInput, match=r"Infinitely many modes .* state a dimension, at most 2000,"
    ) as refused:
        planned(SimulationRequest.model_validate(BODY | {"dataset": dataset}), None)
    assert [error.pointer for error in refused.value.errors] == ["/dataset/spectrum/dimension"]


@pytest.mark.parametrize(
    "features",
    [
        {"kind": "student_t"},
        {"kind": "student_t", "degrees_of_freedom": 2.0},
        {"kind": "student_t", "degrees_of_freedom": float("inf")},
        {"kind": "gaussian", "degrees_of_freedom": 5.0},
        {"kind": "cauchy"},
        "rademacher",
    ],
)
def test_features_that_are_not_known_are_refused(features: object) -> None:
    with pytest.raises(ValidationError):
        SimulationRequest.model_validate(BODY | {"features": features})


def test_too_many_different_stages_are_refused() -> None:
    grid = [{"pointer": "/training_mix/generator/samples", "values": list(range(100, 350))}]
    with pytest.raises(InvalidInput, match="different stages"):
        planned(SimulationRequest.model_validate(BODY | {"grid": grid, "replicates": 1}), None)
