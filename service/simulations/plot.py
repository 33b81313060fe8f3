"""The plot of a result: predictions as lines, simulated points with error bars, the predicted parts stacked."""

import io
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from service.simulations.kinds import Figure, Series

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_PANEL: Final = (6.4, 4.2)  # inches
_MANY: Final = 12  # labels beyond which a legend hides the plot
_drawing: Final = threading.Lock()  # matplotlib's fonts and settings are shared by all threads


def svg(figure: Figure, title: str) -> bytes:
    """As SVG; the same numbers give the same bytes."""
    with _drawing:
        return _drawn(figure, title)


def _drawn(figure: Figure, title: str) -> bytes:
    import matplotlib as mpl  # slow to import; only what draws needs it
    from matplotlib.figure import Figure as Canvas

    mpl.rcParams["svg.hashsalt"] = "collapse"
    stacked = next((series for series in figure.series if any(_some(part) for _, part in series.parts)), None)
    width, height = _PANEL
    canvas = Canvas(figsize=(width * (2 if stacked else 1), height), layout="constrained")
    panels: Sequence[Axes] = canvas.subplots(1, 2 if stacked else 1, squeeze=False)[0]
    canvas.suptitle(title, fontsize="medium")
    for index, series in enumerate(figure.series):
        _compare(panels[0], series, f"C{index % 10}")
    if len(panels[0].get_legend_handles_labels()[0]) <= _MANY:
        panels[0].legend(frameon=False)
    if stacked is not None:
        _stack(panels[1], stacked)
    for panel in panels:
        panel.set_xlabel(figure.x_label)
        panel.set_ylabel(figure.y_label)
    sink = io.BytesIO()
    canvas.savefig(sink, format="svg", metadata={"Date": None})
    return sink.getvalue()


def _compare(axes: "Axes", series: Series, color: str) -> None:
    suffix = f", {series.label}" if series.label else ""
    if _some(series.predicted):
        marker = "_" if len(series.x) == 1 else ""
        axes.plot(
            series.x, _numbers(series.predicted), marker=marker, color=color, label=f"predicted{suffix}"
        )
    if _some(series.measured):
        axes.errorbar(
            series.x,
            _numbers(series.measured),
            yerr=[0.0 if error is None else 2.0 * error for error in series.standard_error],
            fmt="o",
            markersize=4,
            capsize=3,
            color=color,
            label=f"simulated ± 2 s.e.{suffix}",
        )


def _stack(axes: "Axes", series: Series) -> None:
    """Shares add up only where all of them exist."""
    whole = [k for k in range(len(series.x)) if all(part[k] is not None for _, part in series.parts)]
    x = [series.x[k] for k in whole]
    heights = [[value for k in whole if (value := part[k]) is not None] for _, part in series.parts]
    names = [name for name, _ in series.parts]
    if len(x) > 1:
        axes.stackplot(x, *heights, labels=names, alpha=0.8)
    else:
        bottom = 0.0
        for name, height in zip(names, heights, strict=True):
            axes.bar(x, height, bottom=bottom, label=name, width=0.5, alpha=0.8)
            bottom += height[0] if height else 0.0
    axes.set_title(f"predicted parts{', ' + series.label if series.label else ''}", fontsize="small")
    axes.legend(frameon=False)


def _some(values: Sequence[float | None]) -> bool:
    return any(value is not None for value in values)


def _numbers(values: Sequence[float | None]) -> list[float]:
    return [float("nan") if value is None else value for value in values]
