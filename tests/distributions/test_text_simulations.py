"""Simulations of vocabularies and n-gram models as kinds of the resource: planned, computed, compared, answered."""

from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from service.distributions.ngram.schemas import NgramResult, NgramSimulationRequest
from service.distributions.ngram.simulation import NGRAM, StoredTokens
from service.distributions.rows_by_generation import Simulated
from service.distributions.vocabulary.asked import Text
from service.distributions.vocabulary.simulation import VOCABULARY, VocabularySimulationRequest
from service.errors import InvalidInput
from service.simulation.distributions.vocabulary import VocabularyWork
from service.theory.distributions.vocabulary.levels import from_counts
from tests.web.asking import assert_problem

VOCABULARY_BODY: dict[str, Any] = {
    "vocabulary": {"kind": "zipf", "types": 300, "exponent": 1.1}, "samples": 400, "generations": 6,
    "workflow": {"kind": "replace"}, "ranks": [1, 100], "replicates": 400, "seed": 3,
}  # fmt: skip
NGRAM_BODY: dict[str, Any] = {
    "text": "dst_" + "a" * 26, "order": 2, "discount": 0.0, "generations": 3, "replicates": 20,
    "workflow": {"kind": "replace"},
}  # fmt: skip


def vocabulary_result(body: dict[str, Any]) -> Simulated:
    request = VocabularySimulationRequest.model_validate(body)
    planned = VOCABULARY.plan(request, None)
    outcomes = VOCABULARY.work(request, planned.points, None).outcomes(request.seed, 0, request.replicates)
    assert outcomes.shape == (planned.outcomes, request.replicates)
    found = VOCABULARY.result(request.model_dump(mode="json"), planned.points, outcomes)
    assert isinstance(found, Simulated)
    return found


@pytest.mark.parametrize(
    "workflow",
    [
        {"kind": "replace"},
        {"kind": "fresh", "real_fraction": 0.1},
        {"kind": "fresh", "real_fraction": 0.1, "allocation": "iid"},
        {"kind": "retained", "real_samples": 200},
        {"kind": "accumulate"},
    ],
)
def test_vocabularies_agree_with_their_prediction(workflow: dict[str, Any]) -> None:
    found = vocabulary_result({**VOCABULARY_BODY, "workflow": workflow})
    agreement = found.agreement
    assert agreement.compared >= 20
    assert agreement.mean_square_z is not None
    # correlated generations: a mean square of 1 with a wide spread
    assert agreement.mean_square_z < 3
    assert agreement.beyond_three <= 2
    assert {one.quantity for one in found.measured} == {
        "diversity", "surviving_types", "missing_mass", "entropy", "one_type_left", "kl_fit_true", "squared_distance",
        "gone:1", "gone:100",
    }  # fmt: skip


def test_a_token_is_followed_by_its_string() -> None:
    body = {**VOCABULARY_BODY, "vocabulary": "dst_" + "a" * 26, "tokens": ["rare"]}
    request = VocabularySimulationRequest.model_validate(body)
    text = Text(from_counts(np.array([50.0, 30.0, 15.0, 5.0])), ranks=(4,))
    planned = VOCABULARY.plan(request, text)
    work = VOCABULARY.work(request, planned.points, text)
    assert isinstance(work, VocabularyWork)
    assert work.ranks == (1, 100, 4)
    names = [row["quantity"] for row in planned.points[0]["rows"]]
    assert names[7:10] == ["gone:1", "gone:100", 'gone:"rare"']
    first = planned.points[0]["rows"][9]
    assert first["prediction"] == pytest.approx(0.95**400, rel=1e-9)


def test_where_there_is_no_formula_it_is_said() -> None:
    found = vocabulary_result(
        {**VOCABULARY_BODY, "decoding": {"temperature": 0.8, "top_p": 0.9}, "replicates": 2}
    )
    assert all(one.prediction is None and one.no_prediction for one in found.measured)
    assert all(one.mean is not None for one in found.measured)


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"samples": None}, "/samples"),
        ({"vocabulary": {"kind": "zipf", "types": None, "exponent": 2.0}}, "/vocabulary"),
        ({"vocabulary": {"kind": "zipf", "types": 10**7, "exponent": 2.0}}, "/vocabulary"),
        ({"generations": 20_000}, "/generations"),
        ({"samples": 10**17}, "/samples"),
        ({"generations": 999, "at": list(range(1000)), "replicates": 10_000}, "/replicates"),
    ],
)
def test_vocabularies_that_cannot_be_drawn(change: dict[str, Any], pointer: str) -> None:
    request = VocabularySimulationRequest.model_validate({**VOCABULARY_BODY, **change})
    with pytest.raises(InvalidInput) as caught:
        VOCABULARY.plan(request, None)
    assert caught.value.errors[0].pointer == pointer


def ngram_result(tmp_path: Path, **changes: Any) -> NgramResult:
    text = np.random.default_rng(1).zipf(1.5, 4000) % 200
    np.save(tmp_path / "tokens.npy", text.astype(np.int32))
    data = StoredTokens(tmp_path / "tokens.npy", text.size, 200)
    request = NgramSimulationRequest.model_validate({**NGRAM_BODY, **changes})
    planned = NGRAM.plan(request, data)
    outcomes = NGRAM.work(request, planned.points, data).outcomes(request.seed, 0, request.replicates)
    found = NGRAM.result(request.model_dump(mode="json"), planned.points, outcomes)
    assert isinstance(found, NgramResult)
    empty = NGRAM.result(request.model_dump(mode="json"), planned.points, outcomes[:, :0])
    assert isinstance(empty, NgramResult)
    assert all(one.mean is None for one in empty.measured)
    return found


def test_unigrams_agree_with_their_prediction(tmp_path: Path) -> None:
    found = ngram_result(tmp_path, order=1, replicates=60)
    predicted = [one for one in found.measured if one.prediction is not None and one.generation > 0]
    assert {one.quantity for one in predicted} == {"distinct:1", "missing_mass:1", "entropy:1"}
    for one in predicted:
        assert one.mean is not None
        assert one.standard_error is not None
        assert one.prediction is not None
        slack = (one.expected_relative_error or 0) * one.prediction
        assert abs(one.mean - one.prediction) < 3.5 * one.standard_error + slack


def test_bigrams_agree_with_pairs_as_types(tmp_path: Path) -> None:
    found = ngram_result(tmp_path, replicates=20)
    for one in found.measured:
        if one.prediction is not None and one.generation > 0 and one.mean is not None:
            assert one.mean == pytest.approx(one.prediction, rel=0.02)
    perplexities = [one for one in found.measured if one.quantity == "perplexity"]
    assert all(one.mean is None and one.infinite == 20 for one in perplexities), "a pair that was lost"
    unpredicted = {one.quantity for one in found.measured if one.no_prediction}
    assert {"perplexity", "log_loss", "entropy:2"} <= unpredicted


def test_back_off_collapses_and_says_that_nothing_predicts_it(tmp_path: Path) -> None:
    found = ngram_result(tmp_path, order=3, discount=0.75, replicates=3)
    by = {(one.generation, one.quantity): one for one in found.measured}
    assert all(one.no_prediction for one in found.measured)
    assert by[3, "distinct:1"].mean < by[0, "distinct:1"].mean  # type: ignore[operator]
    assert by[3, "perplexity"].mean > by[0, "perplexity"].mean  # type: ignore[operator]
    kept = {
        (one.generation, one.quantity): one
        for one in ngram_result(
            tmp_path, order=3, discount=0.75, workflow={"kind": "replace", "kept": 0.5}
        ).measured
    }
    assert kept[3, "distinct:1"].mean > by[3, "distinct:1"].mean  # type: ignore[operator]
    assert len(found.histograms) == 8
    assert sum(found.histograms[0].shares) == pytest.approx(1)


def test_a_precision_is_about_the_last_generation(tmp_path: Path) -> None:
    """The rows that are averaged until they are precise are those that the result calls by these names."""
    body = {**VOCABULARY_BODY, "replicates": 3}
    request = VocabularySimulationRequest.model_validate(body)
    points = VOCABULARY.plan(request, None).points
    chosen = [points[0]["rows"][i] for i in VOCABULARY.wanted(points)]
    assert [(row["generation"], row["quantity"]) for row in chosen] == [
        (6, "diversity"), (6, "surviving_types"), (6, "entropy"),
    ]  # fmt: skip
    text = np.random.default_rng(1).zipf(1.5, 4000) % 200
    np.save(tmp_path / "tokens.npy", text.astype(np.int32))
    data = StoredTokens(tmp_path / "tokens.npy", text.size, 200)
    ngram = NgramSimulationRequest.model_validate({**NGRAM_BODY, "order": 3, "replicates": 2})
    points = NGRAM.plan(ngram, data).points
    outcomes = NGRAM.work(ngram, points, data).outcomes(0, 0, 2)
    [row] = NGRAM.wanted(points)
    found = NGRAM.result(ngram.model_dump(mode="json"), points, outcomes)
    assert isinstance(found, NgramResult)
    [distinct] = [one for one in found.measured if (one.generation, one.quantity) == (3, "distinct:3")]
    assert distinct.mean == outcomes[row].mean()


def test_texts_too_short_or_long(tmp_path: Path) -> None:
    np.save(tmp_path / "tokens.npy", np.zeros(50, dtype=np.int32))
    request = NgramSimulationRequest.model_validate(NGRAM_BODY)
    for count, pointer in ((50, "/held_out"), (10**8, "/text")):
        with pytest.raises(InvalidInput) as caught:
            NGRAM.plan(request, StoredTokens(tmp_path / "tokens.npy", count, 5))
        assert caught.value.errors[0].pointer == pointer


@pytest.mark.anyio
async def test_over_http(http: httpx.AsyncClient) -> None:
    path = "/v1/distributions/vocabulary/simulations"
    estimate = await http.post(path, json=VOCABULARY_BODY, params={"validate_only": True})
    assert estimate.status_code == 200
    assert estimate.json()["cost"]["replicates"] == 400
    accepted = await http.post(path, json=VOCABULARY_BODY)
    assert accepted.status_code == 202, accepted.text
    simulation = accepted.json()
    assert (simulation["kind"], simulation["state"]) == ("vocabulary", "queued")
    assert simulation["measured"][0]["prediction"] is not None
    assert (await http.get(accepted.headers["Location"])).json() == simulation
    missing = await http.post("/v1/distributions/ngram/simulations", json=NGRAM_BODY)
    assert_problem(missing, 404, "not_found")
