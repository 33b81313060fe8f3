"""What the papers conclude from their theorems, and their conventions; the theorems are in test_closed_forms.py."""

import math
from typing import Any

import numpy as np
import pytest

from service.predictions import schemas
from service.predictions.compile import compile_mix
from service.predictions.populations import population as population_of
from service.theory.limits import limits
from service.theory.model import REAL, Array, Population, Shift, Source, Stage, TrainingMix
from service.theory.prediction import predict
from tests.theory.problems import isotropic, power_law, recursive
from tests.theory.test_exact import fit


def compiled(
    mix: dict[str, Any], spectrum: list[float], noise: float = 0.2
) -> tuple[Population, TrainingMix]:
    request = schemas.PredictionRequest.model_validate(
        {
            "dataset": {
                "spectrum": {"kind": "eigenvalues", "values": spectrum},
                "target": {"kind": "isotropic", "squared_norm": 1.0},
                "noise_variance": noise,
            },
            "training_mix": mix,
        }
    )
    assert isinstance(request.dataset, schemas.Dataset)
    found = population_of(request.dataset, request.training_mix)
    return found, compile_mix(request.training_mix, found, request.dataset)


@pytest.mark.parametrize(
    ("T0", "noises"), [(20, [0.1, 0.4, 0.2]), (5, [0.1, 0.4, 0.2]), (5, [0.0, 0.0, 0.0])]
)
def test_generators_on_one_design_are_one_fit_of_summed_noise(T0: int, noises: list[float]) -> None:
    """Every generation projects on the same rows: simulated generation by generation, on both sides of T_0 = d."""
    sigma = np.linspace(1.0, 0.4, 10)
    mix = {
        "kind": "recursive", "generations": 3, "samples": 40, "penalty": 0.0,
        "generator": {"samples": T0, "noise_variance": noises, "design": "shared"},
    }  # fmt: skip
    population, training = compiled(mix, sigma.tolist())
    rng = np.random.default_rng(11)
    runs, w = 20_000, rng.normal(size=(20_000, 10)) / math.sqrt(10)
    X, model = rng.normal(size=(runs, T0, 10)) * np.sqrt(sigma), w
    for noise in noises:
        model = fit(X, np.einsum("rij,rj->ri", X, model) + rng.normal(size=(runs, T0)) * math.sqrt(noise))
    # the last fit is exact least squares: what it adds is known, which leaves the generators to be compared
    final = rng.normal(size=(runs, 40, 10)) * np.sqrt(sigma)
    y = np.einsum("rij,rj->ri", final, model) + rng.normal(size=(runs, 40)) * math.sqrt(0.2)
    errors = ((fit(final, y) - w) ** 2) @ sigma
    error = float(errors.std() / math.sqrt(runs))
    total = predict(population, training, order=1).test_error.total
    # equivalents of the interpolating fit are off by O(1/d): 3 % at d = 10; least squares are exact
    assert abs(errors.mean() - total) < 4 * error + (0.03 * total if T0 < 10 else 0.0)
    assert error < 0.01 * total


def test_one_generator_shares_its_design_with_none() -> None:
    mix = {
        "kind": "recursive", "generations": 1, "samples": 40, "penalty": 0.1,
        "generator": {"samples": 20, "penalty": 0.3, "design": "shared"},
    }  # fmt: skip
    population, shared = compiled(mix, [1.0, 0.5, 0.2])
    _, alone = compiled({**mix, "generator": {"samples": 20, "penalty": 0.3}}, [1.0, 0.5, 0.2])
    assert predict(population, shared).test_error == predict(population, alone).test_error


@pytest.mark.parametrize("T0", [30.0, 150.0])
def test_errors_of_independent_designs_exceed_those_of_a_shared_one(T0: float) -> None:
    """Without any noise: under-determined generators lose more with every generation, a shared design only once."""
    population = power_law(100, 1.2, 0.0)
    apart = [
        predict(population, recursive(n, T0, 10**12, 0.0, noise0=0.0, noise=0.0)).test_error.total
        for n in (1, 2, 5)
    ]
    assert apart == sorted(apart)
    assert (apart[2] > 1.5 * apart[0]) == (T0 < 100)


def zeta(width: float, penalty: float = 1e-6) -> float:
    """The generation term of the paper's quality experiment through ``width`` features."""
    population = isotropic(600, 0.0)
    sources = (Source(REAL, REAL, 450, 0.0), Source("s", Shift(np.array([0.5 / 600])), 50, 0.0))
    mix = TrainingMix((Stage("f", sources, penalty, width),))
    return predict(population, mix).test_error.generation


def test_larger_models_amplify_collapse_below_the_threshold_and_mitigate_it_above() -> None:
    """Strong Model Collapse, section 4: double descent of ζ in the model's size, its peak at m = N = 500."""
    below, above = [zeta(m) for m in (100, 250, 400, 480)], [zeta(m) for m in (520, 600, 1000, 5000)]
    assert below == sorted(below)
    assert above == sorted(above, reverse=True)
    assert min(below[-1], above[0]) > 2 * max(below[0], above[-1])
    widths = np.arange(440, 561, 10)
    assert int(widths[np.argmax([zeta(float(m)) for m in widths])]) == 500
    population = isotropic(600, 0.0)
    sources = (Source(REAL, REAL, 450, 0.0), Source("s", Shift(np.array([0.5 / 600])), 50, 0.0))
    peaks = limits(population, TrainingMix((Stage("f", sources, 1e-6, 300.0),))).double_descent
    assert [(p.quantity, p.position) for p in peaks] == [("samples", 300), ("width", 500)]


@pytest.mark.parametrize("weight", [0.0, 1e-3, 0.1, 1.0, 10.0])
def test_no_weight_but_zero_takes_the_floor_away(weight: float) -> None:
    """(ω_2 p_2/(p_1 + ω_2 p_2))² tr ΔΣ with unlimited data and no penalty."""
    population, shift = power_law(40, 1.2, 0.2), np.linspace(0.01, 0.2, 40)
    sources = (Source(REAL, REAL, 300, 0.2), Source("s", Shift(shift), 100, 0.2, weight))
    found = limits(population, TrainingMix((Stage("f", sources, 0.0),)))
    share = weight * 0.25 / (0.75 + weight * 0.25)
    expected = share**2 * float(shift @ population.eigenvalues)
    assert math.isclose(found.data_limit or 0.0, expected, rel_tol=1e-12, abs_tol=1e-300)
    assert found.strong is (weight > 0)


def simulated_features(
    population: Population, stage: Stage, variance: float, runs: int
) -> tuple[float, float]:
    """Ridge regression on random features whose entries have this variance, one draw of them in each run."""
    rng = np.random.default_rng(3)
    sigma, d = population.eigenvalues, population.eigenvalues.size
    errors = []
    for _ in range(runs):
        w = rng.normal(size=d) * np.sqrt(population.target_power)
        P = rng.normal(size=(int(stage.width or 0), d)) * math.sqrt(variance)
        X = rng.normal(size=(int(stage.sources[0].samples), d)) * np.sqrt(sigma)
        Z, T = X @ P.T, len(X)
        y = X @ w + rng.normal(size=T) * math.sqrt(stage.sources[0].noise_variance)
        v = np.linalg.solve(Z.T @ Z / T + float(stage.penalty) * np.eye(Z.shape[1]), Z.T @ y / T)
        errors.append(float(sigma @ (P.T @ v - w) ** 2))
    return float(np.mean(errors)), float(np.std(errors) / math.sqrt(runs))


def test_random_features_have_variance_one_over_width() -> None:
    """Strong Model Collapse draws them with 1/d: its penalty is m/d times the one here."""
    population, width = power_law(90, 1.0, 0.3), 45.0
    ours = Stage("f", (Source(REAL, REAL, 70, 0.3),), 0.08, width)
    theirs = Stage("f", ours.sources, 0.08 * width / 90, width)
    total = predict(population, TrainingMix((ours,))).test_error.total
    for stage, variance in ((ours, 1 / width), (theirs, 1 / 90)):
        mean, error = simulated_features(population, stage, variance, 500)
        assert abs(mean - total) < 3.5 * error + 0.01 * total
        assert error < 0.015 * total


def test_quality_by_its_norm_and_by_its_test_error() -> None:
    """squared_norm q: Δ = (q/d) I; test_error c²: Δ = (c²/d) Σ^-1, so that tr ΔΣ = c²."""
    spectrum: list[float] = [1.0, 0.5, 0.25, 0.125]

    def shift(**quality: float) -> Array:
        share = {"samples": 5, "quality": {"kind": "shift", **quality}}
        mix = {"kind": "mixture", "real": {"samples": 5}, "synthetic": [share], "penalty": 0.1}
        labels = compiled(mix, spectrum)[1].stages[0].sources[1].labels
        assert isinstance(labels, Shift)
        return labels.power[np.argsort(compiled(mix, spectrum)[0].eigenvalues)[::-1]]

    assert np.allclose(shift(squared_norm=0.8), 0.2, rtol=1e-14)
    assert np.allclose(shift(test_error=0.8), 0.2 / np.array(spectrum), rtol=1e-14)
