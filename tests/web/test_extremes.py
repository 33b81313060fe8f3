"""Numbers at the ends of what is accepted: an answer without NaN, or a refusal, and never a 5xx."""

from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from tests.web.asking import assert_problem, client_of

pytestmark = [
    pytest.mark.anyio,
    # overflow is what is asked for here; it must not come out as a number
    pytest.mark.filterwarnings("ignore::RuntimeWarning"),
]

EXTREME: list[dict[str, Any]] = [
    {
        "dataset": {
            "spectrum": {"kind": "levels", "values": [3.0, 1e-308], "multiplicities": [5, 50]},
            "target": {"kind": "isotropic", "squared_norm": 1.0},
            "noise_variance": 0.25,
        },
        "training_mix": {
            "kind": "recursive",
            "generations": 3,
            "generator": {"samples": 600, "noise_variance": 1, "penalty": 0.01},
            "samples": 300,
            "penalty": 0.01,
        },
    },
    {
        "dataset": {
            "spectrum": {
                "kind": "levels",
                "values": [1e60, 0.001, 1e60, 1e-30, 0.001],
                "multiplicities": [1_000_000, 300, 1, 10, 1_000_000],
            },
            "target": {"kind": "isotropic", "squared_norm": 1e-60},
            "noise_variance": 1e12,
        },
        "training_mix": {
            "kind": "replace_with_real",
            "generations": 0,
            "samples": 299,
            "real_fraction": 0.5,
            "penalty": 1e60,
        },
    },
    {
        "dataset": {
            "spectrum": {"kind": "eigenvalues", "values": [1e60, 1e60, 1e-30, 1, 1e12, 3.7, 1e-60, 0]},
            "target": {"kind": "coefficients", "values": [-1e12, 1e-30, 1e60, 1e6, -0.001, 1e60, -100, 1]},
            "noise_variance": 1e60,
        },
        "training_mix": {
            "kind": "recursive",
            "generations": 50,
            "generator": {"samples": 300},
            "samples": 2,
            "penalty": 0,
        },
    },
    {
        "dataset": {
            "spectrum": {"kind": "eigenvalues", "values": [100, 3.7, 1e-12, 0.1, 1e60, 1e12, 0, 1e-60]},
            "target": {"kind": "isotropic", "squared_norm": 0},
            "noise_variance": 1,
        },
        "training_mix": {
            "kind": "mixture",
            "real": {"samples": 3, "weight": 3.7},
            "synthetic": [
                {
                    "samples": 0,
                    "quality": {"kind": "shift", "squared_norm": 1e-30},
                    "weight": 1e60,
                    "spectrum": {"kind": "isotropic", "dimension": 8, "variance": 1e-12},
                }
            ],
            "penalty": "optimal",
            "width": 299,
        },
    },
    {
        "dataset": {
            "spectrum": {"kind": "isotropic", "dimension": 20, "variance": 3.5},
            "target": {"kind": "isotropic", "squared_norm": 10},
            "noise_variance": 1e30,
        },
        "training_mix": {"kind": "accumulate", "generations": 0, "samples": 8, "penalty_sum": 0.03},
    },
    {
        "dataset": {
            "spectrum": {"kind": "power_law", "dimension": None, "exponent": 20, "scale": 3.7},
            "target": {"kind": "source", "exponent": 0.5},
            "noise_variance": 3.7,
        },
        "training_mix": {
            "kind": "replace_with_real",
            "generations": 2,
            "samples": 7,
            "real_fraction": 1,
            "penalty": 1e-12,
        },
    },
]


@pytest.fixture
async def http(app_without_database: FastAPI, anyio_backend: str) -> Any:
    async with client_of(app_without_database) as client:
        yield client


@pytest.mark.parametrize(
    "request_",
    EXTREME,
    ids=["hardly any", "one fit", "fifty generations", "covariate shift", "kept data", "steep"],
)
async def test_an_answer_without_nan_or_a_refusal(http: httpx.AsyncClient, request_: dict[str, Any]) -> None:
    answer = await http.post("/v1/predictions", json=request_)
    if answer.status_code == 200:
        assert "NaN" not in answer.text
        assert "Infinity" not in answer.text
    else:
        assert_problem(answer, 422, "invalid_input")


async def test_an_endless_spectrum_whose_target_hardly_converges(
    http_without_database: httpx.AsyncClient,
) -> None:
    """‖w‖² = Σ 1/i^(1 + 1e-308): no penalty has a finite error, and looking for one comes to an end."""
    dataset = {
        "spectrum": {"kind": "power_law", "dimension": None, "exponent": 1.5},
        "target": {"kind": "source", "exponent": 1e-308},
        "noise_variance": 0.25,
    }
    mix = {
        "kind": "replace_with_real",
        "generations": 3,
        "samples": 300,
        "real_fraction": 0.3,
        "penalty": 0.05,
    }
    answer = await http_without_database.post(
        "/v1/predictions", json={"dataset": dataset, "training_mix": mix}
    )
    problem = assert_problem(answer, 422, "invalid_input")
    assert problem["errors"][0]["code"] == "overflow"  # type: ignore[index]


async def test_a_spectrum_whose_squares_would_underflow(http_without_database: httpx.AsyncClient) -> None:
    dataset = {
        "spectrum": {"kind": "eigenvalues", "values": [1e-80, 1e-81]},
        "target": {"kind": "isotropic", "squared_norm": 1e60},
        "noise_variance": 0.25,
    }
    mix = {"kind": "recursive", "generations": 0, "generator": {"samples": 9}, "samples": 30, "penalty": 0.0}
    answer = await http_without_database.post(
        "/v1/predictions", json={"dataset": dataset, "training_mix": mix}
    )
    problem = assert_problem(answer, 422, "invalid_input")
    (error,) = problem["errors"]  # type: ignore[misc]
    assert (error["pointer"], error["code"]) == ("/dataset/spectrum", "too_small")
