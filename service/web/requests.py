"""The frame around every request: its id, its log line, its metrics, the last catch for our defects."""

import re
import secrets
from time import perf_counter

import structlog
from fastapi import Request
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.web import metrics
from service.web.problems import internal_error

HEADER = "X-Request-ID"
ACCEPTED_ID = re.compile(r"[\x21-\x7e]{1,128}")
QUIET = frozenset({"/healthz", "/readyz", "/metrics"})

log = structlog.get_logger("service.access")


def request_id(header: str | None) -> str:
    """The client's id where it is 1 to 128 printable ASCII characters without spaces, else a new one."""
    if header is not None and ACCEPTED_ID.fullmatch(header):
        return header
    return f"req_{secrets.token_hex(13)}"


class RequestFrame:
    """ASGI middleware, the outermost one."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request = Request(scope)
        identity = request_id(request.headers.get(HEADER))
        scope.setdefault("state", {})["request_id"] = identity
        started, status = perf_counter(), 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)[HEADER] = identity
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=identity):
            try:
                await self.app(scope, receive, send_with_id)
            except Exception:
                log.exception("request failed", method=scope["method"], path=scope["path"])
                if status:
                    raise  # the answer is under way: cutting the connection is all that is left
                await internal_error(request)(scope, receive, send_with_id)
            finally:
                seconds = perf_counter() - started
                metrics.observe(scope, status, seconds)
                write = log.debug if scope["path"] in QUIET else log.info
                write(
                    "request",
                    method=scope["method"],
                    path=scope["path"],
                    status=status,
                    milliseconds=round(1000 * seconds, 3),
                )
