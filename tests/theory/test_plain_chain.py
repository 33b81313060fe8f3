"""The short way for plain recursions gives what the general engine gives, and leaves to it what it must."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.theory.general import general_prediction
from service.theory.model import OPTIMAL, REAL, Population, Source, Stage, TrainingMix
from service.theory.plain_chain import outcomes
from service.theory.plain_prediction import is_plain, plain_prediction, scenario
from service.theory.results import Prediction
from tests.theory.problems import isotropic, power_law, recursive


@st.composite
def chains(draw: st.DrawFn) -> tuple[Population, TrainingMix]:
    d = draw(st.integers(2, 40))
    sigma = np.exp(np.array(draw(st.lists(st.floats(-6, 3), min_size=d, max_size=d))))
    power = np.array(draw(st.lists(st.floats(0, 3), min_size=d, max_size=d)))
    population = Population(sigma, np.ones(d), power, draw(st.floats(0, 2)))
    stages: list[Stage] = []
    for k in range(draw(st.integers(1, 6))):
        label = REAL if k == 0 else f"g{k - 1}"
        source = Source(label, label, float(draw(st.integers(1, 200))), draw(st.floats(0, 2)))
        stages.append(Stage(f"g{k}", (source,), draw(st.sampled_from([0.0, "optimal"]) | st.floats(1e-5, 5))))
    earlier = [s if s.penalty != "optimal" else Stage(s.name, s.sources, 0.1) for s in stages[:-1]]
    return population, TrainingMix((*earlier, stages[-1]))


def numbers(p: Prediction) -> dict[str, float]:
    found = {
        "irreducible": p.irreducible, "null": p.null_predictor, "openness": p.openness,
        "expected": p.expected_relative_error, "clean": p.clean.total, "clean best": p.clean.best.total,
        "cost": p.regularization.cost_of_clean_choice, "effective": p.regularization.effective_samples,
    }  # fmt: skip
    for name, error in (("given", p.test_error), ("best", p.regularization.at_recommended)):
        found |= {f"{name} {key}": getattr(error, key) for key in ("total", "bias", "variance", "generation")}
        found |= {
            f"{name} {key}": getattr(error.parts, key)
            for key in ("label_noise", "distortion", "noise_mismatch")
        }
        found |= {f"{name} noise {i}": s.label_noise for i, s in enumerate(error.by_source)}
    if p.real_only is not None:
        found |= {"real": p.real_only.total, "real best": p.real_only.best.total}
    return found


@given(chains())
@settings(max_examples=150, deadline=None)
def test_equal_to_the_general_engine(problem: tuple[Population, TrainingMix]) -> None:
    population, mix = problem
    assert is_plain(population, mix)
    short = plain_prediction(population, mix)
    if short is None:
        return
    general = general_prediction(population, mix)
    assert short.regimes == general.regimes
    a, b = numbers(short), numbers(general)
    assert a.keys() == b.keys()
    floor = 1e-12 * max(short.test_error.total, short.clean.total)
    for name, value in a.items():
        # what is compared at the best penalty moves with it: the optimum is flat, its place is not as sharp
        # (the cost of the clean choice is even of first order in the place of the clean optimum)
        sharp = name.startswith("given") and mix.stages[-1].penalty != OPTIMAL
        tolerance = 1e-10 if sharp else 1e-4 if name == "cost" else 1e-5
        assert math.isclose(
            value, b[name], rel_tol=tolerance, abs_tol=floor if sharp else 1e-6 * floor * 1e12
        ), name


def test_the_common_case_goes_the_short_way() -> None:
    population = power_law(300)
    for n in (0, 1, 5):
        mix = recursive(n, 600, 300, 0.01, noise0=0.25, noise=0.25, penalty0=0.01)
        assert is_plain(population, mix)
        assert plain_prediction(population, mix) is not None


@pytest.mark.parametrize(
    ("population", "mix"),
    [
        (isotropic(100), recursive(2, 100, 300, 0.1, noise0=1.0, noise=1.0)),  # a generator at its threshold
        (isotropic(100), recursive(1, 300, 100, 0.0, noise0=1.0, noise=1.0)),  # the last fit at its threshold
        (power_law(50, noise=0.0), recursive(0, 10, 100, 0.1, noise0=0.0, noise=0.0)),  # penalty 0 is best
        (
            power_law(50, target=np.zeros(50)),
            recursive(1, 90, 100, 0.1, noise0=1.0, noise=0.25),
        ),  # nothing to learn
    ],
)
def test_what_is_not_regular_is_left_to_the_general_engine(population: Population, mix: TrainingMix) -> None:
    assert plain_prediction(population, mix) is None


@pytest.mark.parametrize("noise", [1e-4, 1e-2, 1.0, 100.0])
def test_flat_spectra_of_any_noise_go_the_short_way(noise: float) -> None:
    """All modes alike are a Gaussian prior of one width: the best penalty is σ²d/(N‖w‖²), however little the noise."""
    found = plain_prediction(isotropic(100, noise), recursive(0, 1, 400, OPTIMAL, noise0=0.0, noise=noise))
    assert found is not None
    assert math.isclose(found.regularization.penalty, noise * 100 / 400, rel_tol=1e-4)


@pytest.mark.parametrize("noise", [1e2, 1e4, 1e6])
@pytest.mark.parametrize("generations", [0, 3])
def test_so_much_noise_that_the_best_penalty_lies_beyond_the_grid(noise: float, generations: int) -> None:
    """An isotropic target is a Gaussian prior: the best penalty for real labels is σ²d/(N‖w‖²)."""
    d, T, norm = 1000, 300, 2.0
    population = power_law(d, 1.5, noise, target=np.full(d, norm / d))
    mix = recursive(generations, 600, T, 0.01, noise0=noise, noise=noise, penalty0=0.01)
    found = plain_prediction(population, mix)
    assert found is not None
    chosen, general = found.regularization, general_prediction(population, mix).regularization
    assert chosen.clean_optimal_penalty / population.grid.theta[-1] > (1.0 if noise > 1e2 else 0.1)
    assert math.isclose(chosen.clean_optimal_penalty, noise * d / (T * norm), rel_tol=1e-5)
    # further out the error falls short of predicting zero by a few millionths: its place is not seen better
    assert math.isclose(chosen.recommended.penalty, general.recommended.penalty, rel_tol=1e-4)
    assert math.isclose(chosen.recommended.total, general.recommended.total, rel_tol=1e-9)
    edge = TrainingMix((*mix.stages[:-1], replace(mix.stages[-1], penalty=chosen.flat_range.low)))
    at_edge = general_prediction(population, edge).test_error.total
    assert math.isclose(at_edge, 1.01 * general.recommended.total, rel_tol=1e-5)
    assert chosen.flat_range.high == general.flat_range.high == math.inf
    scenarios = scenario(population, mix)
    assert outcomes(population, scenarios).regular.all()
    assert math.isclose(
        float(outcomes(population, scenarios).clean_penalty[0]), noise * d / (T * norm), rel_tol=1e-5
    )
