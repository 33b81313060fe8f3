"""Lines that a machine can read, one per event, with nothing of a client's data in a traceback."""

import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from service import logs


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers, root.level = handlers, level


def broken(client_data: str) -> None:
    raise ValueError(f"of length {len(client_data)}")


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_a_traceback_shows_where_and_not_what(log_format: str, capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", log_format)
    try:
        broken("SECRET")
    except ValueError:
        structlog.get_logger("x").exception("it broke", request_id="r")
    said = capsys.readouterr().err
    assert "it broke" in said
    assert "of length 6" in said
    assert "broken" in said
    assert "SECRET" not in said.replace('broken("SECRET")', "")  # the line of source is ours


def test_every_logger_writes_one_json_line_per_event(capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):  # configuring again does not double the lines
        logs.configure("info", "json")
    with structlog.contextvars.bound_contextvars(request_id="r-1"):
        structlog.get_logger("ours").info("first", number=1)
        logging.getLogger("theirs").warning("second %d", 2)
        structlog.get_logger("ours").debug("not at this level")
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    shown = [(line["event"], line["logger"], line["level"], line["request_id"]) for line in lines]
    assert shown == [("first", "ours", "info", "r-1"), ("second 2", "theirs", "warning", "r-1")]
    assert all(line["timestamp"].endswith("Z") for line in lines)
