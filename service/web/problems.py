"""Every error as RFC 9457 problem details: one shape, a stable code, nothing of the input echoed."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from fastapi.routing import iter_route_contexts
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from service.errors import InvalidInput, PayloadTooLarge, ServiceError, UnsupportedMedia
from service.web.aside import ClientGone
from service.web.pointers import InputError, input_errors

MEDIA_TYPE = "application/problem+json"
TYPE = "urn:collapse:problem:{code}"
MAX_ERRORS = 50
_CLIENT_GONE = 499  # for the log: nobody reads it
NOTHING_HERE = "There is nothing at this path; /docs lists what there is."


class ProblemError(BaseModel):
    """What is wrong with one field or parameter."""

    pointer: str | None = Field(description="RFC 6901 pointer into the body; null for a parameter.")
    parameter: str | None = Field(description="`query.NAME`, `path.NAME`, `header.NAME`; null for the body.")
    code: str = Field(description="Stable code of what is wrong.")
    message: str = Field(description="A sentence for people.")


class Problem(BaseModel):
    """RFC 9457 problem details."""

    type: str = Field(description="`urn:collapse:problem:` and the code.")
    title: str = Field(description="What the code means, the same at every occurrence.")
    status: int = Field(description="The HTTP status.")
    detail: str = Field(description="What happened this time, and a way out.")
    code: str = Field(description="Stable code to program against.")
    request_id: str = Field(description="Names this request in the logs.")
    errors: list[ProblemError] = Field(description="For bad input: one entry per field or parameter.")


def problem(
    request: Request,
    *,
    status: int,
    code: str,
    title: str,
    detail: str,
    errors: Sequence[ProblemError] = (),
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """The response for one error."""
    body = Problem(
        type=TYPE.format(code=code),
        title=title,
        status=status,
        detail=detail,
        code=code,
        request_id=_request_id(request),
        errors=list(errors),
    )
    return JSONResponse(
        body.model_dump(), status_code=status, headers=dict(headers or {}), media_type=MEDIA_TYPE
    )


def _request_id(request: Request) -> str:
    identity: str = request.scope.get("state", {}).get("request_id", "")
    return identity


def of_service_error(request: Request, error: ServiceError) -> Problem:
    """What an error of the service's own tree says, as a value: for answers that hold several."""
    return Problem(
        type=TYPE.format(code=error.code),
        title=error.title(),
        status=error.status,
        detail=error.detail,
        code=error.code,
        request_id=_request_id(request),
        errors=[
            ProblemError(
                pointer=field.pointer if field.parameter is None else None,
                parameter=field.parameter,
                code=field.code,
                message=field.message,
            )
            for field in error.errors
        ],
    )


def responses(*errors: type[ServiceError]) -> dict[int | str, dict[str, Any]]:
    """The ``responses`` of a route that raises these errors, for the OpenAPI document."""
    by_status: dict[int, list[type[ServiceError]]] = {}
    for error in errors:
        by_status.setdefault(error.status, []).append(error)
    return {
        status: _documented(" ".join(f"`{error.code}`: {error.title()}" for error in group))
        for status, group in by_status.items()
    }


def install(app: FastAPI) -> None:
    """Answer what routes raise as a problem; unforeseen exceptions are left to the outermost middleware."""
    app.add_exception_handler(ServiceError, _service_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(HTTPException, _http_exception)
    app.add_exception_handler(ClientGone, _client_gone)


def from_service_error(request: Request, error: ServiceError) -> JSONResponse:
    """The response for an error of the service's own tree."""
    return JSONResponse(
        of_service_error(request, error).model_dump(),
        status_code=error.status,
        headers=error.headers,
        media_type=MEDIA_TYPE,
    )


def internal_error(request: Request) -> JSONResponse:
    """The response for a defect of ours: nothing of the exception; the log has it under the request id."""
    return problem(
        request,
        status=500,
        code=ServiceError.code,
        title=ServiceError.title(),
        detail="An unexpected error; the log has the details under this request_id.",
    )


def _documented(description: str) -> dict[str, Any]:
    schema = {"$ref": "#/components/schemas/Problem"}
    return {"description": description, "content": {MEDIA_TYPE: {"schema": schema}}}


ANY_PROBLEM: dict[int | str, dict[str, Any]] = {"default": _documented("Any error, as problem details.")}


async def _service_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ServiceError)
    return from_service_error(request, error)


async def _client_gone(_request: Request, _error: Exception) -> Response:
    return Response(status_code=_CLIENT_GONE)


async def _validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    if _not_sent_as_json(request, error):
        return from_service_error(
            request, UnsupportedMedia("The body must be JSON: send it with Content-Type: application/json.")
        )
    found = input_errors(error.errors(), error.body)
    shown = [_problem_error(entry) for entry in found[:MAX_ERRORS]]
    where = found[0].parameter or found[0].pointer or "the body"
    detail = f"{where}: {found[0].message}"
    if len(found) > 1:
        detail += f" (and {len(found) - 1} more)"
    return problem(
        request,
        status=InvalidInput.status,
        code=InvalidInput.code,
        title=InvalidInput.title(),
        detail=detail,
        errors=shown,
    )


async def _http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    status, headers = HTTPStatus(error.status_code), dict(error.headers or {})
    if status < HTTPStatus.BAD_REQUEST:  # no problem, and no content
        return Response(status_code=status, headers=headers)
    if status == HTTPStatus.METHOD_NOT_ALLOWED:
        headers["Allow"] = ", ".join(sorted(_methods_at(request)))
    code, title, detail = {
        400: ("malformed_body", "The body cannot be read.", str(error.detail)),
        404: (
            "not_found",
            "There is no such resource.",
            NOTHING_HERE,
        ),
        405: (
            "method_not_allowed",
            "This path does not answer to this method.",
            f"Use {headers.get('Allow')}.",
        ),
        413: (PayloadTooLarge.code, PayloadTooLarge.title(), str(error.detail)),
    }.get(
        error.status_code,
        (status.phrase.lower().replace(" ", "_"), f"{status.phrase}.", str(error.detail)),
    )
    return problem(request, status=error.status_code, code=code, title=title, detail=detail, headers=headers)


def _methods_at(request: Request) -> set[str]:
    """Every method this path answers to; the framework names those of the first route alone."""
    path = request.scope["path"]
    routes = [route for route in iter_route_contexts(request.app.routes) if hasattr(route, "path_regex")]
    at_path = [route for route in routes if route.path_regex.match(path)]
    methods = {method for route in at_path for method in route.methods or {"GET"}}
    return methods | {"HEAD"} if "GET" in methods else methods


def _problem_error(entry: InputError) -> ProblemError:
    return ProblemError(
        pointer=entry.pointer, parameter=entry.parameter, code=entry.code, message=entry.message
    )


def _not_sent_as_json(request: Request, error: RequestValidationError) -> bool:
    """Whether a body was left unread for its content type: curl's default catches everyone once."""
    return not is_json(request.headers.get("content-type", "")) and isinstance(error.body, bytes)


def is_json(content_type: str) -> bool:
    """Whether the framework will parse a body of this Content-Type as JSON."""
    media_type = content_type.partition(";")[0].strip().lower()
    return media_type == "application/json" or (
        media_type.startswith("application/") and media_type.endswith("+json")
    )
