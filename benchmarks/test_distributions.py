"""How long a prediction about a distribution takes, beside the Monte Carlo that reaches the same accuracy.

``make bench`` prints the table. An exact prediction has no Monte Carlo of the same accuracy: the comparison is with
as many replicates as a relative standard error of the variance of 0.1 % takes, drawn by chi-squares in one array
operation per fit, the fastest way there is.
"""

from typing import Any

import numpy as np
import pytest

from service.distributions.estimator import engine as estimator
from service.distributions.estimator.schemas import EstimatorRequest
from service.distributions.gaussian import engine as gaussian
from service.distributions.gaussian import recommend
from service.distributions.gaussian.schemas import GaussianRecommendationRequest, GaussianRequest
from service.distributions.kde import engine as kde
from service.distributions.kde.schemas import KdeRequest
from service.distributions.mixture import engine as mixture
from service.distributions.mixture.schemas import MixtureRequest

SAMPLES, GENERATIONS, ACCURACY = 100, 20, 0.001
BASE: dict[str, Any] = {"samples": SAMPLES, "generations": GENERATIONS}
WORKFLOWS: dict[str, dict[str, Any]] = {
    "replace": {"kind": "replace"},
    "fresh": {"kind": "fresh", "real_samples": 10},
    "iid": {"kind": "fresh", "real_fraction": 0.1, "allocation": "iid"},
    "retained": {"kind": "retained", "real_samples": 10},
    "accumulate": {"kind": "accumulate"},
}


@pytest.mark.parametrize("name", WORKFLOWS)
def test_gaussian_prediction(benchmark: Any, name: str) -> None:
    """The whole answer with its curve of 21 generations."""
    request = GaussianRequest.model_validate({**BASE, "workflow": WORKFLOWS[name]})
    assert benchmark(lambda: gaussian.predicted(request)).final.variance > 0


def test_gaussian_probability(benchmark: Any) -> None:
    """The same with P(v < ½) in every generation."""
    request = GaussianRequest.model_validate({**BASE, "workflow": WORKFLOWS["replace"], "thresholds": [0.5]})
    assert benchmark(lambda: gaussian.predicted(request)).final.below[0].probability > 0


def test_gaussian_in_a_hundred_dimensions(benchmark: Any) -> None:
    """A power-law spectrum, a million generations."""
    spectrum = {"kind": "power_law", "dimension": 100, "exponent": 1.0}
    body = {"samples": 10**9, "generations": 10**6, "workflow": WORKFLOWS["replace"], "spectrum": spectrum}
    request = GaussianRequest.model_validate(body)
    assert benchmark(lambda: gaussian.predicted(request)).final.kl_fit_true > 0


def test_gaussian_recommendation(benchmark: Any) -> None:
    """The least fresh real samples that keep the variance for ever."""
    body = {"samples": 10**6, "generations": None, "bound": {"quantity": "variance", "limit": 0.999}}
    request = GaussianRecommendationRequest.model_validate(body)
    assert benchmark(lambda: recommend.recommended(request)).reachable


def test_estimator_prediction(benchmark: Any) -> None:
    """Optimal weights."""
    workflow = {"kind": "fresh", "real_samples": 10, "weight": "optimal"}
    request = EstimatorRequest.model_validate({**BASE, "workflow": workflow})
    assert benchmark(lambda: estimator.predicted(request)).limit > 0


def test_kde_prediction(benchmark: Any) -> None:
    """Variances and integrated squared errors."""
    body = {**BASE, "workflow": {"kind": "replace"}, "bandwidth": {"kind": "fixed", "value": 0.3}}
    request = KdeRequest.model_validate(body)
    assert benchmark(lambda: kde.predicted(request)).final.sample_variance > 0


def test_mixture_prediction(benchmark: Any) -> None:
    """Three components by the exact chain of counts."""
    request = MixtureRequest.model_validate({**BASE, "weights": [0.1, 0.3, 0.6], "separation": 10.0})
    assert benchmark(lambda: mixture.predicted(request)).final.surviving_components > 0


def test_monte_carlo_of_the_fresh_mix(benchmark: Any) -> None:
    """Peer: (e, v) of one direction by chi-squares, as many replicates as 0.1 % of the variance takes."""
    prediction = gaussian.predicted(
        GaussianRequest.model_validate({**BASE, "workflow": WORKFLOWS["fresh"]})
    ).final
    assert prediction.variance_relative_spread is not None
    assert prediction.variance is not None
    replicates = int((prediction.variance_relative_spread / ACCURACY) ** 2)
    rng, m, k = np.random.default_rng(0), 10, SAMPLES - 10

    def run() -> float:
        e, v = np.zeros(replicates), np.ones(replicates)
        for _ in range(GENERATIONS + 1):
            real = rng.standard_normal(replicates) / m**0.5
            made = e + np.sqrt(v / k) * rng.standard_normal(replicates)
            scatter = rng.chisquare(m - 1, replicates) + v * rng.chisquare(k - 1, replicates)
            v = (scatter + m * k / SAMPLES * (real - made) ** 2) / SAMPLES
            e = (m * real + k * made) / SAMPLES
        return float(v.mean())

    assert benchmark(run) == pytest.approx(prediction.variance, rel=5 * ACCURACY)
