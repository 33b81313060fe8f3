"""The commands against the application: what they print, where, and the code they leave with."""

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import yaml
from typer.testing import CliRunner, Result

from service.cli import app
from service.client.files import read_request

Collapse = Callable[..., Result]

REQUEST: dict[str, Any] = {
    "dataset": {
        "spectrum": {"kind": "isotropic", "dimension": 10},
        "target": {"kind": "isotropic", "squared_norm": 1.0},
        "noise_variance": 0.5,
    },
    "training_mix": {
        "kind": "mixture",
        "real": {"samples": 30},
        "synthetic": [],
        "penalty": 0.0,
    },
}
# least squares on T samples of d Gaussian features: σ² d / (T - d - 1)
EXACT = 0.5 * 10 / 19


@pytest.fixture
def request_file(tmp_path: Path) -> str:
    path = tmp_path / "request.yaml"
    path.write_text(yaml.safe_dump(REQUEST), encoding="utf-8")
    return str(path)


def test_predict_for_programs(collapse: Collapse, request_file: str) -> None:
    result = collapse("predict", request_file, "--json")
    assert result.exit_code == 0, result.stderr
    answer = json.loads(result.stdout)
    assert answer["test_error"]["total"] == pytest.approx(EXACT, rel=1e-9)
    assert answer["record"]["stored"]
    assert result.stderr == ""


def test_predict_for_people(collapse: Collapse, request_file: str) -> None:
    result = collapse("predict", request_file)
    assert result.exit_code == 0
    assert re.search(r"^total +0\.26316$", result.stdout, re.MULTILINE)
    assert "null" not in result.stdout
    assert "None" not in result.stdout


def test_recommend(collapse: Collapse) -> None:
    body = json.dumps(
        {**REQUEST, "bound": {"test_error": 0.1}, "costs": {"real_sample": 1, "synthetic_sample": 1}}
    )
    answer = json.loads(collapse("recommend", "-", "--json", stdin=body).stdout)
    needed = answer["real_samples"][0]["value"]
    shown = collapse("recommend", "-", stdin=body)
    assert shown.exit_code == 0
    assert f"At least {needed} real samples" in shown.stdout
    assert "None" not in shown.stdout
    assert collapse("recommend", "-", stdin=json.dumps(REQUEST)).exit_code == 3


def test_predict_from_standard_input(collapse: Collapse) -> None:
    result = collapse("predict", "-", "--json", stdin=json.dumps(REQUEST))
    assert json.loads(result.stdout)["test_error"]["total"] == pytest.approx(EXACT, rel=1e-9)


def test_what_is_shown_is_what_was_answered(collapse: Collapse, request_file: str) -> None:
    answer = json.loads(collapse("predict", request_file, "--json").stdout)
    shown = collapse("show", answer["id"], "--json")
    assert json.loads(shown.stdout) == answer
    assert answer["id"] in collapse("show", answer["id"]).stdout


@pytest.mark.parametrize("feature_map", ["linear", "rbf", "polynomial"])
def test_describe(collapse: Collapse, tmp_path: Path, feature_map: str) -> None:
    rng = np.random.default_rng(1)
    rows = rng.standard_normal((40, 3))
    path = tmp_path / "rows.npz"
    np.savez(path, X=rows, y=rows @ [1.0, 2.0, 3.0])
    options = [
        "--target",
        "y",
        "--feature-map",
        feature_map,
        "--noise-variance",
        "0.25",
        "--name",
        "forty rows",
    ]
    if feature_map == "polynomial":
        options += ["--degree", "2", "--offset", "0.5"]
    result = collapse("describe", str(path), *options, "--json")
    assert result.exit_code == 0, result.stderr
    answer = json.loads(result.stdout)
    assert (answer["rows"]["count"], answer["rows"]["columns"]) == (40, 3)
    assert answer["name"] == "forty rows"
    assert answer["feature_map"]["kind"] == feature_map
    if feature_map == "polynomial":
        assert (answer["feature_map"]["degree"], answer["feature_map"]["offset"]) == (2, 0.5)
    shown = collapse("show", answer["id"])
    assert "forty rows" in shown.stdout
    assert "40 × 3" in shown.stdout
    again = json.loads(collapse("describe", str(path), *options, "--json").stdout)
    assert again["id"] == answer["id"]


def test_describe_with_labels_in_a_file_of_their_own(collapse: Collapse, tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    np.save(tmp_path / "rows.npy", rng.standard_normal((30, 2)))
    np.save(tmp_path / "labels.npy", rng.integers(0, 10, 30).astype(float))
    result = collapse(
        "describe", str(tmp_path / "rows.npy"), "--target-file", str(tmp_path / "labels.npy"),
        "--target-transform", '{"kind": "modulo", "divisor": 2}', "--json",
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    target = json.loads(result.stdout)["target"]
    assert target["transform"] == {"kind": "modulo", "divisor": 2}
    assert target["mean_square"] == target["mean"]  # only 0 and 1 are left


def test_simulate_and_cancel_without_a_worker(collapse: Collapse, request_file: str) -> None:
    result = collapse("simulate", request_file, "--replicates", "8", "--seed", "3", "--json")
    assert result.exit_code == 0, result.stderr
    answer = json.loads(result.stdout)
    assert (answer["state"], answer["progress"]) == ("queued", {"completed": 0, "total": 8})
    assert (answer["request"]["replicates"], answer["request"]["seed"]) == (8, 3)
    people = collapse("show", answer["id"])
    assert f"{answer['id']}: queued" in people.stdout
    assert f"collapse show {answer['id']} --wait" in people.stderr
    cancelled = collapse("cancel", answer["id"], "--json")
    assert (cancelled.exit_code, json.loads(cancelled.stdout)["state"]) == (0, "cancelled")
    waited = collapse("show", answer["id"], "--wait")
    assert waited.exit_code == 5
    assert f"{answer['id']}: cancelled" in waited.stdout


def test_an_idempotency_key_gives_the_same_simulation(collapse: Collapse, request_file: str) -> None:
    options = ["--replicates", "8", "--idempotency-key", "k", "--json"]
    first, second = (json.loads(collapse("simulate", request_file, *options).stdout) for _ in range(2))
    assert first["id"] == second["id"]
    other = collapse("simulate", request_file, *options, "--seed", "9")
    assert other.exit_code == 3
    assert json.loads(other.stderr)["code"] == "idempotency_key_reused"


def test_refused_input_is_named_line_by_line(collapse: Collapse) -> None:
    wrong = {"dataset": {**REQUEST["dataset"], "noise_variance": -1}, "training_mix": {"kind": "none"}}
    result = collapse("predict", "-", stdin=json.dumps(wrong))
    assert result.exit_code == 3
    assert result.stdout == ""
    assert re.search(r"^  /dataset/noise_variance: ", result.stderr, re.MULTILINE)
    assert re.search(r"^  /training_mix: ", result.stderr, re.MULTILINE)
    assert re.search(r"request req_[0-9a-f]{26}$", result.stderr, re.MULTILINE)


def test_refused_input_for_programs_is_the_problem(collapse: Collapse) -> None:
    result = collapse("predict", "-", "--json", stdin="{}")
    assert result.exit_code == 3
    problem = json.loads(result.stderr)
    assert problem["status"] == 422
    assert [error["pointer"] for error in problem["errors"]] == ["/dataset", "/training_mix"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "neither JSON nor YAML"),
        ("[1, 2]", "a request is an object"),
        ("a: .nan", "neither JSON nor YAML"),
        ("a: 2026-01-01", "neither JSON nor YAML"),
        ("a: &x [*x]", "neither JSON nor YAML"),
        ('{"a": {"b": 1, "b": 2}}', '"b" is given twice'),
        ("a: {b: 1, b: 2}", '"b" is given twice'),
        ("a: 1\na: 1\n", '"a" is given twice'),
        ("", "a request is an object"),
    ],
)
def test_a_file_that_is_no_request(collapse: Collapse, text: str, said: str) -> None:
    result = collapse("predict", "-", stdin=text)
    assert result.exit_code == 3
    assert said in result.stderr


def test_what_yaml_merges_may_be_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "request.yaml"
    path.write_text("base: &base {b: 1, c: 2}\nother: {<<: *base, b: 3}\n")
    assert read_request(str(path))["other"] == {"b": 3, "c": 2}


def test_a_file_that_is_not_there(collapse: Collapse, tmp_path: Path) -> None:
    result = collapse("predict", str(tmp_path / "none.yaml"))
    assert result.exit_code == 3
    assert "No such file" in result.stderr
    assert collapse("describe", str(tmp_path / "none.npy")).exit_code == 2


@pytest.mark.parametrize("text", ["1e-3", "1E-3", "0.001", "+1.0e-3", ".1e-2", "1.e-3"])
def test_yaml_numbers_are_numbers(collapse: Collapse, text: str) -> None:
    written = yaml.safe_dump(REQUEST).replace("penalty: 0.0", f"penalty: {text}")
    assert text in written
    result = collapse("predict", "-", "--json", stdin=written)
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["regularization"]["penalty"] == 1e-3


def test_an_id_that_is_none_and_one_that_is_not_there(collapse: Collapse) -> None:
    assert collapse("show", "nothing").exit_code == 2
    assert collapse("show", "sim_../../healthz").exit_code == 2
    missing = collapse("show", f"prd_{'a' * 26}")
    assert missing.exit_code == 3
    assert "not_found" in missing.stderr


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:9", "http://no.such.host.invalid", "nonsense", "http://[:"]
)
def test_nothing_answers(request_file: str, url: str) -> None:
    result = CliRunner().invoke(app, ["predict", request_file, "--url", url])
    assert result.exit_code == 4
    assert "Nothing answers" in result.stderr


@pytest.mark.parametrize(
    ("status", "code"), [(503, 4), (429, 4), (502, 4), (500, 1), (404, 3), (413, 3), (418, 3)]
)
def test_every_status_has_its_exit_code(
    request_file: str, monkeypatch: pytest.MonkeyPatch, status: int, code: int
) -> None:
    """What answers may also be a proxy that knows nothing of problem details."""

    def answer(_: httpx.Request) -> httpx.Response:
        return httpx.Response(status, text="<html>no</html>")

    real = httpx.Client
    monkeypatch.setattr(
        httpx, "Client", lambda **options: real(**{**options, "transport": httpx.MockTransport(answer)})
    )
    result = CliRunner().invoke(app, ["predict", request_file])
    assert result.exit_code == code
    assert f"HTTP {status}" in result.stderr


def test_a_wrong_setting_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "eighty")
    result = CliRunner().invoke(app, ["migrate"])
    assert result.exit_code == 2
    assert "PORT" in result.stderr


def test_migrate_may_be_repeated(empty_database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", empty_database_url)
    for _ in range(2):
        assert CliRunner().invoke(app, ["migrate"]).exit_code == 0
    monkeypatch.setenv("DATABASE_URL", "postgresql://nobody@127.0.0.1:9/none")
    assert CliRunner().invoke(app, ["migrate"]).exit_code == 4


def test_help_is_quick_and_imports_nothing_that_serves() -> None:
    """Half a second on a quiet machine, measured as the best of five: others may be at work."""
    program = "import sys, service.cli; print(' '.join(sys.modules))"
    modules = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout
    heavy = {"numpy", "fastapi", "sqlalchemy", "pydantic", "httpx", "yaml", "rich", "matplotlib"}
    assert heavy.isdisjoint(modules.split())
    times = []
    for _ in range(5):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-m", "service.cli", "--help"], capture_output=True, check=True)
        times.append(time.perf_counter() - start)
    assert min(times) < 0.5
