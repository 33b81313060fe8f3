"""Structured logs of every process: JSON for machines, coloured lines for people."""

import logging
import sys

import structlog
from structlog.typing import Processor

HANDLER = "service"
# Local variables hold what clients sent.
WITHOUT_LOCALS = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)


def configure(level: str = "info", log_format: str = "json") -> None:
    """Send structlog and the standard library's loggers to stderr in one format.

    ``level``: name of a logging level; ``log_format``: ``json`` or ``console``. Bound context variables
    (``request_id`` while a request is served) are part of every line.
    """
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    last: list[Processor] = (
        [
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
            )
        ]
        if log_format == "console"
        else [structlog.processors.ExceptionRenderer(WITHOUT_LOCALS), structlog.processors.JSONRenderer()]
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    root = logging.getLogger()
    for previous in [one for one in root.handlers if one.get_name() == HANDLER]:
        root.removeHandler(previous)
    handler.set_name(HANDLER)
    root.addHandler(handler)
    root.setLevel(level.upper())
