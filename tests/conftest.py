"""Shared fixtures: one PostgreSQL server per test session, an empty database of its own for every test."""

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
from service.database.schema import metadata

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
def migrated(server_url: str) -> Iterator["list[_Migrated]"]:
    """Databases at head that no test uses at the moment, with nothing in them."""
    spare: list[_Migrated] = []
    yield spare
    for one in spare:
        one.drop()


@pytest.fixture
def database_url(server_url: str, migrated: "list[_Migrated]") -> Iterator[str]:
    """The URL of a database at head with nothing in it; emptied it is the next test's, if its tables are unchanged."""
    one = migrated.pop() if migrated else _Migrated(server_url)
    yield one.url
    if one.emptied():
        migrated.append(one)
    else:
        one.drop()


@pytest.fixture
def empty_database_url(server_url: str) -> Iterator[str]:
    """The URL of a database with nothing in it, dropped after the test."""
    with _new_database(server_url) as url:
        yield url


@pytest.fixture
async def database(database_url: str, anyio_backend: str) -> AsyncIterator[Database]:
    """A ``Database`` on a fresh database at head."""
    database = Database(database_url)
    yield database
    await database.dispose()


class _new_database:  # noqa: N801 - reads as a statement
    def __init__(self, server_url: str) -> None:
        self._server_url = server_url
        self._name = f"test_{secrets.token_hex(6)}"

    def _execute(self, statement: str) -> None:
        with psycopg.connect(self._server_url, autocommit=True) as connection:
            connection.execute(sql.SQL(statement).format(name=sql.Identifier(self._name)))  # type: ignore[arg-type]

    def __enter__(self) -> str:
        self._execute("CREATE DATABASE {name} TEMPLATE template0")
        url = sqlalchemy_url(self._server_url).set(drivername="postgresql", database=self._name)
        return url.render_as_string(hide_password=False)

    def __exit__(self, *_: object) -> None:
        self._execute("DROP DATABASE {name} WITH (FORCE)")


class _Migrated:
    """A database at head. Emptying it takes milliseconds, making another one half a second of the processor."""

    def __init__(self, server_url: str) -> None:
        self._database = _new_database(server_url)
        self.url = self._database.__enter__()
        migrate(self.url)
        with psycopg.connect(self.url, autocommit=True) as connection:
            self._schema = connection.execute(_SCHEMA).fetchall()

    def emptied(self) -> bool:
        """Delete all rows when everybody else is gone; False where that would not make it as good as new."""
        # the queue's triggers look for its tables on the path
        with psycopg.connect(self.url, options="-c search_path=public,queue") as connection:
            connection.execute(_DISCONNECT)
            if connection.execute(_SCHEMA).fetchall() != self._schema:
                return False
            for table in _TABLES:
                connection.execute(f"DELETE FROM {table}")
        return True

    def drop(self) -> None:
        self._database.__exit__()


_DISCONNECT = """
    SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity
    WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()
"""
_SCHEMA = """
    SELECT oid FROM pg_class WHERE relnamespace IN ('public'::regnamespace, 'queue'::regnamespace)
    UNION ALL
    SELECT oid FROM pg_constraint WHERE connamespace IN ('public'::regnamespace, 'queue'::regnamespace)
    ORDER BY oid
"""
_QUEUE = ("events", "periodic_defers", "jobs", "workers")
_TABLES = (
    *(table.name for table in reversed(metadata.sorted_tables)),
    *(f"procrastinate_{name}" for name in _QUEUE),
)
