"""Conditional GET: immutable resources are sent once."""

from fastapi import Request


def matches(request: Request, etag: str) -> bool:
    """Whether If-None-Match names ``etag`` (weakly, as RFC 9110 asks for GET) or is ``*``."""
    header = request.headers.get("if-none-match")
    if header is None:
        return False
    candidates = {part.strip().removeprefix("W/") for part in header.split(",")}
    return "*" in candidates or etag.removeprefix("W/") in candidates
