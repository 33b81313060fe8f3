"""Closed laws against the exact sums within their stated errors, constants to 50 digits, crossovers by definition."""

import mpmath as mp
import numpy as np
import pytest
from scipy.optimize import brentq

from service.theory.distributions.tail import laws
from service.theory.distributions.tail.bigram import (
    Bigram,
    bigram_error,
    bigram_law,
    predict_bigram,
    zeta_of_ratio,
)
from service.theory.distributions.tail.prediction import predict_tail
from service.theory.distributions.tail.training import CLEAN, Counts, Mixed, Narrowed, Training, unseen_mass
from service.theory.distributions.tail.zipf import Zipf

NONE = np.array([])


def off(law: Zipf, training: Training, samples: float) -> float:
    closed = laws.closed_law(law, training, samples)
    assert closed is not None
    return abs(closed / unseen_mass(law, training, samples) - 1.0)


@pytest.mark.parametrize("T", [10.0, 9_999.0, 1e4, 1e8, 1e18])
@pytest.mark.parametrize("c", [0.01, 0.5, 0.95])
def test_the_ratio_of_gamma_functions_to_fifty_digits(T: float, c: float) -> None:
    with mp.workdps(50):
        expected = float(mp.gammaprod([mp.mpf(T) + 1], [mp.mpf(T) + 1 + mp.mpf(c)]))
    assert laws.gamma_ratio(T, c) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize(
    ("exponent", "samples", "error"),
    [
        (1.2, 1e3, 5e-12),
        (1.5, 1e3, 5e-12),
        (2.0, 1e3, 5e-12),
        (3.0, 1e3, 4e-6),
        (2.0, 1e9, 1e-12),
        (2.0, 10, 2e-2),
    ],
)
def test_the_clean_law(exponent: float, samples: float, error: float) -> None:
    assert off(Zipf(exponent), CLEAN, samples) < error


@pytest.mark.parametrize("exponent", [1.2, 1.5, 2.0, 3.0])
@pytest.mark.parametrize("rank", [20.0, 1_000.0, 1e6])
def test_cut_mixed_and_counted_laws_keep_their_stated_error_through_every_regime(
    exponent: float, rank: float
) -> None:
    law = Zipf(exponent)
    for samples in np.geomspace(100.0, 1e14, 25):
        assert off(law, Mixed(0.0, rank), samples) < 5e-3
        for pi in (0.01, 0.5):
            assert off(law, Mixed(pi, rank), samples) < (5e-3 if samples < 1e3 else 7e-4)
        assert off(law, Counts(1e5, rank), samples) < 7e-4


@pytest.mark.parametrize(("exponent", "steeper"), [(2.0, 2.5), (1.5, 2.0), (1.2, 3.0)])
def test_the_narrowed_law(exponent: float, steeper: float) -> None:
    law = Zipf(exponent)
    x = laws.narrowed_decay(law, steeper)
    for samples in (1e3, 1e5, 1e8):
        assert off(law, Narrowed(steeper), samples) < 1.5 * x * (x + 1) / (2 * samples) + 1e-11


@pytest.mark.parametrize("exponent", [1.3, 2.0])
def test_laws_of_finite_vocabularies(exponent: float) -> None:
    """Not on the theory's list: the same stretches, ended at the last item; while some items are still unseen."""
    law = Zipf(exponent, 10_000)
    horizon = law.probability(10_000) ** -1
    for samples in np.geomspace(1e3, horizon, 8):
        for training in (CLEAN, Mixed(0.1, 500.0), Narrowed(exponent + 0.3)):
            assert off(law, training, samples) < 1e-3


@pytest.mark.parametrize(("exponent", "value"), [(1.2, 40.80), (1.5, 5.690), (2.0, 3.058), (3.0, 2.230)])
def test_the_constant_of_the_half_plateau(exponent: float, value: float) -> None:
    found = laws.half_plateau_constant(exponent)
    assert found == pytest.approx(value, rel=3e-4)
    with mp.workdps(30):
        c = 1 - 1 / mp.mpf(exponent)
        assert float(c * mp.mpf(found) ** -c * mp.gammainc(c, 0, found)) == pytest.approx(0.5, rel=1e-12)


@pytest.mark.parametrize("exponent", [1.2, 1.5, 2.0, 3.0])
@pytest.mark.parametrize("pi", [0.001, 0.1])
def test_where_the_plateau_begins_and_what_ends_it(exponent: float, pi: float) -> None:
    """By definition: the clean error is the plateau; half of it is left; and the laws of both."""
    law, rank = Zipf(exponent), 1_000.0
    plateau = predict_tail(law, Mixed(pi, rank), 1e3, NONE).plateau
    assert plateau is not None
    assert plateau.height == pytest.approx(float(mp.zeta(exponent, 1_001) / mp.zeta(exponent)), rel=1e-12)
    assert unseen_mass(law, CLEAN, plateau.begins) == pytest.approx(plateau.height, rel=1e-9)
    assert plateau.begins_law == pytest.approx(plateau.begins, rel=1e-3)
    half = plateau.height / 2
    assert unseen_mass(law, Mixed(pi, rank), plateau.halved_at) == pytest.approx(half, rel=1e-9)
    assert pi * plateau.halved_at == pytest.approx(plateau.real_to_halve, rel=1e-2)
    assert plateau.real_to_halve_law == pytest.approx(plateau.real_to_halve, rel=3e-3)
    # both sides of the answer: any number of synthetic samples, and a few real ones less or more
    for factor, ended in ((0.99, False), (1.01, True)):
        real = plateau.real_to_halve * factor
        assert (unseen_mass(law, Counts(real, rank), 1e18) <= half) is ended


def test_the_three_regimes() -> None:
    law, training = Zipf(2.0), Mixed(1e-3, 1_000.0)
    plateau = predict_tail(law, training, 1.0, NONE).plateau
    assert plateau is not None
    for samples, regime, slope in (
        (plateau.begins / 100, "scaling", 0.5),
        ((plateau.begins * plateau.halved_at) ** 0.5, "plateau", 0.0),
        (plateau.halved_at * 100, "recovered", 0.5),
    ):
        found = predict_tail(law, training, samples, NONE)
        assert found.regime == regime
        assert found.local_decay == pytest.approx(slope, abs=0.06)
        assert found.decay == 0.5


def test_what_is_known_in_real_samples() -> None:
    law = Zipf(1.5)
    clean = predict_tail(law, CLEAN, 12_345.0, np.array([10.0, 1e3]))
    assert clean.effective_samples == pytest.approx(12_345, rel=1e-9)
    assert clean.curve_errors == pytest.approx([unseen_mass(law, CLEAN, T) for T in (10.0, 1e3)])
    cut = predict_tail(law, Mixed(0.0, 100.0), 1e12, NONE)
    expected = brentq(lambda T: unseen_mass(law, CLEAN, T) - cut.test_error, 1.0, 1e9, rtol=1e-13)
    assert cut.effective_samples == pytest.approx(expected, rel=1e-8)
    assert cut.clean_error == pytest.approx(unseen_mass(law, CLEAN, 1e12), rel=1e-14)
    assert (
        predict_tail(Zipf(1.5, 10), CLEAN, 1e18, NONE).effective_samples == np.inf
    )  # nothing is left to learn


def test_laws_are_not_extrapolated() -> None:
    assert laws.closed_law(Zipf(0.9, 100), CLEAN, 1e3) is None
    assert laws.closed_law(Zipf(2.0), CLEAN, 9.0) is None
    assert laws.closed_law(Zipf(2.0), Mixed(0.1, 9.0), 1e3) is None
    few = predict_tail(Zipf(2.0), Mixed(0.0, 9.0), 1e3, NONE)
    assert np.isnan(few.law)
    assert few.plateau is not None
    assert np.isnan(few.plateau.real_to_halve_law)
    slow = predict_tail(Zipf(1.01), Mixed(0.0, 1e15), 1e18, NONE).plateau  # a plateau that lasts for ever
    assert slow is not None
    assert slow.real_to_halve == np.inf


# --- pairs -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("samples", "error"), [(100.0, 2e-3), (1e4, 3e-5), (1e6, 3e-7)])
def test_the_law_of_two_poles(samples: float, error: float) -> None:
    law = Bigram(Zipf(2.0), Zipf(1.5))
    assert bigram_law(law, samples) == pytest.approx(bigram_error(law, samples), rel=error)


@pytest.mark.parametrize("difference", [0.0, 1e-7, 0.99e-6, 1.01e-6, 1e-5, 9.9e-4, 1.01e-3, 0.1])
def test_the_law_passes_through_equal_exponents_without_a_seam(difference: float) -> None:
    """Two poles of opposite sign meet there; at 1e9 samples the law itself is exact to 1e-8."""
    law = Bigram(Zipf(2.0), Zipf(2.0 + difference))
    assert bigram_law(law, 1e9) == pytest.approx(
        bigram_error(law, 1e9), rel=1e-6 if difference < 1e-6 else 1e-8
    )


@pytest.mark.parametrize(
    ("y", "x"),
    [(1.1, 9.0), (1.2, 3.0), (2.0, 2.0019), (2.0, 2.0021), (2.0019, 2.0), (2.1, 2.0), (20.0, 1.01)],
)
def test_zeta_of_a_ratio_to_fifty_digits(y: float, x: float) -> None:
    with mp.workdps(50):
        expected = float(mp.zeta(mp.mpf(y) / mp.mpf(x)))
    assert zeta_of_ratio(y, x) == pytest.approx(expected, rel=1e-12)


def test_pairs_that_are_cut_have_a_plateau() -> None:
    law = Bigram(Zipf(1.5), Zipf(2.0))
    cut = predict_bigram(law, 1e6, np.array([5.0, 1e9]), 50.0)
    assert cut.plateau is not None
    assert cut.plateau.height == pytest.approx(Zipf(2.0).beyond(50.0), rel=1e-14)
    assert bigram_error(law, cut.plateau.begins) == pytest.approx(cut.plateau.height, rel=1e-9)
    assert bigram_error(law, cut.effective_samples) == pytest.approx(cut.test_error, rel=1e-9)
    assert cut.curve_errors[1] == pytest.approx(bigram_error(law, 1e9, 50.0))
    assert np.isnan([cut.law, *cut.curve_laws]).all()
    clean = predict_bigram(law, 1e6, np.array([5.0, 1e9]))
    assert clean.plateau is None
    assert np.isnan(clean.curve_laws[0])  # too few samples for the law
    assert clean.local_decay == pytest.approx(1 / 3, abs=0.02)
