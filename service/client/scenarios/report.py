"""A scenario that was carried out: on the terminal, as Markdown, as SVG."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from service.client.plots import measured, svg
from service.client.scenarios.scenario import Scenario
from service.client.tables import number, signed

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from rich.console import RenderableType

Document = dict[str, Any]
Rows = list[list[str]]


def catalogue(scenarios: Iterable[Scenario]) -> Document:
    """What can be reproduced."""
    return {
        "scenarios": [
            {"name": one.name, "title": one.title, "source": one.source, "settings": dict(one.settings)}
            for one in scenarios
        ]
    }


def listing(answer: Document) -> "RenderableType":
    """The catalogue for the terminal."""
    from rich.table import Table  # slow to import

    table = Table(box=None, pad_edge=False)
    for name in ("name", "title", "source"):
        table.add_column(name)
    for one in answer["scenarios"]:
        table.add_row(one["name"], one["title"], one["source"])
    return table


def tables(told: Document) -> "RenderableType":
    """Settings, what was published, every panel's predictions and comparisons."""
    from rich.console import Group  # slow to import
    from rich.table import Table
    from rich.text import Text

    about = Table(title=told["title"], title_justify="left", box=None, pad_edge=False, show_header=False)
    for name, value in {"source": told["source"], **told["settings"], "published": told["reports"]}.items():
        about.add_row(name, Text(value))
    parts: list[RenderableType] = [about]
    for title, header, rows in _sections(told):
        table = Table(title=title, title_justify="left", box=None, pad_edge=False)
        for name in header:
            table.add_column(name, justify="right")
        for row in rows:
            table.add_row(*row)
        parts += ["", table]
    return Group(*parts, "", Text(_verdict(told)))


def markdown(told: Document) -> str:
    """The same as a page, with the plot beside it."""
    lines = [f"# {told['title']}", "", f"Source: {told['source']}.", ""]
    lines += [f"- {name}: {value}" for name, value in told["settings"].items()]
    lines += [
        "",
        told["reports"],
        "",
        f"![{told['title']}]({told['name']}.svg)",
        "",
        _verdict(told),
    ]
    for title, header, rows in _sections(told):
        lines += ["", f"## {title}", "", _row(header), _row(["---"] * len(header)), *map(_row, rows)]
    return "\n".join([*lines, ""])


def plot(told: Document, path: Path) -> None:
    """Predictions as lines, published values as crosses, simulations as points with two standard errors."""
    with svg(path, len(told["panels"])) as axes:
        for panel, here in zip(told["panels"], axes, strict=True):
            _draw(panel, here)


def _draw(panel: Document, axes: "Axes") -> None:
    for index, curve in enumerate(panel["curves"]):
        color = f"C{index}"
        points = curve["points"]
        # an infinite error leaves a gap in the line
        heights = [float("nan") if p["predicted"] is None else p["predicted"] for p in points]
        axes.plot([p["x"] for p in points], heights, color=color, label=curve["label"])
        known = [p for p in points if p["published"] is not None]
        axes.plot([p["x"] for p in known], [p["published"] for p in known], "x", color=color)
        seen = [
            (p["x"], p["simulated"], p["standard_error"]) for p in points if p["standard_error"] is not None
        ]
        if seen:
            measured(axes, seen, color)
    axes.set_title(panel["title"], fontsize="medium")
    axes.set_xlabel(panel["x"]["label"])
    axes.set_ylabel(panel["y"]["label"])
    if panel["x"]["logarithmic"]:
        axes.set_xscale("log")
    if panel["y"]["logarithmic"]:
        axes.set_yscale("log")
    axes.legend(frameon=False, fontsize="small")


def _sections(told: Document) -> list[tuple[str, list[str], Rows]]:
    """Every table as title, header, rows: predictions (a column per curve), then what they compare with."""
    sections = []
    for panel in told["panels"]:
        labels = [curve["label"] for curve in panel["curves"]]
        places = sorted({p["x"] for curve in panel["curves"] for p in curve["points"]})
        found = [{p["x"]: p["predicted"] for p in curve["points"]} for curve in panel["curves"]]
        rows = [[number(x), *(number(column.get(x), 4) for column in found)] for x in places]
        sections.append((panel["title"], [panel["x"]["label"], *labels], rows))
        if compared := _compared(panel):
            header = [
                "curve",
                panel["x"]["label"],
                "predicted",
                "published",
                "simulated",
                "std.err.",
                "diff.",
                "z",
            ]
            kept = [i for i in range(len(header)) if any(row[i] != "–" for row in compared)]
            rows = [[row[i] for i in kept] for row in compared]
            sections.append((f"{panel['title']}, compared", [header[i] for i in kept], rows))
    return sections


def _compared(panel: Document) -> Rows:
    return [
        [
            curve["label"],
            number(p["x"]),
            number(p["predicted"], 4),
            number(p["published"], 4),
            number(p["simulated"], 4),
            number(p["standard_error"], 2),
            "–" if p["relative_difference"] is None else f"{p['relative_difference']:+.1%}",
            signed(p["z_score"]),
        ]
        for curve in panel["curves"]
        for p in curve["points"]
        if p["published"] is not None or p["simulated"] is not None
    ]


def _verdict(told: Document) -> str:
    agreement = told["agreement"]
    points = [p for panel in told["panels"] for curve in panel["curves"] for p in curve["points"]]
    if agreement is None and any(p["simulated"] is not None for p in points):
        return "Simulated where nothing predicts it: no curve is compared with a prediction of its own."
    if agreement is None:
        return "Predicted only; --simulate has it carried out as well."
    word = "agree" if agreement["agree"] else "DISAGREE"
    return (
        f"Theory and simulation {word}: {agreement['points']} points, mean z² {agreement['mean_squared_z']:.2f}, "
        f"largest |z| {agreement['largest_z']:.1f} (limit {agreement['threshold']:.1f}), "
        f"largest difference {agreement['largest_relative_difference']:.1%}."
    )


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"
