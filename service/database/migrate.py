"""Bring a database to the schema of this version; idempotent, safe when several processes do it at once."""

import asyncio
from functools import lru_cache
from pathlib import Path
from typing import Final

import alembic.command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection

import migrations
from service.database.engine import connect_args, sqlalchemy_url
from service.errors import DatabaseUnavailable

# Any constant will do, as long as it never changes: it is the name of the lock.
ADVISORY_LOCK: Final = 0x636F_6C6C_6170_7365


def migrate(url: str) -> None:
    """Apply every pending migration of the database at ``url``; a second process waits for the first.

    Raises DatabaseUnavailable when the server cannot be reached.
    """
    engine = create_engine(sqlalchemy_url(url), connect_args=connect_args(url))
    try:
        with engine.connect() as connection:
            connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": ADVISORY_LOCK})
            connection.commit()  # the lock belongs to the session, not to this transaction
            config = _config()
            config.attributes["connection"] = connection
            alembic.command.upgrade(config, "head")
    except OperationalError as error:
        raise DatabaseUnavailable("The database cannot be reached, so it was not migrated.") from error
    finally:
        engine.dispose()  # ends the session, which frees the lock


async def migrate_async(url: str) -> None:
    """``migrate`` for callers on an event loop."""
    await asyncio.to_thread(migrate, url)


@lru_cache
def head() -> str:
    """The revision this version of the service needs."""
    revision = ScriptDirectory.from_config(_config()).get_current_head()
    assert revision is not None, "the migrations are part of the package"
    return revision


async def at_head(connection: AsyncConnection) -> bool:
    """Whether the database has exactly the schema this version needs."""
    if await connection.scalar(text("SELECT to_regclass('public.alembic_version')")) is None:
        return False
    revisions = await connection.execute(text("SELECT version_num FROM public.alembic_version"))
    return list(revisions.scalars()) == [head()]


async def behind(connection: AsyncConnection) -> bool:
    """Whether the database still waits for migrations of this version; a newer one's schema serves this one, too."""
    if await at_head(connection):
        return False
    if await connection.scalar(text("SELECT to_regclass('public.alembic_version')")) is None:
        return True
    revisions = await connection.execute(text("SELECT version_num FROM public.alembic_version"))
    known = {one.revision for one in ScriptDirectory.from_config(_config()).walk_revisions()}
    return known.issuperset(revisions.scalars())


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    return config
