"""The commands that serve; each imports what it needs, so that the others start quickly."""

from typing import TYPE_CHECKING, Annotated

import typer

from service.client.console import Exit, fail

if TYPE_CHECKING:
    from service.settings import Settings

app = typer.Typer()


@app.command(rich_help_panel="Serve")
def up() -> None:
    """Start everything: database (unless DATABASE_URL is set), API and one worker."""
    from service.supervisor import run  # heavy: the serving side

    raise typer.Exit(run(_settings()))


@app.command(rich_help_panel="Serve")
def api() -> None:
    """Run the API alone on HOST and PORT, for containers; the database is another one's business."""
    import uvicorn  # heavy: the serving side

    settings = _settings()
    uvicorn.run(
        "service.app:create_app",
        factory=True,
        host=settings.host,
        port=settings.port,
        log_config=None,  # the app sets up its own logs
        access_log=False,
        timeout_graceful_shutdown=10,
    )


@app.command(rich_help_panel="Serve")
def worker(
    concurrency: Annotated[
        int | None,
        typer.Option(
            min=1, max=256, help="Shards to compute at once; default: WORKER_CONCURRENCY, or one per core."
        ),
    ] = None,
    dask_scheduler: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Compute the shards on the cluster of this Dask scheduler (tcp://host:8786); needs the extra [dask].",
        ),
    ] = None,
) -> None:
    """Run one more worker on the same database."""
    from service.worker import run_worker  # heavy: the serving side

    settings = _settings()
    if concurrency is not None:
        settings = settings.model_copy(update={"worker_concurrency": concurrency})
    if dask_scheduler is not None:
        settings = settings.model_copy(update={"dask_scheduler": dask_scheduler})
    run_worker(settings)


@app.command(rich_help_panel="Serve")
def migrate() -> None:
    """Bring the database to this version's schema; safe to repeat."""
    from service.database.embedded import database_url  # heavy: the serving side
    from service.database.migrate import migrate as to_head
    from service.errors import ServiceError

    try:
        to_head(database_url(_settings()))
    except ServiceError as error:
        fail(Exit.UNREACHABLE, error.detail)
    typer.echo("The database is at this version's schema.")


def _settings() -> "Settings":
    """The settings of the environment; exits with a clear line where one cannot be used."""
    from pydantic import ValidationError  # heavy: the serving side

    from service.settings import Settings

    try:
        return Settings()
    except ValidationError as error:
        wrong = [f"{'.'.join(map(str, one['loc'])).upper()}: {one['msg']}" for one in error.errors()]
        fail(Exit.USAGE, "; ".join(wrong))
