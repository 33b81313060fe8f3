"""Numbers of samples and generations: both sides of every answer, and every number by brute force."""

import math
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.predictions.bodies import dataset
from tests.recommendations.asking import (
    Body,
    changed,
    check,
    error,
    mixture,
    quality,
    recommend,
    recursive,
    stages,
)


@pytest.mark.parametrize(
    ("penalty", "bound", "order"),
    [("optimal", 0.01, 0), ("optimal", 0.02, 0), (0.02, 0.016, 1), (0.02, 0.02, 0)],
)
def test_a_mix_of_stages(penalty: Any, bound: float, order: int) -> None:
    body = {**stages(penalty=penalty), "bound": {"test_error": bound}}
    found = recommend(body, order)
    last = ("stages", 1, "sources")

    def synthetic(count: int) -> float:
        return error(changed(body, *last, 1, "samples", value=count), order)

    def share(count: int) -> float:
        mixed = changed(body, *last, 1, "samples", value=count)
        return error(changed(mixed, *last, 0, "samples", value=280 - count), order)

    def real(count: int, stage: int) -> float:
        return error(changed(body, "stages", stage, "sources", 0, "samples", value=count), order)

    check(found["synthetic_samples"], bound, synthetic)
    check(found["synthetic_share"], bound, share)
    if found["synthetic_share"]["value"] is not None:
        assert found["synthetic_share"]["share"] == found["synthetic_share"]["value"] / 280
    assert [one["stage"] for one in found["real_samples"]] == ["generator", "final"]
    for k, one in enumerate(found["real_samples"]):
        check(one, bound, partial(real, stage=k))
    assert found["generations"]["outcome"] == "not_applicable"


@pytest.mark.parametrize("bound", [0.025])
def test_a_recursion(bound: float) -> None:
    body = {**recursive(), "bound": {"test_error": bound}}
    found = recommend(body)
    check(found["generations"], bound, lambda n: error(changed(body, "generations", value=n)))
    check(found["synthetic_samples"], bound, lambda n: error(changed(body, "samples", value=n)))
    (first,) = found["real_samples"]
    assert first["stage"] == "generation-1"

    def first_samples(count: int) -> float:
        return error(changed(body, "generator", "samples", value=[count, 200, 200]))

    check(first, bound, first_samples)


def test_recursions_of_lists_and_without_end() -> None:
    short = recursive(generations=3, generator={"samples": [200, 180, 160], "penalty": 0.002})
    found = recommend({**short, "bound": {"test_error": 0.5}})["generations"]
    assert (found["outcome"], found["value"]) == ("found", 3)
    assert "lists" in found["sentence"]
    none = recommend({**short, "bound": {"test_error": 1e-4}})["generations"]
    assert none["outcome"] == "impossible"
    assert none["least"]["value"] == 0
    # strongly regularized generators forget everything: the error tends to that of predicting zero, and no further
    bounded = recursive(generator={"samples": 200, "penalty": 0.5})
    found = recommend({**bounded, "bound": {"relative_to": "null_predictor", "factor": 1.01}})["generations"]
    assert found["outcome"] == "unlimited"
    assert found["ranges"] == [{"first": 0, "last": None}]


@pytest.mark.parametrize("generations", [250])
def test_many_generations(generations: int) -> None:
    """Generators without penalty add the same noise each: the largest number is in closed form."""
    body = recursive(generator={"samples": 2000, "noise_variance": 0.1}, penalty=0.0, samples=1000)
    each, last = 0.1 * 60 / (2000 - 60), 0.25 * 60 / (1000 - 60)  # to order 0, d = 60
    body["bound"] = {"test_error": last + each * (generations + 0.5)}
    found = recommend(body)["generations"]
    assert found["value"] == generations
    check(found, body["bound"]["test_error"], lambda n: error(changed(body, "generations", value=n)))


def test_kept_and_replaced_data() -> None:
    kept = {
        "dataset": dataset(),
        "training_mix": {"kind": "accumulate", "generations": 3, "samples": 100, "penalty_sum": 1.0},
        "bound": {"test_error": 0.065},
    }
    found = recommend(kept, order=0)
    check(found["generations"], 0.065, lambda n: error(changed(kept, "generations", value=n), 0))
    (first,) = found["real_samples"]
    check(first, 0.065, lambda n: error(changed(kept, "samples", value=[n, 100, 100, 100]), 0))
    assert found["synthetic_samples"]["outcome"] == found["weights"]["outcome"] == "not_applicable"
    replaced = {
        "dataset": dataset(),
        "training_mix": {
            "kind": "replace_with_real", "generations": 4, "samples": 150, "real_fraction": 0.4, "penalty": 0.02,
        },
        "bound": {"test_error": 0.08},
    }  # fmt: skip
    bound = 1.0001 * error(changed(replaced, "real_fraction", value=50 / 150), 0)
    found = recommend({**replaced, "bound": {"test_error": bound}}, order=0)
    share = found["synthetic_share"]
    check(share, bound, lambda n: error(changed(replaced, "real_fraction", value=(150 - n) / 150), 0))
    assert 0 < share["value"] < 150
    check(found["generations"], bound, lambda n: error(changed(replaced, "generations", value=n), 0))


# --- not monotone ---------------------------------------------------------------------------------


def brute(errors: list[float], bound: float) -> list[tuple[int, int]]:
    within = [value <= bound for value in errors]
    edges = np.flatnonzero(np.diff([False, *within, False]))
    return [(int(a), int(b) - 1) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def ranges(search: Body, high: int) -> list[tuple[int, int]]:
    return [(one["first"], high if one["last"] is None else one["last"]) for one in search["ranges"]]


@pytest.mark.parametrize(("bound", "order"), [(0.2, 0), (0.8, 1), (0.95, 0)])
def test_double_descent_in_real_samples(bound: float, order: int) -> None:
    """Hardly any penalty: the error falls, peaks at 40 samples for 40 modes, and falls again."""
    spectrum = {"kind": "isotropic", "dimension": 40}
    body = {
        **mixture(real=20, penalty=1e-7), "dataset": dataset(spectrum=spectrum, noise_variance=0.05),
        "bound": {"test_error": bound},
    }  # fmt: skip

    def at(count: int) -> float:
        return error(changed(body, "real", "samples", value=count), order)

    errors = [at(count) for count in range(90)]
    found = recommend(body, order)["real_samples"][0]
    assert ranges(found, 89) == brute(errors, bound)
    assert found["value"] == next(n for n, value in enumerate(errors) if value <= bound)
    assert ("another branch" in found["sentence"]) == (len(found["ranges"]) > 1)


@pytest.mark.parametrize("factor", [1.05])
def test_an_inner_optimum_of_the_share(factor: float) -> None:
    """Noisy real labels beside quiet, slightly wrong synthetic ones: the best share is neither 0 nor 1."""
    body = mixture(quality(60, 0.05, noise_variance=0.001), real=140, penalty=0.01)

    def at(count: int) -> float:
        mixed = changed(body, "synthetic", 0, "samples", value=count)
        return error(changed(mixed, "real", "samples", value=200 - count))

    errors = [at(count) for count in range(201)]
    best = int(np.argmin(errors))
    assert 0 < best < 200
    body["bound"] = {"test_error": factor * errors[best]}
    share = recommend(body)["synthetic_share"]
    assert ranges(share, 200) == brute(errors, body["bound"]["test_error"])


@given(
    st.integers(5, 30), st.integers(1, 30), st.floats(0.0, 0.3), st.sampled_from(["optimal", 1e-6, 0.01, 0.3]),
    st.floats(0.3, 3.0), st.sampled_from([0.2, 1.0, 2.0]),
)  # fmt: skip
@settings(max_examples=3, deadline=None)
def test_whatever_is_named_meets_the_bound(  # noqa: PLR0917
    real: int, samples: int, shift: float, penalty: Any, factor: float, weight: float
) -> None:
    body = mixture(quality(samples, shift, weight=weight), real=real, penalty=penalty)
    body["dataset"] = dataset(spectrum={"kind": "power_law", "dimension": 12, "exponent": 1.0})
    body["bound"] = {"relative_to": "clean", "factor": factor}
    found = recommend(body)
    bound = found["bound"]["test_error"]
    check(
        found["synthetic_samples"], bound, lambda n: error(changed(body, "synthetic", 0, "samples", value=n))
    )
    check(found["real_samples"][0], bound, lambda n: error(changed(body, "real", "samples", value=n)))
    total = real + samples

    def share(count: int) -> float:
        mixed = changed(body, "synthetic", 0, "samples", value=count)
        return error(changed(mixed, "real", "samples", value=total - count))

    check(found["synthetic_share"], bound, share)
    assert ranges(found["synthetic_share"], total) == brute([share(n) for n in range(total + 1)], bound)


def test_a_tighter_bound_asks_for_more() -> None:
    bounds = np.geomspace(0.008, 0.03, 3)
    answers = [recommend({**stages(), "bound": {"test_error": float(bound)}}, order=0) for bound in bounds]
    needed = [one["real_samples"][1]["value"] for one in answers]
    assert needed == sorted(needed, reverse=True)
    shares = [one["synthetic_share"]["value"] for one in answers]
    assert all(a is None or (b is not None and a <= b) for a, b in pairwise(shares))
    assert math.isfinite(answers[0]["real_samples"][1]["test_error"])
