"""A client without a service: predictions by the theory engine, simulations by drawing from a stated law."""

from collections.abc import Iterator
from typing import Any, Literal

from service.client.api import Client
from service.distributions.gaussian.engine import predicted as predicted_gaussian
from service.distributions.gaussian.schemas import GaussianRequest
from service.distributions.tail.drawn import TailSimulationRequest
from service.distributions.tail.engine import predicted as predicted_tail
from service.distributions.tail.schemas import TailRequest
from service.distributions.tail.simulation import TAIL
from service.predictions.engine import compiled
from service.predictions.schemas import PredictionRequest
from service.simulations.regression import REGRESSION
from service.simulations.schemas import SimulationRequest
from service.theory.prediction import predict

Document = dict[str, Any]


class Offline(Client):
    """``simulated``: every request that was submitted; each point measures its own place in the grid."""

    def __init__(self, order: Literal[0, 1] = 0) -> None:
        super().__init__("http://offline.invalid")
        self.order = order
        self.simulated: list[Document] = []
        self.finished: list[list[Document]] = []

    def predict(self, request: Document) -> Document:
        population, mix = compiled(PredictionRequest.model_validate(request), None)
        return {"test_error": {"total": predict(population, mix, order=self.order).test_error.total}}

    def predict_distribution(self, kind: str, request: Document) -> Document:
        if kind == "gaussian":
            return predicted_gaussian(GaussianRequest.model_validate(request)).model_dump(mode="json")
        assert kind == "tail"
        return predicted_tail(TailRequest.model_validate(request)).model_dump(mode="json")

    def simulate(self, request: Document, idempotency_key: str | None = None) -> Document:
        assert idempotency_key is None
        self.simulated.append(request)
        return {"id": f"sim_{len(self.simulated) - 1}", "state": "queued"}

    def simulate_distribution(self, kind: str, request: Document) -> Document:
        """A tail is carried out at once, by the kind itself."""
        if kind == "gaussian":
            return self.simulate(request)
        assert kind == "tail"
        self.simulated.append(request)
        asked = TailSimulationRequest.model_validate(request)
        plan = TAIL.plan(asked, None)
        outcomes = TAIL.work(asked, plan.points, None).outcomes(asked.seed, 0, asked.replicates)
        points = TAIL.result({}, plan.points, outcomes).model_dump()["points"]
        self.finished.append(points)
        return {"id": f"sim_{len(self.simulated) - 1}", "state": "queued"}

    def watch(self, identity: str) -> Iterator[Document]:
        number = int(identity.removeprefix("sim_"))
        request = self.simulated[number]
        values = request["grid"][0]["values"] if "grid" in request else [None]
        points = (
            self.finished[number]
            if self.finished
            else [
                {"test_error": {"mean": 1.0 + number + index / 100, "standard_error": 0.1}, "p_value": 0.5}
                for index, _ in enumerate(values)
            ]
        )
        progress = {"completed": request["replicates"], "total": request["replicates"]}
        curve = {
            "quantity": "variance",
            "points": [{"mean": 1.0, "standard_error": 0.1, "z_score": 0.0} for _ in request.get("at", [])],
        }
        yield {
            "id": identity, "state": "succeeded", "progress": progress, "points": points, "curves": [curve],
        }  # fmt: skip


class CarriedOut(Offline):
    """Simulations of training mixes are carried out at once, by the kind itself."""

    def simulate(self, request: Document, idempotency_key: str | None = None) -> Document:
        answer = super().simulate(request, idempotency_key)
        asked = SimulationRequest.model_validate(request)
        plan = REGRESSION.plan(asked, None)
        outcomes = REGRESSION.work(asked, plan.points, None).outcomes(asked.seed, 0, asked.replicates or 0)
        result = REGRESSION.result(asked.model_dump(mode="json"), plan.points, outcomes)
        self.finished.append(result.model_dump()["points"])
        return answer
