"""Everything that can be configured, read once from the environment."""

from functools import lru_cache
from pathlib import Path

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Settings of every process; each field is the environment variable of the same name in capitals."""

    model_config = SettingsConfigDict(env_ignore_empty=True, extra="ignore")

    host: str = Field("127.0.0.1", description="Address the API listens on.")
    port: int = Field(8000, ge=0, le=65535, description="Port the API listens on; 0 takes a free one.")
    data_dir: Path = Field(Path(".data"), description="Where uploaded rows and the embedded database live.")
    # Not a PostgresDsn: that one refuses a Unix socket (postgresql://user@/name?host=/directory).
    database_url: str | None = Field(
        None,
        pattern=r"^postgres(ql)?(\+[a-z0-9]+)?://",
        description="PostgreSQL to use (postgresql://…). Unset: the embedded server under data_dir.",
    )
    worker_concurrency: int = Field(
        0,
        ge=0,
        le=256,
        description="Shards a worker computes at once; 0: one per core, or per thread of the Dask cluster.",
    )
    dask_scheduler: str | None = Field(
        None,
        pattern=r"^[a-z]+://",
        description="Dask scheduler (tcp://host:8786) whose cluster computes the shards. Unset: the worker itself.",
    )
    shard_timeout: float = Field(
        3600.0, gt=0, description="Seconds after which a shard's computation is stopped."
    )
    heartbeat_interval: float = Field(5.0, gt=0, description="Seconds between a worker's heartbeats.")
    stalled_after: float = Field(
        20.0, gt=0, description="Seconds without heartbeat after which work is taken over."
    )
    drain_timeout: float = Field(
        10.0, ge=0, description="Seconds that SIGTERM leaves a worker to finish its shards."
    )
    retention_days: float = Field(
        0.0, ge=0, description="Days after which an ended simulation is deleted; 0: it is kept until deleted."
    )
    max_active_simulations: int = Field(
        500, gt=0, description="Queued and running simulations that one submitter may have."
    )
    max_body_bytes: int = Field(64 * 2**20, gt=0, description="Largest body of every request but an upload.")
    max_upload_bytes: int = Field(512 * 2**20, gt=0, description="Largest upload, compressed or not.")
    max_expanded_bytes: int = Field(4 * 2**30, gt=0, description="Largest upload once decompressed.")
    log_level: str = "info"
    log_format: str = Field("json", pattern="^(json|console)$")

    @field_validator("data_dir")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        return value.expanduser().absolute()

    @property
    def rows_dir(self) -> Path:
        """Where the rows of stored data sets are kept, by content hash."""
        return self.data_dir / "rows"


@lru_cache
def settings() -> Settings:
    """The settings of this process."""
    return Settings()
