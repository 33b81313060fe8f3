"""The documentation page and the OpenAPI document; both are served without internet access."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.responses import FileResponse, RedirectResponse
from fastapi.staticfiles import StaticFiles

from service.web.problems import Problem

STATIC = Path(__file__).parent / "static"
# The browser itself holds the promise that nothing is loaded from elsewhere.
POLICY = "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; frame-ancestors 'none'"

router = APIRouter(include_in_schema=False)


@router.get("/")
async def root() -> RedirectResponse:
    """The documentation is the front page."""
    return RedirectResponse("/docs")


@router.get("/docs")
async def docs() -> FileResponse:
    """Swagger UI over /openapi.json."""
    return FileResponse(STATIC / "docs.html", headers={"Content-Security-Policy": POLICY})


def install(app: FastAPI, examples: Mapping[str, object]) -> None:
    """Serve the page's assets, and put the problem schema and example requests into the OpenAPI document.

    ``examples``: JSON bodies by operation id.
    """
    app.mount("/static", StaticFiles(directory=STATIC), name="static")

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _document(app, examples)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _document(app: FastAPI, examples: Mapping[str, object]) -> dict[str, Any]:
    document = get_openapi(
        title=app.title,
        version=app.version,
        openapi_version=app.openapi_version,
        description=app.description,
        routes=app.routes,
        tags=app.openapi_tags,
    )
    schema = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    schemas.update(schema.pop("$defs"))
    schemas["Problem"] = schema
    document["components"]["schemas"] = dict(sorted(schemas.items()))
    for operations in document["paths"].values():
        for operation in operations.values():
            example = examples.get(operation["operationId"])
            if example is not None:
                operation["requestBody"]["content"]["application/json"]["example"] = example
    return document
