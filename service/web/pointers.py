"""Pydantic's error locations as RFC 6901 pointers into the body that the client sent."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

MAX_POINTER = 512
_SMALL, _LARGE = 1e-4, 1e15  # limits beyond are written as powers of ten
_ID = "It should be {}_ and 26 small letters and digits, as the service names it."
PATTERNS: Final = {
    r"^[\x21-\x7e]+$": "It should be printable ASCII characters without spaces.",
    r"^[\x20-\x7e]+$": "It should be printable ASCII characters.",
    r"^\P{C}+$": "It should be printable characters, without line breaks or control characters.",
    r"^[A-Za-z0-9][A-Za-z0-9 _.:+-]*$": "It should begin with an ASCII letter or digit and go on with letters, digits, "
    "spaces and _ . : + -",
    r"^/(dataset|training_mix)/": "It should be a JSON pointer that begins with /dataset/ or /training_mix/.",
    r"^(/(dataset|training_mix)(/([^~/]|~[01])+)+)$": "It should be a JSON pointer below /dataset or /training_mix, as "
    "/training_mix/penalty (~0 stands for ~ and ~1 for /).",
    **{rf"^{prefix}_[a-z0-9]{{26}}$": _ID.format(prefix) for prefix in ("dst", "prd", "dpr", "sim")},
}
"""What the patterns of the schemas mean: people are told no regular expressions."""


@dataclass(frozen=True)
class InputError:
    """One wrong field (``pointer`` into the body) or parameter (``query.limit``), a code and a message."""

    pointer: str | None
    parameter: str | None
    code: str
    message: str
    branch: bool = False  # one alternative of a union refused the value as a whole


def input_errors(errors: Iterable[Mapping[str, Any]], body: Any) -> list[InputError]:
    """Pydantic's errors in the client's terms; at least one.

    A union reports each of its alternatives. The ones that refused the value as a whole are noise where
    another alternative got further; where none did, they are one error with all the messages.
    """
    found = [_input_error(error, body) for error in errors]
    pointers = {error.pointer for error in found if error.pointer is not None}
    parents = {parent for pointer in pointers for parent in _parents(pointer)}
    merged: dict[tuple[str | None, str | None], InputError] = {}
    for error in found:
        if error.branch and error.pointer in parents:
            continue
        key = (error.pointer, error.parameter)
        first = merged.get(key)
        if first is None:
            merged[key] = error
        elif error.message not in first.message:
            merged[key] = replace(first, message=_either(first.message, error.message))
    return list(merged.values())


def _either(message: str, other: str) -> str:
    """One sentence that says what two alternatives ask for."""
    return f"{message.removesuffix('.')}; or {other[:1].lower()}{other[1:]}"


def pointer(path: Sequence[str | int]) -> str:
    """RFC 6901 pointer of a path; cut at a parent where hostile keys would make it absurdly long."""
    text = ""
    for step in path:
        readable = str(step).encode("utf-8", "replace").decode()  # half a surrogate pair cannot be sent
        longer = f"{text}/{readable.replace('~', '~0').replace('/', '~1')}"
        if len(longer) > MAX_POINTER:
            break
        text = longer
    return text


def _input_error(error: Mapping[str, Any], body: Any) -> InputError:
    code, (place, *location) = str(error["type"]), error["loc"]
    if place != "body":
        name = ".".join(str(step) for step in location)
        return InputError(None, f"{place}.{name}", code, _message(error))
    if code == "json_invalid":
        return InputError("", None, code, "The body is not valid JSON.")
    path, skipped_last = _walk(location, body, is_missing=code == "missing")
    return InputError(pointer(path), None, code, _message(error), branch=skipped_last)


def _walk(location: Sequence[str | int], body: Any, *, is_missing: bool) -> tuple[list[str | int], bool]:
    """The steps of a location that exist in the body.

    Pydantic mixes names of union members and validators into its locations; what the body does not have at
    that place is such a name, but for the last step of a missing field.
    """
    value, path, skipped_last = body, list[str | int](), False
    for index, step in enumerate(location):
        skipped_last = False
        in_object = isinstance(value, Mapping) and step in value
        in_list = isinstance(value, list) and isinstance(step, int) and step < len(value)
        if in_object or in_list:
            value = value[step]
            path.append(step)
        elif is_missing and index == len(location) - 1:
            path.append(step)
        else:
            skipped_last = True
    return path, skipped_last


def _message(error: Mapping[str, Any]) -> str:
    """Pydantic's message, in words about the field, without the input in it."""
    code, context = error["type"], error.get("ctx") or {}
    if code == "missing":
        return "This field is required."
    if code == "extra_forbidden":
        return "There is no such field."
    if code == "union_tag_invalid":
        return f"{context['discriminator'].strip(chr(39))} must be one of {context['expected_tags']}."
    if code == "string_pattern_mismatch":
        return PATTERNS.get(
            context["pattern"], "It does not have the form that its schema describes; see /docs."
        )
    if code == "union_tag_not_found":
        return f"{context['discriminator'].strip(chr(39))} is required here."
    if code in ("model_type", "model_attributes_type", "dict_type"):
        return "It should be an object."
    message = str(error["msg"]).removeprefix("Value error, ").removeprefix("Assertion failed, ")
    for subject in ("Input", "String", "List", "Dictionary"):
        message = message.replace(f"{subject} should", "It should")
    if code in ("float_type", "int_type") and isinstance(error.get("input"), str):
        message = f"{message}, not text (without quotes; YAML takes 1e-2 for text, not 0.01 or 1.0e-2)"
    limit = next((context[name] for name in ("ge", "gt", "le", "lt") if name in context), None)
    if isinstance(limit, float) and limit and not _SMALL <= abs(limit) < _LARGE:
        message = f"{message.rpartition(' ')[0]} {limit:g}"
    return message if message.endswith(".") else f"{message}."


def _parents(text: str) -> Iterable[str]:
    while text:
        text = text.rpartition("/")[0]
        yield text
