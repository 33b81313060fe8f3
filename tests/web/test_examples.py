"""Every operation that takes JSON shows a request in the documentation, and answers it."""

import json
from typing import Any

import httpx
import pytest

from openapi.export import document
from service.examples import EXAMPLES

OPERATIONS: dict[str, tuple[str, dict[str, Any]]] = {
    operation["operationId"]: (path, operation["requestBody"]["content"]["application/json"])
    for path, operations in json.loads(document())["paths"].items()
    for operation in operations.values()
    if "application/json" in operation.get("requestBody", {}).get("content", {})
}


def test_every_operation_has_one() -> None:
    assert set(OPERATIONS) == set(EXAMPLES)
    assert all(content["example"] == EXAMPLES[name] for name, (_, content) in OPERATIONS.items())


@pytest.mark.anyio
@pytest.mark.parametrize("name", EXAMPLES)
async def test_it_is_answered(http: httpx.AsyncClient, name: str) -> None:
    path, content = OPERATIONS[name]
    query = {"validate_only": "true"} if name.endswith("simulation") else {}
    answer = await http.post(path, json=content["example"], params=query)
    if name == "create_ngram_simulation":  # nothing is wrong but that its text is not here
        assert answer.json()["detail"].startswith("There is no data set")
    else:
        assert answer.status_code == 200, answer.text
