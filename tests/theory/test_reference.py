"""Reference mixes computed elsewhere: values to 1e-8 relative, the recommended penalty's error to 1e-6."""

import json
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from service.predictions import schemas
from service.predictions.compile import compile_mix
from service.predictions.populations import population
from service.theory.prediction import predict

CASES = json.loads((Path(__file__).parent / "regression_reference.json").read_text())


@pytest.mark.parametrize("case", CASES, ids=range(len(CASES)))
def test_reference(case: dict) -> None:
    dataset = schemas.Dataset.model_validate(case["dataset"])
    mix = TypeAdapter(schemas.TrainingMix).validate_python({"kind": "stages", "stages": case["stages"]})
    found = population(dataset, mix)
    prediction = predict(found, compile_mix(mix, found, dataset))
    expected, error = case["expected"], prediction.test_error
    for name in ("total", "bias", "variance", "generation"):
        assert getattr(error, name) == pytest.approx(expected[name], rel=1e-8, abs=0.0), name
    best = prediction.regularization.recommended.total
    if (
        expected["best"]["penalty"] is None
    ):  # least at the end of the range that was searched: ours may be better
        assert best <= expected["best"]["total"] * (1 + 1e-6)
    else:
        assert best == pytest.approx(expected["best"]["total"], rel=1e-6)
