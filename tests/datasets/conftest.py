"""The application on a fresh database and data folder, in process."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from service.app import create_app
from service.datasets.describer import Describer
from service.settings import Settings


@pytest.fixture(scope="session")
def describer() -> Iterator[Describer]:
    """One child process for all tests: it takes two seconds to start."""
    describer = Describer()
    yield describer
    if describer._executor is not None:
        describer._executor.interrupt()
        describer._executor._close()


@pytest.fixture
def settings(database_url: str, tmp_path: Path) -> Settings:
    return Settings(database_url=database_url, data_dir=tmp_path / "data", max_expanded_bytes=5_000_000)


@pytest.fixture
async def app(settings: Settings, describer: Describer, anyio_backend: str) -> AsyncIterator[FastAPI]:
    app = create_app(settings)
    app.state.describer = describer
    yield app
    await app.state.database.dispose()


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test", timeout=60) as client:
        yield client
