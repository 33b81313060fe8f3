"""Moments of order four against the published ones, forty digits, the matrix recursion and drawn samples."""

import mpmath as mp
import numpy as np
import pytest

from service.theory.distributions.gaussian.model import Curve, Gaussian
from service.theory.distributions.gaussian.predict import predict_accumulate, predict_fresh
from service.theory.distributions.schedule import Mix, Schedule
from service.theory.model import Array

LINE = Gaussian(np.ones(1), np.ones(1))
WIDE = Gaussian(np.array([3.0, 0.5]), np.array([1.0, 2.0]))
NONE = np.empty(0)
QUANTITIES = ("variance_drift", "drift_fourth", "trace_squared", "square_trace")


def fresh(truth: Gaussian, sizes: list[int], real: list[float], *, iid: bool, unbiased: bool) -> Curve:
    mix = Mix(Schedule(tuple(sizes), (1,) * len(sizes)), np.array(real), iid)
    return predict_fresh(truth, mix, np.array([len(sizes)]), unbiased=unbiased, thresholds=NONE).curve


def pooled(truth: Gaussian, sizes: list[int], *, unbiased: bool) -> Curve:
    models = np.array([len(sizes)])
    return predict_accumulate(truth, Schedule.of(sizes), models, unbiased=unbiased, thresholds=NONE).curve


@pytest.mark.parametrize(
    ("samples", "real", "fits", "variance_drift", "drift_fourth"),
    [(20, 4, 12, 0.132390518748, 0.0545156141875), (50, 1, 30, 0.328842929489, 0.347935270518)],
)
def test_published_values(
    samples: int, real: int, fits: int, variance_drift: float, drift_fourth: float
) -> None:
    curve = fresh(LINE, [samples] * fits, [float(real)] * fits, iid=False, unbiased=False)
    assert curve.variance_drift[0] == pytest.approx(variance_drift, rel=1e-11)
    assert curve.drift_fourth[0] == pytest.approx(drift_fourth, rel=1e-11)
    assert curve.trace_squared[0] == pytest.approx(curve.second_moment[0], rel=1e-13)


@pytest.mark.parametrize("unbiased", [False, True])
@pytest.mark.parametrize("samples", [2, 9, 10**12])
def test_replacing_to_forty_digits(samples: int, unbiased: bool) -> None:
    """E (tr Σ)² and E tr Σ² by the recursion of Wishart matrices, the others by that of one dimension."""
    fits = 7
    with mp.workdps(40):
        M, nu = mp.mpf(samples), mp.mpf(samples - 1)
        D = nu if unbiased else M
        trace, square = mp.mpf(16), mp.mpf("9.5")
        v2, ve2, e4, e2, v = mp.mpf(1), mp.mpf(0), mp.mpf(0), mp.mpf(0), mp.mpf(1)
        for _ in range(fits):
            trace, square = (
                (nu**2 * trace + 2 * nu * square) / D**2,
                ((nu**2 + nu) * square + nu * trace) / D**2,
            )
            e4 += 6 * ve2 / M + 3 * v2 / M**2
            ve2 = nu / D * (ve2 + v2 / M)
            v2 *= (nu**2 + 2 * nu) / D**2
            e2, v = e2 + v / M, v * nu / D
        expected = [float(one) for one in (ve2, e4, trace, square)]
    curve = fresh(WIDE, [samples] * fits, [0.0] * fits, iid=False, unbiased=unbiased)
    assert [getattr(curve, name)[0] for name in QUANTITIES] == pytest.approx(expected, rel=1e-13)


def test_a_pool_of_one_more_sample() -> None:
    """e' = e + ζ/6, ζ ~ N(0, v), after five samples: E e⁴ = 3/25 + E e² E v/6 + 3 E v²/6⁴."""
    curve = pooled(LINE, [5, 1], unbiased=False)
    assert curve.drift_fourth[0] == pytest.approx(0.12 + 0.2 * 0.8 / 6 + 3 * 0.96 / 1296, rel=1e-14)


def test_one_sample_has_no_variance_and_two_have_rank_one() -> None:
    alone = pooled(WIDE, [1, 4, 9], unbiased=False)
    assert (alone.variance_drift[0], alone.drift_fourth[0], alone.trace_squared[0]) == (0.0, 3.0, 0.0)
    for curve in (
        pooled(WIDE, [2, 4, 9], unbiased=False),
        fresh(WIDE, [2, 9], [0.0] * 2, iid=False, unbiased=True),
    ):
        assert curve.trace_squared[0] == pytest.approx(curve.square_trace[0], rel=1e-12)


CASES = [
    ("fresh", [5, 8, 4, 6], [5.0, 2.0, 1.0, 3.0]),
    ("iid", [6, 5, 5], [0.0, 1.5, 1.5]),
    ("accumulate", [4, 6, 3, 5], []),
]


@pytest.mark.parametrize("unbiased", [False, True])
@pytest.mark.parametrize(("kind", "sizes", "real"), CASES)
def test_simulation_agrees(kind: str, sizes: list[int], real: list[float], unbiased: bool) -> None:
    if kind == "accumulate":
        curve = pooled(WIDE, sizes, unbiased=unbiased)
    else:
        curve = fresh(WIDE, sizes, real, iid=kind == "iid", unbiased=unbiased)
    drawn = _drawn(kind, sizes, real, unbiased)
    for name, values in zip(QUANTITIES, drawn, strict=True):
        error = values.std() / np.sqrt(len(values))
        assert abs(values.mean() - getattr(curve, name)[0]) < 4.0 * error, name
        assert error < 0.03 * values.mean()  # or nothing is tested


def _drawn(kind: str, sizes: list[int], real: list[float], unbiased: bool) -> tuple[Array, ...]:
    rng, replicates = np.random.default_rng(11), 60_000
    scale = np.sqrt(np.repeat(WIDE.eigenvalues, WIDE.multiplicities.astype(int)))
    mean, root = np.zeros((replicates, 3)), np.broadcast_to(np.diag(scale), (replicates, 3, 3))
    pool = np.empty((replicates, 0, 3))
    covariance = np.empty(0)
    for index, size in enumerate(sizes):
        x = mean[:, None] + rng.standard_normal((replicates, size, 3)) @ root.transpose(0, 2, 1)
        if kind == "accumulate":
            pool = x = np.concatenate([pool, x], axis=1)
        else:
            order = rng.random((replicates, size)) if kind == "iid" else np.arange(size)[None, :]
            chosen = order < (real[index] / size if kind == "iid" else real[index])
            x = np.where(chosen[..., None], rng.standard_normal((replicates, size, 3)) * scale, x)
        mean = x.mean(axis=1)
        centred = x - mean[:, None]
        covariance = centred.transpose(0, 2, 1) @ centred / (x.shape[1] - unbiased)
        values, vectors = np.linalg.eigh(covariance)
        root = vectors * np.sqrt(np.clip(values, 0.0, None))[:, None, :]
    error = mean[:, 0] ** 2 / scale[0] ** 2
    return (
        covariance[:, 0, 0] / scale[0] ** 2 * error,
        error**2,
        np.trace(covariance, axis1=1, axis2=2) ** 2,
        (covariance**2).sum(axis=(1, 2)),
    )
