"""The entry of the kernel density estimates in the registry of simulations."""

from collections.abc import Mapping, Sequence
from typing import Final, Literal

import numpy as np

from service.distributions.curves_by_generation import Expected, Generational, SimulatedCurve, from_prediction
from service.distributions.kde.engine import bandwidth_of, mix_for, predicted
from service.distributions.kde.schemas import KdeRequest
from service.distributions.schedules import models_of
from service.simulation.costs import Burden
from service.simulation.distributions.kernels import LARGEST_PAIRS, QUANTITIES, KdeWork, burden
from service.simulations.kinds import Point
from service.simulations.resource import SimulationOptions, SimulationSummary


class KdeSimulationRequest(KdeRequest, SimulationOptions):
    """A recursion of kernel density estimates, carried out sample by sample."""


class KdeSimulation(SimulationSummary):
    """Kernel density estimates by generation, beside their prediction."""

    kind: Literal["kde"] = "kde"
    request: KdeSimulationRequest
    curves: list[SimulatedCurve]


class KdeKind(Generational[KdeSimulationRequest]):
    """Kernel density estimates: draw, estimate, draw from the estimate."""

    name = "kde"
    request = KdeSimulationRequest
    simulation = KdeSimulation
    y_label = "variance and squared drift of the mean, over the true variance"
    shown = ("sample_variance", "drift")

    def quantities(self, request: KdeSimulationRequest) -> tuple[str, ...]:
        """Without the integrated squared error where samples are too many for all pairs of them."""
        small = max(_sizes(request)) <= LARGEST_PAIRS
        return QUANTITIES if small else QUANTITIES[:-1]

    def generations(self, request: KdeSimulationRequest) -> tuple[int, ...]:
        """As in the prediction."""
        return tuple(int(model) - 1 for model in models_of(request))

    def expected(self, request: KdeSimulationRequest) -> Mapping[str, Expected]:
        """The prediction's curve."""
        answer = predicted(request)
        accuracies = {one.quantity: one.expected_relative_error for one in answer.validity.quantities}
        return from_prediction(answer.curve, {name: name for name in QUANTITIES}, accuracies)

    def burden(self, request: KdeSimulationRequest) -> Burden:
        """Of the samples that are drawn, and of all pairs of them."""
        return burden(self.work(request, (), None))

    def work(self, request: KdeSimulationRequest, points: Sequence[Point], data: None) -> KdeWork:  # noqa: ARG002
        """Draws of every generation up to the last reported one."""
        mix, sizes = mix_for(request), _sizes(request)
        bandwidth = bandwidth_of(request.bandwidth, mix.schedule)
        real = mix.real[mix.schedule.run(np.arange(1, len(sizes) + 1))]
        return KdeWork(
            sizes=sizes, real=tuple(real.tolist()), independent=mix.independent, fixed=bandwidth.fixed,
            relative=bandwidth.relative, corrected=bandwidth.corrected, reported=self.generations(request),
            quantities=len(self.quantities(request)),
        )  # fmt: skip


KDE: Final = KdeKind()


def _sizes(request: KdeSimulationRequest) -> tuple[int, ...]:
    """Of the generations up to the last reported one."""
    last = int(models_of(request)[-1])
    return tuple(int(size) for size in mix_for(request).schedule.between(1, last))
