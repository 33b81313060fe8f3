"""The committed OpenAPI document is the application's, and keeps its promises."""

import json
import re
from typing import Any

import pytest

from openapi.export import COMMITTED, document
from service.app import create_app
from service.settings import Settings

DOCUMENT: dict[str, Any] = json.loads(document())
OPERATIONS = [
    (f"{method} {path}", operation)
    for path, operations in DOCUMENT["paths"].items()
    for method, operation in operations.items()
]
EACH = pytest.mark.parametrize(
    "operation", [one for _, one in OPERATIONS], ids=[name for name, _ in OPERATIONS]
)


def test_the_committed_document_is_the_applications() -> None:
    assert COMMITTED.read_text(encoding="utf-8") == document(), "run `make openapi`"


def test_it_does_not_depend_on_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "1234")
    monkeypatch.setenv("DATABASE_URL", "postgresql://elsewhere/x")
    assert json.loads(document()) == DOCUMENT
    assert create_app(Settings()).openapi() == DOCUMENT


def test_it_is_openapi_3_1() -> None:
    assert re.fullmatch(r"3\.1\.\d", DOCUMENT["openapi"])


def test_operation_ids_are_unique_function_names() -> None:
    names = [operation["operationId"] for _, operation in OPERATIONS]
    assert len(names) == len(set(names))
    assert all(name.isidentifier() for name in names)
    assert {"create_prediction", "create_dataset", "create_simulation", "readyz"} <= set(names)


@EACH
def test_every_operation_is_described_and_grouped(operation: dict[str, Any]) -> None:
    assert operation["summary"]
    assert operation["description"].rstrip().endswith(".")
    assert len(operation["tags"]) == 1


@EACH
def test_every_error_is_a_problem(operation: dict[str, Any]) -> None:
    errors = {
        status: response
        for status, response in operation["responses"].items()
        if status == "default" or int(status) >= 400
    }
    assert "default" in errors
    for response in errors.values():
        assert response["content"] == {
            "application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}
        }


def test_every_reference_leads_somewhere() -> None:
    schemas = DOCUMENT["components"]["schemas"]
    references = set(re.findall(r'"#/components/schemas/([^"]+)"', json.dumps(DOCUMENT)))
    assert references == set(schemas)
