"""The entry of the Gaussian mixtures in the registry of simulations."""

from collections.abc import Mapping, Sequence
from typing import Final, Literal

import numpy as np

from service.distributions.curves_by_generation import Expected, Generational, SimulatedCurve
from service.distributions.mixture.engine import CLEAR, models_of, predicted, seconds_of
from service.distributions.mixture.schemas import MixtureRequest
from service.distributions.schedules import mix_of
from service.distributions.schemas import Fresh
from service.errors import InvalidInput
from service.jobs.compute import Work
from service.simulation.costs import Burden
from service.simulation.distributions.mixture import QUANTITIES, MixtureWork, burden
from service.simulations.kinds import Point
from service.simulations.resource import SimulationOptions, SimulationSummary

_PREDICTED: Final = {"weight_variance": "weight_variance", "lost": "lost", "variance": "variance"}


class MixtureSimulationRequest(MixtureRequest, SimulationOptions):
    """A recursion of mixtures refitted by expectation maximization; components may overlap here."""


class MixtureSimulation(SimulationSummary):
    """Mixtures by generation, beside their prediction where components are far apart."""

    kind: Literal["mixture"] = "mixture"
    request: MixtureSimulationRequest
    curves: list[SimulatedCurve]


class MixtureKind(Generational[MixtureSimulationRequest]):
    """Gaussian mixtures: draw, refit by EM, draw from the fit."""

    name = "mixture"
    request = MixtureSimulationRequest
    simulation = MixtureSimulation
    y_label = "expected variance of a component, 0 once lost, over the true one"
    shown = ()

    def seconds(self, request: MixtureSimulationRequest) -> float:
        """Of its prediction."""
        return seconds_of(request)

    def is_shown(self, quantity: str) -> bool:
        """The variance of every component."""
        return quantity.endswith("/variance")

    def quantities(self, request: MixtureSimulationRequest) -> tuple[str, ...]:
        """Component by component."""
        return tuple(f"component_{k + 1}/{name}" for k in range(len(request.weights)) for name in QUANTITIES)

    def generations(self, request: MixtureSimulationRequest) -> tuple[int, ...]:
        """As in the prediction."""
        return tuple(int(model) - 1 for model in models_of(request))

    def expected(self, request: MixtureSimulationRequest) -> Mapping[str, Expected]:
        """The hard-assignment prediction; nothing where components overlap."""
        if request.separation < CLEAR:
            reason = (
                f"Components closer than {CLEAR:g} standard deviations exchange samples: no formula holds."
            )
            return {name: Expected(reason=reason) for name in self.quantities(request)}
        answer = predicted(request)
        nothing = Expected(reason="There is no formula with fresh real samples.")
        accuracies = {one.quantity: one.expected_relative_error for one in answer.validity.quantities}
        found = {}
        for k, weight in enumerate(request.weights):
            found[f"component_{k + 1}/weight"] = Expected((weight,) * len(answer.curve), 0.0)
            for name in _PREDICTED:
                values = tuple(getattr(row.components[k], name) for row in answer.curve)
                known = not all(value is None for value in values)
                found[f"component_{k + 1}/{name}"] = Expected(values, accuracies[name]) if known else nothing
        return found

    def burden(self, request: MixtureSimulationRequest) -> Burden:
        """Of the steps of EM."""
        least = 2 * len(request.weights)
        if request.samples < least:
            raise InvalidInput.at(
                "/samples",
                "too_few",
                f"{len(request.weights)} components are fitted to at least {least} samples.",
            )
        apart = request.separation >= CLEAR or len(request.weights) == 1
        return burden(len(request.weights), request.samples, self.generations(request)[-1], apart=apart)

    def work(self, request: MixtureSimulationRequest, points: Sequence[Point], data: None) -> Work:  # noqa: ARG002
        """Draws and refits of every generation up to the last reported one."""
        last, independent = self.generations(request)[-1], False
        real: tuple[float, ...] = (0.0,) * (last + 1)
        if isinstance(request.workflow, Fresh):
            mix = mix_of(request, request.workflow)
            real = tuple(mix.real[mix.schedule.run(np.arange(1, last + 2))].tolist())
            independent = mix.independent
        return MixtureWork(
            tuple(request.weights),
            request.separation,
            request.samples,
            self.generations(request),
            real,
            independent,
        )


MIXTURE: Final = MixtureKind()
