"""The scenarios on text: what they ask for is answered by the kinds themselves, in this process."""

import gzip
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.client.api import Client
from service.client.scenarios.registry import SCENARIOS
from service.client.scenarios.scenario import MissingDataError, Run, tell
from service.datasets.ingest import Upload
from service.datasets.text import IngestedText, ingest_text
from service.datasets.text_schemas import TextOptions
from service.distributions.ngram.simulation import NGRAM, StoredTokens
from service.distributions.vocabulary.asked import Text
from service.distributions.vocabulary.engine import predicted
from service.distributions.vocabulary.schemas import VocabularyRequest
from service.distributions.vocabulary.simulation import VOCABULARY
from service.theory.distributions.vocabulary.levels import from_counts

TEXT_ID = "dst_" + "t" * 26


class InProcess(Client):
    """Texts, predictions and simulations without a service."""

    def __init__(self, folder: Path) -> None:
        super().__init__("http://offline.invalid")
        self._folder = folder
        self._simulations: list[dict[str, Any]] = []

    def describe(
        self, files: Mapping[str, Path | tuple[str, bytes]], fields: Mapping[str, str]
    ) -> dict[str, Any]:
        content = files["file"]
        assert isinstance(content, tuple)
        (self._folder / "file").write_bytes(content[1])
        options = TextOptions(tokens=fields["tokens"])  # type: ignore[arg-type]
        text = ingest_text(Upload(self._folder / "file", None, options, self._folder, 10**8))
        assert isinstance(text, IngestedText)
        self._text = text
        self._vocabulary = Text(from_counts(np.load(text.labels).astype(float)))
        return {"id": TEXT_ID, "count": text.count}

    def predict_distribution(self, kind: str, request: dict[str, Any]) -> dict[str, Any]:
        assert kind == "vocabulary"
        return predicted(VocabularyRequest.model_validate(request), self._vocabulary).model_dump(mode="json")

    def simulate_distribution(self, kind: str, request: dict[str, Any]) -> dict[str, Any]:
        entry, data = {
            "vocabulary": (VOCABULARY, self._vocabulary),
            "ngram": (NGRAM, StoredTokens(self._text.rows, self._text.count, len(self._text.types))),
        }[kind]
        asked = entry.request.model_validate(request)
        planned = entry.plan(asked, data)  # type: ignore[arg-type]
        work = entry.work(asked, planned.points, data)  # type: ignore[arg-type]
        outcomes = work.outcomes(asked.seed, 0, asked.replicates)
        result = entry.result(asked.model_dump(mode="json"), planned.points, outcomes)
        progress = {"completed": asked.replicates, "total": asked.replicates}
        self._simulations.append({**result.model_dump(mode="json"), "progress": progress})
        return {"id": str(len(self._simulations) - 1)}

    def watch_success(self, identity: str) -> Iterator[dict[str, Any]]:
        yield self._simulations[int(identity)]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two small texts by the names of wikitext-2's splits."""
    for seed, name in enumerate(("test.txt.gz", "valid.txt.gz")):
        words = np.random.default_rng(seed).zipf(1.3, 1500) % 200
        (tmp_path / name).write_bytes(gzip.compress(" ".join(f"w{w}" for w in words).encode()))
    return tmp_path


def test_tokens_die_out_as_predicted(data: Path, tmp_path: Path) -> None:
    told = tell(
        SCENARIOS["token-extinction"], Run(InProcess(tmp_path), simulate=True, replicates=30, data=data)
    )
    assert told["agreement"]["agree"]
    assert told["agreement"]["points"] > 40
    types = {
        curve["label"]: [p["predicted"] for p in curve["points"]] for curve in told["panels"][0]["curves"]
    }
    assert types["no real data"][-1] < types["10 % fresh real data"][-1] < types["accumulated"][-1]
    ranks = told["panels"][2]["curves"][-1]["points"]
    assert ranks[0]["predicted"] < ranks[2]["predicted"]


def test_n_gram_models_forget_and_kept_text_helps(data: Path, tmp_path: Path) -> None:
    told = tell(SCENARIOS["ngram-collapse"], Run(InProcess(tmp_path), simulate=True, replicates=2, data=data))
    assert told["agreement"] is None, "back-off has no formula to agree with"
    perplexity = {c["label"]: [p["simulated"] for p in c["points"]] for c in told["panels"][0]["curves"]}
    none, tenth = perplexity["0% of the original data kept"], perplexity["10% of the original data kept"]
    assert none[0] == tenth[0] < tenth[-1] < none[-1]
    predicted_pairs, simulated_pairs = told["panels"][3]["curves"]
    for one, other in zip(predicted_pairs["points"], simulated_pairs["points"], strict=True):
        assert other["simulated"] == pytest.approx(one["predicted"], rel=0.1)


def test_without_a_simulation_only_what_is_predicted_is_told(data: Path, tmp_path: Path) -> None:
    told = tell(SCENARIOS["ngram-collapse"], Run(InProcess(tmp_path), data=data))
    assert all(p["predicted"] is None for p in told["panels"][0]["curves"][0]["points"])
    assert all(p["predicted"] > 0 for p in told["panels"][3]["curves"][0]["points"])


@pytest.mark.parametrize("name", ["token-extinction", "ngram-collapse"])
def test_the_folder_is_asked_for(name: str, tmp_path: Path) -> None:
    with pytest.raises(MissingDataError, match="--data"):
        tell(SCENARIOS[name], Run(InProcess(tmp_path), data=tmp_path))
