"""The command line: a thin HTTP client, and the commands that serve (cli_serving.py)."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from service.cli_serving import app as serving
from service.client.console import (
    Exit,
    client_of,
    fail,
    print_answer,
    print_simulation,
    progress_bar,
    request_of,
    wait_for,
)

app = typer.Typer(
    help="Predict model collapse before the compute is spent, and check it on the real data.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Url = Annotated[str, typer.Option("--url", envvar="COLLAPSE_URL", help="Address of the service.")]
Json = Annotated[bool, typer.Option("--json", help="Print the service's JSON, for programs.")]
Wait = Annotated[bool, typer.Option("--wait", help="Stay until the simulation has finished.")]
RequestFile = Annotated[str, typer.Argument(metavar="FILE", help="JSON or YAML; - reads standard input.")]
DataFile = typer.Argument(exists=True, dir_okay=False, readable=True)
DEFAULT_URL = "http://127.0.0.1:8000"


app.add_typer(serving)


@app.command()
def describe(
    file: Annotated[Path, DataFile],
    target: Annotated[str | None, typer.Option(help="Column or array with the labels.")] = None,
    features: Annotated[str | None, typer.Option(help="Array of an NPZ file with the rows.")] = None,
    target_file: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="File with the labels.")
    ] = None,
    target_transform: Annotated[
        str | None, typer.Option(metavar="JSON", help='For example {"kind": "modulo", "divisor": 2}.')
    ] = None,
    feature_map: Annotated[str, typer.Option(help="linear, rbf or polynomial.")] = "linear",
    bandwidth: Annotated[float | None, typer.Option(help="Of rbf; default: the median distance.")] = None,
    degree: Annotated[int | None, typer.Option(help="Of polynomial.")] = None,
    offset: Annotated[float | None, typer.Option(help="Of polynomial.")] = None,
    noise_variance: Annotated[
        float | None, typer.Option(help="Of the labels; default: estimated from the data.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="For people.")] = None,
    url: Url = DEFAULT_URL,
    as_json: Json = False,
) -> None:
    """Upload a data set (NPY, NPZ, CSV, Parquet, IDX): the answer describes it, and names it for later."""
    from service.client import tables  # rich is slow to import

    chosen = {"kind": feature_map, "bandwidth": bandwidth, "degree": degree, "offset": offset}
    fields = {
        "target": target,
        "features": features,
        "target_transform": target_transform,
        "feature_map": json.dumps({key: value for key, value in chosen.items() if value is not None}),
        "noise_variance": None if noise_variance is None else repr(noise_variance),
        "name": name,
    }
    files = {"file": file} if target_file is None else {"file": file, "target_file": target_file}
    with client_of(url, as_json) as client:
        answer = client.describe(files, {key: value for key, value in fields.items() if value is not None})
    print_answer(answer, as_json, tables.dataset)


@app.command()
def predict(file: RequestFile, url: Url = DEFAULT_URL, as_json: Json = False) -> None:
    """Predict the test error of a training mix, and the penalty to use."""
    from service.client import tables  # rich is slow to import

    request = request_of(file)
    with client_of(url, as_json) as client:
        answer = client.predict(request)
    print_answer(answer, as_json, tables.prediction)


@app.command()
def recommend(file: RequestFile, url: Url = DEFAULT_URL, as_json: Json = False) -> None:
    """Say what to change so that the test error meets a bound (a prediction's file, with "bound")."""
    from service.client import tables  # rich is slow to import

    request = request_of(file)
    with client_of(url, as_json) as client:
        answer = client.recommend(request)
    print_answer(answer, as_json, tables.recommendation)


@app.command()
def simulate(
    file: RequestFile,
    replicates: Annotated[int | None, typer.Option(help="Instead of the file's.")] = None,
    seed: Annotated[int | None, typer.Option(help="Instead of the file's.")] = None,
    idempotency_key: Annotated[
        str | None, typer.Option(help="The same key and request give the same simulation.")
    ] = None,
    wait: Wait = False,
    url: Url = DEFAULT_URL,
    as_json: Json = False,
) -> None:
    """Have a worker carry the process out: draw, label, fit, repeat; shown beside the prediction."""
    request = request_of(file)
    request |= {
        key: value for key, value in (("replicates", replicates), ("seed", seed)) if value is not None
    }
    with client_of(url, as_json) as client:
        answer = client.simulate(request, idempotency_key)
        if wait:
            answer = wait_for(client, answer)
    print_simulation(answer, as_json)


@app.command()
def show(
    identity: Annotated[str, typer.Argument(metavar="ID", help="Of a prediction, data set or simulation.")],
    wait: Wait = False,
    url: Url = DEFAULT_URL,
    as_json: Json = False,
) -> None:
    """Show what is stored under an id."""
    from service.client import tables  # rich is slow to import
    from service.client.api import collection

    try:
        kind = collection(identity)
    except ValueError as error:
        fail(Exit.USAGE, str(error))
    with client_of(url, as_json) as client:
        answer = client.get(identity)
        if wait and kind == "simulations":
            answer = wait_for(client, answer)
    if kind == "simulations":
        print_simulation(answer, as_json)
    else:
        print_answer(answer, as_json, tables.prediction if kind == "predictions" else tables.dataset)


@app.command()
def cancel(
    identity: Annotated[str, typer.Argument(metavar="ID", help="Of a simulation.")],
    url: Url = DEFAULT_URL,
    as_json: Json = False,
) -> None:
    """Stop a simulation."""
    from service.client import tables  # rich is slow to import

    with client_of(url, as_json) as client:
        answer = client.cancel(identity)
    print_answer(answer, as_json, tables.simulation)


@app.command()
def demo(
    replicates: Annotated[int, typer.Option(min=2, help="Repetitions of each simulation.")] = 100,
    seed: Annotated[int, typer.Option(min=0, help="Of the simulations.")] = 0,
    output: Annotated[Path, typer.Option(help="Folder for the plot.")] = Path("demo-output"),
    url: Url = DEFAULT_URL,
    as_json: Json = False,
) -> None:
    """Tell the whole story on scikit-learn's digits: describe, predict, simulate, compare, plot."""
    from service.client import demo as story  # slow to import

    with client_of(url, as_json) as client, progress_bar("simulating") as progress:
        told = story.tell(client, replicates, seed, progress)
    output.mkdir(parents=True, exist_ok=True)
    story.plot(told, output / "digits.svg")
    print_answer(told, as_json, story.tables)
    typer.echo(f"Plot: {output / 'digits.svg'}", err=True)


@app.command()
def reproduce(
    name: Annotated[str | None, typer.Argument(help="Of a scenario; without one they are listed.")] = None,
    simulate: Annotated[
        bool, typer.Option("--simulate", help="Have a worker carry the experiment out as well.")
    ] = False,
    replicates: Annotated[
        int | None, typer.Option(min=2, help="Repetitions of each simulation, instead of the scenario's.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the simulations.")] = 0,
    data: Annotated[
        Path | None, typer.Option(exists=True, file_okay=False, help="Folder with the files of the scenario.")
    ] = None,
    output: Annotated[Path, typer.Option(help="Folder for the page and the plot.")] = Path("scenarios"),
    url: Url = DEFAULT_URL,
    as_json: Json = False,
) -> None:
    """Repeat a published experiment: predicted, on request simulated; as a table, a page and a plot."""
    from service.client.scenarios import report, scenario  # slow to import
    from service.client.scenarios.registry import SCENARIOS

    if name is None:
        print_answer(report.catalogue(SCENARIOS.values()), as_json, report.listing)
        return
    if name not in SCENARIOS:
        fail(Exit.USAGE, f"there is no scenario {name!r}; there are {', '.join(SCENARIOS)}")
    with client_of(url, as_json) as client, progress_bar(name) as progress:
        try:
            run = scenario.Run(client, simulate, replicates, seed, data, progress)
            told = scenario.tell(SCENARIOS[name], run)
        except scenario.MissingDataError as error:
            fail(Exit.USAGE, str(error))
    output.mkdir(parents=True, exist_ok=True)
    report.plot(told, output / f"{name}.svg")
    (output / f"{name}.md").write_text(report.markdown(told), encoding="utf-8")
    print_answer(told, as_json, report.tables)
    typer.echo(f"Page and plot: {output / name}.md, {output / name}.svg", err=True)


def main() -> None:
    """The console command ``collapse``."""
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(Exit.INTERRUPTED)


if __name__ == "__main__":
    main()
