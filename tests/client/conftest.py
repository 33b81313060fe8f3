"""The command line in process, talking to the application through a real transport."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import uvicorn
from typer.testing import CliRunner, Result

from service.app import create_app
from service.cli import app
from service.settings import Settings


@pytest.fixture
def url(database_url: str, tmp_path: Path) -> Iterator[str]:
    """The API alone, without a worker, on a free port."""
    api = create_app(Settings(database_url=database_url, data_dir=tmp_path / "data"))
    server = uvicorn.Server(uvicorn.Config(api, port=0, log_config=None, access_log=False))
    thread = threading.Thread(target=server.run)
    thread.start()
    deadline = time.monotonic() + 30
    while not server.started:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join()


@pytest.fixture
def collapse(url: str) -> Callable[..., Result]:
    """Run a command; standard output and error apart."""

    def run(*arguments: str, stdin: str | None = None) -> Result:
        environment = {"COLLAPSE_URL": url, "COLUMNS": "120", "NO_COLOR": "1"}
        return CliRunner().invoke(app, list(arguments), input=stdin, env=environment)

    return run
