"""POST /v1/predictions:uncertain: intervals and rankings against closed forms, and what is refused."""

import math
from typing import Any

import httpx
import numpy as np
import pytest
from scipy.stats import norm

from service.predictions.schemas import PredictionRequest
from service.theory.slots import COLUMNS
from service.uncertainty.inputs import extracted
from tests.predictions.bodies import body, dataset, recursive
from tests.web.asking import assert_problem

pytestmark = pytest.mark.anyio

PATH = "/v1/predictions:uncertain"


async def asked(http: httpx.AsyncClient, content: dict[str, Any]) -> dict[str, Any]:
    response = await http.post(PATH, json=content)
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


def least_squares(**changes: Any) -> dict[str, Any]:
    """Ridgeless recursion with more samples than modes: σ² φ/(1 − φ) + Σ_k σ_k² φ_0/(1 − φ_0), linear in the noises.

    That is order 0.
    """
    generator = {"samples": 180, "noise_variance": {"low": 0.0, "high": 1.0}, "penalty": 0.0}
    mix = recursive(generations=2, generator=generator, samples=120, penalty=0.0)
    return {**body(mix, noise_variance={"low": 1.0, "high": 2.0}), "order": 0, **changes}


async def test_a_linear_output_has_its_exact_moments_and_indices(
    http_without_database: httpx.AsyncClient,
) -> None:
    answer = await asked(http_without_database, least_squares(samples=1024))
    # d = 60: φ/(1 − φ) = 1 at T = 120, φ_0/(1 − φ_0) = 1/2 at T_0 = 180, two generations
    total = answer["outputs"]["total"]
    assert total["mean"] == pytest.approx(1.5 + 0.5, rel=1e-3)
    variance = (1 + 1) / 12
    assert total["sd"] == pytest.approx(math.sqrt(variance), rel=5e-3)
    assert total["central"] == pytest.approx(2.0, rel=1e-9)
    # the sum of two uniform numbers is triangular on [1, 3]
    assert total["low"] == pytest.approx(1 + math.sqrt(2 * 0.05), abs=0.01)
    assert total["high"] == pytest.approx(3 - math.sqrt(2 * 0.05), abs=0.01)
    assert total["undefined"] == 0
    for influence in answer["ranking"]["total"]:
        assert influence["total_effect"] == pytest.approx(0.5, abs=4 * influence["standard_error"])
        assert influence["first_order"] == pytest.approx(0.5, abs=0.03)
        assert influence["sd_when_known"] == pytest.approx(math.sqrt(variance / 2), rel=0.03)
    assert {one["pointer"] for one in answer["ranking"]["total"]} == {
        "/dataset/noise_variance", "/training_mix/generator/noise_variance",
    }  # fmt: skip


async def test_finite_samples_are_the_default(http_without_database: httpx.AsyncClient) -> None:
    """T − d − 1 in the place of T − d, exactly: the mean of an inverse Wishart matrix."""
    content = least_squares()
    del content["order"]
    answer = await asked(http_without_database, content)
    d, last, generator = 60, 1 / (120 - 60 - 1), 1 / (180 - 60 - 1)
    total = answer["outputs"]["total"]
    assert answer["order"] == 1
    assert total["central"] == pytest.approx(d * (1.5 * last + 2 * 0.5 * generator), rel=1e-9)
    assert total["mean"] == pytest.approx(total["central"], rel=1e-3)
    assert total["sd"] == pytest.approx(d * math.sqrt((last**2 + (2 * generator) ** 2) / 12), rel=5e-3)


async def test_the_wider_input_is_the_one_to_measure(http_without_database: httpx.AsyncClient) -> None:
    content = least_squares()
    content["dataset"]["noise_variance"] = {"mean": 1.5, "sd": 0.05}
    answer = await asked(http_without_database, content)
    assert answer["inputs"][0]["distribution"] == "normal"
    first, second = answer["ranking"]["total"]
    assert first["pointer"] == "/training_mix/generator/noise_variance"
    share = 0.05**2 / (0.05**2 + 1 / 12)
    assert second["total_effect"] == pytest.approx(share, rel=0.1)


async def test_the_seed_decides(http_without_database: httpx.AsyncClient) -> None:
    first, again = [await asked(http_without_database, least_squares(seed=5)) for _ in range(2)]
    assert first == again
    assert await asked(http_without_database, least_squares(seed=6)) != first


async def test_whole_numbers_and_fields_that_change_the_spectrum(
    http_without_database: httpx.AsyncClient,
) -> None:
    mix = recursive(samples={"low": 50, "high": 80.5}, generations={"low": 0, "high": 3})
    spectrum = {"kind": "power_law", "dimension": 20, "exponent": {"mean": 1.5, "sd": 0.1}}
    answer = await asked(http_without_database, {**body(mix, spectrum=spectrum), "samples": 64})
    assert answer["problems"] == []
    assert answer["points"] == 64 * 5 + 1
    assert all(answer["outputs"][name]["undefined"] == 0 for name in COLUMNS)
    assert len(answer["ranking"]["total"]) == 3


async def test_infinite_values_are_beyond_every_quantile(http_without_database: httpx.AsyncClient) -> None:
    mix = recursive(generations=0, samples={"low": 58.6, "high": 61.4}, penalty=0.0)  # 60 modes
    answer = await asked(http_without_database, {**body(mix), "order": 0})
    total = answer["outputs"]["total"]
    assert 0.2 < total["undefined"] < 0.5
    assert total["mean"] is None
    assert total["high"] is None
    assert total["low"] > 0
    assert answer["ranking"]["total"] == []


def test_the_log_normal_has_the_mean_and_the_deviation_asked_for() -> None:
    base, (found,) = extracted(body(recursive(penalty={"mean": 0.1, "sd": 0.08})))
    PredictionRequest.model_validate(base)
    assert found.distribution == "log_normal"
    # of the whole distribution, before it is cut at 3 standard deviations
    assert math.exp(found.location + found.scale**2 / 2) == pytest.approx(0.1)
    assert math.exp(found.location) * math.exp(found.scale**2 / 2) * math.sqrt(
        math.expm1(found.scale**2)
    ) == (pytest.approx(0.08))
    cut = found.quantiles(np.array([0.0, 0.5, 1.0]))
    assert np.log(cut) == pytest.approx(found.location + found.scale * np.array([-3, 0, 3]))
    assert norm.cdf(3) > 0.99


@pytest.mark.parametrize(
    ("content", "pointer"),
    [
        (body(), ""),
        (body(recursive(penalty={"low": 2, "high": 1})), "/training_mix/penalty"),
        (body(recursive(penalty={"low": -1, "high": 1})), "/training_mix/penalty"),
        (body(recursive(penalty={"mean": 1, "sd": 0})), "/training_mix/penalty/sd"),
        (body(recursive(penalty={"mean": 1, "sd": "wide"})), "/training_mix/penalty/sd"),
        (body(recursive(penalty={"mean": 1, "std": 0.1})), "/training_mix/penalty"),
        (body(recursive(penalty={"low": 1}), noise_variance={"low": 1, "high": 2}), "/training_mix/penalty"),
        (body(recursive(kind={"low": 1, "high": 2})), "/training_mix/kind"),
        (body(recursive(nothing={"low": 1, "high": 2})), "/training_mix/nothing"),
        ({**body(recursive(penalty={"low": 0, "high": 1})), "samples": 100}, "/samples"),
        ({"dataset": dataset(), "training_mix": {"kind": {"low": 0, "high": 1}}}, "/training_mix/kind"),
    ],
)
async def test_what_cannot_be_uncertain(
    http_without_database: httpx.AsyncClient, content: dict[str, Any], pointer: str
) -> None:
    problem = assert_problem(await http_without_database.post(PATH, json=content), 422, "invalid_input")
    assert problem["errors"][0]["pointer"] == pointer


async def test_an_end_that_takes_very_long_counts(
    http_without_database: httpx.AsyncClient,
) -> None:
    """With as many samples as modes a prediction takes seconds, with more of them none."""
    generator = {"samples": {"low": 59.5, "high": 90.0}, "penalty": 1e-9, "design": "shared"}
    content = body(recursive(generations=2000, generator=generator))
    answer = await http_without_database.post(PATH, json={**content, "samples": 64})
    problem = assert_problem(answer, 422, "invalid_input")
    assert "seconds; at most" in str(problem["detail"])
