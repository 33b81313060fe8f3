"""The tables, and the queue in a schema of its own.

Revision ID: 0001
"""

from importlib.metadata import version

from alembic import op
from procrastinate.schema import SchemaManager

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# The queue's schema is the library's own, as of this version of it; the requirement in pyproject.toml is
# pinned to match. A newer library comes with a revision that runs its migration files after this one, and
# keeps this script's SQL.
QUEUE_VERSION = "3.10"

TABLES = """
CREATE TABLE datasets (
    id text NOT NULL,
    name text,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    request_id text NOT NULL,
    description jsonb NOT NULL,
    rows_hash text NOT NULL,
    rows_deleted_at timestamptz,
    CONSTRAINT pk_datasets PRIMARY KEY (id)
);
CREATE INDEX ix_datasets_newest ON datasets (created_at, id);
CREATE INDEX ix_datasets_rows_hash ON datasets (rows_hash);

CREATE TABLE predictions (
    id text NOT NULL,
    input_hash text NOT NULL,
    engine_version text NOT NULL,
    request jsonb NOT NULL,
    response jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT pk_predictions PRIMARY KEY (id)
);
CREATE INDEX ix_predictions_input_hash ON predictions (input_hash);

CREATE TABLE prediction_requests (
    request_id text NOT NULL,
    prediction_id text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT pk_prediction_requests PRIMARY KEY (request_id, prediction_id),
    CONSTRAINT fk_prediction_requests_prediction_id
        FOREIGN KEY (prediction_id) REFERENCES predictions (id) ON DELETE CASCADE
);
CREATE INDEX ix_prediction_requests_prediction_id ON prediction_requests (prediction_id);

CREATE TABLE simulations (
    id text NOT NULL, created_at timestamptz NOT NULL DEFAULT clock_timestamp(), request_id text NOT NULL,
    engine_version text NOT NULL, state text NOT NULL DEFAULT 'queued', request jsonb NOT NULL, points jsonb
    NOT NULL, replicates integer NOT NULL, shard_count integer NOT NULL, flops double precision NOT NULL,
    started_at timestamptz, finished_at timestamptz, result jsonb, failure jsonb, CONSTRAINT pk_simulations
    PRIMARY KEY (id), CONSTRAINT ck_simulations_state CHECK (state IN ('queued', 'running', 'succeeded',
    'failed', 'cancelled')), CONSTRAINT ck_simulations_counts CHECK (replicates > 0 AND shard_count > 0),
    CONSTRAINT ck_simulations_result CHECK ((state = 'succeeded') = (result IS NOT NULL)), CONSTRAINT
    ck_simulations_failure CHECK ((state = 'failed') = (failure IS NOT NULL)), CONSTRAINT
    ck_simulations_finished CHECK ((state IN ('succeeded', 'failed', 'cancelled')) = (finished_at IS NOT
    NULL)) ); CREATE INDEX ix_simulations_newest ON simulations (created_at, id); CREATE INDEX
    ix_simulations_state_newest ON simulations (state, created_at, id);

CREATE TABLE shards (
    simulation_id text NOT NULL,
    index integer NOT NULL,
    first integer NOT NULL,
    last integer NOT NULL,
    state text NOT NULL DEFAULT 'queued',
    attempts integer NOT NULL DEFAULT 0,
    job_id bigint,
    worker_id text,
    started_at timestamptz,
    finished_at timestamptz,
    reason text,
    CONSTRAINT pk_shards PRIMARY KEY (simulation_id, index),
    CONSTRAINT ck_shards_state CHECK (state IN ('queued', 'running', 'succeeded', 'failed', 'cancelled')),
    CONSTRAINT ck_shards_range CHECK (first >= 0 AND last > first),
    CONSTRAINT fk_shards_simulation_id
        FOREIGN KEY (simulation_id) REFERENCES simulations (id) ON DELETE CASCADE
);
CREATE INDEX ix_shards_job_id ON shards (job_id);
CREATE INDEX ix_shards_unfinished ON shards (simulation_id) WHERE state IN ('queued', 'running');

CREATE TABLE shard_results (
    simulation_id text NOT NULL,
    index integer NOT NULL,
    test_errors bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT pk_shard_results PRIMARY KEY (simulation_id, index),
    CONSTRAINT fk_shard_results_simulation_id_index
        FOREIGN KEY (simulation_id, index) REFERENCES shards (simulation_id, index) ON DELETE CASCADE
);

CREATE TABLE idempotency_keys (
    scope text NOT NULL,
    key text NOT NULL,
    body_hash text NOT NULL,
    resource_id text,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT pk_idempotency_keys PRIMARY KEY (scope, key)
);

CREATE TABLE workers (
    id text NOT NULL,
    hostname text NOT NULL,
    pid integer NOT NULL,
    version text NOT NULL,
    concurrency integer NOT NULL,
    state text NOT NULL,
    started_at timestamptz NOT NULL DEFAULT now(),
    heartbeat_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT pk_workers PRIMARY KEY (id),
    CONSTRAINT ck_workers_state CHECK (state IN ('running', 'draining'))
);
CREATE INDEX ix_workers_heartbeat_at ON workers (heartbeat_at);
"""


def _execute(sql: str) -> None:
    # On the driver's own cursor and without parameters: the scripts hold % signs and many statements.
    cursor = op.get_bind().connection.cursor()
    try:
        cursor.execute(sql)
    finally:
        cursor.close()


def upgrade() -> None:
    _execute(TABLES)
    _execute("CREATE SCHEMA queue")
    _execute("SET LOCAL search_path TO queue, public")
    if not version("procrastinate").startswith(QUEUE_VERSION + "."):
        raise RuntimeError(
            f"This revision needs procrastinate {QUEUE_VERSION}, found {version('procrastinate')}."
        )
    _execute(SchemaManager.get_schema())
    _execute("SET LOCAL search_path TO public, queue")


def downgrade() -> None:
    _execute("DROP SCHEMA queue CASCADE")
    _execute(
        "DROP TABLE workers, idempotency_keys, shard_results, shards, simulations,"
        " prediction_requests, predictions, datasets"
    )
