"""Models of text that are trained on their own text: tokens that die out, n-gram models that forget, on wikitext-2."""

import gzip
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from service.client.scenarios.scenario import (
    Axis,
    Curve,
    Document,
    MissingDataError,
    Panel,
    Point,
    Run,
    Scenario,
)

TEST, VALID = "test.txt.gz", "valid.txt.gz"
GENERATIONS: Final = 10
RANKS: Final = (1, 10, 100, 300, 1_000, 3_000, 10_000)
KEPT: Final = (0.0, 0.1)
SOURCE: Final = (
    "Shumailov et al., AI models collapse when trained on recursively generated data, Nature 631 (2024)"
)
_GENERATION: Final = Axis("generation")


def texts(folder: Path | None) -> tuple[bytes, bytes]:
    """The test and the validation split of wikitext-2. Raises MissingDataError."""
    if folder is None or not (folder / TEST).is_file() or not (folder / VALID).is_file():
        raise MissingDataError(
            f"this scenario needs wikitext-2: name the folder that has {TEST} and {VALID} with --data"
        )
    test, valid = (gzip.decompress((folder / name).read_bytes()) for name in (TEST, VALID))
    return test, valid


# --- tokens that die out --------------------------------------------------------------------------


def _extinction(run: Run) -> tuple[Panel, ...]:
    test, _ = texts(run.data)
    text = run.client.describe(
        {"file": ("wikitext-2.txt", test)}, {"tokens": "whitespace", "name": "wikitext-2, test"}
    )
    workflows: dict[str, Document] = {
        "no real data": {"kind": "replace"},
        "10 % fresh real data": {"kind": "fresh", "real_fraction": 0.1, "allocation": "iid"},
        "accumulated": {"kind": "accumulate"},
    }
    found = {}
    for label, workflow in workflows.items():
        request = {
            "vocabulary": text["id"],
            "samples": text["count"],
            "generations": GENERATIONS,
            "workflow": workflow,
            "ranks": list(RANKS),
        }
        found[label] = _Told(run, request)
    generations = range(GENERATIONS + 1)
    panels = [
        Panel(title, _GENERATION, Axis(axis), tuple(
            Curve(label, tuple(told.point(g, quantity) for g in generations)) for label, told in found.items()
        ))
        for title, axis, quantity in (
            ("Types that are left", "types", "surviving_types"),
            ("True probability of what is gone", "missing mass", "missing_mass"),
        )
    ]  # fmt: skip
    plain = found["no real data"]
    curves = tuple(
        Curve(f"generation {g}", tuple(plain.gone(g, rank) for rank in RANKS)) for g in (0, 3, GENERATIONS)
    )
    panels.append(
        Panel(
            "Probability that a token is gone, no real data", Axis("rank", True), Axis("probability"), curves
        )
    )
    return tuple(panels)


class _Told:
    """One vocabulary: predicted, and simulated if the run says so."""

    def __init__(self, run: Run, request: Document) -> None:
        answer = run.client.predict_distribution("vocabulary", request)
        self._predicted = {row["generation"]: row for row in answer["curve"]}
        self._simulated: dict[tuple[int, str], Document] = {}
        self._replicates = run.replicates or 20
        if run.simulate:
            body = {**request, "replicates": self._replicates, "seed": run.seed}
            self._simulated = _measured(run, "vocabulary", body)

    def point(self, generation: int, quantity: str) -> Point:
        """A quantity of a generation."""
        measured = self._simulated.get((generation, quantity), {})
        return Point(
            float(generation),
            self._predicted[generation][quantity],
            simulated=measured.get("mean"),
            standard_error=measured.get("standard_error"),
            replicates=self._replicates,
        )

    def gone(self, generation: int, rank: int) -> Point:
        """The probability that the type of a rank is gone."""
        [gone] = [one for one in self._predicted[generation]["gone"] if one["rank"] == rank]
        measured = self._simulated.get((generation, f"gone:{rank}"), {})
        return Point(
            float(rank),
            gone["probability"],
            simulated=measured.get("mean"),
            standard_error=measured.get("standard_error") or None,  # never seen or always: no measurement
            replicates=self._replicates,
        )


def _measured(run: Run, kind: str, body: Document) -> dict[tuple[int, str], Document]:
    simulation = run.client.simulate_distribution(kind, body)
    for finished in run.client.watch_success(simulation["id"]):
        run.on_progress(finished["progress"]["completed"], finished["progress"]["total"])
        simulation = finished
    return {(one["generation"], one["quantity"]): one for one in simulation["measured"]}


EXTINCTION: Final = Scenario(
    "token-extinction",
    "Tokens of wikitext-2 that die out",
    SOURCE,
    {
        "data": "the test split of wikitext-2, tokens separated by white space",
        "model": "the frequencies of the tokens (unigrams), 10 generations, each of as many tokens as the text has",
        "real data": "none; each token real with a chance of 10 %; or everything kept beside what is generated",
        "simulation": "20 replicates of multinomial samples",
    },
    "The paper reports that the tails of the distribution disappear first, and that original data slow it down.",
    _extinction,
)


# --- n-gram models --------------------------------------------------------------------------------


def _ngrams(run: Run) -> tuple[Panel, ...]:
    test, valid = texts(run.data)
    words, held_out = test.decode().split(), valid.decode().split()
    text = run.client.describe(
        {"file": ("wikitext-2.txt", test + b"\n" + valid)},
        {"tokens": "whitespace", "name": "wikitext-2, test and validation"},
    )
    body: Document = {
        "text": text["id"],
        "held_out": len(held_out) / text["count"],
        "generations": GENERATIONS,
        "replicates": run.replicates or 3,
        "seed": run.seed,
    }
    back_off: dict[float, dict[tuple[int, str], Document]] = {kept: {} for kept in KEPT}
    pairs: dict[tuple[int, str], Document] = {}
    if run.simulate:
        for kept in KEPT:
            chain = {**body, "order": 3, "discount": 0.75, "workflow": {"kind": "replace", "kept": kept}}
            back_off[kept] = _measured(run, "ngram", chain)
        pairs = _measured(
            run, "ngram", {**body, "order": 2, "discount": 0.0, "workflow": {"kind": "replace"}}
        )
    panels = [
        Panel(title, _GENERATION, Axis(axis), tuple(
            Curve(f"{kept:.0%} of the original data kept", _unpredicted(found, quantity))
            for kept, found in back_off.items()
        ))
        for title, axis, quantity in (
            ("Perplexity on held-out real text", "perplexity", "perplexity"),
            ("Different trigrams", "trigrams", "distinct:3"),
            ("Words of the original that are gone", "missing mass", "missing_mass:1"),
        )
    ]  # fmt: skip
    curves = (
        Curve("predicted as types of a vocabulary", _pairs(run, words)),
        Curve("pairs of a model without back-off", _unpredicted(pairs, "distinct:2")),
    )
    return (*panels, Panel("Different pairs of words, no back-off", _GENERATION, Axis("pairs"), curves))


def _unpredicted(found: dict[tuple[int, str], Document], quantity: str) -> tuple[Point, ...]:
    """What nothing predicts: back-off decides it."""
    points = []
    for g in range(GENERATIONS + 1):
        measured = found.get((g, quantity), {})
        points.append(
            Point(
                float(g),
                None,
                simulated=measured.get("mean"),
                standard_error=measured.get("standard_error") or None,
            )
        )
    return tuple(points)


def _pairs(run: Run, words: Sequence[str]) -> tuple[Point, ...]:
    """Pairs of words as types of a vocabulary whose truth is the text: generation g is its g-th sample."""
    counts = Counter(zip(words, [*words[1:], words[0]], strict=True))
    values = Counter(counts.values())
    request: dict[str, Any] = {
        "vocabulary": {"kind": "counts", "values": list(values), "types": list(values.values())},
        "samples": len(words),
        "generations": GENERATIONS - 1,
        "workflow": {"kind": "replace"},
    }
    answer = run.client.predict_distribution("vocabulary", request)
    predicted = [float(len(counts)), *(row["surviving_types"] for row in answer["curve"])]
    return tuple(Point(float(g), value) for g, value in enumerate(predicted))


NGRAMS: Final = Scenario(
    "ngram-collapse",
    "n-gram models of wikitext-2 trained on their own text",
    SOURCE,
    {
        "data": "trained on the test split of wikitext-2, perplexity on the validation split; tokens by white space",
        "model": "trigrams with absolute discounting (0.75) and back-off, 10 generations of as much text",
        "original data kept": "none, or 10 % of every corpus",
        "pairs": "the same with pairs, without discount: what is left of them is predicted to about 0.4 %",
        "simulation": "3 replicates; perplexity under back-off has no formula",
    },
    "The paper reports rising perplexity on real text over generations, and less of it where 10 % of the original data "
    "are kept.",
    _ngrams,
)
