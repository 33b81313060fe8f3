"""Orders of simulations of every kind, extremes among them, on which the estimates of cost and memory are judged."""

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np

from service.distributions.ngram.simulation import StoredTokens
from service.simulation.rows import EmpiricalProblem
from service.simulations.workload import Stored
from service.theory import kernels
from service.theory.empirical import empirical_population


@dataclass(frozen=True)
class Order:
    """A request of a kind without its replicates; ``data``: makes the stored data that it names."""

    name: str
    kind: str
    body: dict[str, Any]
    data: Callable[[Path], Any] | None = None


def orders() -> Iterator[Order]:
    """All of them."""
    yield from _regressions()
    yield from _rows()
    yield from _gaussians()
    yield from _kernels_and_mixtures()
    yield from _texts()
    yield from _estimators()
    yield from _tails()


def _dataset(d: int, exponent: float = 1.0) -> dict[str, Any]:
    return {
        "spectrum": {"kind": "power_law", "dimension": d, "exponent": exponent},
        "target": {"kind": "isotropic", "squared_norm": 1.0},
        "noise_variance": 0.25,
    }


def _recursion(
    T: int, generations: int, penalty: float, generator: float = 0.0, **more: Any
) -> dict[str, Any]:
    return {
        "kind": "recursive",
        "generations": generations,
        "generator": {"samples": T, "noise_variance": 0.25, "penalty": generator} | more,
        "samples": T,
        "penalty": penalty,
    }


def _penalties(count: int) -> list[dict[str, Any]]:
    return [{"pointer": "/training_mix/penalty", "values": np.geomspace(1e-4, 10.0, count).tolist()}]


def _mixture(T: int, sources: int, width: int | None = None) -> dict[str, Any]:
    share = {"samples": T, "quality": {"kind": "shift", "squared_norm": 0.1}}
    return {
        "kind": "mixture",
        "real": {"samples": T},
        "synthetic": [share | {"name": f"s{k}"} for k in range(sources)],
        "penalty": 0.01,
        "width": width,
    }


def _regressions() -> Iterator[Order]:
    def order(name: str, d: int, mix: dict[str, Any], **more: Any) -> Order:
        return Order(f"{name}, d = {d:,}", "regression", {"dataset": _dataset(d), "training_mix": mix} | more)

    wishart, grid = {"method": "wishart"}, {"grid": _penalties(256)}
    yield order("literal, T = 5, 500 generations", 1, _recursion(5, 500, 0.01))
    yield order("literal, T = 20", 10, _recursion(20, 3, 0.01))
    yield order("literal, T = 600", 300, _recursion(600, 3, 0.01, 0.001))
    yield order("literal, no penalty, T = 10,000", 300, _recursion(10_000, 3, 0.0))
    yield order("literal, T = 10⁶", 1, _recursion(1_000_000, 3, 0.01))
    yield order("literal, T = 10⁶", 30, _recursion(1_000_000, 1, 0.01))
    yield order("literal, T = 500", 2_000, _recursion(500, 2, 0.01))
    yield order("literal, no penalty, T = 1,900", 2_000, _recursion(1_900, 1, 0.0))
    yield order("literal, T = 3,900", 2_000, _recursion(3_900, 1, 0.01, 0.01))
    yield order("literal, T = 20,000", 2_000, _recursion(20_000, 1, 0.01))
    yield order("literal, 256 penalties, T = 600", 300, _recursion(600, 3, 0.01), **grid)
    yield order("literal, Rademacher, T = 10,000", 300, _recursion(10_000, 3, 0.01),
                features={"kind": "rademacher"})  # fmt: skip
    yield order(
        "literal, uniform, T = 100,000", 20, _recursion(100_000, 1, 0.01), features={"kind": "uniform"}
    )
    yield order("literal, Student t, T = 10,000", 300, _recursion(10_000, 3, 0.01),
                features={"kind": "student_t", "degrees_of_freedom": 5.0})  # fmt: skip
    yield order("literal, Student t, T = 100,000", 10, _recursion(100_000, 3, 0.01),
                features={"kind": "student_t", "degrees_of_freedom": 5.0})  # fmt: skip
    yield order("literal, 8 sources, T = 300", 100, _mixture(300, 8))
    yield order("literal, 600 random features, T = 500", 300, _mixture(500, 1, 600))
    yield order("literal, shared design, T = 4,000", 300, _recursion(4_000, 5, 0.01, design="shared"))
    yield order("literal, accumulate, 5 generations, T = 600", 300,
                {"kind": "accumulate", "generations": 5, "samples": 600, "penalty_sum": 1.0})  # fmt: skip
    yield order("literal, average_noise, T = 600", 100, _recursion(600, 3, 0.01), average_noise=True)
    yield order("literal, average_noise, accumulate, T = 300", 100,
                {"kind": "accumulate", "generations": 5, "samples": 300, "penalty_sum": 1.0},
                average_noise=True)  # fmt: skip
    for d, T in ((1, 10), (20, 100), (300, 10_000), (2_000, 1_000_000)):
        yield order(f"wishart, T = {T:,}", d, _recursion(T, 3, 0.01, 0.01), **wishart)
    yield order("wishart, no penalty, T = 10¹²", 300, _recursion(10**12, 3, 0.01), **wishart)
    yield order("wishart, T = 5, 500 generations", 1, _recursion(5, 500, 0.01), **wishart)
    yield order("wishart, 256 penalties, T = 10,000", 300, _recursion(10_000, 3, 0.01), **wishart, **grid)
    yield order(
        "wishart, shared design, T = 10,000", 1_000, _recursion(10_000, 3, 0.01, design="shared"), **wishart
    )
    yield order("wishart, T = 2,500, whole", 2_000, _recursion(2_500, 2, 0.01, 0.01), **wishart)
    yield order(
        "wishart, average_noise, T = 10⁶", 500, _recursion(1_000_000, 2, 0.01), **wishart, average_noise=True
    )
    yield order("wishart, accumulate, 5 generations, T = 4,000", 1_000,
                {"kind": "accumulate", "generations": 5, "samples": 4_000, "penalty_sum": 1.0}, **wishart)  # fmt: skip


def stored_rows(folder: Path, n: int, d: int, *, rbf: bool) -> Stored:
    """Normal rows of a power law, and a rough function of them."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, d)) * np.arange(1.0, d + 1) ** -0.5
    y = np.sign(X[:, 0]) + X.sum(axis=1) / np.sqrt(d)
    feature_map = kernels.rbf(X) if rbf else kernels.Linear()
    described = empirical_population(feature_map, X, y, 0.1)
    paths = folder / "rows.npy", folder / "truth.npy"
    np.save(paths[0], X)
    np.save(paths[1], described.truth)
    return Stored(described.population, EmpiricalProblem(*paths, feature_map))


def _rows() -> Iterator[Order]:
    small = partial(stored_rows, n=1_000, d=50, rbf=False)
    kernel = partial(stored_rows, n=1_000, d=50, rbf=True)
    more = {"dataset": "dst_" + "a" * 26}

    def order(name: str, mix: dict[str, Any], data: Any, **options: Any) -> Order:
        return Order(f"rows: {name}", "regression", more | {"training_mix": mix} | options, data)

    yield order("linear, T = 200, d = 50", _recursion(200, 3, 0.01), small)
    yield order("linear, T = 10, 200 generations", _recursion(10, 200, 0.01), small)
    yield order("linear, T = 100,000", _recursion(100_000, 1, 0.01), small)
    yield order("kernel, T = 20", _recursion(20, 3, 0.01, 0.01), kernel)
    yield order("kernel, T = 600", _recursion(600, 3, 0.01, 0.01), kernel)
    yield order("kernel, no penalty, T = 600", _recursion(600, 1, 0.0), kernel)
    yield order("kernel, 40 penalties, T = 600", _recursion(600, 3, 0.01, 0.01), kernel, grid=_penalties(40))
    yield order("kernel, average_noise, T = 300", _recursion(300, 3, 0.01, 0.01), kernel, average_noise=True)
    yield order("kernel, 300 random features", _mixture(300, 1, 300), kernel)


def _gaussians() -> Iterator[Order]:
    def order(name: str, d: int, samples: Any, generations: int, **more: Any) -> Order:
        body = {
            "spectrum": {"kind": "power_law", "dimension": d, "exponent": 0.5},
            "samples": samples,
            "generations": generations,
            "workflow": {"kind": "replace"},
        }
        return Order(f"gaussian, d = {d:,}, {name}", "gaussian", body | more)

    all_reported = list(range(1_000))
    yield order("3 samples, 10,000 generations", 1, 3, 10_000)
    yield order("100 samples, 1,000 generations, all reported", 1, 100, 999, at=all_reported)
    yield order("10⁶ samples, 10 generations", 1, 1_000_000, 10)
    yield order("10 samples, 1,000 generations", 2, 10, 1_000)
    yield order("10 samples, 100 generations, all reported", 20, 10, 99, at=all_reported[:100])
    yield order("50 samples, 1,000 generations", 20, 50, 1_000)
    yield order("1,000 samples, 20 generations", 100, 1_000, 20)
    yield order("1,500 samples, 2 generations", 1_000, 1_500, 2)
    for workflow in ({"kind": "fresh", "real_samples": 10, "allocation": "iid"}, {"kind": "accumulate"}):
        yield order(f"100 samples, 1,000 generations, {workflow['kind']}", 5, 100, 1_000, workflow=workflow)


def _text(folder: Path, tokens: int) -> StoredTokens:
    path = folder / "text.npy"
    drawn = np.minimum(np.random.default_rng(0).zipf(1.3, tokens), 20_000) - 1
    np.save(path, drawn.astype(np.int64))
    return StoredTokens(path, tokens, 20_000)


_REPLACE: Final = {"kind": "replace"}
_FRESH: Final = {"kind": "fresh", "real_fraction": 0.1}


def _kernels_and_mixtures() -> Iterator[Order]:
    def kde(name: str, samples: int, generations: int, **more: Any) -> Order:
        body = {"samples": samples, "generations": generations, "bandwidth": {"kind": "silverman"}}
        return Order(f"kde, {name}", "kde", body | {"workflow": _REPLACE} | more)

    yield kde("5 samples, 10,000 generations", 5, 10_000)
    yield kde("1,000 samples, 20 generations", 1_000, 20)
    yield kde("4,000 samples, 3 generations", 4_000, 3)
    yield kde("10⁶ samples, 10 generations, fresh", 1_000_000, 10, workflow=_FRESH)

    def mixture(name: str, weights: list[float], samples: int, generations: int, separation: float) -> Order:
        body = {"weights": weights, "samples": samples, "generations": generations, "separation": separation}
        return Order(f"mixture, {name}", "mixture", body)

    yield mixture("2 components, 20 samples, 100 generations", [0.5, 0.5], 20, 100, 8.0)
    yield mixture("3 overlapping, 500 samples, 20 generations", [0.5, 0.3, 0.2], 500, 20, 2.0)
    yield mixture("20 components, 1,000 samples, 20 generations", [0.05] * 20, 1_000, 20, 10.0)
    yield mixture("2 overlapping, 10⁵ samples, 3 generations", [0.5, 0.5], 100_000, 3, 1.0)
    yield mixture("1 component, 1,000 samples, 100 generations", [1.0], 1_000, 100, 10.0)


def _texts() -> Iterator[Order]:
    def vocabulary(name: str, types: int, samples: int, generations: int, **more: Any) -> Order:
        body = {"vocabulary": {"kind": "zipf", "types": types, "exponent": 1.0}, "samples": samples}
        return Order(
            f"vocabulary, {name}",
            "vocabulary",
            body | {"generations": generations, "workflow": _REPLACE} | more,
        )

    yield vocabulary("2 types, 10 tokens, 10,000 generations", 2, 10, 9_999)
    yield vocabulary("10⁵ types, 10⁶ tokens, 20 generations", 100_000, 1_000_000, 20)
    yield vocabulary("10⁶ types, 10¹² tokens, 2 generations", 1_000_000, 10**12, 2)
    yield vocabulary("10⁵ types, 100 tokens, 100 generations", 100_000, 100, 100)
    yield vocabulary("10⁵ types, 10⁶ tokens, top-p, 20 generations", 100_000, 1_000_000, 20,
                     decoding={"top_p": 0.9, "temperature": 0.8})  # fmt: skip
    yield vocabulary(
        "1,000 types, 1,000 tokens, 1,000 generations, fresh", 1_000, 1_000, 1_000, workflow=_FRESH
    )

    def ngram(name: str, tokens: int, order: int, generations: int, kind: str = "replace") -> Order:
        body = {
            "text": "dst_" + "a" * 26,
            "order": order,
            "generations": generations,
            "workflow": {"kind": kind},
        }
        return Order(f"ngram, {name}", "ngram", body, partial(_text, tokens=tokens))

    yield ngram("1,000 tokens, order 2, 50 generations", 1_000, 2, 50)
    yield ngram("200,000 tokens, order 1, 5 generations", 200_000, 1, 5)
    yield ngram("200,000 tokens, order 3, 5 generations", 200_000, 3, 5)
    yield ngram("100,000 tokens, order 5, 10 generations, accumulated", 100_000, 5, 10, "accumulate")


def _estimators() -> Iterator[Order]:
    def estimator(name: str, family: dict[str, Any], samples: int, generations: int, **more: Any) -> Order:
        body = {"family": family, "samples": samples, "generations": generations, "workflow": _REPLACE}
        return Order(f"estimator, {name}", "estimator", body | more)

    linear, poisson = {"kind": "linear"}, {"kind": "poisson", "mean": 3.0}
    yield estimator("linear, 2 samples, 10,000 generations", linear, 2, 10_000)
    yield estimator("linear of 1,000, 1,000 samples", linear | {"parameters": 1_000}, 1_000, 20)
    yield estimator("exponential, 10⁶ samples", {"kind": "exponential"}, 1_000_000, 20)
    yield estimator("poisson, 10⁶ samples", poisson, 1_000_000, 20)
    yield estimator("least squares on 3, 20 samples", {"kind": "least_squares", "dimension": 3}, 20, 1_000)
    yield estimator(
        "least squares on 300, 1,000 samples", {"kind": "least_squares", "dimension": 300}, 1_000, 20
    )
    yield estimator("linear, fixed budget, 100 samples", linear, 100, 1_000,
                    workflow={"kind": "accumulate", "fixed_budget": True})  # fmt: skip
    yield estimator("exponential, accumulated, 50 samples", {"kind": "exponential"}, 50, 1_000,
                    workflow={"kind": "accumulate"})  # fmt: skip


def _tails() -> Iterator[Order]:
    def tail(
        name: str, training: dict[str, Any], samples: int, law: dict[str, Any] | None = None, **more: Any
    ) -> Order:
        law = law or {"kind": "zipf", "exponent": 1.5}
        return Order(f"tail, {name}", "tail", {"law": law, "training": training, "samples": samples} | more)

    recursive = {"kind": "recursive", "generations": 1_000, "generator_samples": 10}
    yield tail("real, 10 samples", {"kind": "real"}, 10)
    yield tail("real, a curve to 10⁶", {"kind": "real"}, 1_000_000,
               curve=[10**k for k in range(2, 7)])  # fmt: skip
    yield tail("mixed, 10⁶ samples", {"kind": "mixed", "rank": 100, "real_fraction": 0.1}, 1_000_000)
    yield tail("of 10⁵ types, 10⁶ samples", {"kind": "real"}, 1_000_000,
               {"kind": "zipf", "exponent": 1.0, "types": 100_000})  # fmt: skip
    yield tail("cut at 2, 10⁶ samples", {"kind": "cut", "rank": 2}, 1_000_000)
    yield tail("cut at 1 of 10⁶ types", {"kind": "cut", "rank": 1}, 100_000,
               {"kind": "zipf", "exponent": 0.1, "types": 1_000_000})  # fmt: skip
    yield tail("recursive, 10 samples, 1,000 generations", recursive, 10)
    yield tail("recursive, 10⁵ samples, 20 generations",
               recursive | {"generations": 20, "generator_samples": 100_000}, 100_000)  # fmt: skip
    yield tail("pairs, 10⁵ samples", {"kind": "cut", "rank": 50}, 100_000,
               {"kind": "bigram", "context_exponent": 1.5, "token_exponent": 1.5})  # fmt: skip


def folder() -> Path:
    """For stored data."""
    return Path(tempfile.mkdtemp(prefix="collapse-orders-"))
