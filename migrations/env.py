"""Alembic's entry: on the connection that service.database.migrate hands over, or by hand on DATABASE_URL."""

import os

from alembic import context
from sqlalchemy import Connection, create_engine

from service.database.engine import connect_args, sqlalchemy_url
from service.database.schema import metadata


def run(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=metadata,
        compare_server_default=True,
        # Another version's table would be looked for on the search path: say where ours is.
        version_table_schema="public",
        transaction_per_migration=True,
    )
    with context.begin_transaction():
        context.run_migrations()


def main() -> None:
    given = context.config.attributes.get("connection")
    if given is not None:
        run(given)
        return
    url = os.environ["DATABASE_URL"]
    engine = create_engine(sqlalchemy_url(url), connect_args=connect_args(url))
    with engine.connect() as connection:
        run(connection)


main()
