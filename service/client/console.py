"""The terminal: answers to stdout, everything else to stderr, errors as exit codes."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import IntEnum
from typing import TYPE_CHECKING, Any, NoReturn

import typer

if TYPE_CHECKING:
    from rich.console import RenderableType

    from service.client.api import Client

Document = dict[str, Any]


class Exit(IntEnum):
    """What a program learns without reading a line."""

    OK = 0
    FAILURE = 1  # a defect: of the service (5xx) or of this program
    USAGE = 2  # the command line or the environment
    BAD_INPUT = 3  # the file cannot be read, or the service refused what is in it
    UNREACHABLE = 4  # nothing answers, or it is not ready or busy: try again
    SIMULATION_FAILED = 5  # the simulation that was waited for failed or was cancelled
    INTERRUPTED = 130


def fail(code: Exit, message: str) -> NoReturn:
    """One line on stderr, and out."""
    typer.echo(f"Error: {message}", err=True)
    raise typer.Exit(code)


def request_of(path: str) -> Document:
    """The request in a file; exits where it cannot be read."""
    from service.client.files import RequestFileError, read_request  # YAML is slow to import

    try:
        return read_request(path)
    except RequestFileError as error:
        fail(Exit.BAD_INPUT, str(error))


@contextmanager
def client_of(url: str, as_json: bool) -> Iterator["Client"]:
    """A client whose errors end the program with a clear line and a code."""
    # httpx is slow to import
    from service.client.api import Client, ProblemError, SimulationEndedError, UnreachableError

    try:
        with Client(url) as client:
            yield client
    except UnreachableError as error:
        fail(Exit.UNREACHABLE, f"{error} Start it with `collapse up`, or name it with --url or COLLAPSE_URL.")
    except ProblemError as error:
        _show_problem(error.problem, as_json)
        raise typer.Exit(_code(error.status)) from None
    except SimulationEndedError as error:
        fail(Exit.SIMULATION_FAILED, str(error))


def print_answer(answer: Document, as_json: bool, table: Callable[[Document], "RenderableType"]) -> None:
    """As JSON for programs, as a table for people."""
    if as_json:
        typer.echo(json.dumps(answer, indent=2))
        return
    from rich.console import Console  # slow to import

    Console().print(table(answer))


def print_simulation(answer: Document, as_json: bool) -> None:
    """A simulation; exits with its code where it ended without success."""
    from service.client import tables  # rich is slow to import

    print_answer(answer, as_json, tables.simulation)
    if answer["state"] in ("failed", "cancelled"):
        raise typer.Exit(Exit.SIMULATION_FAILED)
    if answer["state"] != "succeeded" and not as_json:
        typer.echo(f"Follow it with: collapse show {answer['id']} --wait", err=True)


def wait_for(client: "Client", simulation: Document) -> Document:
    """The simulation once it has finished, with a progress bar meanwhile."""
    with progress_bar(simulation["id"]) as show:
        try:
            for now in client.watch(simulation["id"]):
                simulation = now
                show(now["progress"]["completed"], now["progress"]["total"])
        except KeyboardInterrupt:
            typer.echo(
                f"It goes on without you: collapse show {simulation['id']} --wait, "
                f"or collapse cancel {simulation['id']}",
                err=True,
            )
            raise
    return simulation


@contextmanager
def progress_bar(what: str) -> Iterator[Callable[[int, int], None]]:
    """A function of (done, total) that moves a bar on stderr; silent where stderr is no terminal."""
    from rich.console import Console  # slow to import
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(
        *columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()
    ) as progress:
        task = progress.add_task(what, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


def _show_problem(problem: Document, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(problem, indent=2), err=True)
        return
    from rich.console import Console  # slow to import

    from service.client import tables

    tables.show_problem(Console(stderr=True, soft_wrap=True), problem)


def _code(status: int) -> Exit:
    if status in (429, 502, 503, 504):
        return Exit.UNREACHABLE
    return Exit.FAILURE if status >= 500 else Exit.BAD_INPUT
