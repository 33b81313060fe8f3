"""Shared fixtures: one PostgreSQL server per test session, one fresh database per test."""

import os
import secrets
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

# Before numpy is imported anywhere: the machine's cores are for tests side by side.
for _name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import psycopg
import pytest
from hypothesis import settings as hypothesis_settings
from psycopg import sql

from service.database.embedded import EmbeddedServer
from service.database.engine import Database, libpq_url, sqlalchemy_url
from service.database.migrate import migrate

# What CI says about a change must not depend on chance; elsewhere every run tries new examples.
hypothesis_settings.register_profile("ci", derandomize=True)
if os.environ.get("CI"):
    hypothesis_settings.load_profile("ci")


@pytest.fixture
def anyio_backend() -> str:
    """Async tests (marker ``anyio``) run on asyncio."""
    return "asyncio"


@pytest.fixture(scope="session")
def server_url() -> Iterator[str]:
    """A running PostgreSQL: COLLAPSE_TEST_DATABASE_URL, or an embedded server of its own."""
    given = os.environ.get("COLLAPSE_TEST_DATABASE_URL")
    if given:
        yield libpq_url(given)
        return
    # Not pytest's tmp_path: its name is longer than a socket's path may be.
    data_dir = Path(tempfile.mkdtemp(prefix="collapse-test-"))
    server = EmbeddedServer(data_dir)
    server.start()
    try:
        yield server.url
    finally:
        server.stop()
        shutil.rmtree(data_dir)


@pytest.fixture(scope="session")
def template(server_url: str) -> Iterator[str]:
    """The name of a database that is migrated to head; tests copy it."""
    with _new_database(server_url, None) as name:
        migrate(_url(server_url, name))
        yield name


@pytest.fixture
def database_url(server_url: str, template: str) -> Iterator[str]:
    """The URL of a fresh database at head, dropped after the test."""
    with _new_database(server_url, template) as name:
        yield _url(server_url, name)


@pytest.fixture
def empty_database_url(server_url: str) -> Iterator[str]:
    """The URL of a database with nothing in it, dropped after the test."""
    with _new_database(server_url, None) as name:
        yield _url(server_url, name)


@pytest.fixture
async def database(database_url: str, anyio_backend: str) -> AsyncIterator[Database]:
    """A ``Database`` on a fresh database at head."""
    database = Database(database_url)
    yield database
    await database.dispose()


class _new_database:  # noqa: N801 - reads as a statement
    def __init__(self, server_url: str, template: str | None) -> None:
        self._server_url = server_url
        self._template = sql.Identifier(template or "template0")
        self._name = f"test_{secrets.token_hex(6)}"

    def _execute(self, statement: str, **names: sql.Composable) -> None:
        with psycopg.connect(self._server_url, autocommit=True) as connection:
            connection.execute(sql.SQL(statement).format(**names))

    def __enter__(self) -> str:
        self._execute(
            "CREATE DATABASE {name} TEMPLATE {template}",
            name=sql.Identifier(self._name),
            template=self._template,
        )
        return self._name

    def __exit__(self, *_: object) -> None:
        self._execute("DROP DATABASE {name} WITH (FORCE)", name=sql.Identifier(self._name))


def _url(server_url: str, name: str) -> str:
    return (
        sqlalchemy_url(server_url)
        .set(drivername="postgresql", database=name)
        .render_as_string(hide_password=False)
    )
