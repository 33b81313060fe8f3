"""Requests per second of predictions over HTTP, beside an endpoint that does nothing with the same body.

All are routes of the same server process, asked in turn in the same run over kept-alive connections. Predictions are
stored: in DATABASE_URL (migrated to head), else in an embedded server of this run. A body sent again is answered
from memory (and stored again as asked for); "new bodies" have label noise of their own each, so that all is computed.
"""

import asyncio
import json
import os
import shutil
import statistics
import sys
import tempfile
from itertools import count
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from service.database.embedded import EmbeddedServer
from service.database.migrate import migrate

ROUNDS, SECONDS, CONNECTIONS = 5, 1.5, 16
BODY: dict[str, Any] = {
    "dataset": {
        "spectrum": {"kind": "power_law", "dimension": 1000, "exponent": 1.5},
        "target": {"kind": "isotropic", "squared_norm": 1.0},
        "noise_variance": 0.25,
    },
    "training_mix": {
        "kind": "recursive", "generations": 5, "generator": {"samples": 600, "penalty": 0.01}, "samples": 300,
        "penalty": 0.01,
    },
}  # fmt: skip
ROWS = {  # path, and whether every body is a new one
    "no-op": ("/noop", False),
    "prediction, same body": ("/v1/predictions", False),
    "prediction, new bodies": ("/v1/predictions", True),
    "prediction of order 0, new bodies": ("/v1/predictions?order=0", True),
}
_numbers = count(1)


def serve(ready: Connection, url: str) -> None:
    """The service with one more route, on a free port."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    import socket

    import uvicorn

    from service.app import create_app
    from service.predictions.schemas import PredictionRequest
    from service.settings import Settings

    app = create_app(Settings(database_url=url, log_level="error"))

    async def noop(request: PredictionRequest) -> dict[str, str]:
        return {"kind": request.training_mix.kind}

    app.post("/noop")(noop)
    listener = socket.create_server(("127.0.0.1", 0))
    ready.send(listener.getsockname())
    uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False)).run(sockets=[listener])


def asking(path: str, noise: float) -> bytes:
    """A request for the prediction with this label noise."""
    body = {**BODY, "dataset": {**BODY["dataset"], "noise_variance": noise}}
    content = json.dumps(body).encode()
    return (
        f"POST {path} HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(content)}\r\n\r\n"
    ).encode() + content


async def rate(address: tuple[str, int], path: str, new: bool) -> float:
    """Answers per second over all connections."""
    request = asking(path, 0.25)
    loop = asyncio.get_running_loop()
    end = loop.time() + SECONDS
    answered = 0

    async def ask() -> None:
        nonlocal answered
        reader, writer = await asyncio.open_connection(*address)
        while loop.time() < end:
            writer.write(asking(path, 0.25 + 1e-7 * next(_numbers)) if new else request)
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200"), head
            length = next(
                int(h.split(b":")[1]) for h in head.lower().split(b"\r\n") if h.startswith(b"content-length")
            )
            await reader.readexactly(length)
            answered += 1
        writer.close()

    await asyncio.gather(*(ask() for _ in range(CONNECTIONS)))
    return answered / SECONDS


def main() -> None:
    """Print the table."""
    given = os.environ.get("DATABASE_URL")
    if given:
        measure(given)
        return
    folder = Path(tempfile.mkdtemp(prefix="collapse-bench-"))
    database = EmbeddedServer(folder)
    database.start()
    try:
        migrate(database.url)
        measure(database.url)
    finally:
        database.stop()
        shutil.rmtree(folder)


def measure(url: str) -> None:
    """Measure and print, with predictions stored at ``url``."""
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    server = context.Process(target=serve, args=(theirs, url), daemon=True)
    server.start()
    address = ours.recv()
    try:
        found: dict[str, list[float]] = {name: [] for name in ROWS}
        for _ in range(ROUNDS):
            for name, (path, new) in ROWS.items():
                found[name].append(asyncio.run(rate(address, path, new)))
    finally:
        server.terminate()
        server.join()
    reference = statistics.median(found["no-op"])
    print(f"| requests per second, d = 1,000, {CONNECTIONS} connections | median | share of no-op |")
    print("| --- | --- | --- |")
    for name, rates in found.items():
        median = statistics.median(rates)
        print(f"| {name} | {median:.0f} | {median / reference:.2f} |")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
