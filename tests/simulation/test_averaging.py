"""Averaged label noise: the conditional expectation, checked by redrawing the noise on fixed designs."""

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
from service.simulation.spectrum import SpectrumProblem
from tests.simulation.mixes import POPULATION, PROCESSES, totals, two_sample_z, values


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
    drawn = np.array([measured(problem, planned, OtherNoise(11, 0, k)) for k in range(250)])
    error = drawn.std(axis=0, ddof=1) / np.sqrt(250)
    assert np.all(np.abs(drawn.mean(axis=0) - expected) < 4.2 * error + 1e-9 * expected)
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
