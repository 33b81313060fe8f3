"""Estimates of what a prediction costs, which decide where it is computed and whether at all."""

import httpx
import pytest

from service.errors import InvalidInput
from service.predictions.engine import compiled, seconds_of
from service.predictions.schemas import PredictionRequest
from service.sweeps.grid import grid
from service.sweeps.schemas import SweepRequest
from tests.predictions.bodies import body


@pytest.mark.anyio
async def test_kept_data_of_a_long_spectrum_are_cheap(http: httpx.AsyncClient) -> None:
    """Seconds of work once, since every one of 300 fits looked at every mode for every penalty tried."""
    values = [k**-1.5 for k in range(1, 20_001)]
    given = body(
        {"kind": "accumulate", "generations": 300, "samples": 500, "penalty_sum": 3.0},
        spectrum={"kind": "eigenvalues", "values": values},
    )
    answer = await http.post("/v1/predictions", json=given)
    assert answer.status_code == 200, answer.text
    request = PredictionRequest.model_validate(given)
    assert seconds_of(*compiled(request, None)) < 1


def test_a_range_whose_middle_is_cheap_is_not_refused_by_its_hardest_end() -> None:
    """A thousand points up to 3,000 generations, most of them far below."""
    base = body({"kind": "accumulate", "generations": 3, "samples": 500, "penalty_sum": 3.0})
    axis = {"pointer": "/training_mix/generations", "start": 1, "stop": 3000, "points": 1000, "scale": "log"}
    found = grid(SweepRequest.model_validate({"base": base, "axes": [axis]}), None)
    assert found.size > 300
    even = {**axis, "scale": "linear"}
    with pytest.raises(InvalidInput, match="would take about"):
        grid(SweepRequest.model_validate({"base": base, "axes": [even]}), None)
