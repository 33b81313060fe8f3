"""Recommendations in process, and the predictions that judge them: requests changed by hand, as a client would."""

import copy
import math
from typing import Any

from service.predictions.engine import compiled
from service.predictions.schemas import PredictionRequest
from service.recommendations.answer import recommended
from service.recommendations.schemas import RecommendationRequest
from service.theory.prediction import predict
from tests.predictions.bodies import dataset

Body = dict[str, Any]


def recommend(body: Body, order: int = 0) -> Body:
    request = RecommendationRequest.model_validate(body)
    population, mix = compiled(request, None)
    return recommended(request, population, mix, 1 if order else 0).model_dump(mode="json")


def error(body: Body, order: int = 0) -> float:
    """The test error that a prediction of this request says; infinite where it diverges."""
    request = PredictionRequest.model_validate({name: body[name] for name in ("dataset", "training_mix")})
    population, mix = compiled(request, None)
    return predict(population, mix, order=1 if order else 0).test_error.total


def changed(body: Body, *path: Any, value: Any) -> Body:
    """The request with one field of its training mix changed."""
    new = copy.deepcopy(body)
    at = new["training_mix"]
    for step in path[:-1]:
        at = at[step]
    at[path[-1]] = value
    return new


def check(search: Body, bound: float, error_at: Any) -> None:
    """Every claim of a search, by evaluating the prediction at both sides of every end that it names."""
    if search["value"] is not None:
        assert error_at(search["value"]) <= bound
        assert math.isclose(error_at(search["value"]), search["test_error"], rel_tol=1e-9)
        assert search["outcome"] == "found"
    if search["beside"] is not None:
        beside = error_at(search["beside"]["value"])
        assert beside > bound
        assert abs(search["beside"]["value"] - search["value"]) == 1
    for one in search["ranges"]:
        assert error_at(one["first"]) <= bound
        if one["first"] > 0:
            assert error_at(one["first"] - 1) > bound
        if one["last"] is not None:
            assert error_at(one["last"]) <= bound
    if search["outcome"] == "impossible":
        assert search["ranges"] == []
        assert error_at(search["least"]["value"]) > bound


def stages(**final: Any) -> Body:
    """A generator and a last stage that mixes its labels with real ones."""
    generator = {
        "name": "generator", "penalty": 0.01,
        "sources": [{"labels": "real", "samples": 150, "noise_variance": 0.5}],
    }  # fmt: skip
    sources = [
        {"labels": "real", "samples": 80},
        {"labels": "generator", "samples": 200, "weight": 0.5},
    ]
    last = {"name": "final", "penalty": "optimal", "sources": sources, **final}
    return {
        "dataset": dataset(),
        "training_mix": {"kind": "stages", "stages": [generator, last]},
        "bound": {"test_error": 0.016},
        "costs": {"real_sample": 1.0, "synthetic_sample": 0.01},
    }


def mixture(*synthetic: Body, real: int = 80, penalty: Any = "optimal", **more: Any) -> Body:
    mix = {"kind": "mixture", "real": {"samples": real}, "synthetic": list(synthetic), "penalty": penalty}
    return {"dataset": dataset(), "training_mix": mix, "bound": {"test_error": 0.016}, **more}


def quality(samples: int, test_error: float, **more: Any) -> Body:
    return {"samples": samples, "quality": {"kind": "shift", "test_error": test_error}, **more}


def recursive(**changes: Any) -> Body:
    mix = {
        "kind": "recursive", "generations": 3, "generator": {"samples": 200, "penalty": 0.002}, "samples": 150,
        "penalty": "optimal", **changes,
    }  # fmt: skip
    return {"dataset": dataset(), "training_mix": mix, "bound": {"test_error": 0.025}}
