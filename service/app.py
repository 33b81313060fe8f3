"""The one place that wires: settings, database, routers, errors, the frame around every request."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from fastapi import Depends, FastAPI
from fastapi.routing import APIRoute

import service
from service import logs
from service.database.embedded import database_url
from service.database.engine import Database
from service.datasets.describer import Describer
from service.datasets.routes import router as datasets
from service.distributions.routes import router as distributions
from service.examples import EXAMPLES
from service.predictions.batch import router as prediction_batches
from service.predictions.record import Records
from service.predictions.routes import router as predictions
from service.recommendations.routes import router as recommendations
from service.remembered import Remembered
from service.scaling_laws.routes import router as scaling_laws
from service.settings import Settings
from service.simulations.routes import router as simulations
from service.simulations.views import router as simulation_views
from service.sweeps.routes import router as sweeps
from service.uncertainty.routes import router as uncertainty
from service.web import documentation, health, metrics, problems, workers
from service.web.aside import Calculator
from service.web.bodies import BodyLimits
from service.web.head import Head
from service.web.parameters import refuse_unknown
from service.web.requests import RequestFrame

DESCRIPTION = """Predicts model collapse before the compute is spent: exact test errors and corrected
regularization for any mix of real and synthetic data, and the same process simulated on the real rows.

Errors are RFC 9457 problem details; `errors[].pointer` points into the body that was sent."""

_ANSWERS: Final = 32 * 2**20  # bytes of predictions given lately; none larger than a tenth of that


def create_app(settings: Settings | None = None) -> FastAPI:
    """The API as an ASGI application; ``settings`` default to the environment's."""
    settings = settings or Settings()
    logs.configure(settings.log_level, settings.log_format)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        await app.state.describer.close()
        await app.state.records.close()
        await app.state.calculator.close()
        await app.state.database.dispose()

    app = FastAPI(
        title="Collapse",
        version=service.__version__,
        description=DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        generate_unique_id_function=_function_name,
        responses=problems.ANY_PROBLEM,
        openapi_tags=[
            {"name": "predictions", "description": "What the theory says; computed at once."},
            {"name": "distributions", "description": "Distributions that are fitted again and again."},
            {"name": "sweeps", "description": "One prediction over a grid of its numbers."},
            {"name": "datasets", "description": "Real data sets, stored as immutable descriptions."},
            {"name": "simulations", "description": "The same process carried out by workers."},
            {"name": "operations", "description": "Health, readiness, metrics."},
        ],
    )
    app.state.settings = settings
    app.state.database = Database(database_url(settings))
    app.state.records = Records(app.state.database)
    app.state.recent = Remembered[str](_ANSWERS, _ANSWERS // 10)
    app.state.describer = Describer()
    app.state.calculator = Calculator()
    for router in (
        predictions,
        prediction_batches,
        uncertainty,
        scaling_laws,
        recommendations,
        distributions,
        sweeps,
        datasets,
        simulations,
        simulation_views,
        workers.router,
        health.router,
        metrics.router,
    ):
        app.include_router(router, dependencies=[Depends(refuse_unknown)])
    app.include_router(documentation.router)  # a page: links to it carry parameters of others
    documentation.install(app, EXAMPLES)
    problems.install(app)
    app.add_middleware(
        BodyLimits,
        max_bytes=settings.max_body_bytes,
        exceptions={"/v1/datasets": settings.max_upload_bytes},
    )
    app.add_middleware(Head)
    app.add_middleware(RequestFrame)  # added last: the outermost
    return app


def _function_name(route: APIRoute) -> str:
    return route.name
