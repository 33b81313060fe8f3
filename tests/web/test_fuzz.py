"""Generated requests, good and bad, against every operation: no 5xx, and answers that match the document."""

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import schemathesis
import uvicorn
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from openapi.export import document
from service.app import create_app
from service.settings import Settings

CHECKS = (
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
)
EXAMPLES = 60
TIMEOUT = 30.0  # seconds: what hangs hangs longer, on however busy a machine

SCHEMA = schemathesis.openapi.from_dict(json.loads(document()))
OPERATIONS = {
    f"{operation.method.upper()} {operation.path}": operation
    for operation in (result.ok() for result in SCHEMA.get_all_operations())
}


@pytest.fixture
def server(database_url: str, tmp_path: Path) -> Iterator[str]:
    """The application behind a real server: one event loop, as in life."""
    app = create_app(Settings(database_url=database_url, data_dir=tmp_path))
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, access_log=False))
    thread = threading.Thread(target=server.run)
    thread.start()
    deadline = time.monotonic() + 30
    while not server.started:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join()


@pytest.mark.parametrize("name", OPERATIONS)
def test_no_generated_request_breaks_it(name: str, server: str) -> None:
    good, bad = (OPERATIONS[name].as_strategy(generation_mode=mode) for mode in GenerationMode)

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=good | bad)
    def each(case: schemathesis.Case) -> None:
        case.call_and_validate(base_url=server, checks=CHECKS, timeout=TIMEOUT)

    each()
