"""Labels of an unknown model, its error given for each mode."""

from typing import Any

import httpx
import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.stats import ortho_group

from service.theory.model import Array
from tests.predictions.bodies import body
from tests.simulations.test_methods import run
from tests.web.asking import assert_problem

pytestmark = pytest.mark.anyio

D, REAL, SYNTHETIC, NOISE, PENALTY = 30, 50, 40, 0.3, 0.02
# in no order, some equal: nothing may sort or join them while the shift stays as it was given
SIGMA = np.random.default_rng(5).permutation(np.repeat(np.arange(1.0, 11.0) ** -1.3, 3))
POWER = np.random.default_rng(6).random(D) ** 4 / D
SPECTRUM = {"kind": "eigenvalues", "values": SIGMA.tolist()}


def mixture(power: Array, **changes: Any) -> dict[str, Any]:
    quality = {"kind": "shift", "squared_coefficients": power.tolist()}
    return {
        "kind": "mixture", "real": {"samples": REAL}, "penalty": PENALTY,
        "synthetic": [{"samples": SYNTHETIC, "quality": quality, **changes}],
    }  # fmt: skip


def request(mix: dict[str, Any], spectrum: dict[str, Any] = SPECTRUM) -> dict[str, Any]:
    return body(mix, spectrum=spectrum, noise_variance=NOISE)


async def answer(http: httpx.AsyncClient, content: dict[str, Any], order: int = 0) -> dict[str, Any]:
    response = await http.post(f"/v1/predictions?order={order}", json=content)
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


def strong_collapse(power: Array) -> float:
    """ζ of Dohmatob, Feng, Subramonian, Kempe, theorem 1: what the shift adds, equal weights, one covariance."""
    N = REAL + SYNTHETIC
    kappa = brentq(
        lambda k: k * (1 - np.sum(SIGMA / (SIGMA + k)) / N) - PENALTY, PENALTY, 10.0, xtol=1e-16, rtol=1e-15
    )
    share, df2 = SYNTHETIC / N, np.sum(SIGMA**2 / (SIGMA + kappa) ** 2)
    u = df2 / N / (1 - df2 / N)

    def trace(power_of_sigma: int, of_resolvent: int) -> float:
        return float(np.sum(power * SIGMA**power_of_sigma / (SIGMA + kappa) ** of_resolvent))

    return float(share * u * trace(1, 0) + share**2 * (1 + u) * trace(3, 2) - 2 * share**2 * u * trace(2, 1))


async def test_each_mode_has_its_own(http_without_database: httpx.AsyncClient) -> None:
    found = await answer(http_without_database, request(mixture(POWER)))
    assert found["test_error"]["generation_parts"]["shift"] == pytest.approx(
        strong_collapse(POWER), rel=1e-10
    )
    other = await answer(http_without_database, request(mixture(POWER[::-1])))
    assert other["test_error"]["generation_parts"]["shift"] == pytest.approx(
        strong_collapse(POWER[::-1]), rel=1e-10
    )
    assert abs(strong_collapse(POWER) / strong_collapse(POWER[::-1]) - 1) > 0.05
    labels = found["stages"][0]["sources"][1]["labels"]
    assert labels == {
        "kind": "shift",
        "squared_norm": pytest.approx(POWER.sum()),
        "test_error": pytest.approx(float(SIGMA @ POWER)),
    }


@pytest.mark.parametrize("order", [0, 1])
@pytest.mark.parametrize("width", [None, 25])
async def test_evenly_spread_it_is_one_number(
    http_without_database: httpx.AsyncClient, order: int, width: int | None
) -> None:
    for given, power in (
        ({"squared_norm": 0.4}, np.full(D, 0.4 / D)),
        ({"test_error": 0.4}, 0.4 / D / SIGMA),
    ):
        listed = await answer(http_without_database, request({**mixture(power), "width": width}), order)
        mix = mixture(power, quality={"kind": "shift", **given})
        number = await answer(http_without_database, request({**mix, "width": width}), order)
        for part in ("total", "bias", "variance", "generation"):
            assert listed["test_error"][part] == pytest.approx(number["test_error"][part], rel=1e-11)
        best = [one["regularization"]["recommended_penalty"] for one in (listed, number)]
        assert best[0] == pytest.approx(best[1], rel=1e-6)
        shifts = [one["stages"][0]["sources"][1]["labels"] for one in (listed, number)]
        assert [name for name, size in shifts[0].items() if size is None] == [
            name for name, size in shifts[1].items() if size is None
        ]


async def test_with_spectra_of_any_kind(http_without_database: httpx.AsyncClient) -> None:
    """Levels have a mode's power each, power laws are taken mode by mode; sources with spectra of their own too."""
    sorted_ = np.sort(SIGMA)[::-1]
    levels = {"kind": "levels", "values": np.unique(SIGMA)[::-1].tolist(), "multiplicities": [3] * 10}
    law = {"kind": "power_law", "dimension": D, "exponent": 1.3}
    rank = {"kind": "eigenvalues", "values": (np.arange(1.0, D + 1) ** -1.3).tolist()}
    for one, same in ((levels, {"kind": "eigenvalues", "values": sorted_.tolist()}), (law, rank)):
        for own in ({}, {"spectrum": {"kind": "isotropic", "dimension": D}}):
            a, b = [
                await answer(http_without_database, request(mixture(POWER, **own), spectrum))
                for spectrum in (one, same)
            ]
            assert a["test_error"]["total"] == pytest.approx(b["test_error"]["total"], rel=1e-11)
    matrix = {"kind": "matrix", "values": np.diag(sorted_).tolist()}
    a, b = [
        await answer(http_without_database, request(mixture(POWER, **own), levels))
        for own in ({}, {"covariance": matrix})
    ]
    assert a["test_error"]["total"] == pytest.approx(b["test_error"]["total"], rel=1e-9)


@pytest.mark.parametrize(
    ("spectrum", "changes", "field", "code"),
    [
        (SPECTRUM, [0.1] * (D - 1), "/training_mix/synthetic/0/quality/squared_coefficients", "wrong_length"),
        (
            {"kind": "power_law", "dimension": None, "exponent": 1.5},
            [0.1],
            "/dataset/spectrum/dimension",
            "infinite_dimension",
        ),
        (SPECTRUM, [-0.1] * D, "/training_mix/synthetic/0/quality/squared_coefficients/0", "greater_than_equal"),
        (SPECTRUM, [], "/training_mix/synthetic/0/quality/squared_coefficients", "too_short"),
    ],
    ids=["length", "endless", "negative", "none"],
)  # fmt: skip
async def test_what_does_not_fit_is_refused(
    http_without_database: httpx.AsyncClient,
    spectrum: dict[str, Any],
    changes: list[float],
    field: str,
    code: str,
) -> None:
    content = request(mixture(np.array(changes)), spectrum)
    content["dataset"]["target"] = {"kind": "source", "exponent": 0.5}
    if spectrum is SPECTRUM:
        content["dataset"]["target"] = {"kind": "isotropic", "squared_norm": 1.0}
    problem = assert_problem(
        await http_without_database.post("/v1/predictions", json=content), 422, "invalid_input"
    )
    errors: Any = problem["errors"]
    assert (errors[0]["pointer"], errors[0]["code"]) == (field, code)


async def test_two_sizes_are_refused(http_without_database: httpx.AsyncClient) -> None:
    quality = {"kind": "shift", "squared_coefficients": [0.1] * D, "squared_norm": 1.0}
    response = await http_without_database.post(
        "/v1/predictions", json=request(mixture(POWER, quality=quality))
    )
    problem = assert_problem(response, 422, "invalid_input")
    assert "exactly one" in str(problem["detail"])


async def test_a_model_for_another_distribution(http_without_database: httpx.AsyncClient) -> None:
    """The data set is what errors are measured on; trained elsewhere, without penalty E = σ² tr(C Σ^{-1})/(T − d)."""
    elsewhere = np.random.default_rng(7).random(D) + 0.1
    source = {
        "labels": "real", "samples": 100, "spectrum": {"kind": "eigenvalues", "values": elsewhere.tolist()}
    }  # fmt: skip
    mix = {"kind": "stages", "stages": [{"name": "final", "penalty": 0.0, "sources": [source]}]}
    found = await answer(http_without_database, request(mix))
    expected = NOISE * float(np.sum(SIGMA / elsewhere)) / (100 - D)
    assert found["test_error"]["total"] == pytest.approx(expected, rel=1e-11)


@pytest.mark.parametrize("method", ["literal", "wishart"])
def test_simulation_and_prediction_agree(method: str) -> None:
    rotation = ortho_group.rvs(D, random_state=4)
    matrix = {"kind": "matrix", "values": ((rotation * np.sort(SIGMA)) @ rotation.T).tolist()}
    few = POWER * (np.quantile(POWER, 0.8) < POWER)
    for own in ({}, {"covariance": matrix}):
        content = {**request(mixture(few, **own)), "method": method, "average_noise": True, "replicates": 250}
        [stage] = run(**content).points[0].stages
        assert stage.z_score is not None
        assert abs(stage.z_score) < 3.5
