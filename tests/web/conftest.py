"""The application under test, in process, on a fresh database."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from service.app import create_app
from service.settings import Settings
from tests.web.asking import client_of
from tests.web.lanes import in_threads


@pytest.fixture
def app(database_url: str, tmp_path: Path) -> FastAPI:
    return in_threads(create_app(Settings(database_url=database_url, data_dir=tmp_path)))


@pytest.fixture
def app_without_database(tmp_path: Path) -> FastAPI:
    """Its database URL leads to a port where nothing listens."""
    settings = Settings(database_url="postgresql://nobody@127.0.0.1:9/none", data_dir=tmp_path)
    return in_threads(create_app(settings))


@pytest.fixture
async def http(app: FastAPI, anyio_backend: str) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(app) as client:
        yield client
    await app.state.database.dispose()


@pytest.fixture
async def http_without_database(
    app_without_database: FastAPI, anyio_backend: str
) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(app_without_database) as client:
        yield client
    await app_without_database.state.database.dispose()
