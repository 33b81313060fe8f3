"""The recommended penalty itself, not only the error there, is where the error is least."""

import dataclasses
import math

import mpmath as mp
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq

from service.theory.model import OPTIMAL, REAL, Array, Shift, Source, Stage, TrainingMix
from service.theory.penalty import Minima, apart, difference, settled
from service.theory.prediction import predict
from tests.theory.problems import power_law, recursive, two_sources


@given(
    st.integers(1, 12), st.floats(0.2, 2.0), st.integers(0, 4), st.floats(1.1, 8.0), st.floats(0.2, 20.0),
    st.floats(-5, 1), st.floats(-5, 1),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_recursions_of_unpenalized_generators(  # noqa: PLR0917
    d: int, exponent: float, n: int, many: float, few: float, log_noise0: float, log_noise: float
) -> None:
    """By κ: E = κ² Σ σ Q² w² (1 + u) + σ² u + n σ0²/(T0 − d) (df2 + u κ² Σ Q²).

    df2 = Σ S², u = df2/(T − df2)."""
    noise0, noise, T0, T = (
        10.0**log_noise0,
        10.0**log_noise,
        math.ceil(many * d) + 1,
        math.ceil(few * d) + 0.5,
    )
    population = power_law(d, exponent, noise)
    sigma = [mp.mpf(value) for value in population.eigenvalues.tolist()]
    handed = n * mp.mpf(noise0) / (T0 - d)

    def error(log_kappa: mp.mpf) -> mp.mpf:
        kappa = mp.exp(log_kappa)
        Q = [1 / (s + kappa) for s in sigma]
        df2 = mp.fsum((s * q) ** 2 for s, q in zip(sigma, Q, strict=True))
        u = df2 / (T - df2)
        bias = kappa**2 * mp.fsum(s * q * q for s, q in zip(sigma, Q, strict=True)) / d
        return bias * (1 + u) + noise * u + handed * (df2 + u * kappa**2 * mp.fsum(q * q for q in Q))

    def penalty(log_kappa: mp.mpf) -> mp.mpf:
        kappa = mp.exp(log_kappa)
        return kappa * (1 - mp.fsum(s / (s + kappa) for s in sigma) / T)

    found = predict(population, recursive(n, T0, T, OPTIMAL, noise0=noise0, noise=noise)).regularization
    places = [x for x in np.linspace(-24.0, 9.0, 331).tolist() if penalty(x) > 0]
    values = [float(error(x)) for x in places]
    i = int(np.argmin(values))
    assume(0 < i < len(places) - 1)
    assume(sum(a > b < c for a, b, c in zip(values, values[1:], values[2:], strict=False)) == 1)
    with mp.workdps(40):
        best = mp.findroot(lambda x: mp.diff(error, x), (places[i - 1], places[i + 1]), solver="anderson")
        assert math.isclose(found.recommended.total, error(best), rel_tol=1e-9)
        assert math.isclose(found.recommended.penalty, penalty(best), rel_tol=1e-6)


WEIGHTED = TrainingMix(
    (
        Stage("g", (Source(REAL, REAL, 150, 0.2),), 0.01),
        Stage("f", (Source(REAL, REAL, 60, 0.1), Source("g", "g", 90, 0.4, 0.3)), OPTIMAL),
    )
)
SHIFT = np.full(40, 0.01)
CASES = {
    "weights": WEIGHTED,
    "a shift": two_sources(60, 90, SHIFT, OPTIMAL, 0.3),
    "several covariances": TrainingMix(
        (
            Stage(
                "f",
                (
                    Source(REAL, REAL, 60, 0.1),
                    Source("s", Shift(SHIFT), 90, 0.4, 0.3, np.geomspace(1.0, 0.1, 40)),
                ),
                OPTIMAL,
            ),
        )
    ),
    "random features": two_sources(60, 90, SHIFT, OPTIMAL, 0.3, width=30),
    "penalized generators": recursive(3, 60, 90, OPTIMAL, noise0=0.2, noise=0.1, penalty0=0.02),
}


@pytest.mark.parametrize("name", CASES)
def test_where_the_slope_of_the_error_changes_sign(name: str) -> None:
    """Of the predictions at given penalties: five values, from −2 to 2 steps of h, have the slope to h^4."""
    population, mix = power_law(40, 1.2), CASES[name]

    def at(log_penalty: float) -> float:
        stages = (*mix.stages[:-1], dataclasses.replace(mix.stages[-1], penalty=math.exp(log_penalty)))
        return predict(population, dataclasses.replace(mix, stages=stages)).test_error.total

    def slope(x: float, h: float = 0.01) -> float:
        return (at(x - 2 * h) - 8 * at(x - h) + 8 * at(x + h) - at(x + 2 * h)) / (12 * h)

    found = math.log(predict(population, mix).regularization.recommended.penalty)
    assert found == pytest.approx(brentq(slope, found - 0.1, found + 0.1, xtol=1e-10), abs=1e-6)


def test_a_place_between_infinite_values_stays() -> None:
    """Next to a threshold the curve may be infinite on both sides of what is interpolated."""
    found = Minima(np.array([2.0, 3.0]), np.array([1.0, 1.0]), np.array([0.5, 0.5]))

    def slope(theta: Array) -> Array:
        values = np.log(apart(theta)) ** 2
        values[[0, 2]] = np.inf
        return difference(values)

    assert settled(found, slope) == pytest.approx([2.0, 1.0], rel=1e-7)
