"""Limits on what a client sends, held before any route sees it: size, strict JSON, no NUL characters."""

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import parse_qsl

from fastapi import Request
from pydantic_core import from_json
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import FieldError, InvalidInput, NotFound, PayloadTooLarge, ServiceError, UnsupportedMedia
from service.web.pointers import pointer
from service.web.problems import NOTHING_HERE, from_service_error, is_json

_LONGEST_NAME = 100  # of a parameter, in an error
MAX_DEPTH = 200  # the JSON parser's own limit
REPEATED_NAME = "This name stands more than once in its object."
_CONTAINERS = frozenset((dict, list))
_DIGITS = bytes(ord("0") if 48 <= byte < 58 else byte | 0x20 for byte in range(256))  # letters in lower case


class BodyLimits:
    """ASGI middleware: refuses what is too large (413) or is not strict JSON (422) with a problem.

    The framework's own limit answers in plain text, and its JSON parser takes NaN, Infinity and any depth.
    ``max_bytes`` holds everywhere but below the paths of ``exceptions``.
    """

    def __init__(self, app: ASGIApp, *, max_bytes: int, exceptions: Mapping[str, int]) -> None:
        self.app = app
        self.max_bytes = max_bytes
        self.exceptions = dict(exceptions)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request = Request(scope)
        limit = self.exceptions.get(scope["path"], self.max_bytes)
        try:
            _refuse_nul(scope)
            declared = request.headers.get("content-length", "")
            if declared.isdecimal() and int(declared) > limit:
                raise _too_large(limit)
            if request.headers.get("content-encoding", "identity").lower() != "identity":
                raise UnsupportedMedia(
                    "Bodies are not decompressed: send it without Content-Encoding (an uploaded file may be a .gz)."
                )
            if is_json(request.headers.get("content-type", "")):
                body = await _read(receive, limit)
                if body:
                    check_json(body)
                receive = _replay(body, receive)
            else:
                receive = _counted(receive, limit)
        except ServiceError as error:
            await from_service_error(request, error)(scope, receive, send)
            return
        await self.app(scope, receive, send)


def check_json(body: bytes) -> None:
    """Raise InvalidInput unless the body is strict JSON: finite numbers, no NUL character in strings."""
    try:
        value = from_json(body, allow_inf_nan=False, cache_strings="none")
    except ValueError as error:
        if where := _not_a_number(body):
            raise InvalidInput.at(where[0], "finite_number", "It should be a finite number.") from None
        raise InvalidInput.at("", "json_invalid", f"The body is not valid JSON: {error}.") from None
    if _may_overflow(body) and (found := _first(value, _overflows)) is not None:
        raise InvalidInput.at(found, "finite_number", "The number is too large.")
    if (found := repeated_name(body, value)) is not None:
        raise InvalidInput.at(found, "duplicate_key", REPEATED_NAME)
    if b"\\u0000" in body and (found := _first(value, _has_nul)) is not None:
        raise InvalidInput.at(found, "nul_character", "Text must not contain the NUL character.")


def _not_a_number(body: bytes) -> list[str]:
    """Where NaN or Infinity stands, if that is what is wrong with the body: a list of at most one pointer."""
    marker = object()
    try:
        value = json.loads(body, parse_constant=lambda _: marker)
    except (ValueError, RecursionError):
        return []
    found = _first(value, lambda leaf: leaf is marker)
    return [] if found is None else [found]


def _may_overflow(body: bytes) -> bool:
    """Whether there is an exponent of three digits, or a number of three hundred: a pattern takes 50 times as long."""
    shape = body.translate(_DIGITS, b"+")
    return b"e000" in shape or b"0" * 300 in shape


def _overflows(leaf: object) -> bool:
    try:
        return isinstance(leaf, int | float) and not math.isfinite(leaf)
    except OverflowError:  # an integer beyond the largest double
        return True


def repeated_name(body: bytes, value: Any) -> str | None:
    """Pointer to a name that stands more than once in its object; ``value``: what the body was parsed to."""
    if type(value) not in _CONTAINERS or _members(value) >= body.count(b":"):
        return None  # no member was overwritten; else some colons are text
    marker = object()

    def members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            found[Counter(name for name, _ in pairs).most_common(1)[0][0]] = marker
        return found

    return _first(json.loads(body, object_pairs_hook=members), lambda leaf: leaf is marker)


def _members(value: Any) -> int:
    """How many members the objects in an object or list have, all levels together; without what was overwritten."""
    count, children = (len(value), value.values()) if type(value) is dict else (0, value)
    for child in children:
        if type(child) in _CONTAINERS:
            count += _members(child)
    return count


def _has_nul(leaf: object) -> bool:
    return isinstance(leaf, str) and "\x00" in leaf


def _first(value: Any, is_wanted: Any) -> str | None:
    """Pointer to the first leaf (or key's value) that is wanted."""
    for path, leaf in _leaves(value):
        if is_wanted(leaf):
            return pointer(path)
    return None


def _leaves(value: Any) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    """Paths and leaves, keys counting as leaves of their object; no recursion, the depth is the client's."""
    todo: list[tuple[tuple[str | int, ...], Any]] = [((), value)]
    while todo:
        path, item = todo.pop()
        if isinstance(item, dict):
            for key in item:
                yield path, key
            todo.extend(((*path, key), child) for key, child in reversed(item.items()))
        elif isinstance(item, list):
            todo.extend(((*path, index), child) for index, child in reversed(list(enumerate(item))))
        else:
            yield path, item


def _refuse_nul(scope: Scope) -> None:
    """A NUL in path or query cannot name anything, and PostgreSQL refuses it in text."""
    if "\x00" in scope["path"]:
        raise NotFound(NOTHING_HERE)
    query = scope.get("query_string", b"")
    if b"%00" in query or b"\x00" in query:
        pairs = parse_qsl(query.decode("latin-1"), keep_blank_values=True, max_num_fields=None)
        name = next((name for name, value in pairs if "\x00" in name + value), "")
        name = name.replace("\x00", "")[:_LONGEST_NAME]
        message = "Text must not contain the NUL character (%00); leave it out."
        error = FieldError("", "nul_character", message, parameter=f"query.{name}")
        raise InvalidInput(f"query.{name}: {message}", errors=[error])


def _too_large(limit: int) -> PayloadTooLarge:
    return PayloadTooLarge(f"The body is larger than the {limit} bytes accepted here.")


async def _read(receive: Receive, limit: int) -> bytes:
    chunks, size, more = [], 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            break
        chunks.append(message.get("body", b""))
        size += len(chunks[-1])
        if size > limit:
            raise _too_large(limit)
        more = message.get("more_body", False)
    return b"".join(chunks)


def _replay(body: bytes, receive: Receive) -> Receive:
    sent = False

    async def replayed() -> Message:
        nonlocal sent
        if sent:
            return await receive()
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replayed


def _counted(receive: Receive, limit: int) -> Receive:
    size = 0

    async def counted() -> Message:
        nonlocal size
        message = await receive()
        size += len(message.get("body", b""))
        if size > limit:
            # an HTTPException, since the framework turns any other one raised while parsing into a 400
            raise HTTPException(413, _too_large(limit).detail)
        return message

    return counted
