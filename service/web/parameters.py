"""Query parameters that a route does not have, or that are given twice: ignoring one would answer another question."""

from collections import Counter

from fastapi import Request
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from service.errors import FieldError, InvalidInput
from service.web.problems import MAX_ERRORS

_LONGEST_NAME = 100  # that is sent back


async def refuse_unknown(request: Request) -> None:
    """A dependency of every operation. Raises InvalidInput, which names the parameters and those there are."""
    if not request.scope["query_string"]:
        return
    route = request.scope["route"]
    assert isinstance(route, APIRoute)
    known = _names(route.dependant)
    there_is = f"those there are: {', '.join(sorted(known))}" if known else "none is taken here"
    errors = []
    for name, times in Counter(name for name, _ in request.query_params.multi_items()).items():
        if name not in known:
            errors.append(_error(name, "unknown_parameter", f"There is no such parameter; {there_is}."))
        elif times > 1:
            errors.append(_error(name, "repeated_parameter", "It is given more than once: give it once."))
    if errors:
        raise InvalidInput(f"{errors[0].parameter}: {errors[0].message}", errors=errors[:MAX_ERRORS])


def _names(dependant: Dependant) -> set[str]:
    """Of the query parameters of a route and of what it depends on; all of them take one value."""
    names = {field.alias for field in dependant.query_params}
    return names.union(*(_names(other) for other in dependant.dependencies))


def _error(name: str, code: str, message: str) -> FieldError:
    return FieldError("", code, message, parameter=f"query.{name[:_LONGEST_NAME]}")
