"""The service over HTTP: one method per request, problems as exceptions."""

import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

TIMEOUT = httpx.Timeout(300.0, connect=5.0)  # describing a large data set takes its time
POLL_SECONDS = 0.5
FINISHED = frozenset({"succeeded", "failed", "cancelled"})

Document = dict[str, Any]


class UnreachableError(Exception):
    """Nothing answers at the service's address."""


class ProblemError(Exception):
    """The service answered with problem details."""

    def __init__(self, problem: Document) -> None:
        super().__init__(problem["detail"])
        self.problem = problem

    @property
    def status(self) -> int:
        """The HTTP status."""
        return int(self.problem["status"])


class SimulationEndedError(Exception):
    """A simulation failed or was cancelled."""

    def __init__(self, simulation: Document) -> None:
        reason = (simulation["failure"] or {}).get("message", "it was cancelled")
        super().__init__(f"Simulation {simulation['id']} {simulation['state']}: {reason}")


class Client:
    """A connection to one service; a context manager. ``transport`` is for tests."""

    def __init__(self, url: str, transport: httpx.BaseTransport | None = None) -> None:
        self.url = url.rstrip("/")
        self._http = httpx.Client(base_url=self.url, timeout=TIMEOUT, transport=transport)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def predict(self, request: Document) -> Document:
        """POST /v1/predictions."""
        return self._post("/v1/predictions", request)

    def recommend(self, request: Document) -> Document:
        """POST /v1/recommendations."""
        return self._post("/v1/recommendations", request)

    def predict_distribution(self, kind: str, request: Document) -> Document:
        """POST /v1/distributions/{kind}/predictions."""
        return self._post(f"/v1/distributions/{kind}/predictions", request)

    def describe(self, files: Mapping[str, Path | tuple[str, bytes]], fields: Mapping[str, str]) -> Document:
        """POST /v1/datasets: files by form field (streamed from disk, or a name and bytes), and text fields."""
        opened = {
            field: (value.name, value.open("rb")) if isinstance(value, Path) else value
            for field, value in files.items()
        }
        try:
            return self._send("POST", "/v1/datasets", files=opened, data=dict(fields))
        finally:
            for _, content in opened.values():
                if not isinstance(content, bytes):
                    content.close()

    def simulate(self, request: Document, idempotency_key: str | None = None) -> Document:
        """POST /v1/simulations."""
        headers = {} if idempotency_key is None else {"Idempotency-Key": idempotency_key}
        return self._post("/v1/simulations", request, headers)

    def get(self, identity: str) -> Document:
        """GET a prediction, data set or simulation by its id."""
        return self._send("GET", f"/v1/{collection(identity)}/{identity}")

    def simulate_distribution(self, kind: str, request: Document) -> Document:
        """POST /v1/distributions/{kind}/simulations."""
        return self._post(f"/v1/distributions/{kind}/simulations", request)

    def cancel(self, identity: str) -> Document:
        """POST /v1/simulations/{id}:cancel."""
        return self._send("POST", f"/v1/simulations/{identity}:cancel")

    def watch(self, identity: str) -> Iterator[Document]:
        """The simulation now, and again until it has finished."""
        while True:
            simulation = self.get(identity)
            yield simulation
            if simulation["state"] in FINISHED:
                return
            time.sleep(POLL_SECONDS)

    def watch_success(self, identity: str) -> Iterator[Document]:
        """The same for a simulation that has to succeed. Raises SimulationEndedError."""
        for simulation in self.watch(identity):
            if simulation["state"] in ("failed", "cancelled"):
                raise SimulationEndedError(simulation)
            yield simulation

    def _post(self, path: str, body: Document, headers: Mapping[str, str] | None = None) -> Document:
        content = json.dumps(body, allow_nan=False)
        return self._send(
            "POST", path, content=content, headers={"Content-Type": "application/json", **(headers or {})}
        )

    def _send(self, method: str, path: str, **arguments: Any) -> Document:
        try:
            response = self._http.request(method, path, **arguments)
        except (httpx.TransportError, httpx.InvalidURL) as error:
            raise UnreachableError(f"Nothing answers at {self.url} ({error}).") from error
        if response.is_success:
            return _document(response)
        raise ProblemError(_problem(response))


def collection(identity: str) -> str:
    """The collection that an id belongs to, by its prefix. Raises ValueError."""
    collections = {"prd": "predictions", "dst": "datasets", "sim": "simulations"}
    prefix = identity.partition("_")[0]
    if prefix not in collections or not identity.replace("_", "").isalnum():
        raise ValueError(f"{identity!r} is no id: they begin with prd_, dst_ or sim_")
    return collections[prefix]


def _document(response: httpx.Response) -> Document:
    body = response.json()
    if not isinstance(body, dict):
        raise TypeError("the service answers with JSON objects")
    return body


def _problem(response: httpx.Response) -> Document:
    """The problem details, or what stands for them where something between here and the service answered."""
    try:
        body = _document(response)
    except (ValueError, TypeError):
        body = {}
    return {
        "title": response.reason_phrase,
        "status": response.status_code,
        "detail": f"HTTP {response.status_code} without problem details; is this address the service's?",
        "code": "not_a_problem",
        "errors": [],
        **body,
    }
