"""How long a prediction takes, beside what one would write without this service. ``make bench`` prints the table.

The problem: power-law spectrum, d = 300, five generations, the recommended penalty included.
"""

from typing import Any

import numpy as np
import pytest
from scipy.optimize import brentq, minimize_scalar
from sklearn.linear_model import Ridge

from service.predictions.compile import compile_mix
from service.predictions.populations import population
from service.predictions.schemas import PredictionRequest
from service.theory.limits import limits
from service.theory.model import Array, Population, TrainingMix
from service.theory.prediction import predict

D, GENERATIONS, T0, T, PENALTY, NOISE = 300, 5, 600, 300, 0.01, 0.25
REQUEST = {
    "dataset": {
        "spectrum": {"kind": "power_law", "dimension": D, "exponent": 1.5},
        "target": {"kind": "isotropic", "squared_norm": 1.0},
        "noise_variance": NOISE,
    },
    "training_mix": {
        "kind": "recursive",
        "generations": GENERATIONS,
        "generator": {"samples": T0, "penalty": PENALTY},
        "samples": T,
        "penalty": PENALTY,
    },
}


@pytest.fixture
def problem() -> tuple[Population, TrainingMix]:
    """The compiled request."""
    request = PredictionRequest.model_validate(REQUEST)
    assert not isinstance(request.dataset, str)
    found = population(request.dataset, request.training_mix)
    return found, compile_mix(request.training_mix, found, request.dataset)


def fresh(found: Population) -> Population:
    """The same population with nothing remembered."""
    return Population(found.eigenvalues, found.multiplicities, found.target_power, found.noise_variance)


def test_prediction_of_a_new_data_set(benchmark: Any, problem: tuple[Population, TrainingMix]) -> None:
    """Total, decomposition, baselines, recommended penalty."""
    found, mix = problem
    assert benchmark(lambda: predict(fresh(found), mix)).test_error.total > 0


def test_prediction_of_a_known_data_set(benchmark: Any, problem: tuple[Population, TrainingMix]) -> None:
    """The same for a data set whose grid is already there."""
    found, mix = problem
    assert benchmark(lambda: predict(found, mix)).test_error.total > 0


def test_limits(benchmark: Any, problem: tuple[Population, TrainingMix]) -> None:
    """Generations and data to infinity."""
    found, mix = problem
    assert benchmark(lambda: limits(found, mix)).regime


def test_from_json(benchmark: Any) -> None:
    """Validation and compilation alone."""

    def run() -> TrainingMix:
        request = PredictionRequest.model_validate(REQUEST)
        assert not isinstance(request.dataset, str)
        return compile_mix(
            request.training_mix, population(request.dataset, request.training_mix), request.dataset
        )

    assert benchmark(run).stages


def scipy_total(sigma: Array, power: Array, penalties: list[float]) -> float:
    """The chain's test error with scipy's root finding and the textbook formulas, one stage after the other."""
    signal, cross, second = power, np.zeros_like(power), np.zeros_like(power)
    for k, penalty in enumerate(penalties):
        N = T if k == GENERATIONS else T0
        theta = brentq(
            lambda t, N=N, penalty=penalty: t * (1 - (sigma / (sigma + t)).sum() / N) - penalty,
            1e-12,
            1e3,
            rtol=1e-12,
        )
        S, U = sigma / (sigma + theta), theta / (sigma + theta)
        residual = (sigma * U**2 * (second + 2 * cross + signal)).sum() + NOISE
        drive = residual / N / (1 - (S**2).sum() / N)
        second = S**2 * second - 2 * S * U * cross + U**2 * signal + drive * S**2 / sigma
        cross = S * cross - U * signal
    return float((sigma * second).sum())


def test_scipy_without_vectorization(benchmark: Any, problem: tuple[Population, TrainingMix]) -> None:
    """Peer: total and best penalty with scipy's brentq and bounded minimization; no decomposition, no baselines."""
    found, mix = problem

    def run() -> float:
        chain = [PENALTY] * GENERATIONS
        best = minimize_scalar(
            lambda x: scipy_total(found.eigenvalues, found.target_power, [*chain, 10**x]),
            bounds=(-6, 3),
            method="bounded",
            options={"xatol": 1e-6},
        )
        total = scipy_total(found.eigenvalues, found.target_power, [*chain, PENALTY])
        assert best.fun <= total
        return total

    assert benchmark(run) == pytest.approx(predict(found, mix).test_error.total, rel=1e-9)


def test_one_simulated_replicate(benchmark: Any, problem: tuple[Population, TrainingMix]) -> None:
    """Peer: one draw of the process with scikit-learn, one penalty; 1 % accuracy takes some hundreds of them."""
    found, _ = problem
    rng = np.random.default_rng(0)
    scale, truth = np.sqrt(found.eigenvalues), np.sqrt(found.target_power)

    def run() -> float:
        model = truth
        for k in range(GENERATIONS + 1):
            n = T if k == GENERATIONS else T0
            X = rng.standard_normal((n, D)) * scale
            y = X @ model + rng.standard_normal(n) * NOISE**0.5
            model = Ridge(alpha=PENALTY * n, fit_intercept=False).fit(X, y).coef_
        return float((found.eigenvalues * (model - truth) ** 2).sum())

    assert benchmark(run) > 0
