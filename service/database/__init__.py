"""PostgreSQL: engine, embedded server, schema, idempotency."""
