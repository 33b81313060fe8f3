"""Covariate shift: a source's own spectrum, of any kind beside a data set's of any kind, mode by mode."""

from typing import Any

import httpx
import numpy as np
import pytest
from scipy.special import zeta

from service.predictions import schemas
from service.predictions.compile import compile_mix
from service.predictions.populations import population
from tests.web.asking import assert_problem

pytestmark = pytest.mark.anyio

SIX: list[tuple[dict[str, Any], list[float]]] = [
    ({"kind": "isotropic", "dimension": 6, "variance": 2.0}, [2.0] * 6),
    ({"kind": "power_law", "dimension": 6, "exponent": 1.0, "scale": 3.0}, [3.0 / i for i in range(1, 7)]),
    ({"kind": "eigenvalues", "values": [5.0, 4.0, 4.0, 1.0, 0.5, 0.5]}, [5.0, 4.0, 4.0, 1.0, 0.5, 0.5]),
    ({"kind": "levels", "values": [4.0, 1.0], "multiplicities": [2, 4]}, [4.0] * 2 + [1.0] * 4),
    ({"kind": "levels", "values": [1.0, 4.0], "multiplicities": [4, 2]}, [1.0] * 4 + [4.0] * 2),
    ({"kind": "levels", "values": [3.0], "multiplicities": [6]}, [3.0] * 6),
]


def shifted(
    real: dict[str, Any],
    own: dict[str, Any],
    *,
    samples: int,
    penalty: float,
    target: Any,
    width: int | None = None,
) -> dict[str, Any]:
    source = {"labels": "real", "samples": samples, "spectrum": own}
    stage = {"name": "final", "penalty": penalty, "sources": [source], "width": width}
    return {
        "dataset": {"spectrum": real, "target": target, "noise_variance": 0.3},
        "training_mix": {"kind": "stages", "stages": [stage]},
    }


async def total(http: httpx.AsyncClient, request: dict[str, Any]) -> float:
    response = await http.post("/v1/predictions?order=0", json=request)
    assert response.status_code == 200, response.text
    return float(response.json()["test_error"]["total"])


@pytest.mark.parametrize(("real", "sigma"), SIX)
async def test_least_squares_elsewhere(
    http_without_database: httpx.AsyncClient, real: dict[str, Any], sigma: list[float]
) -> None:
    """Without penalty the covariance of ŵ is σ² Σ_s^{-1}/(T − d): E = σ² tr(Σ Σ_s^{-1})/(T − d)."""
    target = {"kind": "isotropic", "squared_norm": 1.0}
    for own, theirs in SIX:
        request = shifted(real, own, samples=40, penalty=0.0, target=target)
        expected = 0.3 * float(np.sum(np.divide(sigma, theirs))) / (40 - 6)
        assert await total(http_without_database, request) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("width", [6, 7])
async def test_random_features_that_span_all_modes(
    http_without_database: httpx.AsyncClient, width: int
) -> None:
    """Without penalty any number of them from d on is least squares: E = σ² tr(Σ Σ_s^{-1})/(T − d), at m = d too."""
    real, sigma = SIX[1]
    target = {"kind": "isotropic", "squared_norm": 1.0}
    for own, theirs in SIX:
        expected = 0.3 * float(np.sum(np.divide(sigma, theirs))) / (40 - 6)
        request = shifted(real, own, samples=40, penalty=0.0, target=target, width=width)
        assert await total(http_without_database, request) == pytest.approx(expected, rel=1e-12)
        source = request["training_mix"]["stages"][0]["sources"][0]
        del source["spectrum"]
        source["covariance"] = {"kind": "matrix", "values": np.diag(theirs).tolist()}
        assert await total(http_without_database, request) == pytest.approx(expected, rel=1e-12)


async def test_features_that_are_always_zero(http_without_database: httpx.AsyncClient) -> None:
    """Such samples teach nothing: beside 40 others E = σ² d/(40 − d) without penalty, whatever their labels are."""
    real, _ = SIX[0]
    silent = {"kind": "eigenvalues", "values": [0.0] * 6}
    target = {"kind": "isotropic", "squared_norm": 1.0}
    request = shifted(real, silent, samples=3, penalty=0.0, target=target)
    sources = request["training_mix"]["stages"][0]["sources"]
    # nothing is learned from them alone, with or without a penalty
    assert await total(http_without_database, request) == pytest.approx(2.0, rel=1e-12)
    sources.append({"labels": "real", "samples": 40})
    assert await total(http_without_database, request) == pytest.approx(0.3 * 6 / 34, rel=1e-12)


@pytest.mark.parametrize("field", ["labels", "quality"])
async def test_no_labeller_errs_where_nothing_varies(
    http_without_database: httpx.AsyncClient, field: str
) -> None:
    request = shifted(
        {"kind": "eigenvalues", "values": [0.0, 0.0]},
        {"kind": "eigenvalues", "values": [1.0, 1.0]},
        samples=9,
        penalty=0.1,
        target={"kind": "isotropic", "squared_norm": 1.0},
    )
    quality = {"kind": "shift", "test_error": 0.1}
    source = request["training_mix"]["stages"][0]["sources"][0]
    source["labels"] = quality
    pointer = "/training_mix/stages/0/sources/0/labels/test_error"
    if field == "quality":
        pointer = "/training_mix/synthetic/0/quality/test_error"
        request["training_mix"] = {
            "kind": "mixture", "real": {"samples": 9}, "penalty": 0.1,
            "synthetic": [{"samples": 9, "quality": quality}],
        }  # fmt: skip
    response = await http_without_database.post("/v1/predictions", json=request)
    assert_problem(response, 422, "invalid_input")
    assert response.json()["errors"][0]["pointer"] == pointer
    quality["test_error"] = 0.0
    assert await total(http_without_database, request) == 0.0


@pytest.mark.parametrize(("real", "sigma"), SIX)
async def test_shrinkage_elsewhere(
    http_without_database: httpx.AsyncClient, real: dict[str, Any], sigma: list[float]
) -> None:
    """Of endless samples what is left is the bias Σ σ_i (λ/(s_i + λ))² w_i²: every coefficient in its own place."""
    w = np.array([3.0, -1.0, 0.5, 2.0, 0.0, -0.7])
    target = {"kind": "coefficients", "values": w.tolist()}
    for own, theirs in SIX:
        request = shifted(real, own, samples=10**18, penalty=0.8, target=target)
        expected = float(np.sum(np.array(sigma) * (0.8 / (np.array(theirs) + 0.8)) ** 2 * w**2))
        assert await total(http_without_database, request) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("real", "sigma"),
    [
        ({"kind": "isotropic", "dimension": 300_000}, lambda i: 1.0 + 0.0 * i),
        ({"kind": "power_law", "dimension": 300_000, "exponent": 0.5}, lambda i: i**-0.5),
    ],
)
@pytest.mark.parametrize(
    ("own", "theirs"),
    [
        ({"kind": "isotropic", "dimension": 300_000, "variance": 0.5}, lambda i: 0.5 + 0.0 * i),
        ({"kind": "power_law", "dimension": 300_000, "exponent": 1.2}, lambda i: i**-1.2),
    ],
)
async def test_many_modes(
    http_without_database: httpx.AsyncClient,
    real: dict[str, Any],
    sigma: Any,
    own: dict[str, Any],
    theirs: Any,
) -> None:
    """Flat spectra and power laws of many modes go together, without lists."""
    i = np.arange(1.0, 300_001)
    target = {"kind": "isotropic", "squared_norm": 1.0}
    found = await total(
        http_without_database, shifted(real, own, samples=10**18, penalty=0.01, target=target)
    )
    expected = float(np.sum(sigma(i) * (0.01 / (theirs(i) + 0.01)) ** 2) / i.size)
    assert found == pytest.approx(expected, rel=1e-8)


def test_the_tail_of_an_endless_spectrum_is_its_own() -> None:
    """Σ i^-1.05 = ζ(1.05), of which a twentieth lies beyond 1e26 modes: not the tail of the data set's law."""
    real = {"kind": "power_law", "dimension": None, "exponent": 1.5}
    own = {"kind": "power_law", "dimension": None, "exponent": 1.05}
    request = schemas.PredictionRequest.model_validate(
        shifted(real, own, samples=100, penalty=0.1, target={"kind": "source", "exponent": 0.5})
    )
    assert isinstance(request.dataset, schemas.Dataset)
    found = population(request.dataset, request.training_mix)
    source = compile_mix(request.training_mix, found, request.dataset).stages[0].sources[0]
    assert source.eigenvalues is not None
    assert found.multiplicities @ source.eigenvalues == pytest.approx(float(zeta(1.05)), rel=1e-8)


OTHERS: list[dict[str, Any]] = [
    {"kind": "isotropic", "dimension": 7},
    {"kind": "power_law", "dimension": 7, "exponent": 1.0},
    {"kind": "power_law", "dimension": None, "exponent": 1.5},
    {"kind": "eigenvalues", "values": [1.0]},
    {"kind": "levels", "values": [4.0, 1.0], "multiplicities": [2, 5]},
]


@pytest.mark.parametrize("real", [spectrum for spectrum, _ in SIX])
async def test_as_many_modes_as_the_data_set(
    http_without_database: httpx.AsyncClient, real: dict[str, Any]
) -> None:
    """Two levels of other multiplicities were once taken for the data set's two."""
    for own in OTHERS:
        request = shifted(
            real, own, samples=9, penalty=0.1, target={"kind": "isotropic", "squared_norm": 1.0}
        )
        response = await http_without_database.post("/v1/predictions", json=request)
        assert_problem(response, 422, "invalid_input")
        (error,) = response.json()["errors"]
        assert error["pointer"] == "/training_mix/stages/0/sources/0/spectrum"
        assert error["code"] == "wrong_length"
