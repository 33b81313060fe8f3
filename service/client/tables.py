"""What people read: answers as tables, problems as lines."""

from typing import Any

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

Document = dict[str, Any]


def number(value: float | None, digits: int = 5) -> str:
    """A number to ``digits`` significant digits; what does not exist is a dash."""
    return "–" if value is None else f"{value:.{digits}g}"


def signed(value: float | None) -> str:
    """A number with its sign and one decimal."""
    return "–" if value is None else f"{value:+.1f}"


def show_problem(console: Console, problem: Document) -> None:
    """What is wrong, where, and the id to quote."""
    console.print(Text.assemble(("Error: ", "bold red"), problem["detail"]))
    for error in problem["errors"][:20] if len(problem["errors"]) > 1 else []:
        where = error.get("parameter") or error.get("pointer") or "(body)"
        console.print(Text(f"  {where}: {error['message']}"))
    if identity := problem.get("request_id"):
        console.print(Text(f"  {problem['code']}, request {identity}", style="dim"))


def prediction(answer: Document) -> RenderableType:
    """Decomposition, baselines, penalty, collapse, validity."""
    error, baselines, penalty = answer["test_error"], answer["baselines"], answer["regularization"]
    parts = error["generation_parts"]
    errors = _pairs("Test error")
    errors.add_row("total", number(error["total"]), style="bold")
    for name in ("bias", "variance", "generation"):
        errors.add_row(name, number(error[name]))
    for name, value in parts.items():
        errors.add_row(f"  {name.replace('_', ' ')}", number(value), style="dim")
    errors.add_row("irreducible (not in the total)", number(error["irreducible"]))
    compare = _pairs("Compare")
    for name in ("clean", "real_only"):
        if (baseline := baselines[name]) is not None:
            compare.add_row(
                f"{name.replace('_', ' ')}, {baseline['samples']} samples", number(baseline["total"])
            )
    compare.add_row("predicting zero", number(baselines["null_predictor"]))
    advice = _pairs("Penalty")
    advice.add_row("this mix", number(penalty["penalty"]))
    advice.add_row("recommended", number(penalty["recommended_penalty"]), style="bold")
    advice.add_row("  test error there", number(penalty["test_error_at_recommended"]["total"]))
    advice.add_row("optimal for clean data", number(penalty["clean_optimal_penalty"]))
    advice.add_row("  cost of using that one", number(penalty["cost_of_clean_choice"]))
    advice.add_row("effective real samples", number(penalty["effective_samples"]))
    validity = answer["validity"]
    lines = [Text(f"{answer['id']}: {validity['method'].replace('_', ' ')}", style="dim")]
    warnings = dict.fromkeys(f"{one['code']}: {one['message']}" for one in validity["warnings"])
    lines += [Text(warning, style="yellow") for warning in warnings]
    if not answer["record"]["stored"]:
        lines.append(Text(f"Not stored: {answer['record']['reason']}", style="yellow"))
    return Group(errors, compare, advice, *lines)


def recommendation(answer: Document) -> RenderableType:
    """Every answer's sentence, under what it is about."""
    advice = Table(box=None, pad_edge=False, show_header=False)
    advice.add_column(min_width=12, style="bold")
    advice.add_column(overflow="fold")
    rows = [("penalty", answer["penalty"]), ("weights", answer["weights"])]
    rows += [("synthetic", answer["synthetic_samples"]), ("share", answer["synthetic_share"])]
    rows += [("real", one) for one in answer["real_samples"]] + [("generations", answer["generations"])]
    rows += [("source", one) for one in answer["sources"]] + [("binds", answer["binding"])]
    for name, one in rows:
        if one.get("outcome") != "not_applicable":
            advice.add_row(name, one["sentence"])
    if answer["cheapest_change"] is not None:
        advice.add_row("cheapest", answer["cheapest_change"]["sentence"])
    return Group(Text(answer["sentence"]), advice)


def dataset(answer: Document) -> RenderableType:
    """What the description says: rows, feature map, noise, effective dimensions, exponents."""
    rows, noise, sizes = answer["rows"], answer["noise"], answer["effective_dimensions"]
    about = _pairs(answer["name"] or "Data set")
    about.add_row("id", answer["id"], style="bold")
    about.add_row("rows × columns", f"{rows['count']:,} × {rows['columns']:,}")
    about.add_row("rows described", f"{rows['population']:,}{' (a sample)' if rows['sampled'] else ''}")
    about.add_row("feature map", _parameters(answer["feature_map"]))
    about.add_row("labels", f"{answer['target']['name']}, {_parameters(answer['target']['transform'])}")
    about.add_row(f"noise variance ({noise['mode']})", number(answer["dataset"]["noise_variance"]))
    about.add_row("modes", f"{sizes['rank']:,}")
    about.add_row("participation ratio", number(sizes["participation_ratio"]))
    for entry in sizes["df1"]:
        about.add_row(f"modes resolved at penalty {entry['penalty']:g}", number(entry["value"]))
    for name, exponent in answer["exponents"].items():
        about.add_row(f"{name} exponent", _fitted(exponent))
    warnings = [Text(f"{one['code']}: {one['message']}", style="yellow") for one in answer["warnings"]]
    return Group(about, *warnings)


def simulation(answer: Document) -> RenderableType:
    """One row per point of the grid: predicted beside simulated."""
    table = Table(title=f"{answer['id']}: {answer['state']}", title_justify="left", box=None, pad_edge=False)
    names = list(answer["points"][0]["parameters"]) if answer["points"] else []
    for name in names:
        table.add_column(name.rpartition("/")[2], justify="right")
    for name in ("predicted", "simulated", "std. error", "difference", "z"):
        table.add_column(name, justify="right")
    for point in answer["points"]:
        table.add_row(*(number(point["parameters"][name]) for name in names), *comparison(point))
    failure = answer["failure"]
    return table if failure is None else Group(table, Text(f"Failed: {failure['message']}", style="red"))


def comparison(point: Document) -> list[str]:
    """Predicted, simulated mean, standard error, relative difference, z of one point."""
    predicted, measured = point["prediction"] or {}, point["test_error"] or {}
    relative = point["relative_difference"]
    return [
        number(predicted.get("total")),
        number(measured.get("mean")),
        number(measured.get("standard_error"), 2),
        "–" if relative is None else f"{relative:+.1%}",
        signed(point["z_score"]),
    ]


def _parameters(described: Document) -> str:
    kind, *values = (
        value if isinstance(value, str) else f"{name} {number(value)}"
        for name, value in described.items()
        if value is not None
    )
    return ", ".join([kind, *values])


def _fitted(exponent: Document) -> str:
    if exponent["value"] is None:
        return f"– ({exponent['reason']})"
    ranks = f"ranks {exponent['first_rank']} to {exponent['last_rank']}"
    return f"{number(exponent['value'], 3)} ± {number(exponent['standard_error'], 2)} ({ranks})"


def _pairs(title: str) -> Table:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, show_header=False)
    table.add_column(min_width=34)
    table.add_column(justify="right", min_width=12)
    return table
