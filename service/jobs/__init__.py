"""The queue: shards, reduction, rescue."""
