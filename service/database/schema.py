"""The tables (SQLAlchemy core). The queue's own, in the schema ``queue``, belong to procrastinate."""

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    DateTime,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    func,
)
from sqlalchemy.dialects.postgresql import JSONB

# Constraints are named by rule, so that a later migration can refer to them.
metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _created_at() -> "Column[object]":
    # clock_timestamp(): rows of one transaction keep their order too.
    return Column(
        "created_at", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp()
    )


datasets = Table(
    "datasets",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text),
    _created_at(),
    Column("request_id", Text, nullable=False),
    Column("description", JSONB, nullable=False),
    Column("rows_hash", Text, nullable=False),
    Column("rows_deleted_at", DateTime(timezone=True)),
    Index("ix_datasets_newest", "created_at", "id"),
    Index("ix_datasets_rows_hash", "rows_hash"),
)

predictions = Table(
    "predictions",
    metadata,
    Column("id", Text, primary_key=True),
    Column("input_hash", Text, nullable=False),
    Column("engine_version", Text, nullable=False),
    Column("request", JSONB, nullable=False),
    Column("response", JSONB, nullable=False),
    _created_at(),
    Index("ix_predictions_input_hash", "input_hash"),
)

# Who asked for which prediction, and when: predictions are content-addressed, requests are not.
prediction_requests = Table(
    "prediction_requests",
    metadata,
    Column("request_id", Text, primary_key=True),
    Column("prediction_id", Text, ForeignKey("predictions.id", ondelete="CASCADE"), primary_key=True),
    _created_at(),
    Index("ix_prediction_requests_prediction_id", "prediction_id"),
)

SIMULATION_STATES = ("queued", "running", "succeeded", "failed", "cancelled")

simulations = Table(
    "simulations",
    metadata,
    Column("id", Text, primary_key=True),
    _created_at(),
    # What is simulated: the name of an entry of the registry of kinds.
    Column("kind", Text, nullable=False),
    Column("request_id", Text, nullable=False),
    Column("engine_version", Text, nullable=False),
    Column("state", Text, nullable=False, server_default="queued"),
    # The request as it was validated: the worker compiles exactly this.
    Column("request", JSONB, nullable=False),
    # Per grid point: its parameters and the theory's answer, computed at submit.
    Column("points", JSONB, nullable=False),
    # Numbers kept of every replicate, all points together.
    Column("outcomes", Integer, nullable=False),
    Column("replicates", Integer, nullable=False),
    Column("shard_count", Integer, nullable=False),
    # The shards, from the first on, that the result needs as far as is known: fewer than all where a precision is
    # to be reached.
    Column("wanted_shards", Integer, nullable=False),
    Column("relative_standard_error", Double),
    Column("max_seconds", Double),
    # Why it ended where a precision was to be reached or its time was limited.
    Column("stopped", Text),
    Column("priority", Text, nullable=False, server_default="normal"),
    Column("submitter", Text, nullable=False, server_default="anonymous"),
    # The place of its first shard in the order in which all simulations take turns (jobs/turns.py).
    Column("turn", BigInteger, nullable=False),
    Column("flops", Double, nullable=False),
    Column("started_at", DateTime(timezone=True)),
    Column("finished_at", DateTime(timezone=True)),
    Column("result", JSONB(none_as_null=True)),
    Column("failure", JSONB(none_as_null=True)),
    CheckConstraint(f"state IN {SIMULATION_STATES}", name="state"),
    CheckConstraint("replicates > 0 AND shard_count > 0", name="counts"),
    CheckConstraint("(state = 'succeeded') = (result IS NOT NULL)", name="result"),
    CheckConstraint("(state = 'failed') = (failure IS NOT NULL)", name="failure"),
    CheckConstraint(
        "(state IN ('succeeded', 'failed', 'cancelled')) = (finished_at IS NOT NULL)", name="finished"
    ),
    CheckConstraint("wanted_shards BETWEEN 1 AND shard_count", name="wanted"),
    CheckConstraint("priority IN ('low', 'normal', 'high')", name="priority"),
    CheckConstraint("stopped IN ('precision', 'time', 'replicates')", name="stopped"),
    Index("ix_simulations_active", "submitter", postgresql_where="state IN ('queued', 'running')"),
    Index("ix_simulations_finished_at", "finished_at"),
    Index("ix_simulations_newest", "created_at", "id"),
    Index("ix_simulations_state_newest", "state", "created_at", "id"),
)

SHARD_STATES = ("queued", "running", "succeeded", "failed", "cancelled")

# A shard computes the replicates first <= r < last of its simulation.
shards = Table(
    "shards",
    metadata,
    Column("simulation_id", Text, ForeignKey("simulations.id", ondelete="CASCADE"), primary_key=True),
    Column("index", Integer, primary_key=True, autoincrement=False),
    Column("first", Integer, nullable=False),
    Column("last", Integer, nullable=False),
    Column("state", Text, nullable=False, server_default="queued"),
    # Begun, failed by themselves, and ended with the loss of their worker.
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("failures", Integer, nullable=False, server_default="0"),
    Column("losses", Integer, nullable=False, server_default="0"),
    Column("job_id", BigInteger),
    Column("worker_id", Text),
    Column("started_at", DateTime(timezone=True)),
    Column("finished_at", DateTime(timezone=True)),
    # What went wrong in the latest attempt.
    Column("reason", Text),
    CheckConstraint(f"state IN {SHARD_STATES}", name="state"),
    CheckConstraint("first >= 0 AND last > first", name="range"),
    Index("ix_shards_job_id", "job_id"),
    Index(
        "ix_shards_without_job",
        "simulation_id",
        "index",
        postgresql_where="state = 'queued' AND job_id IS NULL",
    ),
    Index("ix_shards_finished_at", "finished_at", postgresql_where="state = 'succeeded'"),
    Index(
        "ix_shards_unfinished",
        "simulation_id",
        postgresql_where="state IN ('queued', 'running')",
    ),
)

# At-least-once execution, exactly-once results: the primary key takes the first answer, all are the same.
shard_results = Table(
    "shard_results",
    metadata,
    Column("simulation_id", Text, primary_key=True),
    Column("index", Integer, primary_key=True, autoincrement=False),
    # Little-endian float64, C order, shape (points, last - first): every bit of the test errors is kept.
    Column("test_errors", LargeBinary, nullable=False),
    _created_at(),
    ForeignKeyConstraint(
        ["simulation_id", "index"], ["shards.simulation_id", "shards.index"], ondelete="CASCADE"
    ),
)

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("scope", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("body_hash", Text, nullable=False),
    Column("resource_id", Text),
    _created_at(),
)

workers = Table(
    "workers",
    metadata,
    Column("id", Text, primary_key=True),
    Column("hostname", Text, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("version", Text, nullable=False),
    Column("concurrency", Integer, nullable=False),
    Column("state", Text, nullable=False),
    Column("started_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("heartbeat_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    CheckConstraint("state IN ('running', 'draining')", name="state"),
    Index("ix_workers_heartbeat_at", "heartbeat_at"),
)
