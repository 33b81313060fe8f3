"""Scenarios: their settings give the numbers of the papers' formulas, and what is told is shown."""

import gzip
import io
import json
import xml.etree.ElementTree as ET
from collections.abc import Callable
from itertools import pairwise
from math import sqrt
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.special import zeta
from typer.testing import CliRunner, Result

from service.cli import app
from service.client.scenarios import mnist, report, tails
from service.client.scenarios.power_law import adapted_exponent, critical_exponent
from service.client.scenarios.registry import SCENARIOS
from service.client.scenarios.scenario import Curve, MissingDataError, Panel, Point, Run, agreement, tell
from service.client.scenarios.strong_collapse import penalty_of
from service.client.scenarios.sweep import Sweep, computed, with_number
from tests.client.scenarios.offline import CarriedOut, Offline


def panels(name: str, order: Literal[0, 1] = 0) -> tuple[Panel, ...]:
    return SCENARIOS[name].panels(Run(Offline(order)))


def values(panel: Panel) -> dict[str, dict[float, float]]:
    return {c.label: {p.x: p.predicted for p in c.points if p.predicted is not None} for c in panel.curves}


def relabelled(  # noqa: PLR0917
    T: int, n: int, noise: float, penalty: float, eigenvalues: Any, power: Any
) -> float:
    """Ridge after n ridgeless generators, T_0 = 600, d = 300: B + V + n σ² ρ/(T_0 − d), κ by root finding."""

    def excess(kappa: float) -> float:
        return float(kappa - penalty - kappa * np.sum(eigenvalues / (eigenvalues + kappa)) / T)

    kappa = brentq(excess, penalty * (1 - 1e-12), 10 + np.sum(eigenvalues), xtol=1e-300, rtol=1e-14)
    df2 = np.sum(eigenvalues**2 / (eigenvalues + kappa) ** 2)
    bias = kappa**2 * np.sum(power * eigenvalues / (eigenvalues + kappa) ** 2) * T / (T - df2)
    rho = df2 + kappa**2 * np.sum((eigenvalues + kappa) ** -2.0) * df2 / (T - df2)
    # ρ per unit of label noise: the generator's error has covariance σ² Σ^-1 / (T_0 − d)
    return float(bias + noise * df2 / (T - df2) + n * noise * rho / (600 - 300))


def test_gaussian_variances_are_the_papers_products() -> None:
    """Π(1 − 1/(M i²)) accumulated, (1 − 1/M)^n replaced; Kazdan et al. quote 0.844, 0.984 and 0.904."""
    for samples, panel in zip((10, 100), panels("gaussian-accumulate"), strict=True):
        found = values(panel)
        for n in (1, 5, 100):
            product = np.prod(1 - 1 / (samples * np.arange(1.0, n + 1) ** 2))
            assert found["accumulate"][n] == pytest.approx(product, rel=1e-12)
            assert found["replace"][n] == pytest.approx((1 - 1 / samples) ** n, rel=1e-12)
    assert found["accumulate"][100] == pytest.approx(0.984, abs=5e-4)
    run = Run(Offline(), simulate=True, replicates=7)
    simulated = SCENARIOS["gaussian-accumulate"].panels(run)
    assert all(
        point.simulated == 1.0 for panel in simulated for curve in panel.curves for point in curve.points
    )


def test_isotropic_curves_are_the_papers_formula() -> None:
    ones = np.ones(300)
    over_penalty, over_size = (values(panel) for panel in panels("mcd-isotropic"))
    for n in (0, 1, 5, 10, 20):
        for penalty in (1e-4, 1e-1, 10.0):
            expected = relabelled(1_000, n, 0.04, penalty, ones, ones / 300)
            assert over_penalty[f"n = {n}"][penalty] == pytest.approx(expected, rel=1e-9)
        for T in (50, 350, 10_000):
            expected = relabelled(T, n, 0.04, 1e-3, ones, ones / 300)
            assert over_size[f"n = {n}"][T] == pytest.approx(expected, rel=1e-9)


def test_power_law_curves_are_the_papers_formula_and_the_adapted_penalty_stops_the_rise() -> None:
    k = np.arange(1.0, 301)
    eigenvalues, power = k**-2, k ** (-2.5) * k**2
    clean, adapted = (values(panel) for panel in panels("mcd-power-law"))
    assert critical_exponent(2, 0.375) == pytest.approx(0.8)
    for n in (0, 1, 5, 10):
        for T in (10, 1_000, 10**6):
            expected = relabelled(T, n, 1.0, T**-0.8, eigenvalues, power)
            assert clean[f"n = {n}"][T] == pytest.approx(expected, rel=1e-8)
            T_eff = 1 / (1 / T + n / 300)
            expected = relabelled(T, n, 1.0, T_eff**-0.8, eigenvalues, power)
            assert adapted[f"n = {n}"][T] == pytest.approx(expected, rel=1e-8)
    assert adapted_exponent(1_000, 0) == pytest.approx(0.8)
    sizes = sorted(clean["n = 1"])
    assert clean["n = 1"][10**6] > 5 * min(clean["n = 1"].values())
    assert all(adapted["n = 1"][a] > adapted["n = 1"][b] for a, b in pairwise(sizes))


def test_over_parametrised_generators_forget_exponentially_unless_they_share_a_design() -> None:
    by_design, apart, together = (values(panel) for panel in panels("mcd-over-parametrised"))
    independent, shared = by_design["independent designs"], by_design["shared designs"]
    assert len({round(shared[n], 10) for n in (1, 2, 3, 5, 7, 10)}) == 1
    assert shared[1] == pytest.approx(independent[1], rel=1e-12)
    # a ridgeless fit on 150 of 300 directions keeps half of the signal: what is left is 2^-n
    clean = independent[0]
    for n in (1, 2, 3, 5, 7, 10):
        assert independent[n] == pytest.approx(1 - 2.0**-n + clean, rel=2e-3)
    for T, once in together["n = 1"].items():
        assert once == pytest.approx(apart["n = 1"][T], rel=1e-12)
        assert together["n = 5"][T] == pytest.approx(once, rel=1e-12)


def test_the_size_of_the_model_follows_theorem_2() -> None:
    """Isotropic features, E = B + V + ζ of the second theorem, with θ by root finding."""
    d, N, p2 = 600, 500, 0.1
    found = values(panels("smc-quality")[0])
    for quality in (0.0, 0.5, 1.0):
        for m in (50, 450, 2_000):
            penalty = penalty_of(1e-3, m)
            theta = brentq(
                lambda t, m=m, penalty=penalty: (
                    t - penalty - t * d / (1 + t) / N - t * d / (1 + t) / m * (1 - d / (1 + t) / N)
                ),
                max(0.0, d / min(N, m) - 1) * (1 + 1e-14) + 1e-14,
                1e4,
                xtol=1e-300,
                rtol=1e-14,
            )
            df2, a = d / (1 + theta) ** 2, d / (1 + theta) ** 2
            odds = df2 / N + theta**2 * a**2 / (N * m * (1 - df2 / m))
            u = odds / (1 - odds)
            omega = (1 + u) * theta**2 * (a / m) / (1 - df2 / m)
            bias = ((1 + u) * theta**2 + omega) / (1 + theta) ** 2
            zeta = p2**2 * quality * ((1 + (1 - p2) * u) + omega) / (1 + theta) ** 2
            zeta += p2 * u * quality * ((1 - p2) + theta) ** 2 / (1 + theta) ** 2
            expected = bias + 0.01 * u + zeta
            assert found[f"c² = {quality:g}"][m / N] == pytest.approx(expected, rel=1e-7)


def test_accumulated_least_squares_and_what_the_paper_has_for_it() -> None:
    """The published figures are the bound σ² d/(T − d − 1) Σ 1/k²; the error is Σ (1/k) σ² d/(kT − d − 1)."""
    found = {
        curve.label: {p.x: p for p in curve.points} for curve in panels("acc-accumulate", order=1)[0].curves
    }
    for n in (1, 2, 3, 5, 7, 10):
        exact = sum(10 / (60 * k - 11) / k for k in range(1, n + 1))
        assert found["accumulate"][n].predicted == pytest.approx(exact, rel=1e-12)
        assert found["replace"][n].predicted == pytest.approx(n * 10 / 49, rel=1e-12)
        published = found["accumulate"][n].published
        if published is not None:
            assert published == pytest.approx(10 / 49 * sum(k**-2 for k in range(1, n + 1)), abs=6e-4)


def test_the_tails_scenarios_are_the_laws_of_their_regimes() -> None:
    for panel, exponent in zip(panels("tail-mixing"), (1.5, 2.0), strict=True):
        found, c = values(panel), 1 - 1 / exponent
        # clean: T^-c; nothing real: the plateau; and with a tenth real data the clean error of a tenth of the samples
        assert found["clean"][10**8] / found["clean"][10**10] == pytest.approx(100**c, rel=1e-4)
        plateau = float(zeta(exponent, 101) / zeta(exponent))
        assert found["π = 0"][10**10] == pytest.approx(plateau, rel=1e-9)
        assert found["π = 0.1"][10**10] == pytest.approx(found["clean"][10**9], rel=1e-4)
    for panel, exponent in zip(panels("tail-cut"), (1.5, 2.0), strict=True):
        for k in (10, 100, 1_000):
            plateau = float(zeta(exponent, k + 1) / zeta(exponent))
            assert values(panel)[f"k = {k}"][10**10] == pytest.approx(plateau, rel=1e-6)


def test_the_tails_scenarios_are_carried_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tails, "DRAWN", (10, 100, 1_000))
    told = tell(SCENARIOS["tail-mixing"], Run(Offline(), simulate=True, replicates=60, seed=4))
    assert told["agreement"]["agree"]
    assert told["agreement"]["points"] == 2 * 5 * 3
    first = told["panels"][1]["curves"][2]
    assert [p["x"] for p in first["points"] if p["simulated"] is not None] == [10, 100, 1_000]


def test_mnist_is_asked_for_by_the_names_of_its_files(tmp_path: Path) -> None:
    with pytest.raises(MissingDataError, match="t10k-images"):
        mnist.upload(None)
    result = CliRunner().invoke(app, ["reproduce", "mcd-mnist", "--data", str(tmp_path)])
    assert result.exit_code == 2
    assert "--data" in result.stderr


def test_mnist_is_uploaded_as_pixels_and_parity(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    images, digits = (
        rng.integers(0, 256, (5_500, 784), dtype=np.uint8),
        rng.integers(0, 10, 5_500, dtype=np.uint8),
    )
    (tmp_path / mnist.IMAGES).write_bytes(gzip.compress(bytes(16) + images.tobytes()))
    (tmp_path / mnist.DIGITS).write_bytes(gzip.compress(bytes(8) + digits.tobytes()))
    with np.load(io.BytesIO(mnist.upload(tmp_path))) as file:
        rows, labels = file["X"], file["y"]
    assert rows.shape == (5_000, 784)
    place = {tuple(row[:8]): digit % 2 for row, digit in zip(images, digits, strict=True)}
    assert all(
        place[tuple(np.rint(row[:8] * 255).astype(int))] == y for row, y in zip(rows, labels, strict=True)
    )


def test_a_sweep_of_one_number_is_one_simulation_and_of_several_one_each() -> None:
    client = Offline()
    request = {
        "dataset": {
            "spectrum": {"kind": "isotropic", "dimension": 10},
            "target": {"kind": "isotropic", "squared_norm": 1.0},
            "noise_variance": 0.5,
        },
        "training_mix": {"kind": "mixture", "real": {"samples": 30}, "synthetic": [], "penalty": 0.0},
    }
    penalties, samples = (0.1, 0.2, 0.3), (30, 40, 50)
    one = Sweep("one", request, penalties, {"/training_mix/penalty": penalties}, every=2)
    both = Sweep(
        "both", request, samples, {"/training_mix/real/samples": samples, "/training_mix/penalty": penalties}
    )
    seen = []
    run = Run(client, simulate=True, seed=7, on_progress=lambda done, total: seen.append((done, total)))
    curves = computed([one, both], run, 20)
    assert [len(c.points) for c in curves] == [3, 3]
    assert [p.simulated for p in curves[0].points] == [1.0, None, 1.01]
    assert [p.simulated for p in curves[1].points] == [2.0, 3.0, 4.0]
    assert client.simulated[0]["grid"] == [{"pointer": "/training_mix/penalty", "values": [0.1, 0.3]}]
    assert client.simulated[2]["training_mix"]["penalty"] == 0.2
    assert client.simulated[2]["training_mix"]["real"]["samples"] == 40
    assert all((one["replicates"], one["seed"]) == (20, 7) for one in client.simulated)
    assert seen == [(20, 80), (40, 80), (60, 80), (80, 80)]
    # ridge on T isotropic samples at these penalties differs from point to point: the axes reached the engine
    assert len({p.predicted for c in curves for p in c.points}) == 5


def test_axes_together_are_one_grid_of_which_the_diagonal_is_asked_for() -> None:
    request = {
        "dataset": {
            "spectrum": {"kind": "isotropic", "dimension": 10},
            "target": {"kind": "isotropic", "squared_norm": 1.0},
            "noise_variance": 0.5,
        },
        "training_mix": {"kind": "mixture", "real": {"samples": 30}, "synthetic": [], "penalty": 0.0},
    }
    penalties, samples = (0.1, 0.2, 0.3), (30, 40, 50)
    axes = {"/training_mix/real/samples": samples, "/training_mix/penalty": penalties}
    apart, together = (Sweep("", request, samples, axes, every=2, together=value) for value in (False, True))
    client = CarriedOut()
    one, other = computed([apart, together], Run(client, simulate=True, seed=3), 12)
    assert [len(simulation.get("grid", [])) for simulation in client.simulated] == [0, 0, 2]
    assert [(p.simulated, p.standard_error, p.p_value) for p in one.points] == [
        (p.simulated, p.standard_error, p.p_value) for p in other.points
    ]
    assert one.points[1].simulated is None
    assert one.points[0].simulated != one.points[2].simulated


def test_a_pointer_reaches_through_lists_and_leaves_the_request_alone() -> None:
    request = {"a": [{"b": 1}, {"b": 2}], "c": 3}
    assert with_number(request, "/a/1/b", 5) == {"a": [{"b": 1}, {"b": 5}], "c": 3}
    assert request == {"a": [{"b": 1}, {"b": 2}], "c": 3}


def test_agreement_is_denied_beyond_the_limit_for_all_points_together() -> None:
    def points(z: float) -> list[Point]:
        return [
            Point(0, 1.0, None, 1.0 + z * 0.01, 0.01),
            *[Point(i, 1.0, None, 1.0, 0.01) for i in range(1, 10)],
        ]

    # Φ^-1(1 − 0.01/20) = 3.2905
    near, far = agreement(points(3.28)), agreement(points(-3.30))
    assert near is not None
    assert far is not None
    assert (near["agree"], far["agree"]) == (True, False)
    assert near["threshold"] == pytest.approx(3.2905, abs=1e-4)
    assert far["mean_squared_z"] == pytest.approx(3.30**2 / 10)
    assert far["largest_relative_difference"] == pytest.approx(0.033)
    assert agreement([Point(0, 1.0)]) is None


def test_what_has_no_number_is_shown_as_none(tmp_path: Path) -> None:
    """An infinite prediction, a single replicate, a prediction of zero: told and drawn without failing."""
    odd = (Point(1, None, 2.0, 1.0, None), Point(2, 0.0, None, 0.5, 0.1), Point(3, 1.0, 0.9, 1.2, 0.1))
    assert [p.z_score for p in odd] == [None, pytest.approx(5.0), pytest.approx(2.0)]
    # four runs hardly know their standard error: P(|t_3| > 5.841) = 1 % is 2.576 of a normal number
    few = Point(1, 1.0, None, 1.05841, 0.01, replicates=4)
    assert few.z_score == pytest.approx(2.5758, abs=1e-3)
    # a p-value tells the score: 0.0455 is two-sided 2.0 of a normal number, 0 has none
    told = [Point(1, 1.0, None, 0.9, 0.05, p) for p in (0.0455002638963584, 0.0)]
    assert [p.z_score for p in told] == [pytest.approx(-2.0), pytest.approx(-2.0)]
    assert Point(1, 1.0, None, 1.1, 0.05, 0.0455002638963584).z_score == pytest.approx(2.0)
    assert [p.relative_difference for p in odd] == [None, None, pytest.approx(0.2)]
    scenario = SCENARIOS["mcd-isotropic"]
    axis = scenario.panels.__globals__["SAMPLES"]
    panel = Panel("odd", axis, axis, (Curve("curve", odd),))
    told = tell(type(scenario)("odd", "Odd", "none", {}, "Nothing.", lambda _: (panel,)), Run(Offline()))
    json.dumps(told, allow_nan=False)
    page = report.markdown(told)
    assert "| curve | 3 | 1 | 0.9 | 1.2 | 0.1 | +20.0% | +2.0 |" in page
    assert "| curve | 1 | – | 2 | 1 | – | – | – |" in page
    for name in ("one.svg", "two.svg"):
        report.plot(told, tmp_path / name)
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()
    assert ET.parse(tmp_path / "one.svg").getroot().tag == "{http://www.w3.org/2000/svg}svg"


def test_the_command_lists_tells_and_writes(collapse: Callable[..., Result], tmp_path: Path) -> None:
    listed = collapse("reproduce")
    assert listed.exit_code == 0
    assert all(name in listed.stdout for name in SCENARIOS)
    names = [one["name"] for one in json.loads(collapse("reproduce", "--json").stdout)["scenarios"]]
    assert names == list(SCENARIOS)
    result = collapse("reproduce", "smc-quality", "--output", str(tmp_path), "--json")
    assert result.exit_code == 0, result.stderr
    told = json.loads(result.stdout)
    assert told["agreement"] is None
    assert [len(curve["points"]) for curve in told["panels"][0]["curves"]] == [13] * 5
    page = (tmp_path / "smc-quality.md").read_text(encoding="utf-8")
    assert "![Ten per cent" in page
    assert (tmp_path / "smc-quality.svg").exists()
    worst = told["panels"][0]["curves"][3]["points"]
    assert max(p["predicted"] for p in worst) > sqrt(4) > worst[0]["predicted"]


def test_a_name_that_is_none_is_answered_with_those_there_are() -> None:
    result = CliRunner().invoke(app, ["reproduce", "nothing"])
    assert result.exit_code == 2
    assert "mcd-isotropic" in result.stderr
