"""In the place of the children that compute what takes long, which take seconds to start."""

import asyncio
import pickle
from collections.abc import Callable
from typing import Any

from fastapi import FastAPI

from service.web.aside import Calculator, Lane


class ThreadLane(Lane):
    """A lane of threads; what goes there and comes back travels all the same."""

    async def compute(self, function: Callable[..., Any], *args: object) -> Any:
        travelled, arguments = pickle.loads(pickle.dumps((function, args)))
        return pickle.loads(pickle.dumps(await asyncio.to_thread(travelled, *arguments)))


def in_threads(app: FastAPI) -> FastAPI:
    """The application without children."""
    calculator: Calculator = app.state.calculator
    calculator.seconds = ThreadLane(2, most=32, timeout=60.0, retry_after=1)
    calculator.minutes = ThreadLane(1, most=3, timeout=60.0, retry_after=1)
    return app
