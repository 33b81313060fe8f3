"""Figures as SVG: predictions as lines, simulations as points with two standard errors."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PANEL = (7.0, 4.2)  # inches


@contextmanager
def svg(path: Path, panels: int = 1) -> Iterator[list["Axes"]]:
    """Axes side by side, saved to ``path`` on the way out; the same numbers give the same file."""
    import matplotlib as mpl  # slow to import; only what draws needs it

    mpl.use("Agg")
    mpl.rcParams["svg.hashsalt"] = "collapse"
    from matplotlib import pyplot as plt

    width, height = PANEL
    figure, axes = plt.subplots(
        1,
        panels,
        figsize=(width if panels == 1 else 5.2 * panels, height),
        layout="constrained",
        squeeze=False,
    )
    try:
        yield list(axes[0])
        figure.savefig(path, format="svg", metadata={"Date": None})
    finally:
        plt.close(figure)


def measured(
    axes: "Axes", points: Sequence[tuple[float, float, float]], color: str, label: str | None = None
) -> None:
    """Simulated means with two standard errors on either side; ``points``: (x, mean, standard error)."""
    x, means, errors = zip(*points, strict=True)
    spread = [2 * error for error in errors]
    axes.errorbar(x, means, yerr=spread, fmt="o", markersize=4, capsize=3, color=color, label=label)
