"""Averaged label noise: the conditional expectation, checked by redrawing the noise on fixed designs."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from numpy.random import Generator

from service.simulation.averaging import averaged
from service.simulation.features import Bartlett, Gaussian
from service.simulation.plan import plan
from service.simulation.problem import Streams
from service.simulation.process import Place
from service.simulation.replicate import measured
from service.simulation.rows import EmpiricalProblem
from service.simulation.spectrum import SpectrumProblem
from service.theory.kernels import Linear, Rbf
from service.theory.model import REAL, Shift, Source, TrainingMix
from tests.simulation.mixes import (
    POPULATION,
    PROCESSES,
    SIGMA,
    D,
    fresh,
    stage,
    totals,
    two_sample_z,
    values,
)


@dataclass(frozen=True)
class OtherNoise(Streams):
    """The same designs, projections and shifts with other noise."""

    redraw: int = 0

    def noise(self, place: Place) -> Generator:
        return self._generator(*place, 1, self.redraw)


@pytest.mark.parametrize("name", PROCESSES)
def test_it_is_the_mean_over_redrawn_noise(name: str) -> None:
    """250 redraws of all label noise on one set of designs, every stage and part."""
    problem, planned = SpectrumProblem(POPULATION), plan([PROCESSES[name]])
    expected = np.array(averaged(problem, planned, Streams(11, 0)))
    drawn = np.array([measured(problem, planned, [OtherNoise(11, 0, k)])[0] for k in range(250)])
    error = drawn.std(axis=0, ddof=1) / np.sqrt(250)
    assert np.all(np.abs(drawn.mean(axis=0) - expected) < 4.2 * error + 1e-9 * expected)
    assert np.all(error[::3] > 0)


MAPS = {"linear": Linear(), "rbf": Rbf(3.0)}


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], EmpiricalProblem]:
    """120 rows of 12 columns with a truth that no linear map has, under a feature map."""
    folder, rng = tmp_path_factory.mktemp("rows"), np.random.default_rng(6)
    X = rng.standard_normal((120, D)) * np.sqrt(SIGMA)
    np.save(folder / "X.npy", X)
    np.save(folder / "truth.npy", X[:, 0] + 0.5 * np.sin(2 * X[:, 1]))
    return lambda name: EmpiricalProblem(folder / "X.npy", folder / "truth.npy", MAPS[name])


ON_ROWS = PROCESSES | {
    "shift and covariate shift": fresh(  # rows have one covariance
        TrainingMix(
            (
                stage(
                    "final",
                    0.02,
                    Source("r", REAL, 20, 0.3),
                    Source("s", Shift(np.full(D, 0.2)), 15, 0.1, 2.0),
                ),
            )
        )
    )
}


@pytest.mark.parametrize(
    ("name", "feature_map"),
    # a shift is given by modes, and a kernel has as many of them as rows
    [(name, by) for name in ON_ROWS for by in MAPS if by == "linear" or not name.startswith("shift and")],
)
def test_on_rows_it_is_the_mean_over_redrawn_noise(
    stored: Callable[[str], EmpiricalProblem], name: str, feature_map: str
) -> None:
    """The same for the rows of a data set, some of them drawn twice."""
    problem, planned = stored(feature_map), plan([ON_ROWS[name]])
    expected = np.array(averaged(problem, planned, Streams(11, 0)))
    drawn = np.array([measured(problem, planned, [OtherNoise(11, 0, k)])[0] for k in range(120)])
    error = drawn.std(axis=0, ddof=1) / np.sqrt(120)
    assert np.all(np.abs(drawn.mean(axis=0) - expected) < 4.3 * error + 1e-9 * expected)
    assert np.all(error[::3] > 0)


@pytest.mark.parametrize("features", [Gaussian(), Bartlett()])
@pytest.mark.parametrize("name", ["least squares", "two parents and weights", "accumulating"])
def test_the_same_mean_with_a_smaller_error(name: str, features: Gaussian | Bartlett) -> None:
    plain = totals(PROCESSES[name], 600, features=features)
    better = totals(PROCESSES[name], 150, features=features, seed=2, average_noise=True)
    assert abs(two_sample_z(plain, better)) < 4
    assert better.std() < 0.8 * plain.std()


def test_without_noise_there_is_nothing_to_average() -> None:
    from dataclasses import replace

    from service.simulation.process import Process

    mix = PROCESSES["ridge chain"].mix
    silent = tuple(
        replace(stage, sources=tuple(replace(source, noise_variance=0.0) for source in stage.sources))
        for stage in mix.stages
    )
    process = Process(replace(mix, stages=silent), 0.0)
    np.testing.assert_allclose(values(process, 3), values(process, 3, average_noise=True), rtol=1e-10)
