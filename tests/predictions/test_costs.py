"""Estimates of what a prediction costs, which decide where it is computed and whether at all."""

import httpx
import pytest

from service.predictions.engine import compiled, seconds_of
from service.predictions.schemas import PredictionRequest
from tests.predictions.bodies import body

pytestmark = pytest.mark.anyio


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
