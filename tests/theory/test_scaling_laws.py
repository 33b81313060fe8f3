"""The closed form of power laws against the engine: values, slopes, crossover, schedules."""

import math

import numpy as np
import pytest
from mpmath import mp, mpf, nsum
from scipy.optimize import minimize_scalar

from service.theory import scaling_laws, spectra
from service.theory.model import Population
from service.theory.prediction import predict
from service.theory.results import Prediction
from service.theory.scaling_laws import Growth, PowerLaw, Recursion
from tests.theory.problems import recursive

MODES, GENERATOR = 10**6, 1e13


def population(beta: float, r: float, noise: float, scale: float = 1.0, power: float = 1.0) -> Population:
    rank, eigenvalues, weights = spectra.power_law(MODES, beta, scale)
    target = spectra.source_target(rank, weights, beta, r, power, endless=False)
    return Population(eigenvalues, weights, target, noise)


def optimum(  # noqa: PLR0917
    law: PowerLaw, T: float, T0: float, n: int, noise: float, noise0: float
) -> tuple[Prediction, float]:
    """The engine's prediction, and T_eff."""
    found = predict(
        population(law.capacity, law.source, noise), recursive(n, T0, T, 0.1, noise0=noise0, noise=noise)
    )
    return found, scaling_laws.effective_samples(law, Recursion(T, noise, ((T0, noise0),) * n))


# (β, r): rough and smooth targets, slow and fast spectra, a saturated one
LAWS = [(1.5, 0.3), (2.0, 0.375), (3.0, 0.2), (1.2, 0.8), (1.5, 1.6)]


@pytest.mark.parametrize(("beta", "r"), LAWS)
@pytest.mark.parametrize("n", [0, 5])
def test_optimum_in_closed_form_with_its_amplitude(beta: float, r: float, n: int) -> None:
    """The engine's optimum tends to the closed form, with errors of the next order, q^(1/β) and q^(1-r)."""
    law = PowerLaw(beta, r, MODES, 1.0, 1.0)
    gaps = []
    for T in (1e5, 1e8):
        prediction, effective = optimum(law, T, GENERATOR, n, 1.0, 1.0)
        form = scaling_laws.closed_form(law, effective)
        assert form is not None
        best = prediction.regularization.recommended
        gaps.append(max(abs(best.penalty / form.penalty - 1), abs(best.total / form.test_error - 1)))
    assert gaps[-1] < 0.025
    assert gaps[-1] < gaps[0] or gaps[-1] < 0.02


@pytest.mark.parametrize(("beta", "r"), LAWS)
def test_slopes_of_the_engine(beta: float, r: float) -> None:
    """λ* ∝ T_eff^-ℓ_crit and E* ∝ T_eff^-c, T_eff set by the generators' noise alone (T = 1e13, n σ_0² T ≫ σ² T_0)."""
    law = PowerLaw(beta, r, MODES, 1.0, 1.0)
    points = []
    for T0 in (1e7, 1e8):
        prediction, effective = optimum(law, 1e13, T0, 5, 1.0, 1.0)
        best = prediction.regularization.recommended
        assert effective < 1.01 * (T0 - MODES) / 5
        points.append((math.log(effective), math.log(best.penalty), math.log(best.total)))
    (t0, p0, e0), (t1, p1, e1) = points
    assert math.isclose((p0 - p1) / (t1 - t0), law.penalty_exponent, rel_tol=0.02)
    assert math.isclose((e0 - e1) / (t1 - t0), law.error_exponent, rel_tol=0.03)


def test_noise_free_slope() -> None:
    """Without any noise E ∝ T^(-2βr̄) at penalty 0."""
    law = PowerLaw(1.5, 0.4, MODES)
    errors = [optimum(law, T, 1.0, 0, 0.0, 0.0)[0].regularization.recommended.total for T in (1e2, 1e3)]
    assert math.isclose(math.log10(errors[0] / errors[1]), law.noise_free_exponent, rel_tol=0.03)


def test_units() -> None:
    """Eigenvalues, powers and noises in other units: penalties go with the eigenvalues, errors with the labels."""
    beta, r, T = 1.5, 0.4, 1e7
    law = PowerLaw(beta, r, MODES, 1.0, 1.0)
    other = PowerLaw(beta, r, MODES, 3e-4, 3e-4 * 50.0)
    form = scaling_laws.closed_form(law, T)
    scaled = scaling_laws.closed_form(other, T / (3e-4 * 50.0))
    assert form is not None
    assert scaled is not None
    assert math.isclose(scaled.penalty, 3e-4 * form.penalty, rel_tol=1e-12)
    assert math.isclose(scaled.test_error, 3e-4 * 50.0 * form.test_error, rel_tol=1e-12)
    best = predict(
        population(beta, r, 3e-4 * 50.0, 3e-4, 50.0), recursive(0, 1, T, 0.1, noise0=1.0, noise=3e-4 * 50.0)
    ).regularization.recommended
    assert math.isclose(best.penalty, scaled.penalty, rel_tol=0.01)
    assert math.isclose(best.total, scaled.test_error, rel_tol=0.01)


@pytest.mark.parametrize(("beta", "r"), [(2.0, 0.375), (1.5, 1.6)])
def test_amplitudes_are_the_limits_of_the_sums(beta: float, r: float) -> None:
    """Σ w² σ U² and Σ S² at a small q, summed by mpmath to 30 digits (Euler-Maclaurin)."""
    law, q = PowerLaw(beta, r, math.inf, 1.0, 1.0), mpf(10) ** -9
    with mp.workdps(30):
        bias = nsum(
            lambda i: i ** (-1 - 2 * beta * r) * (q * i**beta / (1 + q * i**beta)) ** 2,
            [1, mp.inf],
            method="e",
        )
        freedom = nsum(lambda i: (1 + q * i**beta) ** -2, [1, mp.inf], method="e")
    assert law.bias_amplitude is not None
    assert math.isclose(
        float(bias), law.bias_amplitude * float(q) ** (2 * law.saturated_source), rel_tol=1e-3
    )
    # the sum from 1 is the integral from 1/2 or so: -1/2 of q^(-1/β)
    assert math.isclose(float(freedom) + 0.5, law.freedom_amplitude * float(q) ** (-1 / beta), rel_tol=1e-6)


def test_crossover_is_where_the_clean_choice_begins_to_fail() -> None:
    law = PowerLaw(2.0, 0.375, MODES, 1.0, 1.0)
    T, T0 = 1e6, 1e9
    at = scaling_laws.crossover(law, Recursion(T, 1.0, ((T0, 1.0),) * 5))
    assert math.isclose(at.generations, (T0 - MODES) / T, rel_tol=1e-12)
    assert math.isclose(at.samples, (T0 - MODES) / 5, rel_tol=1e-12)
    assert math.isclose(at.ratio, 5 * T / (T0 - MODES), rel_tol=1e-12)
    # at the crossover T_eff is half of T, so the clean penalty is 2^-ℓ_crit of the best one
    at_crossover, effective = optimum(law, at.samples, T0, 5, 1.0, 1.0)
    assert math.isclose(effective, at.samples / 2, rel_tol=1e-12)
    found = at_crossover.regularization
    assert math.isclose(
        found.clean_optimal_penalty / found.recommended.penalty, 2**-law.penalty_exponent, rel_tol=0.01
    )
    below, _ = optimum(law, at.samples / 1000, T0, 5, 1.0, 1.0)
    assert below.regularization.cost_of_clean_choice < 1e-5 * below.regularization.recommended.total


def test_neglected_noise_of_few_samples() -> None:
    """T well below d: the generators' error in unlearned modes is further noise, Σσ_k² d/(T_k − d) of it."""
    d, T, T0, n = 10**4, 500.0, 4e4, 10
    rank, eigenvalues, weights = spectra.power_law(d, 2.0, 1.0)
    target = spectra.source_target(rank, weights, 2.0, 0.375, 1.0, endless=False)
    found = predict(
        Population(eigenvalues, weights, target, 0.1), recursive(n, T0, T, 0.1, noise0=0.1, noise=0.1)
    ).regularization.recommended
    law = PowerLaw(2.0, 0.375, d, 1.0, 1.0)
    recursion = Recursion(T, 0.1, ((T0, 0.1),) * n)
    naive = scaling_laws.closed_form(law, scaling_laws.effective_samples(law, recursion))
    inherited = scaling_laws.inherited_noise(law, recursion)
    full = scaling_laws.closed_form(law, 1 / ((0.1 + inherited * d) / T + inherited))
    assert naive is not None
    assert full is not None
    assert abs(full.test_error / found.total - 1) < 0.06
    assert naive.test_error < 0.8 * found.total


# --- schedules λ = T^-ℓ -----------------------------------------------------------------------------


def errors_along(law: PowerLaw, growth: Growth, exponent: float, noise: float) -> list[float]:
    """The engine's test error with λ = T^-exponent, Σσ_k² = T^a, T_k − d = 1e6 T^b, at two T a decade apart."""
    found = []
    for T in (1e8, 1e9):
        mix = recursive(
            1, MODES + 1e5 * T**growth.samples, T, T**-exponent, noise0=T**growth.noise, noise=noise
        )
        found.append(predict(population(law.capacity, law.source, noise), mix).test_error.total)
    return found


@pytest.mark.parametrize(
    ("growth", "noise"),
    [(Growth(0.0, 0.6), 0.0), (Growth(0.2, 0.7), 1e-3), (Growth(0.0, 1.4), 1.0)],
    ids=["slow", "noisy growth", "the last fit binds"],
)
def test_schedules(growth: Growth, noise: float) -> None:
    law = PowerLaw(2.0, 0.375, MODES, 1.0, 1.0)
    made = scaling_laws.schedule(law, growth, noisy=noise > 0)
    a, b = errors_along(law, growth, made.optimal, noise)
    assert math.isclose(math.log10(a / b), made.error, rel_tol=0.05)


def test_clean_schedule_can_make_more_data_worse() -> None:
    """b − a = 0.2: under the clean ℓ_crit, E ∝ T^(1 − c − 0.2) grows with T; under ℓ* it falls."""
    law, growth = PowerLaw(2.0, 0.375, MODES, 1.0, 1.0), Growth(0.0, 0.2)
    made = scaling_laws.schedule(law, growth, noisy=False)
    assert math.isclose(made.error_of_clean_choice, law.error_exponent + 0.2 - 1)
    assert made.error_of_clean_choice < 0 < made.error
    a, b = errors_along(law, growth, made.clean, 0.0)
    assert b > a


def test_read_off_growth_reproduces_the_numbers() -> None:
    law, recursion = PowerLaw(1.5, 0.4, 1000.0), Recursion(500.0, 0.2, ((4000.0, 0.3), (2500.0, 0.1)))
    growth = scaling_laws.implied_growth(law, recursion)
    assert growth is not None
    assert math.isclose(
        500.0**growth.noise / 500.0**growth.samples, scaling_laws.inherited_noise(law, recursion)
    )
    assert math.isclose(500.0**growth.noise, 0.4)


def test_edges() -> None:
    law = PowerLaw(1.5, 1.0, math.inf, 1.0, 1.0)
    assert law.bias_amplitude is None
    assert scaling_laws.inherited_noise(law, Recursion(10.0, 1.0, ((1e15, 1.0),))) == math.inf
    assert scaling_laws.effective_samples(law, Recursion(10.0, 0.0, ())) == math.inf
    assert scaling_laws.closed_form(PowerLaw(1.01, 1e-3, 1e3, 1e300, 1e-300), 1e-300) is None  # overflows


def test_noise_that_grows_faster_than_the_generators_leaves_predicting_zero() -> None:
    """Σσ_k² ∝ T, T_k − d ∝ T^0.5: section 6.2's sum of bias and inherited noise, minimized over κ by scipy."""
    law, growth = PowerLaw(2.0, 0.375, 1e4), Growth(1.0, 0.5)
    made = scaling_laws.schedule(law, growth, noisy=False)
    i = np.arange(1, 10**4 + 1.0)
    sigma, power = i**-2.0, i**-2.5

    def error(kappa: float, T: float) -> float:
        left = kappa / (sigma + kappa)
        df2 = float(np.sum((1 - left) ** 2))
        rho = df2 + float(left @ left) * df2 / (T - df2)
        return float(power @ left**2) / (1 - df2 / T) + T**0.5 * rho

    best = [
        minimize_scalar(lambda x, T=T: error(math.exp(x), T) / power.sum() - 1, bounds=(0, 40), method="bounded",
                        options={"xatol": 1e-9})
        for T in (1e8, 1e10)
    ]  # fmt: skip
    assert math.isclose((best[0].x - best[1].x) / math.log(100), made.optimal, rel_tol=0.02)
    assert abs(best[1].fun) < 1e-4  # the relative gain over predicting zero
    assert made.error == 0.0
    slope = math.log(error(1e8**-0.8, 1e8) / error(1e10**-0.8, 1e10)) / math.log(100)
    assert math.isclose(slope, made.error_of_clean_choice, abs_tol=0.05)
