"""*A Tale of Tails* (Dohmatob, Feng, Yang, Charton, Kempe, ICML 2024): learners that fail on the unseen."""

from dataclasses import replace
from typing import Final

from service.client.scenarios.scenario import Axis, Curve, Document, Panel, Point, Run, Scenario

SOURCE: Final = "Dohmatob, Feng, Yang, Charton, Kempe, A Tale of Tails (ICML 2024, arXiv 2402.07043)"
EXPONENTS: Final = (1.5, 2.0)
SIZES: Final = tuple(round(10 ** (k / 2)) for k in range(2, 21))
DRAWN: Final = SIZES[::2][:5]
"""Sample sizes at which the learner itself is asked, item by item: 10 to 10^5."""
REPLICATES: Final = 100
RANKS: Final = (10, 100, 1_000)
RANK: Final = 100
FRACTIONS: Final = (0.001, 0.01, 0.1)
X, Y = Axis("samples T", logarithmic=True), Axis("test error", logarithmic=True)


def _problem(exponent: float, training: Document, sizes: tuple[int, ...]) -> Document:
    law = {"kind": "zipf", "exponent": exponent}
    return {"law": law, "training": training, "samples": sizes[-1], "curve": list(sizes)}


def _predicted(run: Run, exponent: float, label: str, training: Document) -> Curve:
    """Exact errors along the sample sizes, all in one request."""
    answer = run.client.predict_distribution("tail", _problem(exponent, training, SIZES))
    return Curve(label, tuple(Point(point["samples"], point["test_error"]) for point in answer["curve"]))


def _simulated(run: Run, curve: Curve, simulation: Document, done: int, total: int) -> Curve:
    """The curve with the simulation's means, once it has finished."""
    finished = simulation
    for finished in run.client.watch_success(simulation["id"]):
        run.on_progress(done + finished["progress"]["completed"], total)
    found = {point["samples"]: point for point in finished["points"]}
    return replace(
        curve,
        points=tuple(
            replace(
                p,
                simulated=found[p.x]["mean"],
                standard_error=found[p.x]["standard_error"],
                replicates=run.replicates or REPLICATES,
            )
            if p.x in found
            else p
            for p in curve.points
        ),
    )


def _panels(run: Run, trainings: dict[str, Document]) -> tuple[Panel, ...]:
    cases = [(exponent, label, training) for exponent in EXPONENTS for label, training in trainings.items()]
    curves = [_predicted(run, *case) for case in cases]
    if run.simulate:
        replicates = run.replicates or REPLICATES
        options = {"replicates": replicates, "seed": run.seed}
        submitted = [
            run.client.simulate_distribution("tail", {**_problem(exponent, training, DRAWN), **options})
            for exponent, _, training in cases
        ]
        total = replicates * len(cases)
        curves = [
            _simulated(run, curve, simulation, index * replicates, total)
            for index, (curve, simulation) in enumerate(zip(curves, submitted, strict=True))
        ]
    each = len(trainings)
    return tuple(
        Panel(f"β = {exponent:g}", X, Y, tuple(curves[index * each : (index + 1) * each]))
        for index, exponent in enumerate(EXPONENTS)
    )


def _cut(run: Run) -> tuple[Panel, ...]:
    cuts: dict[str, Document] = {f"k = {rank}": {"kind": "cut", "rank": rank} for rank in RANKS}
    return _panels(run, {"clean": {"kind": "real"}, **cuts})


def _mixing(run: Run) -> tuple[Panel, ...]:
    mixed: dict[str, Document] = {
        f"π = {fraction:g}": {"kind": "mixed", "rank": RANK, "real_fraction": fraction}
        for fraction in FRACTIONS
    }
    return _panels(run, {"clean": {"kind": "real"}, **mixed, "π = 0": {"kind": "cut", "rank": RANK}})


CUT: Final = Scenario(
    "tail-cut",
    "A generator that has lost its tail: the scaling law ends in a plateau",
    SOURCE,
    {
        "items": "endless, p_i ∝ i^-β, β = 1.5 and 2",
        "data": "T samples of a generator that knows only the k most frequent items",
        "learner": "right on what it has seen, wrong on everything else",
        "simulation": "items drawn one by one, T from 10 to 10^5, 100 replicates",
    },
    "The paper reports a double scaling law: T^-c with c = 1 − 1/β up to T of the order of k^β, then a plateau of the "
    "order of k^(1−β).",
    _cut,
)

MIXING: Final = Scenario(
    "tail-mixing",
    "A share of real data ends the plateau: grokking",
    SOURCE,
    {
        "items": "endless, p_i ∝ i^-β, β = 1.5 and 2",
        "data": f"T samples, each real with probability π, else of a generator that knows the first {RANK} items",
        "learner": "right on what it has seen, wrong on everything else",
        "simulation": "items drawn one by one, T from 10 to 10^5, 100 replicates",
    },
    "The paper reports three regimes: T^-c, the plateau of the cut, and once πT real samples have covered the tail "
    "(πT)^-c again.",
    _mixing,
)
