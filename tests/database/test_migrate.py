import threading

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import create_engine

from service.database.engine import Database, sqlalchemy_url
from service.database.migrate import at_head, migrate, migrate_async
from service.database.schema import metadata
from service.errors import DatabaseUnavailable

pytestmark = pytest.mark.anyio


async def test_head_is_known_before_and_after(empty_database_url: str) -> None:
    database = Database(empty_database_url)
    async with database.transaction() as connection:
        assert not await at_head(connection)
    await migrate_async(empty_database_url)
    async with database.transaction() as connection:
        assert await at_head(connection)
    await database.dispose()


def test_two_processes_at_once_and_again(empty_database_url: str) -> None:
    failures: list[BaseException] = []

    def run() -> None:
        try:
            migrate(empty_database_url)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    migrate(empty_database_url)


def test_the_migrated_schema_is_the_tables(database_url: str) -> None:
    """What the revisions build is what service.database.schema says, in both directions."""
    # Without the queue's schema on the path: that one is the library's.
    engine = create_engine(sqlalchemy_url(database_url), connect_args={"options": "-c search_path=public"})
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_server_default": True})
        differences = compare_metadata(context, metadata)
    engine.dispose()
    assert [difference for difference in differences if not _is_version_table(difference)] == []


def _is_version_table(difference: object) -> bool:
    return isinstance(difference, tuple) and getattr(difference[1], "name", "") == "alembic_version"


def test_check_constraints_are_those_of_the_tables(database_url: str) -> None:
    """Alembic does not compare check constraints: their names are, here."""
    with psycopg.connect(database_url) as connection:
        found = connection.execute(
            "SELECT conname FROM pg_constraint WHERE contype = 'c' AND connamespace = 'public'::regnamespace"
        ).fetchall()
    declared = {
        str(constraint.name)
        for table in metadata.tables.values()
        for constraint in table.constraints
        if type(constraint).__name__ == "CheckConstraint"
    }
    assert {name for (name,) in found} == declared


def test_the_queue_is_in_its_own_schema(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        rows = connection.execute(
            "SELECT DISTINCT schemaname FROM pg_tables WHERE tablename LIKE 'procrastinate%'"
        ).fetchall()
    assert rows == [("queue",)]


def test_no_server_is_said_clearly() -> None:
    with pytest.raises(DatabaseUnavailable):
        migrate("postgresql://postgres@127.0.0.1:1/nowhere")
