"""The whole story on scikit-learn's handwritten digits: described, predicted, simulated, side by side."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from service.client.api import Client
from service.client.plots import measured, svg
from service.client.tables import number, signed

if TYPE_CHECKING:
    from rich.console import RenderableType

Document = dict[str, Any]

GENERATIONS = (0, 1, 2, 3, 4)
PENALTIES = (1e-2, 1e-3)
GENERATOR_SAMPLES = 600
SAMPLES = 300
NOISE_VARIANCE = 0.1
FIELDS = {
    "name": "scikit-learn digits, odd or even",
    "target": "y",
    "feature_map": '{"kind": "rbf"}',
    "noise_variance": str(NOISE_VARIANCE),
}


def tell(client: Client, replicates: int, seed: int, on_progress: Callable[[int, int], None]) -> Document:
    """The story as one document: the data set, the simulations' ids, and a row per penalty and generation.

    Every fit, the generators' too, uses the row's penalty. Raises SimulationEndedError.
    """
    dataset = client.describe({"file": ("digits.npz", digits())}, FIELDS)
    rows = [
        _predicted(client, dataset["id"], penalty, generations)
        for penalty in PENALTIES
        for generations in GENERATIONS
    ]
    submitted = [_submit(client, dataset["id"], penalty, replicates, seed) for penalty in PENALTIES]
    points: list[Document] = []
    for index, simulation in enumerate(submitted):
        finished = simulation
        for finished in client.watch_success(simulation["id"]):
            done = finished["progress"]["completed"]
            on_progress(index * replicates + done, len(submitted) * replicates)
        points += finished["points"]
    for row, point in zip(rows, points, strict=True):
        row["simulated"] = point["test_error"]["mean"]
        row["standard_error"] = point["test_error"]["standard_error"]
        row["difference"] = row["simulated"] - row["predicted"]
        row["relative_difference"] = row["difference"] / row["predicted"]
        row["z_score"] = row["difference"] / row["standard_error"]
    return {
        "dataset": dataset,
        "simulations": [simulation["id"] for simulation in submitted],
        "replicates": replicates,
        "rows": rows,
    }


def digits() -> bytes:
    """The 1,797 images of 8 × 8 pixels in [0, 1] and whether the digit is odd, as an NPZ file."""
    import numpy as np  # slow to import; only the demo needs them
    from sklearn.datasets import load_digits

    bunch = load_digits()
    file = io.BytesIO()
    np.savez(file, X=bunch.data / 16.0, y=(bunch.target % 2).astype(float))
    return file.getvalue()


def training_mix(penalty: float, generations: int) -> Document:
    """A first model on real labels, and ``generations`` more, each on the labels of the one before."""
    return {
        "kind": "recursive",
        "generations": generations,
        "generator": {"samples": GENERATOR_SAMPLES, "penalty": penalty},
        "samples": SAMPLES,
        "penalty": penalty,
    }


def _predicted(client: Client, dataset: str, penalty: float, generations: int) -> Document:
    answer = client.predict({"dataset": dataset, "training_mix": training_mix(penalty, generations)})
    advice = answer["regularization"]
    return {
        "penalty": penalty,
        "generations": generations,
        "prediction": answer["id"],
        "predicted": answer["test_error"]["total"],
        "recommended_penalty": advice["recommended_penalty"],
        "test_error_at_recommended": advice["test_error_at_recommended"]["total"],
    }


def _submit(client: Client, dataset: str, penalty: float, replicates: int, seed: int) -> Document:
    return client.simulate(
        {
            "dataset": dataset,
            "training_mix": training_mix(penalty, max(GENERATIONS)),
            "replicates": replicates,
            "seed": seed,
            "grid": [{"pointer": "/training_mix/generations", "values": list(GENERATIONS)}],
        }
    )


HEADER = ("penalty", "gen.", "predicted", "simulated", "std.err.", "diff.", "z", "best penalty", "its error")


def cells(row: Document) -> list[str]:
    """A row as text, in the order of HEADER."""
    return [
        number(row["penalty"]),
        str(row["generations"]),
        number(row["predicted"], 4),
        number(row["simulated"], 4),
        number(row["standard_error"], 2),
        f"{row['relative_difference']:+.1%}",
        signed(row["z_score"]),
        number(row["recommended_penalty"], 2),
        number(row["test_error_at_recommended"], 4),
    ]


def tables(story: Document) -> "RenderableType":
    """The data set and the comparison, for the terminal."""
    from rich.console import Group  # slow to import
    from rich.table import Table

    from service.client.tables import dataset

    table = Table(
        title=f"Test error after generations of synthetic labels, {story['replicates']} replicates",
        title_justify="left",
        box=None,
        pad_edge=False,
    )
    for name in HEADER:
        table.add_column(name, justify="right")
    for row in story["rows"]:
        table.add_row(*cells(row))
    return Group(dataset(story["dataset"]), "", table)


def plot(story: Document, path: Path) -> None:
    """Prediction as lines, simulation as points with two standard errors, as SVG."""
    with svg(path) as (axes,):
        for color, penalty in zip(("C0", "C1"), PENALTIES, strict=True):
            rows = [row for row in story["rows"] if row["penalty"] == penalty]
            generations = [row["generations"] for row in rows]
            label = f"predicted, penalty {penalty:g}"
            axes.plot(generations, [row["predicted"] for row in rows], color=color, label=label)
            points = [(row["generations"], row["simulated"], row["standard_error"]) for row in rows]
            measured(axes, points, color, f"simulated ± 2 s.e., penalty {penalty:g}")
        axes.set_xlabel("generations of synthetic labels")
        axes.set_ylabel("test error")
        axes.set_xticks(GENERATIONS)
        axes.set_ylim(bottom=0)
        axes.legend(frameon=False)
