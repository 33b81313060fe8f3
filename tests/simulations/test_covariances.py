"""Sources with covariance matrices, from the request to the result beside the prediction."""

from typing import Any

import numpy as np
import pytest
from scipy.stats import ortho_group

from service.errors import InvalidInput
from service.simulations.planning import planned
from service.simulations.schemas import SimulationRequest
from tests.simulations.test_methods import run

D = 16
V = ortho_group.rvs(D, random_state=4)
VALUES = ((V * np.arange(1.0, D + 1) ** -1.5) @ V.T).tolist()


def changes(values: Any, coefficients: list[float] | None = None, **more: Any) -> dict[str, Any]:
    target: dict[str, Any] = {"kind": "isotropic", "squared_norm": 1.0}
    if coefficients is not None:
        target = {"kind": "coefficients", "values": coefficients}
    return {
        "dataset": {
            "spectrum": {"kind": "power_law", "dimension": D, "exponent": 1.0}, "target": target,
            "noise_variance": 0.25,
        },
        "training_mix": {
            "kind": "mixture",
            "real": {"samples": 60},
            "synthetic": [
                {
                    "samples": 60,
                    "quality": {"kind": "shift", "squared_norm": 0.2},
                    "covariance": {"kind": "matrix", "values": values},
                }
            ],
            "penalty": 0.02,
        },
        **more,
    }  # fmt: skip


@pytest.mark.parametrize("known", [True, False], ids=["known target", "random target"])
@pytest.mark.parametrize("method", ["literal", "wishart"])
def test_simulation_and_prediction_agree(method: str, known: bool) -> None:
    coefficients = np.random.default_rng(1).normal(size=D).tolist() if known else None
    result = run(**changes(VALUES, coefficients, method=method, average_noise=True, replicates=250))
    [stage] = result.points[0].stages
    assert stage.z_score is not None
    assert abs(stage.z_score) < 3.5
    assert stage.z_scores.bias is not None
    assert abs(stage.z_scores.bias) < 3.5
    # the identity in its place is another problem
    other = run(**changes(np.eye(D).tolist(), coefficients, method=method, replicates=2))
    predicted = other.points[0].stages[0].prediction
    assert predicted is not None
    assert stage.test_error is not None
    assert abs(stage.test_error.mean - predicted.total) > 6 * (stage.test_error.standard_error or 0)


def test_points_of_a_grid_have_their_own_covariances() -> None:
    """Predictions of one mix are not taken for those of another that differs in its matrix alone."""
    requests = [SimulationRequest.model_validate(
        {**changes(values), "replicates": 2, "seed": 1}) for values in (VALUES, np.eye(D).tolist())]  # fmt: skip
    a, b = (planned(request, None).points[0]["stages"][0]["prediction"]["total"] for request in requests)
    assert abs(a / b - 1) > 1e-3


def test_what_is_no_covariance_is_refused_at_submit() -> None:
    values = np.diag([*[1.0] * (D - 1), -1.0]).tolist()
    request = SimulationRequest.model_validate({**changes(values), "replicates": 2, "seed": 1})
    with pytest.raises(InvalidInput, match="least eigenvalue"):
        planned(request, None)
