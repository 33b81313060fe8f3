"""Penalty, weights, sources, what binds and the cheapest change, against brute force and closed forms."""

import math
from functools import partial
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi import FastAPI
from scipy.optimize import minimize

from service.predictions.engine import compiled
from service.recommendations import evaluation, routes
from service.recommendations.answer import bound_value, recommended
from service.recommendations.evaluation import Evaluator
from service.recommendations.schemas import Bound, RecommendationRequest
from service.theory.best_weights import best_weights, with_weights
from service.theory.model import OPTIMAL, REAL, Population, Shift, Source, Stage, TrainingMix
from service.theory.prediction import predict, test_error, test_errors
from tests.predictions.bodies import dataset
from tests.recommendations.asking import Body, changed, error, mixture, quality, recommend, recursive, stages
from tests.theory.problems import isotropic, power_law

test_error.__test__ = False  # type: ignore[attr-defined]
test_errors.__test__ = False  # type: ignore[attr-defined]

NOTHING = {"kind": "isotropic", "squared_norm": 0.0}
TWO = mixture(quality(150, 0.02), quality(150, 0.3, noise_variance=0.5))


def two_weights(population: Population, shifts: tuple[float, float]) -> TrainingMix:
    modes = population.eigenvalues.size
    synthetic = [Source(f"s{i}", Shift(np.full(modes, c)), 90, 0.2) for i, c in enumerate(shifts)]
    return TrainingMix((Stage("f", (Source(REAL, REAL, 60, 0.4), *synthetic), OPTIMAL),))


def at_weights(population: Population, mix: TrainingMix, weights: Any) -> float:
    real, *synthetic = mix.stages[0].sources
    sources = (
        real,
        *(
            Source(s.name, s.labels, s.samples, s.noise_variance, float(w))
            for s, w in zip(synthetic, weights, strict=True)
        ),
    )
    return test_error(population, TrainingMix((Stage("f", sources, OPTIMAL),)))


def test_weights_against_many_starts() -> None:
    population = power_law(40, 1.2)
    mix = two_weights(population, (0.05, 0.4))
    found = best_weights(population, mix, partial(test_errors, population))
    for start in ((0.0, 0.0), (-3.0, 1.0), (1.0, -4.0)):
        other = minimize(
            lambda x: at_weights(population, mix, np.exp(x)), start, method="Nelder-Mead",
            options={"maxfev": 150, "xatol": 1e-4, "fatol": 1e-13},
        )  # fmt: skip
        assert found.test_error <= other.fun * (1 + 1e-9)
        if other.fun < found.test_error * (1 + 1e-9):
            assert np.allclose(np.exp(other.x), found.weights, rtol=0.02)
    assert found.weights[0] > found.weights[1] > 0


def test_weights_of_several_covariances_against_scipy() -> None:
    """The error found is that at the best penalty; scipy looks for weights and penalty from afar."""
    population = power_law(30, 1.2)
    modes = population.eigenvalues
    sources = (
        Source(REAL, REAL, 60, 0.4),
        Source("a", Shift(np.full(30, 0.05)), 90, 0.2, 1.0, modes**0.6),
        Source("b", Shift(np.full(30, 0.4)), 90, 0.2, 1.0, modes[::-1].copy()),
    )
    mix = TrainingMix((Stage("f", sources, 0.1),))
    found = best_weights(population, mix, partial(test_errors, population))
    other = minimize(
        lambda x: test_error(population, with_weights(mix, (1, 2), np.exp(x[:2]).tolist(), float(np.exp(x[2])))),
        (0.0, -3.0, -3.0), method="Nelder-Mead", options={"maxfev": 600, "xatol": 1e-5, "fatol": 1e-14},
    )  # fmt: skip
    assert math.isclose(found.test_error, other.fun, rel_tol=1e-9)
    assert np.allclose(np.exp(other.x[:2]), found.weights, rtol=2e-3)


def test_weight_in_closed_form() -> None:
    """φ -> 0: E = α²c² + ((1−α)²σ_1²/p_1 + α²σ_2²/p_2) φ for weights (1−α)/p_1, α/p_2, least where its slope is 0."""
    d, N, p1, c2, s1, s2 = 10, 10**8, 0.3, 1e-7, 0.7, 0.4
    population = isotropic(d, s1)
    sources = (Source(REAL, REAL, p1 * N, s1, 2.0), Source("s", Shift(np.array([c2 / d])), (1 - p1) * N, s2))
    found = best_weights(
        population, TrainingMix((Stage("f", sources, OPTIMAL),)), partial(test_errors, population)
    )
    own, other = s1 / p1 * d / N, s2 / (1 - p1) * d / N
    alpha = own / (c2 + own + other)
    assert math.isclose(found.weights[0], 2.0 * (alpha / (1 - p1)) / ((1 - alpha) / p1), rel_tol=1e-3)
    assert math.isclose(
        found.test_error, alpha**2 * c2 + (1 - alpha) ** 2 * own + alpha**2 * other, rel_tol=1e-4
    )


def test_golden_ratio_is_the_best_weight_of_equal_data() -> None:
    """Every generation one half real, one half labelled by the model before, without bound: w* = (√5 − 1)/2.

    Fresh designs and much data: the long-run variance is (w² + (1−w)²)/(1 − (1−w)²) of one half's, w the real half's
    share of what is learned; k = n_real/n_synthetic gives (√(k² + 4k) − k)/2 (arXiv 2502.18049).
    """
    d, n = 8, 10**7
    population = isotropic(d, 1.0)
    for k in (1.0, 0.5):

        def long_run(w: float, k: float = k) -> float:
            real, rest = k * n, float(n)
            label, made = REAL, []
            for t in range(60):
                source = Source(label, label, rest, 1.0, (1 - w) / rest)
                sources = (Source(REAL, REAL, real, 1.0, w / real), source)
                made.append(Stage(f"s{t}", sources, 0.0))
                label = f"s{t}"
            return test_error(population, TrainingMix(tuple(made)))

        best = (math.sqrt(k * k + 4 * k) - k) / 2
        factor = (best**2 / k + (1 - best) ** 2) / (1 - (1 - best) ** 2)
        assert math.isclose(long_run(best), factor * d / n, rel_tol=1e-4)
        assert long_run(best) < min(long_run(best * 0.97), long_run(best * 1.03))


def test_penalty_and_weights_are_predictions() -> None:
    body = {**TWO, "bound": {"test_error": 0.012}}
    found = recommend(body)
    penalty = found["penalty"]
    assert math.isclose(
        error(changed(body, "penalty", value=penalty["recommended_penalty"])),
        penalty["test_error"],
        rel_tol=1e-9,
    )
    assert penalty["meets_bound"] == (penalty["test_error"] <= 0.012)
    weighted = changed(body, "penalty", value=found["weights"]["penalty"])
    for i, one in enumerate(found["weights"]["weights"]):
        weighted = changed(weighted, "synthetic", i, "weight", value=one["best_weight"])
    assert math.isclose(error(weighted), found["weights"]["test_error"], rel_tol=1e-6)
    assert found["weights"]["test_error"] <= penalty["test_error"]


def test_sources_that_help_and_that_do_not() -> None:
    three = mixture(quality(150, 0.001), quality(400, 2.0), quality(50, 0.0, noise_variance=0.25))
    found = recommend(three, order=0)
    helps = [one["helps"] for one in found["sources"]]
    assert helps == [True, False, True]
    for i, one in enumerate(found["sources"]):
        shares = [quality(150, 0.001), quality(400, 2.0), quality(50, 0.0, noise_variance=0.25)]
        assert math.isclose(error(mixture(*shares), order=0), one["test_error_with"], rel_tol=1e-9)
        shares[i]["samples"] = 0
        assert math.isclose(error(mixture(*shares), order=0), one["test_error_without"], rel_tol=1e-9)
    assert found["sources"][1]["helps_at_its_best_weight"] is True  # a little of unbiased noise always does


@pytest.mark.parametrize(
    ("body", "cause"),
    [
        ({**stages(), "bound": {"test_error": 1.0}}, "nothing"),
        ({**stages(penalty=1e-9), "bound": {"test_error": 0.02}}, "penalty"),
        (mixture(quality(20_000, 0.5), real=5_000), "floor"),
        (mixture(real=30), "bias"),
        (recursive(generator={"samples": 60}, penalty=0.0), "threshold"),
        (
            {
                **recursive(generator={"samples": 90, "noise_variance": 20.0}, generations=1, samples=2000),
                "bound": {"test_error": 1e-3},
            },
            "label_noise",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_binds(body: Body, cause: str) -> None:
    found = recommend(body, order=0)
    assert found["binding"]["cause"] == cause, found["binding"]
    assert found["binding"]["sentence"]


@pytest.mark.parametrize(
    "body",
    [
        recursive(generator={"samples": 0}),
        mixture(quality(40, 0.1, weight=0.0), real=0, penalty=1e-6),
        mixture(quality(10**18, 1e50), real=10**18, penalty=0.0),
    ],
    ids=["generators without data", "weights 0", "absurd numbers"],
)
def test_where_nothing_is_known_of_the_cause(body: Body) -> None:
    assert recommend({**body, "bound": {"test_error": 0.01}})["binding"]["sentence"]


def test_the_cheapest_change() -> None:
    body = {**stages(penalty=0.005), "bound": {"test_error": 0.017}}
    found = recommend(body)
    assert not found["meets_bound"]
    costs = [one["cost"] for one in found["changes"]]
    assert costs == sorted(costs)
    assert found["cheapest_change"] == found["changes"][0]
    last = ("stages", 1, "sources")
    for one in found["changes"]:
        if one["kind"] == "real_samples":
            k = 0 if one["stage"] == "generator" else 1
            present = 150 if k == 0 else 80
            assert one["cost"] == max(one["value"] - present, 0)
            assert error(changed(body, "stages", k, "sources", 0, "samples", value=one["value"])) <= 0.017
        elif one["kind"] == "synthetic_samples":
            assert one["cost"] == 0.01 * max(one["value"] - 200, 0)
            assert error(changed(body, *last, 1, "samples", value=one["value"])) <= 0.017
        elif one["kind"] == "synthetic_share":
            mixed = changed(body, *last, 1, "samples", value=one["value"])
            assert one["cost"] == 200 - one["value"]
            assert error(changed(mixed, *last, 0, "samples", value=280 - one["value"])) <= 0.017
        else:
            assert one["cost"] == 0
        assert one["test_error"] <= 0.017
    kinds = {one["kind"] for one in found["changes"]}
    assert "real_samples" in kinds
    enough = recommend({**stages(), "bound": {"test_error": 1.0}})
    assert enough["cheapest_change"]["kind"] == "none"
    hopeless = recommend({**stages(), "bound": {"test_error": 1e-9}})
    assert all(one["kind"] == "real_samples" for one in hopeless["changes"])
    assert recommend(TWO)["changes"] is None


def test_relative_bounds() -> None:
    body = stages()
    request = RecommendationRequest.model_validate(body)
    found = predict(*compiled(request, None))
    references = {"clean": error({**mixture(real=280)}, order=0), "null_predictor": found.null_predictor}
    references["real_only"] = error(mixture(real=80), order=0)
    for name, reference in references.items():
        bound = bound_value(Bound.model_validate({"relative_to": name, "factor": 1.5}), found)
        assert math.isclose(bound.test_error, 1.5 * reference, rel_tol=1e-6)
        assert (bound.relative_to, bound.factor) == (name, 1.5)


def test_time_runs_out_and_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter(range(10**9))
    body = RecommendationRequest.model_validate(stages())
    population, mix = compiled(body, None)
    monkeypatch.setattr(
        "service.recommendations.answer.Evaluator",
        lambda population, order: Evaluator(population, order, seconds=5, clock=lambda: float(next(ticks))),
    )
    found = recommended(body, population, mix).model_dump()
    for name in ("weights", "synthetic_samples", "synthetic_share"):
        assert found[name]["outcome"] == "not_computed"
        assert f"{evaluation.SECONDS:g} s" in found[name]["sentence"]
    assert found["penalty"]["test_error"] is not None
    # what takes one prediction or two is not left out for a search that takes hundreds
    assert found["sources"][0]["helps"] is not None
    assert found["binding"]["floor"] is not None


# --- over HTTP ------------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_over_http(http_without_database: httpx.AsyncClient) -> None:
    response = await http_without_database.post("/v1/recommendations?order=0", json=TWO)
    assert response.status_code == 200, response.text
    assert response.json() == recommend(TWO, order=0)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"bound": {}}, "/bound"),
        ({"bound": {"test_error": 0.1, "relative_to": "clean"}}, "/bound"),
        ({"bound": {"test_error": 0.0}}, "/bound/test_error"),
        ({"bound": {"relative_to": "real_only"}, "training_mix": recursive()["training_mix"]}, "/bound/relative_to"),
        ({"costs": {"real_sample": -1.0, "synthetic_sample": 0.0}}, "/costs/real_sample"),
        (
            {"bound": {"relative_to": "null_predictor"}, "dataset": dataset(target=NOTHING)},
            "/bound/relative_to",
        ),
    ],
)  # fmt: skip
async def test_bad_requests(http_without_database: httpx.AsyncClient, change: Body, pointer: str) -> None:
    response = await http_without_database.post("/v1/recommendations", json={**TWO, **change})
    assert response.status_code == 422, response.text
    assert pointer in [one["pointer"] for one in response.json()["errors"]]


@pytest.mark.anyio
async def test_too_large_and_too_many(
    app_without_database: FastAPI, http_without_database: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(routes, "MAX_WORK", 10)
    response = await http_without_database.post("/v1/recommendations", json=TWO)
    assert (response.status_code, response.json()["errors"][0]["code"]) == (422, "too_large")
    monkeypatch.setattr(routes, "MAX_WORK", 1e9)
    lane = app_without_database.state.calculator.seconds
    lane.running = lane.most
    response = await http_without_database.post("/v1/recommendations", json=TWO)
    assert response.status_code == 429
    assert int(response.headers["retry-after"]) > 0
