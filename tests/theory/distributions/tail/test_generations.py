"""The learner at the end of generations: published points, every history by brute force, Monte Carlo, limits."""

from itertools import product

import numpy as np
import pytest

from service.theory.distributions.schedule import Schedule
from service.theory.distributions.tail import generations, laws
from service.theory.distributions.tail.generations import Recursive
from service.theory.distributions.tail.prediction import by_generation, predict_tail
from service.theory.distributions.tail.training import CLEAN, unseen_mass
from service.theory.distributions.tail.zipf import Zipf
from service.theory.model import Array
from tests.theory.distributions.vocabulary.chains import gone_by_sizes

NONE = np.array([])


def process(
    p: Array, sizes: list[int], T: int, share: float, runs: int, *, stratified: bool = False
) -> Array:
    """Unseen masses of learners at the end of the process itself, shape (runs,): draw, count, draw from the counts."""
    rng = np.random.default_rng(11)
    found = np.empty(runs)
    for run in range(runs):
        counts = rng.multinomial(sizes[0], p)
        for size in [*sizes[1:], T]:
            real = round(share * size) if stratified else rng.binomial(size, share)
            counts = rng.multinomial(real, p) + rng.multinomial(size - real, counts / counts.sum())
        found[run] = p[counts == 0].sum()
    return found


@pytest.mark.parametrize(
    ("T0", "n", "T", "value"),
    [(10_000, 1, 1_000, 0.09570220424330977), (10**6, 100, 10**9, 0.03495541644535601)],
)
def test_published_points(T0: int, n: int, T: int, value: float) -> None:
    training = Recursive(Schedule.constant(T0, n))
    assert unseen_mass(Zipf(1.5), training, T) == pytest.approx(value, rel=1e-6)


def test_every_history_of_three_items() -> None:
    """Two generators of 3 and 2 samples, a learner of 3: all sequences of samples with their probabilities."""
    law = Zipf(1.0, 3)
    p = np.array([law.probability(i) for i in (1, 2, 3)])

    def histories(q: Array, sizes: list[int]) -> float:
        if not sizes:
            return float(p[q == 0].sum())
        total = 0.0
        for sequence in product(range(3), repeat=sizes[0]):
            chance = np.prod(q[list(sequence)])
            if chance > 0:
                total += chance * histories(np.bincount(sequence, minlength=3) / sizes[0], sizes[1:])
        return total

    training = Recursive(Schedule.of([3, 2]))
    assert unseen_mass(law, training, 3.0) == pytest.approx(histories(p, [3, 2, 3]), rel=1e-12)
    assert training.expected_error(law, 3.0) == 0.0


@pytest.mark.parametrize(
    ("sizes", "T", "share", "stratified"),
    [
        ([60] * 5, 60, 0.0, False),
        ([400, 50, 200], 1_000, 0.0, False),
        ([200] * 8, 200, 0.1, False),
        ([300] * 4, 100, 0.2, True),
    ],
)
def test_the_process_itself(sizes: list[int], T: int, share: float, stratified: bool) -> None:
    law = Zipf(1.5, 2_000)
    p = np.arange(1.0, 2_001) ** -1.5 / law.normalizer
    masses = process(p, sizes, T, share, 1_500, stratified=stratified)
    predicted = unseen_mass(law, Recursive(Schedule.of(sizes), share, stratified), T)
    z = (masses.mean() - predicted) / (masses.std(ddof=1) / np.sqrt(masses.size))
    assert abs(z) < 3.5


def test_generators_without_end_and_generators_without_number() -> None:
    law = Zipf(2.0)
    clean = unseen_mass(law, CLEAN, 1e3)
    assert unseen_mass(law, Recursive(Schedule.constant(10**15, 3)), 1e3) == pytest.approx(clean, rel=1e-5)
    # one token has taken over: what is unseen is all but one item drawn from the truth
    alone = unseen_mass(law, Recursive(Schedule.constant(10, 10**5)), 1e3)
    i = np.arange(1.0, 200_001)
    assert alone == pytest.approx(1 - np.sum((i**-2 / law.normalizer) ** 2), rel=1e-9)


def test_all_real_data_in_every_generation_is_clean_data() -> None:
    law = Zipf(1.5)
    for stratified in (True, False):
        training = Recursive(Schedule.constant(1_000, 20), 1.0, stratified)
        assert unseen_mass(law, training, 5e3) == pytest.approx(unseen_mass(law, CLEAN, 5e3), rel=1e-9)


def test_the_error_grows_like_the_power_c_of_generations() -> None:
    """E ~ K (2 T_0/n)^-c: by 10^c from n = 100 to 1000; the often quoted n T_0^-c would be 10."""
    law, T0 = Zipf(2.0), 10**8
    errors = [unseen_mass(law, Recursive(Schedule.constant(T0, n)), 1e15) for n in (100, 1_000)]
    assert errors[1] / errors[0] == pytest.approx(10**0.5, rel=0.01)
    for n in (1, 30, 1_000):
        training = Recursive(Schedule.constant(T0, n))
        closed = laws.closed_law(law, training, 1e15)
        assert closed == pytest.approx(unseen_mass(law, training, 1e15), rel=4e-4)


def test_the_plateau_of_generations_and_the_real_samples_that_end_it() -> None:
    law, training = Zipf(1.5), Recursive(Schedule.constant(10**5, 50))
    found = predict_tail(law, training, 1e9, NONE)
    assert found.plateau is not None
    assert found.plateau.cause == "generations"
    assert found.regime == "plateau"
    assert found.test_error == pytest.approx(found.plateau.height, rel=1e-4)
    assert unseen_mass(law, CLEAN, found.plateau.begins) == pytest.approx(found.plateau.height, rel=1e-9)
    # lineages: 1/θ grows by r/2 + ln(1 + r θ/2)/6 over r = 49 generations, from θ = 1
    assert found.plateau.begins_law == pytest.approx(10**5 / (1 + 49 / 2 + np.log(1 + 49 / 2) / 6), rel=1e-3)
    assert found.plateau.real_to_halve_law == pytest.approx(found.plateau.real_to_halve, rel=1e-2)
    nodes = law.nodes()
    left = training.unseen(law, nodes, 1e18) * (1 - nodes.p) ** found.plateau.real_to_halve
    assert np.sum(nodes.weights * nodes.p * left) == pytest.approx(found.plateau.height / 2, rel=1e-8)
    assert predict_tail(law, Recursive(Schedule.constant(10**5, 50), 0.1), 1e6, NONE).plateau is None


def test_the_way_there_begins_with_real_data() -> None:
    law, training = Zipf(1.5), Recursive(Schedule.of([500, 400, 300]))
    way = by_generation(law, training, 200.0, [0, 1, 2, 3])
    assert way[0].test_error == unseen_mass(law, CLEAN, 200.0)
    assert way[0].founders == 200.0
    assert way[1].test_error == unseen_mass(law, Recursive(Schedule.of([500])), 200.0)
    assert way[3].test_error == predict_tail(law, training, 200.0, NONE).test_error
    assert sorted(one.test_error for one in way) == [one.test_error for one in way]


@pytest.mark.parametrize(
    ("sizes", "T", "share", "stratified"),
    [
        ([20, 20], 20, 0.05, False), ([60, 60, 60], 120, 0.5, True), ([150] * 8, 150, 0.05, False),
        ([5] * 4, 3, 0.2, False),
        ([40], 10, 0.9, True), ([100, 40], 20, 1.0, True),
    ],
)  # fmt: skip
def test_fresh_samples_by_the_exact_chain_of_every_item(
    sizes: list[int], T: int, share: float, stratified: bool
) -> None:
    """Founders' moments were off by up to 4 % here, and nothing was said of fewer than ten of them."""
    law, training = Zipf(1.5, 3), Recursive(Schedule.of(sizes), share, stratified)
    p = [law.probability(i) for i in (1, 2, 3)]
    real = [share * size for size in (*sizes, T)]
    gone = [gone_by_sizes(x, [*sizes, T], real, stratified=stratified) for x in p]
    assert unseen_mass(law, training, T) == pytest.approx(float(np.dot(p, gone)), rel=1e-10)
    assert training.expected_error(law, T) == 0.0


@pytest.mark.parametrize("law", [Zipf(1.5), Zipf(0.5, 10), Zipf(2.0, 5)])
def test_the_stated_error_of_founders_known_by_their_moments(
    law: Zipf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Against the exact law, also where no item is rare: the error is that of a tail of the founders' law then."""
    for size, count, share in ((150, 3, 0.05), (120, 6, 0.5), (150, 2, 0.2), (100, 8, 0.1)):
        training = Recursive(Schedule.constant(size, count), share)
        exact = unseen_mass(law, training, size)
        with monkeypatch.context() as patched:
            patched.setattr(generations, "_CHANGES", 0)
            generations._founders.cache_clear()
            approximate = unseen_mass(law, training, size)
            stated = training.expected_error(law, size)
        generations._founders.cache_clear()
        assert 0.0 < abs(approximate / exact - 1.0) <= stated
