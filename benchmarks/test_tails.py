"""How long a tail's prediction takes, beside Monte Carlo to the same 1 % accuracy. ``make bench`` prints the table."""

from typing import Any

import numpy as np
import pytest

from service.distributions.tail.engine import predicted
from service.distributions.tail.schemas import TailRequest
from service.simulation.tail import DrawnLaw, TailWork
from service.theory.distributions.tail.training import Mixed, unseen_mass
from service.theory.distributions.tail.zipf import Zipf

LAW = {"kind": "zipf", "exponent": 1.5}
MIXED = {"kind": "mixed", "rank": 1000, "real_fraction": 0.01}
RECURSIVE = {"kind": "recursive", "generations": 10, "generator_samples": 100_000}
PAIRS = {"kind": "bigram", "context_exponent": 2.0, "token_exponent": 1.5}
T = 100_000
ACCURACY = 0.01


def test_one_exact_sum(benchmark: Any) -> None:
    """A mixture's error at one sample size, over infinitely many items."""
    law = Zipf(1.5)
    assert benchmark(lambda: unseen_mass(law, Mixed(0.01, 1000.0), T)) > 0


@pytest.mark.parametrize(
    ("law", "training"),
    [(LAW, MIXED), (LAW, RECURSIVE), (PAIRS, {"kind": "real"})],
    ids=["mixed", "recursive", "pairs"],
)
def test_endpoint(benchmark: Any, law: dict[str, Any], training: dict[str, Any]) -> None:
    """All of an answer: 33 points of the curve, plateau, crossovers, effective samples, generations."""
    request = TailRequest.model_validate({"law": law, "training": training, "samples": T})
    assert benchmark(lambda: predicted(request)).test_error > 0


@pytest.mark.parametrize("kind", ["mixed", "recursive"])
def test_peer_monte_carlo(benchmark: Any, kind: str) -> None:
    """Learners item by item until the error at one sample size is known to 1 %."""
    law = DrawnLaw(1.5, Zipf(1.5).normalizer)
    if kind == "mixed":
        work = TailWork(law, (T,), real_fraction=0.01, rank=1000)
    else:
        work = TailWork(law, (T,), sizes=(100_000,) * 10, reported=(10,), real_fraction=0.0)

    def estimated() -> int:
        errors: list[float] = []
        while len(errors) < 3 or np.std(errors, ddof=1) / np.sqrt(len(errors)) > ACCURACY * np.mean(errors):
            errors.append(float(work.outcomes(0, len(errors), len(errors) + 1)[0, 0]))
        return len(errors)

    assert benchmark.pedantic(estimated, rounds=3) >= 3
